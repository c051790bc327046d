"""Classical wavefunctions: Slater determinants of molecular orbitals with a Jastrow factor and backflow.

References:
    Foulkes, Mitas, Needs, Rajagopal, Rev. Mod. Phys. 73, 33 (2001), doi:10.1103/RevModPhys.73.33.

Letters: B walkers, N electrons, n electrons of one spin, K determinants, U different occupations of one spin,
M orbitals.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from qmcnet.ansatz.backflow import Backflow
from qmcnet.ansatz.embedding import draw_weights
from qmcnet.ansatz.features import check_molecule, features, spin_slices
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.ansatz.molecular_orbitals import MolecularOrbitals
from qmcnet.ansatz.nuclear_cusp import NuclearCusp
from qmcnet.ansatz.orbital_cusps import OrbitalCusps
from qmcnet.checks import one_of
from qmcnet.chemistry.casscf import active_space, casscf
from qmcnet.chemistry.gto import GaussianBasis
from qmcnet.chemistry.scf import default_basis, hartree_fock
from qmcnet.compute.team import by_first
from qmcnet.laplacian import signed_log_sum
from qmcnet.system.molecule import Molecule

METHODS = ("rohf", "uhf", "casscf")
NUCLEAR_CUSPS = ("orbitals", "factor", "none")


class SlaterJastrow(nn.Module):
    """psi = e^J sum_k c_k det[phi_up_ki(x_j)] det[phi_down_ki(x_j)], with x = r or positions shifted by backflow.

    Orbitals phi and coefficients c start from Hartree-Fock or CASSCF. Gaussian functions have no cusps at the nuclei:
    with `nuclear_cusp='none'` the local energy diverges there as Z/r. Its variance is finite, but that of its variance
    not, and error bars of short runs are unreliable. The nodes stay near those of the determinants, so that a small
    variance does not say how far the energy is from the exact one (`limited`).
    """

    limited = True

    def __init__(
        self,
        molecule: Molecule,
        *,
        basis: str | None = None,
        method: str = "rohf",
        active_electrons: int | None = None,
        active_orbitals: int | None = None,
        ci_threshold: float = 0.01,
        jastrow: str = "cusp",
        nuclear_cusp: str | bool = "orbitals",
        backflow: bool = False,
        train_orbitals: bool = False,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Compute the orbitals.

        Args:
            molecule: the system.
            basis: name of a Gaussian basis set known to PySCF, with shells up to g; None is cc-pVDZ, with diffuse
                functions for an anion.
            method: 'rohf', 'uhf' or 'casscf'.
            active_electrons: electrons in the active space of 'casscf'.
            active_orbitals: orbitals in the active space of 'casscf'.
            ci_threshold: determinants of 'casscf' with |c_k| below it are left out.
            jastrow: name of the Jastrow factor, or 'none'.
            nuclear_cusp: 'orbitals' makes s functions smooth ones with cusps at the nuclei; 'factor' multiplies by one
                with cusps, of a short range that is learned; or 'none'. True and False are the names of before.
            backflow: shift the positions at which orbitals are evaluated.
            train_orbitals: optimise the orbitals, too; noise in many parameters calls for small steps and many walkers.
            seed: seed of the initial weights of a neural Jastrow factor.
            dtype: precision of the parameters and of the positions to come.

        Raises:
            ValueError: for an unknown method, basis, Jastrow factor or cusp, or an active space that does not fit.
        """
        super().__init__()
        check_molecule(molecule)
        one_of(JASTROWS, jastrow=jastrow)
        cusp = chosen_cusp(nuclear_cusp)
        space = {"active_electrons": active_electrons, "active_orbitals": active_orbitals}
        basis = basis or default_basis(molecule)
        slater = slater_part(molecule, basis, method, ci_threshold, **space)
        assert torch.allclose(slater.basis.centers, molecule.nuclei), "centres of the basis are not the nuclei in order"
        self.molecule, self.backflow = molecule, Backflow(molecule) if backflow else None
        self.settings = {"basis": basis, "method": method, **space, "ci_threshold": ci_threshold, "jastrow": jastrow}
        self.settings |= {"backflow": backflow, "train_orbitals": train_orbitals, "seed": seed}
        self.settings["nuclear_cusp"] = nuclear_cusp
        cusps = OrbitalCusps(molecule, slater.basis) if cusp == "orbitals" else None
        self.molecular_orbitals = MolecularOrbitals(slater.basis, slater.orbitals, train_orbitals, cusps)
        self.determinants = nn.ModuleList(SpinDeterminants(part) for part in (slater.up, slater.down) if part.shape[-1])
        self.expansion = Expansion(slater.coefficients)
        # torch draws default weights, which are replaced: keep them off the global generator.
        with torch.random.fork_rng(devices=[]):
            self.jastrow = JASTROWS[jastrow](molecule)
        if self.jastrow is not None:
            draw_weights(self.jastrow, torch.Generator().manual_seed(seed))
        self.nuclear_cusp = NuclearCusp(molecule, slater.basis) if cusp == "factor" else None
        self.to(dtype)

    def forward(self, positions: Tensor, nuclei: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            positions: electron positions, spin-up electrons first, shape (B, N, 3), in bohr.
            nuclei: nuclear positions, shape (A, 3), in bohr; orbitals move with them, unrelaxed.

        Returns:
            sign and log_abs_psi of one state, each (B, 1).
        """
        inputs = features(positions, nuclei, self.molecule)
        shifted = positions if self.backflow is None else positions + self.backflow(*inputs)
        orbitals = self.molecular_orbitals(shifted, nuclei.to(positions.dtype))  # (B, N, M)
        sign, log_abs = self._products(orbitals)  # (B, K)
        sign, log_abs_psi = signed_log_sum(self.expansion(sign), log_abs)
        if self.jastrow is not None:
            log_abs_psi = log_abs_psi + self.jastrow(inputs.d_en, inputs.d_ee)
        if self.nuclear_cusp is not None:
            log_abs_psi = log_abs_psi + self.nuclear_cusp(inputs.d_en)
        return sign[..., None], log_abs_psi[..., None]

    def _products(self, orbitals: Tensor) -> tuple[Tensor, Tensor]:
        spins = spin_slices(self.molecule.n_up, self.molecule.n_down)
        factors = [part(orbitals[..., spin, :]) for spin, part in zip(spins, self.determinants, strict=True)]
        sign, log_abs = factors[0]
        for other_sign, other_log in factors[1:]:
            sign, log_abs = sign * other_sign, log_abs + other_log
        return sign, log_abs


def chosen_cusp(nuclear_cusp: str | bool) -> str:
    """Name what is done about cusps at nuclei, by what it was called before there was a choice, too.

    Args:
        nuclear_cusp: one of NUCLEAR_CUSPS; True is 'factor' and False 'none'.

    Returns:
        One of NUCLEAR_CUSPS.

    Raises:
        ValueError: for anything else.
    """
    cusp = {True: "factor", False: "none"}[nuclear_cusp] if isinstance(nuclear_cusp, bool) else nuclear_cusp
    if cusp is None:
        raise ValueError(f"nuclear_cusp={nuclear_cusp} must be one of {', '.join(NUCLEAR_CUSPS)}")
    one_of(NUCLEAR_CUSPS, nuclear_cusp=cusp)
    return cusp


class SpinDeterminants(nn.Module):
    """Determinants of the electrons of one spin, each different one evaluated once.

    Where determinants share orbitals, their gradients add up in no fixed order on a GPU: there a resumed run of a
    multi-determinant wavefunction follows the uninterrupted one to rounding, not to the last bit.
    """

    occupations: Tensor
    number: Tensor

    def __init__(self, occupied: Tensor) -> None:
        """Find the different determinants.

        Args:
            occupied: numbers of the occupied orbitals in each determinant, shape (K, n).
        """
        super().__init__()
        occupations, number = torch.unique(occupied, dim=0, return_inverse=True)
        self.register_buffer("occupations", occupations)  # (U, n)
        self.register_buffer("number", number)  # (K,)

    def forward(self, orbitals: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the determinants.

        Args:
            orbitals: at the electrons of this spin, shape (B, n, M).

        Returns:
            Signs and logarithms of the moduli, each (B, K).
        """
        columns = orbitals.index_select(-1, self.occupations.flatten())  # (B, n, U n)
        matrices = columns.unflatten(-1, self.occupations.shape).movedim(-2, -3)  # (B, U, n, n)
        sign, log_abs = torch.linalg.slogdet(matrices)
        return sign.index_select(-1, self.number), log_abs.index_select(-1, self.number)


class Expansion(nn.Module):
    """Coefficients of the determinants; they may change sign, so that no logarithm is taken of them."""

    def __init__(self, coefficients: Tensor) -> None:
        """Start from given coefficients.

        Args:
            coefficients: c_k, shape (K,).
        """
        super().__init__()
        self.coefficients = nn.Parameter(coefficients.clone())

    def forward(self, sign: Tensor) -> Tensor:
        """Weigh the signs of the determinants.

        Args:
            sign: shape (B, K).

        Returns:
            c_k sign_k, shape (B, K).
        """
        return sign * self.coefficients


class SlaterPart(NamedTuple):
    """Orbitals and the determinants made of them.

    Attributes:
        basis: Gaussian basis set.
        orbitals: coefficients, shape (n_ao, M).
        up: orbitals of the spin-up electrons in each determinant, shape (K, n_up).
        down: orbitals of the spin-down electrons in each determinant, shape (K, n_down).
        coefficients: c_k, shape (K,).
    """

    basis: GaussianBasis
    orbitals: Tensor
    up: Tensor
    down: Tensor
    coefficients: Tensor


@by_first
def slater_part(
    molecule: Molecule,
    basis: str,
    method: str,
    ci_threshold: float,
    active_electrons: int | None,
    active_orbitals: int | None,
) -> SlaterPart:
    """Compute orbitals and determinants.

    Args:
        molecule: the system.
        basis: name of a Gaussian basis set.
        method: 'rohf', 'uhf' or 'casscf'.
        ci_threshold: determinants of 'casscf' with |c_k| below it are left out.
        active_electrons: electrons in the active space of 'casscf'.
        active_orbitals: orbitals in the active space of 'casscf'.

    Returns:
        Orbitals and determinants, float64 on the CPU.

    Raises:
        ValueError: for an unknown method, or an active space without 'casscf' or the other way round.
    """
    one_of(METHODS, method=method)
    space = active_space(method, active_electrons, active_orbitals)
    if space is not None:
        result = casscf(molecule, basis, *space, ci_threshold)
        return SlaterPart(result.basis, result.orbitals, result.up, result.down, result.coefficients)
    mean_field = hartree_fock(molecule, basis, method).orbitals
    up, down = torch.arange(molecule.n_up), torch.arange(molecule.n_down)
    one = torch.ones(1, dtype=torch.float64)
    if method == "rohf":
        return SlaterPart(mean_field.basis, mean_field.up, up[None], down[None], one)
    orbitals = torch.cat([mean_field.up, mean_field.down], -1)
    return SlaterPart(mean_field.basis, orbitals, up[None], molecule.n_up + down[None], one)
