"""Orbitals: a linear map of electron features times an envelope, and their combination into a wavefunction.

Letters: B walkers, S states, N electrons, n electrons of one spin, A nuclei, K determinants, M orbitals of a
determinant.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qmcnet.ansatz.envelopes import ENVELOPES
from qmcnet.ansatz.features import Features, spin_slices
from qmcnet.checks import one_of
from qmcnet.compute.kernels import Linear
from qmcnet.laplacian import signed_log_sum
from qmcnet.system.molecule import Molecule


class Orbitals(nn.Module):
    """Many-electron orbitals of every determinant, one matrix per spin."""

    def __init__(
        self,
        molecule: Molecule,
        n_features: int,
        n_determinants: int,
        full: bool,
        envelope: str,
        complex: bool,
    ) -> None:
        """Create the linear maps and envelopes of both spins.

        Args:
            molecule: the system.
            n_features: electron features F.
            n_determinants: number of determinants K, of all states together.
            full: one determinant over all electrons, instead of one per spin.
            envelope: name of the envelopes.
            complex: real and imaginary part by linear maps of their own.

        Raises:
            ValueError: for an unknown envelope.
        """
        super().__init__()
        one_of(ENVELOPES, envelope=envelope)
        self.spins = spin_slices(molecule.n_up, molecule.n_down)
        self.counts = [molecule.n_electrons if full else spin.stop - spin.start for spin in self.spins]
        sizes = [(2 if complex else 1) * n_determinants * count for count in self.counts]
        self.linear = nn.ModuleList(Linear(n_features, size, bias=False) for size in sizes)
        self.envelope = nn.ModuleList(ENVELOPES[envelope](molecule, count, n_determinants) for count in self.counts)
        self.n_determinants, self.full, self.complex = n_determinants, full, complex

    def forward(self, h_one: Tensor, features: Features) -> list[Tensor]:
        """Evaluate the orbitals of each spin that has electrons.

        Args:
            h_one: electron features, shape (B, N, F).
            features: distances to the nuclei, for the envelopes.

        Returns:
            One matrix per spin, shape (B, K, n, M): electrons in rows, orbitals in columns.
        """
        matrices = []
        for spin, linear, envelope in zip(self.spins, self.linear, self.envelope, strict=True):
            decay = envelope(features.r_en[..., spin, :, :], features.d_en[..., spin, :])
            orbitals = linear(h_one[..., spin, :])
            if self.complex:
                real, imag = orbitals.chunk(2, -1)
                orbitals = torch.complex(real * decay, imag * decay)
            else:
                orbitals = orbitals * decay  # (B, n, K M)
            matrices.append(orbitals.unflatten(-1, (self.n_determinants, -1)).movedim(-2, -3))
        return matrices


def sum_of_determinants(matrices: Sequence[Tensor], n_states: int) -> tuple[Tensor, Tensor]:
    """Combine orbitals into psi = sum_k prod_spin det_k.

    Args:
        matrices: one matrix per spin, shape (B, K, n, M); of full determinants (M = N) the spins are stacked
            into one square matrix, else each is square.
        n_states: states S that the determinants belong to, in equal shares.

    Returns:
        sign or phase, and log_abs_psi, each (B, S).
    """
    n_electrons = sum(matrix.shape[-2] for matrix in matrices)
    if len(matrices) > 1 and matrices[0].shape[-1] == n_electrons:
        # Electrons lie outside of determinants in memory, where whole rows are copied at once.
        rows = torch.cat([matrix.movedim(-3, -2) for matrix in matrices], -3)  # (B, N, K, M)
        matrices = [rows.movedim(-3, -2)]
    factors = [torch.linalg.slogdet(matrix) for matrix in matrices]
    sign, log_abs = factors[0]
    for other_sign, other_log in factors[1:]:
        sign, log_abs = sign * other_sign, log_abs + other_log
    return signed_log_sum(*(part.unflatten(-1, (n_states, -1)) for part in (sign, log_abs)))  # of (B, S, K)
