"""Effective core potentials: a local part, and projectors on angular momenta about each nucleus.

References:
    Mitas, Shirley, Ceperley, J. Chem. Phys. 95, 3467 (1991), doi:10.1063/1.460849 (integrals over spheres, by rules
    that are turned at random).

Letters: M points, S states, N electrons, A nuclei, L angular momenta, T terms, Q directions of a rule, E electrons
within reach of a nucleus, each counted with its point and nucleus.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qmcnet.operators.operator import States
from qmcnet.operators.spheres import legendre, rotations, sphere_rule
from qmcnet.system.ecp import Term
from qmcnet.system.molecule import Molecule

TOLERANCE = 1e-5
"""Hartree; beyond the last place where a channel is as strong, electrons cost no evaluation."""
FARTHEST, GRID = 10.0, 4000
"""Bohr, and places, of the search for it."""
MOST_PAIRS = 2**17
"""Pairs of electrons, over all displaced walkers, that are evaluated at once: of 2^13 to 2^20 the fastest on a CPU."""


class EffectiveCore(nn.Module):
    """sum_iA [U_A(r_iA) + sum_l U_Al(r_iA) P_l], beside the attraction of the charges that are left.

    P_l psi(r) = (2 l + 1) / (4 pi) int P_l(cos theta') psi(R_A + r n') dn', over the directions n' at an angle theta'
    with that of the electron: a sum over a rule, turned at random for each walker, electron and nucleus, so that the
    mean is the integral whatever the wavefunction.
    """

    name = "effective_core"
    local: Tensor
    channels: Tensor
    reach: Tensor
    directions: Tensor
    weights: Tensor

    def __init__(self, molecule: Molecule, degree: int = 5) -> None:
        """Collect the potentials of all nuclei.

        Args:
            molecule: the nuclei, some of them with potentials.
            degree: of the spherical harmonics that the rule integrates exactly; 5 has 12 directions.
        """
        super().__init__()
        potentials = dict(molecule.ecp)
        owned = [potentials.get(symbol) for symbol in molecule.symbols]
        self.n_channels = max((len(ecp.channels) for ecp in owned if ecp), default=0)
        channels = [
            [ecp.channels[degree] if ecp and degree < len(ecp.channels) else () for degree in range(self.n_channels)]
            for ecp in owned
        ]
        directions, weights = sphere_rule(degree)
        tables = {
            "local": table([ecp.local if ecp else () for ecp in owned]),
            "channels": table([terms for of_nucleus in channels for terms in of_nucleus]).unflatten(
                0, (len(owned), self.n_channels)
            ),
            "directions": directions,
            "weights": weights,
        }
        r = torch.linspace(FARTHEST / GRID, FARTHEST, GRID, dtype=torch.float64)
        strong = radial(r[:, None, None], tables["channels"]).abs().amax(-1) > TOLERANCE if self.n_channels else None
        tables["reach"] = torch.zeros(len(owned)).double() if strong is None else (strong * r[:, None]).amax(0)
        for name, values in tables.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, states: States) -> Tensor:
        """Apply the potentials.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        displacements = states.positions[:, :, None] - states.nuclei  # (M, N, A, 3)
        distances = torch.linalg.vector_norm(displacements, dim=-1)
        local = radial(distances, self.local).sum((-2, -1))
        return states.times(local[:, None]) + self.projected(states, displacements, distances)[:, None]

    def projected(self, states: States, displacements: Tensor, distances: Tensor) -> Tensor:
        """Apply the projectors to the states.

        Args:
            states: the states at M points.
            displacements: of the electrons from the nuclei, shape (M, N, A, 3), in bohr.
            distances: their lengths, shape (M, N, A).

        Returns:
            Shape (M, S), in hartree.
        """
        found = states.psi.new_zeros(*distances.shape, states.psi.shape[-1])  # (M, N, A, S)
        if not self.n_channels:
            return found.sum((1, 2))
        n_places = distances.shape[1] * distances.shape[2]
        turns = states.drawn(
            lambda rows, generator: torch.randn(
                rows, n_places, 4, generator=generator, device=distances.device, dtype=distances.dtype
            )
        ).reshape(*distances.shape, 4)
        near = distances < self.reach
        place = near.nonzero(as_tuple=True)  # point, electron and nucleus of each of the E
        at_once = max(1, MOST_PAIRS // (len(self.weights) * distances.shape[1] ** 2))
        for chunk in zip(*(index.split(at_once) for index in place if len(index)), strict=True):
            found[chunk] = self._around(states, chunk, displacements[chunk], distances[chunk], turns[chunk])
        return found.sum((1, 2))

    def _around(self, states: States, place: Sequence[Tensor], away: Tensor, r: Tensor, turns: Tensor) -> Tensor:
        """Sum over the directions of the rule about a nucleus, for E electrons, shape (E, S)."""
        point, electron, nucleus = place
        turned = self.directions @ rotations(turns).mT  # (E, Q, 3)
        cosines = (turned @ (away / r[:, None])[..., None])[..., 0]  # (E, Q)
        strength = radial(r[:, None], self.channels[nucleus])  # (E, L)
        factors = self.weights * (legendre(cosines, self.n_channels) * strength[:, None]).sum(-1)  # (E, Q)
        moved = states.positions[point][:, None].repeat(1, len(self.weights), 1, 1)  # (E, Q, N, 3)
        displaced = states.nuclei[nucleus][:, None] + r[:, None, None] * turned
        moved[torch.arange(len(point), device=point.device), :, electron] = displaced
        rows = point.repeat_interleave(len(self.weights))
        psi = states.at(moved.flatten(0, 1), rows).unflatten(0, factors.shape)  # (E, Q, S)
        return (factors[..., None] * psi).sum(1)


def table(potentials: Sequence[Sequence[Term]]) -> Tensor:
    """Write terms of several potentials as rows of the same number of terms, those that are missing being zero.

    Args:
        potentials: terms of each.

    Returns:
        n, a and c, shape (number of potentials, T, 3), float64.
    """
    longest = max(map(len, potentials), default=0)
    padded = [[*terms, *[(2, 1.0, 0.0)] * (longest - len(terms))] for terms in potentials]
    return torch.tensor(padded, dtype=torch.float64).reshape(len(potentials), longest, 3)


def radial(r: Tensor, terms: Tensor) -> Tensor:
    """Evaluate sum_T c r^(n - 2) exp(-a r^2).

    Args:
        r: distances, shape (..., P), or one for all (..., 1), in bohr.
        terms: of P potentials, shape (..., P, T, 3).

    Returns:
        Shape (..., P), in hartree.
    """
    n, a, c = terms.unbind(-1)
    return (c * r[..., None] ** (n - 2) * torch.exp(-a * r[..., None].square())).sum(-1)
