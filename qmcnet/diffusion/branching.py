"""Weights of walkers by the energy along their steps, with energies that are cut off far from the mean.

References:
    Umrigar, Nightingale, Runge, J. Chem. Phys. 99, 2865 (1993), doi:10.1063/1.465195 (symmetrised branching).
    Zen, Sorella, Gillan, Michaelides, Alfe, Phys. Rev. B 93, 241118 (2016), doi:10.1103/PhysRevB.93.241118 (cut-off by
    the number of electrons and the time step, which keeps energies of far fragments additive).

Letters: B walkers, N electrons.
"""

from dataclasses import dataclass

from torch import Tensor

CUT_OFF = 0.2
"""Largest deviation of an energy, in units of sqrt(N / time step) hartree."""


@dataclass(frozen=True)
class Branching:
    """What a step does to the weight of a walker.

    Attributes:
        energy: best estimate of the energy, about which local energies are cut off and from which weights are measured,
            in hartree.
        n_electrons: number of electrons N.
        timestep: imaginary time of a step, in 1/hartree.
    """

    energy: float
    n_electrons: int
    timestep: float

    def log_weight(self, before: Tensor, after: Tensor, effective: Tensor) -> Tensor:
        """Logarithm of the factor of the weight, t (E - (E_L + E_L') / 2).

        Args:
            before: local energy before the step, shape (B,), in hartree.
            after: local energy after it, shape (B,); the same where the step was rejected.
            effective: time that passed, 0-dim, in 1/hartree.

        Returns:
            Shape (B,).
        """
        return -effective * (self._cut(before) + self._cut(after)) / 2

    def _cut(self, energy: Tensor) -> Tensor:
        largest = CUT_OFF * (self.n_electrons / self.timestep) ** 0.5
        return (energy - self.energy).clamp(-largest, largest)
