"""Molecular orbitals: linear combinations of Gaussian basis functions, at any positions.

For f(x) of the position x of one electron, J_f = sum_a d_a f J_a and L_f = sum_a d_a f L_a + sum_ab g_ab d_a d_b f with
g_ab = sum_D J_a J_b: the derivatives of the basis functions in closed form are all that the forward Laplacian needs,
whether x is the position itself or one shifted by backflow.

Letters: B walkers, N electrons, M orbitals, D derivative directions.
"""

import torch
from torch import Tensor, nn

from qmcnet.ansatz.orbital_cusps import OrbitalCusps
from qmcnet.chemistry.gto import GaussianBasis
from qmcnet.compute.kernels import Linear
from qmcnet.laplacian import LapTuple


class MolecularOrbitals(nn.Module):
    """phi_m(r) = sum_f chi_f(r) C_fm, where chi may have cusps at the nuclei."""

    def __init__(
        self, basis: GaussianBasis, coefficients: Tensor, trainable: bool, cusps: OrbitalCusps | None = None
    ) -> None:
        """Start from given orbitals.

        Args:
            basis: Gaussian basis set.
            coefficients: shape (n_ao, M).
            trainable: whether the coefficients are parameters; else they are part of the state alone.
            cusps: what is added to the basis functions near the nuclei.
        """
        super().__init__()
        self.basis, self.cusps = basis, cusps
        # torch draws default weights: keep them off the global generator.
        with torch.random.fork_rng(devices=[]):
            self.combination = Linear(coefficients.shape[0], coefficients.shape[1], bias=False)
        self.combination.weight = nn.Parameter(coefficients.T.contiguous())
        if not trainable:
            del self.combination.weight
            self.combination.register_buffer("weight", coefficients.T.contiguous())

    def forward(self, positions: Tensor, nuclei: Tensor) -> Tensor:
        """Evaluate the orbitals.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr; tracked or not.
            nuclei: nuclear positions, shape (A, 3) or (B, A, 3), in bohr.

        Returns:
            Shape (B, N, M), in bohr^-3/2.
        """
        functions = basis_functions(self.basis, positions, nuclei)
        if self.cusps is not None:
            displacements = positions[..., None, :] - nuclei[..., None, :, :]
            functions = functions + self.cusps(torch.linalg.vector_norm(displacements, dim=-1))
        orbitals: Tensor = self.combination(functions)
        return orbitals


def basis_functions(basis: GaussianBasis, positions: Tensor | LapTuple, nuclei: Tensor) -> Tensor | LapTuple:
    """Evaluate a basis at positions that may be tracked.

    Args:
        basis: Gaussian basis set.
        positions: electron positions, shape (B, N, 3), in bohr.
        nuclei: nuclear positions, shape (A, 3) or (B, A, 3), in bohr.

    Returns:
        Shape (B, N, n_ao), in bohr^-3/2, with the support of the positions.
    """
    if not isinstance(positions, LapTuple):
        functions: Tensor = basis(positions, nuclei)
        return functions
    jacobian = positions.jacobian  # (D, B, N, 3)
    metric = torch.einsum("dbnx,dbny->bnxy", jacobian, jacobian)
    value, gradient, curvature = basis.derivatives(positions.value, metric, nuclei)
    laplacian = torch.einsum("bnx,bnxf->bnf", positions.laplacian, gradient) + curvature
    return LapTuple(value, torch.einsum("dbnx,bnxf->dbnf", jacobian, gradient), laplacian, positions.support)
