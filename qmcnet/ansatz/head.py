"""The last part of a wavefunction: orbitals, envelopes, determinants and a Jastrow factor.

Letters: B walkers, N electrons, n electrons of one spin, K determinants, M orbitals of a determinant, F features.
"""

from torch import Tensor, nn

from qmcnet.ansatz.features import Features
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.ansatz.orbitals import Orbitals, sum_of_determinants
from qmcnet.molecule import Molecule


class DeterminantHead(nn.Module):
    """psi = e^J sum_k det[phi^k_i(h_j)], with orbitals that are linear in electron features times an envelope."""

    def __init__(
        self,
        molecule: Molecule,
        n_features: int,
        *,
        n_determinants: int,
        full_determinants: bool,
        envelope: str,
        jastrow: str,
    ) -> None:
        """Create orbitals, envelopes and Jastrow factor.

        Args:
            molecule: the system.
            n_features: electron features F that come in.
            n_determinants: number of determinants K.
            full_determinants: one determinant over all electrons, instead of one per spin.
            envelope: 'isotropic', 'diagonal', 'full', 'bottleneck' or 'null'.
            jastrow: 'none' or 'cusp'.

        Raises:
            ValueError: for an unknown envelope or Jastrow factor, or no determinant.
        """
        super().__init__()
        if n_determinants < 1:
            raise ValueError(f"n_determinants={n_determinants} must be at least 1")
        if jastrow not in JASTROWS:
            raise ValueError(f"jastrow={jastrow!r} must be one of {sorted(JASTROWS)}")
        n_up, n_down, n_nuclei = molecule.n_up, molecule.n_down, len(molecule.symbols)
        self.orbitals = Orbitals(n_up, n_down, n_nuclei, n_features, n_determinants, full_determinants, envelope)
        self.jastrow = JASTROWS[jastrow](molecule)

    def forward(self, h_one: Tensor, features: Features) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            h_one: electron features, shape (B, N, F).
            features: vectors and distances, for envelopes and Jastrow factor.

        Returns:
            sign (B,) and log_abs_psi (B,).
        """
        sign, log_abs_psi = sum_of_determinants(self.orbitals(h_one, features))
        return sign, log_abs_psi if self.jastrow is None else log_abs_psi + self.jastrow(features.d_en, features.d_ee)
