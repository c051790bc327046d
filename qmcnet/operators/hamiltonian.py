"""The electronic Hamiltonian of a molecule in the Born-Oppenheimer approximation."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qmcnet.operators.coulomb import electron_electron, electron_nucleus
from qmcnet.operators.kinetic import kinetic_energy
from qmcnet.protocols import LaplacianBackend, Wavefunction
from qmcnet.system.molecule import Molecule


@dataclass(frozen=True)
class LogPsi:
    """The logarithm of a wavefunction: log|psi|, and log|psi| + i arg psi of a complex one.

    Attributes:
        wavefunction: returns (sign, log_abs_psi).
    """

    wavefunction: Wavefunction

    def __call__(self, positions: Tensor) -> Tensor:
        """Evaluate the logarithm.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            log|psi| or log psi, shape (B,).
        """
        sign, log_abs_psi = self.wavefunction(positions)
        return log_abs_psi + 1j * sign.angle() if sign.is_complex() else log_abs_psi


@dataclass(frozen=True)
class LocalEnergy:
    """Local energy H psi / psi, split into its terms, in hartree, float64.

    Attributes:
        kinetic: shape (B,); complex128 if the wavefunction is complex.
        electron_nucleus: attraction, shape (B,).
        electron_electron: repulsion, shape (B,).
        nucleus_nucleus: repulsion of the nuclei, the same for every walker.
        matrix: of several states, the local matrix of H, whose trace is `total`, shape (B, S, S).
        kinetic_matrix: of several states, that of the kinetic energy, whose trace is `kinetic`, shape (B, S, S).
        overlap_matrix: of several states, that of the identity where it is not one, shape (B, S, S).
    """

    kinetic: Tensor
    electron_nucleus: Tensor
    electron_electron: Tensor
    nucleus_nucleus: float
    matrix: Tensor | None = None
    kinetic_matrix: Tensor | None = None
    overlap_matrix: Tensor | None = None

    @property
    def potential(self) -> Tensor:
        """Sum of the Coulomb terms, shape (B,), in hartree."""
        return self.electron_nucleus + self.electron_electron + self.nucleus_nucleus

    @property
    def total(self) -> Tensor:
        """Kinetic and potential energy, shape (B,), in hartree; complex if the wavefunction is."""
        return self.kinetic + self.potential

    @property
    def real(self) -> "LocalEnergy":
        """The real part of every term, for people and statistics: imaginary parts average to zero."""
        return replace(self, kinetic=self.kinetic.real)


class MolecularHamiltonian(nn.Module):
    """H = -1/2 sum_i lap_i + V_en + V_ee + V_nn with the nuclei clamped."""

    nuclei: Tensor
    charges: Tensor

    def __init__(self, molecule: Molecule, laplacian: LaplacianBackend) -> None:
        """Keep the nuclei and the way to differentiate.

        Args:
            molecule: nuclei and their charges.
            laplacian: back end that differentiates log psi.
        """
        super().__init__()
        self.register_buffer("nuclei", molecule.nuclei.double(), persistent=False)
        self.register_buffer("charges", molecule.charges.double(), persistent=False)
        self.nuclear_repulsion = molecule.nuclear_repulsion
        self.laplacian = laplacian
        self._log_psi: LogPsi | None = None

    @torch.no_grad()
    def local_energy(self, wavefunction: Wavefunction, positions: Tensor) -> LocalEnergy:
        """Evaluate the local energy of each walker.

        Args:
            wavefunction: returns (sign, log_abs_psi).
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            The terms of the local energy.
        """
        # The same function at every call lets the back end remember what it learned about it.
        if self._log_psi is None or self._log_psi.wavefunction is not wavefunction:
            self._log_psi = LogPsi(wavefunction)
        derivatives = self.laplacian(self._log_psi, positions)
        points = positions.double()
        return LocalEnergy(
            kinetic=kinetic_energy(derivatives),
            electron_nucleus=electron_nucleus(points, self.nuclei, self.charges),
            electron_electron=electron_electron(points),
            nucleus_nucleus=self.nuclear_repulsion,
        )
