"""The last part of a wavefunction: orbitals, envelopes, determinants and a Jastrow factor.

Letters: B walkers, S states, N electrons, n electrons of one spin, K determinants, M orbitals of a determinant,
F features.
"""

from typing import TypedDict

from torch import Tensor, nn

from qmcnet.ansatz.embedding import check_sizes
from qmcnet.ansatz.features import Features
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.ansatz.orbitals import Orbitals, sum_of_determinants
from qmcnet.checks import one_of
from qmcnet.system.molecule import Molecule


class HeadOptions(TypedDict, total=False):
    """What every network lets a user choose about orbitals, determinants and Jastrow factor.

    Attributes:
        n_determinants: number of determinants K of a state.
        full_determinants: one determinant over all electrons, instead of one per spin.
        envelope: 'isotropic', 'diagonal', 'full', 'bottleneck', 'sto' or 'null'.
        jastrow: 'none', 'cusp' or 'neural'.
        n_states: number of states S, which share all but orbitals and envelopes.
        complex: complex orbitals, and hence a complex wavefunction.
    """

    n_determinants: int
    full_determinants: bool
    envelope: str
    jastrow: str
    n_states: int
    complex: bool


class DeterminantHead(nn.Module):
    """psi = e^J sum_k det[phi^k_i(h_j)], with orbitals that are linear in electron features times an envelope."""

    def __init__(
        self,
        molecule: Molecule,
        n_features: int,
        *,
        n_determinants: int = 16,
        full_determinants: bool = True,
        envelope: str = "isotropic",
        jastrow: str = "cusp",
        n_states: int = 1,
        complex: bool = False,
    ) -> None:
        """Create orbitals, envelopes and Jastrow factor.

        Args:
            molecule: the system.
            n_features: electron features F that come in.
            n_determinants: number of determinants K of a state.
            full_determinants: one determinant over all electrons, instead of one per spin.
            envelope: name of the envelopes.
            jastrow: name of the Jastrow factor.
            n_states: number of states S.
            complex: complex orbitals.

        Raises:
            ValueError: for an unknown envelope or Jastrow factor, no determinant or no state, or for fewer features
                than there are electrons of one spin: their orbitals are linearly dependent, and psi vanishes.
        """
        super().__init__()
        check_sizes(n_determinants=n_determinants, n_states=n_states)
        if n_features < (most := max(molecule.n_up, molecule.n_down)):
            raise ValueError(
                f"{n_features} features of an electron make no {most} independent orbitals, which {molecule.formula} "
                "needs of one spin: its wavefunction would vanish; choose a wider network, such as a larger hidden_one"
            )
        one_of(JASTROWS, jastrow=jastrow)
        self.settings: HeadOptions = {
            "n_determinants": n_determinants,
            "full_determinants": full_determinants,
            "envelope": envelope,
            "jastrow": jastrow,
            "n_states": n_states,
            "complex": complex,
        }
        self.n_states = n_states
        count = n_states * n_determinants
        self.orbitals = Orbitals(molecule, n_features, count, full_determinants, envelope, complex)
        self.jastrow = JASTROWS[jastrow](molecule)

    def forward(self, h_one: Tensor, features: Features) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            h_one: electron features, shape (B, N, F).
            features: vectors and distances, for envelopes and Jastrow factor.

        Returns:
            sign or phase, and log_abs_psi, each (B, S).
        """
        sign, log_abs_psi = sum_of_determinants(self.orbitals(h_one, features), self.n_states)
        if self.jastrow is None:
            return sign, log_abs_psi
        jastrow = self.jastrow(features.d_en, features.d_ee)
        return sign, log_abs_psi + jastrow[..., None]
