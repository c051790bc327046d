"""Kinetic energy of a wavefunction given by its logarithm."""

import torch
from torch import Tensor

from qmcnet.protocols import Derivatives


def kinetic_energy(log_psi: Derivatives) -> Tensor:
    """Local kinetic energy: -1/2 (lap log psi + (grad log psi)^2), where log|psi| will do if psi is real.

    Args:
        log_psi: value, gradient and Laplacian of log psi.

    Returns:
        Kinetic energy, shape (B,), in hartree, float64 or complex128.
    """
    dtype = torch.promote_types(log_psi.gradient.dtype, torch.float64)
    gradient, laplacian = log_psi.gradient.to(dtype), log_psi.laplacian.to(dtype)
    return -0.5 * (laplacian + gradient.square().sum((-2, -1)))
