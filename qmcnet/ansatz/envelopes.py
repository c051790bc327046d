"""Exponential envelopes that make orbitals decay far from the nuclei.

Letters: B walkers, n electrons of one spin, A nuclei, K determinants, M orbitals of a determinant. Orbitals m of
determinants k stand at index k M + m.
"""

from itertools import chain, cycle, islice

import torch
from torch import Tensor, nn

from qmcnet.compute.registry import Registry
from qmcnet.system.elements import atomic_number, shells
from qmcnet.system.molecule import Molecule

ENVELOPES = Registry("qmcnet.ansatz")
"""Makers of envelopes, from the molecule, the orbitals M of a determinant and the number of determinants K; called with
vectors (B, n, A, 3) and distances (B, n, A) to the nuclei they return (B, n, K M)."""


@ENVELOPES.member("isotropic")
class IsotropicEnvelope(nn.Module):
    """Sum of spherical exponentials: sum_A pi_Am exp(-sigma_Am |r - R_A|)."""

    def __init__(self, molecule: Molecule, n_orbitals: int, n_determinants: int = 1) -> None:
        """Start with every weight and exponent at one.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M of a determinant.
            n_determinants: number of determinants K.
        """
        super().__init__()
        shape = (len(molecule.symbols), n_determinants * n_orbitals)
        self.weight = nn.Parameter(torch.ones(shape))
        self.exponent = nn.Parameter(torch.ones(shape))

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr; not used.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr.

        Returns:
            Envelopes, shape (B, n, K M).
        """
        return (torch.exp(d_en[..., None] * -self.exponent) * self.weight).sum(-2)  # (B, n, K M)


@ENVELOPES.member("diagonal")
class DiagonalEnvelope(nn.Module):
    """Sum of exponentials with one exponent an axis: sum_A pi_Am exp(-|sigma_Am * (r - R_A)|)."""

    def __init__(self, molecule: Molecule, n_orbitals: int, n_determinants: int = 1) -> None:
        """Start with every weight and exponent at one.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M of a determinant.
            n_determinants: number of determinants K.
        """
        super().__init__()
        n_nuclei, total = len(molecule.symbols), n_determinants * n_orbitals
        self.weight = nn.Parameter(torch.ones(n_nuclei, total))
        self.exponent = nn.Parameter(torch.ones(n_nuclei, 3, total))

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr; not used.

        Returns:
            Envelopes, shape (B, n, K M).
        """
        scaled = torch.linalg.vector_norm(r_en[..., None] * self.exponent, dim=-2)  # (B, n, A, K M)
        return (torch.exp(-scaled) * self.weight).sum(-2)


@ENVELOPES.member("full")
class FullEnvelope(nn.Module):
    """Sum of anisotropic exponentials: sum_A pi_Am exp(-|S_Am (r - R_A)|) with a matrix S_Am (3, 3)."""

    def __init__(self, molecule: Molecule, n_orbitals: int, n_determinants: int = 1) -> None:
        """Start with every weight at one and every matrix at the identity.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M of a determinant.
            n_determinants: number of determinants K.
        """
        super().__init__()
        n_nuclei, total = len(molecule.symbols), n_determinants * n_orbitals
        self.weight = nn.Parameter(torch.ones(n_nuclei, total))
        self.matrix = nn.Parameter(torch.eye(3)[:, :, None].repeat(n_nuclei, 1, 1, total))  # (A, 3, 3, K M)

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr; not used.

        Returns:
            Envelopes, shape (B, n, K M).
        """
        scaled = (r_en[..., None, :, None] * self.matrix).sum(-2)  # (B, n, A, 3, K M)
        return (torch.exp(-torch.linalg.vector_norm(scaled, dim=-2)) * self.weight).sum(-2)


@ENVELOPES.member("bottleneck")
class BottleneckEnvelope(nn.Module):
    """Mixtures of few isotropic envelopes: sum_k w_km sum_A pi_Ak exp(-sigma_Ak |r - R_A|).

    With an envelope of its own for each orbital there are as many exponentials as orbitals; here there are `size`.
    """

    def __init__(self, molecule: Molecule, n_orbitals: int, n_determinants: int = 1, size: int = 32) -> None:
        """Start with exponents spread about one and equal mixtures.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M of a determinant.
            n_determinants: number of determinants K.
            size: shared envelopes.
        """
        super().__init__()
        self.shared = IsotropicEnvelope(molecule, size)
        self.mixture = nn.Parameter(torch.full((size, n_determinants * n_orbitals), 1 / size))
        with torch.no_grad():
            # Equal exponents would stay equal: their gradients would be the same.
            self.shared.exponent.copy_(torch.linspace(0.5, 2, size).expand_as(self.shared.exponent))

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr; not used.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr.

        Returns:
            Envelopes, shape (B, n, K M).
        """
        mixed: Tensor = self.shared(r_en, d_en) @ self.mixture
        return mixed


@ENVELOPES.member("null")
class NullEnvelope(nn.Module):
    """One everywhere, for electrons that something else keeps together."""

    def __init__(self, molecule: Molecule, n_orbitals: int, n_determinants: int = 1) -> None:
        """Create nothing.

        Args:
            molecule: not used.
            n_orbitals: not used.
            n_determinants: not used.
        """
        super().__init__()

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of all orbitals.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr; not used.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr; not used.

        Returns:
            One.
        """
        return torch.ones((), dtype=r_en.dtype, device=r_en.device)


@ENVELOPES.member("sto")
def slater_envelope(molecule: Molecule, n_orbitals: int, n_determinants: int = 1) -> IsotropicEnvelope:
    """Start isotropic envelopes at the atomic shells of Slater's rules.

    Each orbital starts as sum_A exp(-zeta |r - R_A|) over the nuclei of one element, zeta being that of one of its
    shells. Slater's powers of r are left to the network: an orbital that starts as r exp(-zeta r) vanishes at the
    nucleus, where its local energy diverges as 1/r^2 and not as 1/r.

    Args:
        molecule: the system.
        n_orbitals: number of orbitals M of a determinant.
        n_determinants: number of determinants K.

    Returns:
        The envelopes; weights on nuclei of other elements are zero and exponents there those of the outermost shell.
    """
    envelope = IsotropicEnvelope(molecule, n_orbitals, n_determinants)
    places = occupied_shells(molecule, n_orbitals)
    with torch.no_grad():
        for nucleus, (symbol, n_core) in enumerate(zip(molecule.symbols, molecule.cores, strict=True)):
            outermost = shells(atomic_number(symbol), n_core)[-1].zeta
            held = [element == symbol for _, element in places]
            zetas = [zeta if own else outermost for own, (zeta, _) in zip(held, places, strict=True)]
            envelope.weight[nucleus] = torch.tensor(held, dtype=torch.float64).repeat(n_determinants)
            envelope.exponent[nucleus] = torch.tensor(zetas, dtype=torch.float64).repeat(n_determinants)
    return envelope


def occupied_shells(molecule: Molecule, n_orbitals: int) -> list[tuple[float, str]]:
    """Deal orbitals to the shells of the neutral atoms, the shells of equal atoms being one.

    Args:
        molecule: the system.
        n_orbitals: number of orbitals M: those of the electrons of one spin, or of all, spin-up first as in
            pretraining. Each spin fills half of every shell, and what is left over joins the outermost ones.

    Returns:
        Exponent, in 1/bohr, and element of the shell of each orbital, steepest first within a spin.
    """
    if n_orbitals == molecule.n_electrons and molecule.n_down:
        return occupied_shells(molecule, molecule.n_up) + occupied_shells(molecule, molecule.n_down)
    places = []
    for symbol, n_core in {*zip(molecule.symbols, molecule.cores, strict=True)}:
        for shell in shells(atomic_number(symbol), n_core):
            electrons = molecule.symbols.count(symbol) * shell.electrons
            places += [(shell.zeta, symbol)] * -(-electrons // 2)
    places.sort(reverse=True)
    return list(islice(chain(places, cycle(reversed(places))), n_orbitals))
