"""Kinetic energy of a wavefunction given by its logarithm."""

from torch import Tensor

from qmcnet.protocols import Derivatives


def kinetic_energy(log_abs_psi: Derivatives) -> Tensor:
    """Local kinetic energy: -1/2 (lap log|psi| + |grad log|psi||^2).

    Args:
        log_abs_psi: value, gradient and Laplacian of log|psi|.

    Returns:
        Kinetic energy, shape (B,), in hartree, float64.
    """
    drift = log_abs_psi.gradient.double()
    return -0.5 * (log_abs_psi.laplacian.double() + drift.square().sum((-2, -1)))
