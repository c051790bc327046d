"""Drift and diffusion of all electrons of a walker at once, with a Metropolis rejection.

The drift is limited near nodes and nuclei, a move over a node is rejected, and rejections shorten the time step.

References:
    Umrigar, Nightingale, Runge, J. Chem. Phys. 99, 2865 (1993), doi:10.1063/1.465195.
    Reynolds, Ceperley, Alder, Lester, J. Chem. Phys. 77, 5593 (1982), doi:10.1063/1.443766 (rejection).

Letters: B walkers, N electrons, A nuclei.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.diffusion.guide import Guide, Guided
from qmcnet.sampling.proposals import Draws


@dataclass(frozen=True)
class Moved:
    """Walkers after a move.

    Attributes:
        walkers: where they are.
        accepted: which have moved, shape (B,).
        crossed: which tried to cross a node, shape (B,).
        proposed_squares: sum over the electrons of the squared diffusion that was tried, shape (B,), in bohr^2.
    """

    walkers: Guided
    accepted: Tensor
    crossed: Tensor
    proposed_squares: Tensor


@dataclass(frozen=True)
class DriftDiffusion:
    """One step of all electrons of every walker.

    Attributes:
        guide: the guiding wavefunction.
        nuclei: nuclear positions, shape (A, 3), in bohr.
        charges: nuclear charges Z, shape (A,).
    """

    guide: Guide
    nuclei: Tensor
    charges: Tensor

    def __call__(self, walkers: Guided, timestep: float, draws: Draws) -> Moved:
        """Move every walker, or leave it where it is.

        The move r' = r + v t + sqrt(t) x is accepted with probability min(1, |psi'|^2 G(r' -> r) / |psi|^2 G(r -> r')),
        and never where psi changes its sign or is not finite, so that |psi|^2 is what the moves leave as it is.

        Args:
            walkers: where they are.
            timestep: imaginary time t, in 1/hartree.
            draws: random numbers of all walkers.

        Returns:
            The walkers after the move.
        """
        old = walkers.positions.double()
        there = old + timestep * self._limited(walkers, timestep)
        diffusion = timestep**0.5 * draws.normal(walkers.drift)
        proposed = self.guide((there + diffusion).to(walkers.positions.dtype))
        new = proposed.positions.double()
        back = new + timestep * self._limited(proposed, timestep)
        squares = (new - there).square().sum((-2, -1)) - (old - back).square().sum((-2, -1))
        gain = 2 * (proposed.log_abs - walkers.log_abs) + squares / (2 * timestep)
        uniform = draws.uniform(walkers.log_abs)
        finite, crossed = proposed.finite(), proposed.sign * walkers.sign <= 0
        accepted = finite & ~crossed & (uniform.log() < gain)
        return Moved(proposed.where(accepted, walkers), accepted, crossed, diffusion.square().sum((-2, -1)))

    def _limited(self, walkers: Guided, timestep: float) -> Tensor:
        """Average drift over a time step (their Eq. 35 and 36), shape (B, N, 3), in 1/bohr."""
        drift, positions = walkers.drift, walkers.positions.double()
        nuclei, charges = self.nuclei.to(drift), self.charges.to(drift)
        vectors = positions[:, :, None] - nuclei  # (B, N, A, 3)
        nearest = vectors.square().sum(-1).argmin(-1, keepdim=True)  # (B, N, 1)
        vector = vectors.take_along_dim(nearest[..., None], 2).squeeze(2)  # (B, N, 3)
        reach = (charges[nearest] ** 2) * vector.square().sum(-1, keepdim=True)  # (Z z)^2
        direction = torch.nn.functional.normalize(drift, dim=-1)
        cosine = (direction * torch.nn.functional.normalize(vector, dim=-1)).sum(-1, keepdim=True)
        a = (1 + cosine) / 2 + reach / (10 * (4 + reach))
        return drift * (2 / (1 + (1 + 2 * a * drift.square().sum(-1, keepdim=True) * timestep).sqrt()))
