"""Effective core potentials: a local part, and projectors on angular momenta about each nucleus.

References:
    Mitas, Shirley, Ceperley, J. Chem. Phys. 95, 3467 (1991), doi:10.1063/1.460849 (integrals over spheres, by rules
    that are turned at random).

Letters: M points, S states, N electrons, A nuclei, L angular momenta, T terms, Q directions of a rule, E electrons
that are taken, each counted with its point and nucleus.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from qmcnet.operators.operator import States
from qmcnet.operators.spheres import legendre, rotations, sphere_rule
from qmcnet.system.ecp import Term
from qmcnet.system.molecule import Molecule

WEAK = 1e-2
"""Hartree; where all channels are weaker, only as large a share of the electrons is taken as they are weak."""
MOST_PAIRS = 2**17
"""Pairs of electrons, over all displaced walkers, that are evaluated at once: of 2^13 to 2^20 the fastest on a CPU."""

Place: TypeAlias = tuple[Tensor, Tensor, Tensor]
Around: TypeAlias = tuple[Place, Tensor, Tensor]


class EffectiveCore(nn.Module):
    """sum_iA [U_A(r_iA) + sum_l U_Al(r_iA) P_l], beside the attraction of the charges that are left.

    P_l psi(r) = (2 l + 1) / (4 pi) int P_l(cos theta') psi(R_A + r n') dn', over the directions n' at an angle theta'
    with that of the electron: a sum over a rule, turned at random for each walker, electron and nucleus, so that the
    mean is the integral whatever the wavefunction. Where the channels are weak, at a distance, few of the electrons are
    taken, drawn at random, and count the more, so that the mean stays what it is.
    """

    name = "effective_core"
    least_degree = 3
    local: Tensor
    channels: Tensor
    directions: Tensor
    weights: Tensor

    def __init__(self, molecule: Molecule, degree: int | None = None) -> None:
        """Collect the potentials of all nuclei.

        Args:
            molecule: the nuclei, some of them with potentials.
            degree: of the spherical harmonics that the rule integrates exactly; by default that of the products of two
                in the highest channel, and one more: 6 directions for s and p, 12 if there is a d.
        """
        super().__init__()
        potentials = dict(molecule.ecp)
        owned = [potentials.get(symbol) for symbol in molecule.symbols]
        self.n_channels = max((len(ecp.channels) for ecp in owned if ecp), default=0)
        channels = [
            [ecp.channels[k] if ecp and k < len(ecp.channels) else () for k in range(self.n_channels)] for ecp in owned
        ]
        directions, weights = sphere_rule(degree or max(self.least_degree, 2 * self.n_channels - 1))
        tables = {
            "local": table([ecp.local if ecp else () for ecp in owned]),
            "channels": table([terms for of_nucleus in channels for terms in of_nucleus]).unflatten(
                0, (len(owned), self.n_channels)
            ),
            "directions": directions,
            "weights": weights,
        }
        for name, values in tables.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, states: States) -> Tensor:
        """Apply the potentials.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        displacements, distances = self.from_nuclei(states)
        projected = states.psi.new_zeros(*distances.shape, states.psi.shape[-1])  # (M, N, A, S)
        for place, _, parts in self.around(states, displacements, distances):
            projected[place] = parts.sum(1)
        return self.applied(states, distances, projected)

    def from_nuclei(self, states: States) -> tuple[Tensor, Tensor]:
        """Displacements of the electrons from the nuclei, shape (M, N, A, 3), and their lengths, (M, N, A), in bohr."""
        displacements = states.positions[:, :, None] - states.nuclei
        return displacements, torch.linalg.vector_norm(displacements, dim=-1)

    def applied(self, states: States, distances: Tensor, projected: Tensor) -> Tensor:
        """Add the local part.

        Args:
            states: the states at M points.
            distances: of the electrons from the nuclei, shape (M, N, A), in bohr.
            projected: the projectors applied, for each electron and nucleus, shape (M, N, A, S), in hartree.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        local = radial(distances, self.local).sum((-2, -1))
        return states.times(local[:, None]) + projected.sum((1, 2))[:, None]

    def around(self, states: States, displacements: Tensor, distances: Tensor) -> Iterator[Around]:
        """Evaluate the states about the nuclei, for the electrons that are taken.

        Args:
            states: the states at M points.
            displacements: of the electrons from the nuclei, shape (M, N, A, 3), in bohr.
            distances: their lengths, shape (M, N, A).

        Yields:
            Of some E of them: point, electron and nucleus, each (E,); where the rule displaces the electron to,
            (E, Q, 3), in bohr; and what the states there contribute to the potential, (E, Q, S), in hartree.
        """
        if not self.n_channels:
            return
        strength = radial(distances[..., None], self.channels).abs().amax(-1)  # (M, N, A)
        for place, turned, share in self.taken(states, (strength / WEAK).clamp(max=1)):
            places, factors = self.rule(states, place, displacements[place][:, None], turned)
            psi = self._displaced(states, place, places)
            yield place, places, (factors / share[:, None])[..., None] * psi

    def taken(self, states: States, share: Tensor) -> Iterator[tuple[Place, Tensor, Tensor]]:
        """Take electrons by lot, and turn the rule for each of them.

        Args:
            states: the states at M points.
            share: how likely each electron is taken for each nucleus, shape (M, N, A).

        Yields:
            Of some E of them: point, electron and nucleus, each (E,); directions, (E, Q, 3); and the probability with
            which they were taken, (E,).
        """
        turns, chance = drawn(states, share, torch.randn, 4), drawn(states, share, torch.rand, 1)[..., 0]
        place = (chance < share).nonzero(as_tuple=True)
        at_once = max(1, MOST_PAIRS // (len(self.weights) * share.shape[1] ** 2))
        for chunk in zip(*(index.split(at_once) for index in place if len(index)), strict=True):
            yield chunk, self.directions @ rotations(turns[chunk]).mT, share[chunk]

    def rule(self, states: States, place: Place, away: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """Say where a rule about a nucleus displaces electrons to, and how much each place counts.

        Args:
            states: the states at M points.
            place: point, electron and nucleus of E electrons.
            away: their displacements from the nucleus, shape (E, 1, 3) or, one for each direction, (E, Q, 3), in bohr.
            turned: directions of the rule, shape (E, Q, 3).

        Returns:
            Places (E, Q, 3), in bohr, and factors of the states there, (E, Q), in hartree.
        """
        r = torch.linalg.vector_norm(away, dim=-1)
        cosines = (turned * away).sum(-1) / r  # (E, Q)
        strength = radial(r[..., None], self.channels[place[2]][:, None])  # (E, 1 or Q, L)
        factors = self.weights * (legendre(cosines, self.n_channels) * strength).sum(-1)
        return states.nuclei[place[2]][:, None] + r[..., None] * turned, factors

    @staticmethod
    def _displaced(states: States, place: Place, places: Tensor) -> Tensor:
        """Evaluate the states with one electron of each point elsewhere, at places (E, Q, 3), shape (E, Q, S)."""
        return states.at(*displaced(states, place, places)).unflatten(0, places.shape[:2])


def displaced(states: States, place: Place, places: Tensor) -> tuple[Tensor, Tensor]:
    """Put one electron of each point elsewhere.

    Args:
        states: the states at M points.
        place: point, electron and nucleus of E electrons.
        places: where they go, shape (E, Q, 3), in bohr.

    Returns:
        Positions, shape (E Q, N, 3), and the numbers of their points, (E Q,).
    """
    point, electron, _ = place
    moved = states.positions[point][:, None].repeat(1, places.shape[1], 1, 1)  # (E, Q, N, 3)
    moved[torch.arange(len(point), device=point.device), :, electron] = places
    return moved.flatten(0, 1), point.repeat_interleave(places.shape[1])


def drawn(states: States, like: Tensor, draw: Callable[..., Tensor], count: int) -> Tensor:
    """Draw random numbers for every electron and nucleus.

    Args:
        states: the states at M points.
        like: has a value for each of them, shape (M, N, A).
        draw: `torch.randn` or `torch.rand`.
        count: how many.

    Returns:
        Shape (M, N, A, count).
    """
    size, kind = (like.shape[1] * like.shape[2], count), {"device": like.device, "dtype": like.dtype}
    numbers = states.drawn(lambda rows, generator: draw(rows, *size, generator=generator, **kind))
    return numbers.reshape(*like.shape, count)


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
