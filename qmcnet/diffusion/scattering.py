"""How far electrons drift in a time step, and how they scatter from there: a Gaussian, or an exponential at a nucleus.

A drift that is averaged over the step ends at the nearest nucleus and never beyond it, and an electron that may have
crossed the nucleus is with that probability drawn from an exponential about it, as the wavefunction has a cusp there.

References:
    Umrigar, Nightingale, Runge, J. Chem. Phys. 99, 2865 (1993), doi:10.1063/1.465195 (their section III D).

Letters: B walkers, n electrons that move, A nuclei.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.sampling.proposals import Draws

TINY = 1e-30
"""Added to distances that are divided by, in bohr."""


@dataclass(frozen=True)
class Scattering:
    """Density of the places that electrons reach in a time step from where they are.

    Attributes:
        drifted: where their drift ends, shape (B, n, 3), float64, in bohr.
        nucleus: the nucleus nearest to where they started, shape (B, n, 3), in bohr.
        log_far: logarithm of the probability of the Gaussian, shape (B, n).
        log_near: that of the exponential, shape (B, n).
        decay: half the rate of the exponential, shape (B, n), in 1/bohr.
        timestep: imaginary time, the variance of the Gaussian, in 1/hartree.
    """

    drifted: Tensor
    nucleus: Tensor
    log_far: Tensor
    log_near: Tensor
    decay: Tensor
    timestep: float

    def draw(self, draws: Draws) -> Tensor:
        """Draw a place for each electron.

        Args:
            draws: random numbers of all walkers.

        Returns:
            Shape (B, n, 3), in bohr.
        """
        normal = draws.normal(self.drifted)
        uniform = draws.uniform(self.decay.new_empty(*self.decay.shape, 4))
        radius = -torch.log1p(-uniform[..., :3]).sum(-1) / (2 * self.decay)  # of r^2 exp(-2 decay r)
        near = self.nucleus + radius[..., None] * torch.nn.functional.normalize(normal, dim=-1)
        far = self.drifted + self.timestep**0.5 * normal
        return torch.where((uniform[..., 3].log() < self.log_near)[..., None], near, far)

    def log_density(self, places: Tensor) -> Tensor:
        """Logarithm of the density at given places.

        Args:
            places: of the electrons, shape (B, n, 3), in bohr.

        Returns:
            Shape (B, n).
        """
        squares = (places - self.drifted).square().sum(-1)
        gaussian = -squares / (2 * self.timestep) - 1.5 * math.log(2 * math.pi * self.timestep)
        exponential = torch.log(self.decay**3 / math.pi) - 2 * self.decay * (places - self.nucleus).norm(dim=-1)
        return torch.logaddexp(self.log_far + gaussian, self.log_near + exponential)


def scattering(places: Tensor, drift: Tensor, timestep: float, nuclei: Tensor, charges: Tensor) -> Scattering:
    """Let electrons drift, and say how they scatter.

    Args:
        places: electron positions, shape (B, n, 3), float64, in bohr.
        drift: gradient of log|psi|, shape (B, n, 3), float64, in 1/bohr.
        timestep: imaginary time t, in 1/hartree.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr.
        charges: nuclear charges Z, shape (A,), float64.

    Returns:
        The density of the places that they reach.
    """
    nearest = (places[:, :, None] - nuclei).square().sum(-1).argmin(-1)  # (B, n)
    nucleus, charge = nuclei[nearest], charges[nearest]
    vector = places - nucleus
    height = vector.norm(dim=-1, keepdim=True)  # (B, n, 1), z of the paper
    axis = vector / (height + TINY)
    velocity = limited(drift, axis, charge[..., None] * height, timestep)
    upwards = (velocity * axis).sum(-1, keepdim=True)
    sideways = velocity - upwards * axis
    end = (height + upwards * timestep).clamp(min=0)
    drifted = nucleus + end * axis + 2 * timestep * end / (height + end + TINY) * sideways
    kept = ((height + upwards * timestep) / timestep**0.5).squeeze(-1)  # standard deviations before the nucleus
    log_far, log_near = torch.special.log_ndtr(kept), torch.special.log_ndtr(-kept)
    return Scattering(drifted, nucleus, log_far, log_near, (charge**2 + 1 / timestep).sqrt(), timestep)


def limited(drift: Tensor, axis: Tensor, reach: Tensor, timestep: float) -> Tensor:
    """Average the drift over a time step, which it changes in near a node (their Eq. 35 and 36).

    Args:
        drift: gradient of log|psi|, shape (B, n, 3), in 1/bohr.
        axis: direction from the nearest nucleus, shape (B, n, 3).
        reach: distance from it times its charge, shape (B, n, 1).
        timestep: imaginary time, in 1/hartree.

    Returns:
        Shape (B, n, 3), in 1/bohr.
    """
    cosine = (torch.nn.functional.normalize(drift, dim=-1) * axis).sum(-1, keepdim=True)
    a = (1 + cosine) / 2 + reach**2 / (10 * (4 + reach**2))
    return drift * (2 / (1 + (1 + 2 * a * drift.square().sum(-1, keepdim=True) * timestep).sqrt()))
