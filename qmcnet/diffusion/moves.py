"""Drift and diffusion of electrons, all of a walker at once or one after the other, with a Metropolis rejection.

The drift is limited near nodes and nuclei, a move over a node is rejected, and rejections shorten the time step.

References:
    Umrigar, Nightingale, Runge, J. Chem. Phys. 99, 2865 (1993), doi:10.1063/1.465195.
    Reynolds, Ceperley, Alder, Lester, J. Chem. Phys. 77, 5593 (1982), doi:10.1063/1.443766 (rejection).

Letters: B walkers, N electrons, A nuclei.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from qmcnet.diffusion.guide import Guide, Guided
from qmcnet.sampling.proposals import Draws


@dataclass(frozen=True)
class Moved:
    """Walkers after a move.

    Attributes:
        walkers: where they are.
        accepted: share of the moves that were accepted, shape (B,).
        crossed: share that would have crossed a node, shape (B,).
        accepted_squares: squared diffusion of all electrons that moved, shape (B,), in bohr^2.
        proposed_squares: squared diffusion that was tried, shape (B,), in bohr^2.
    """

    walkers: Guided
    accepted: Tensor
    crossed: Tensor
    accepted_squares: Tensor
    proposed_squares: Tensor


Slope: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Evaluates sign (B,), log|psi| (B,) and its gradient (B, N, 3), in float64, at positions (B, N, 3)."""


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
        there = old + timestep * self.limited(old, walkers.drift, timestep)
        diffusion = timestep**0.5 * draws.normal(walkers.drift)
        proposed = self.guide((there + diffusion).to(walkers.positions.dtype))
        new = proposed.positions.double()
        back = new + timestep * self.limited(new, proposed.drift, timestep)
        squares = (new - there).square().sum((-2, -1)) - (old - back).square().sum((-2, -1))
        gain = 2 * (proposed.log_abs - walkers.log_abs) + squares / (2 * timestep)
        uniform = draws.uniform(walkers.log_abs)
        finite, crossed = proposed.finite(), proposed.sign * walkers.sign <= 0
        accepted = finite & ~crossed & (uniform.log() < gain)
        tried = diffusion.square().sum((-2, -1))
        shares = accepted.double(), crossed.double()
        return Moved(proposed.where(accepted, walkers), *shares, torch.where(accepted, tried, 0), tried)

    def limited(self, positions: Tensor, drift: Tensor, timestep: float) -> Tensor:
        """Average the drift over a time step (their Eq. 35 and 36).

        Args:
            positions: electron positions, shape (B, N, 3), float64, in bohr.
            drift: gradient of log|psi|, shape (B, N, 3), in 1/bohr.
            timestep: imaginary time, in 1/hartree.

        Returns:
            Shape (B, N, 3), in 1/bohr.
        """
        nuclei, charges = self.nuclei.to(drift), self.charges.to(drift)
        vectors = positions[:, :, None] - nuclei  # (B, N, A, 3)
        nearest = vectors.square().sum(-1).argmin(-1, keepdim=True)  # (B, N, 1)
        vector = vectors.take_along_dim(nearest[..., None], 2).squeeze(2)  # (B, N, 3)
        reach = (charges[nearest] ** 2) * vector.square().sum(-1, keepdim=True)  # (Z z)^2
        direction = torch.nn.functional.normalize(drift, dim=-1)
        cosine = (direction * torch.nn.functional.normalize(vector, dim=-1)).sum(-1, keepdim=True)
        a = (1 + cosine) / 2 + reach / (10 * (4 + reach))
        return drift * (2 / (1 + (1 + 2 * a * drift.square().sum(-1, keepdim=True) * timestep).sqrt()))


@dataclass(frozen=True)
class OneByOne(DriftDiffusion):
    """One step of every walker, an electron after the other: more are accepted, at as many gradients as electrons.

    Attributes:
        slope: the guiding wavefunction and its gradient, without local energies.
    """

    slope: Slope

    def __call__(self, walkers: Guided, timestep: float, draws: Draws) -> Moved:
        """Move each electron of every walker; the local energies are those at the end.

        Args:
            walkers: where they are.
            timestep: imaginary time t, in 1/hartree.
            draws: random numbers of all walkers.

        Returns:
            The walkers after the moves.
        """
        positions, sign, log_abs, drift = walkers.positions, walkers.sign, walkers.log_abs, walkers.drift
        n_electrons = positions.shape[1]
        sums = walkers.log_abs.new_zeros(4, len(positions))  # accepted, crossed, their squares, all squares
        for electron in range(n_electrons):
            own = torch.arange(n_electrons, device=positions.device) == electron  # (N,)
            old = positions.double()
            there = old + timestep * self.limited(old, drift, timestep)
            diffusion = timestep**0.5 * draws.normal(old[:, :1])
            tried = torch.where(own[:, None], (there + diffusion).to(positions.dtype), positions)
            new_sign, new_log, new_drift = self.slope(tried)
            new = tried.double()
            back = new + timestep * self.limited(new, new_drift, timestep)
            squares = ((new - there).square() - (old - back).square()).sum(-1)[:, electron]
            gain, uniform = 2 * (new_log - log_abs) + squares / (2 * timestep), draws.uniform(log_abs)
            finite, crossed = new_log.isfinite() & new_drift.flatten(1).sum(-1).isfinite(), new_sign * sign <= 0
            accepted = finite & ~crossed & (uniform.log() < gain)
            length = diffusion.square().sum((-2, -1))
            sums += torch.stack([accepted, crossed, torch.where(accepted, length, 0), length])
            chosen = accepted[:, None, None]
            positions, drift = torch.where(chosen, tried, positions), torch.where(chosen, new_drift, drift)
            sign, log_abs = torch.where(accepted, new_sign, sign), torch.where(accepted, new_log, log_abs)
        end = self.guide(positions)
        whole = end.where(end.finite(), walkers)  # a walker that cannot be evaluated stays where it was
        return Moved(whole, sums[0] / n_electrons, sums[1] / n_electrons, sums[2], sums[3])
