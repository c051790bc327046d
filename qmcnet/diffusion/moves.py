"""Drift and diffusion of electrons, all of a walker at once or one after the other, with a Metropolis rejection.

A move over a node is rejected, and rejections shorten the time step.

References:
    Umrigar, Nightingale, Runge, J. Chem. Phys. 99, 2865 (1993), doi:10.1063/1.465195.
    Reynolds, Ceperley, Alder, Lester, J. Chem. Phys. 77, 5593 (1982), doi:10.1063/1.443766 (rejection).

Letters: B walkers, N electrons, n electrons that move, A nuclei.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from qmcnet.diffusion.guide import Guide, Guided
from qmcnet.diffusion.scattering import Scattering, scattering
from qmcnet.sampling.proposals import Draws


@dataclass(frozen=True)
class Moved:
    """Walkers after a move.

    Attributes:
        walkers: where they are.
        energy: local energy where they were before electrons hopped, if any did, shape (B,), in hartree.
        measured: other local quantities there, shape (B, C).
        accepted: share of the moves that were accepted, shape (B,).
        crossed: share that would have crossed a node, shape (B,).
        accepted_squares: squared diffusion of all electrons that moved, shape (B,), in bohr^2.
        proposed_squares: squared diffusion that was tried, shape (B,), in bohr^2.
    """

    walkers: Guided
    energy: Tensor
    measured: Tensor
    accepted: Tensor
    crossed: Tensor
    accepted_squares: Tensor
    proposed_squares: Tensor


Move: TypeAlias = Callable[[Guided, float, Draws], Moved]
"""Moves all walkers by a time step (1/hartree), with random numbers."""

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

        A move r -> r' of density G is accepted with probability min(1, |psi'|^2 G(r' -> r) / |psi|^2 G(r -> r')), and
        never where psi changes its sign or is not finite, so that |psi|^2 is what the moves leave as it is.

        Args:
            walkers: where they are.
            timestep: imaginary time t, in 1/hartree.
            draws: random numbers of all walkers.

        Returns:
            The walkers after the move.
        """
        there = self.scattering(walkers.positions, walkers.drift, timestep)
        proposed = self.guide(there.draw(draws).to(walkers.positions.dtype))
        back = self.scattering(proposed.positions, proposed.drift, timestep)
        gain = 2 * (proposed.log_abs - walkers.log_abs) + gained(there, proposed.positions, back, walkers.positions)
        accepted, crossed = judged(gain, proposed.finite(), proposed.sign * walkers.sign, draws)
        tried = squares(there, proposed.positions)
        shares = accepted.double(), crossed.double()
        end = proposed.where(accepted, walkers)
        return Moved(end, end.energy, end.measured, *shares, torch.where(accepted, tried, 0), tried)

    def scattering(self, places: Tensor, drift: Tensor, timestep: float) -> Scattering:
        """Say where electrons at given places (B, n, 3) with a given drift come to in a time step."""
        return scattering(places.double(), drift, timestep, self.nuclei.to(drift), self.charges.to(drift))


def gained(there: Scattering, new: Tensor, back: Scattering, old: Tensor) -> Tensor:
    """Logarithm of the density of the way back over that of the way there.

    Args:
        there: from the old places.
        new: places that were proposed, shape (B, n, 3), in bohr.
        back: from the new places.
        old: places before, shape (B, n, 3), in bohr.

    Returns:
        Shape (B,).
    """
    return (back.log_density(old.double()) - there.log_density(new.double())).sum(-1)


def judged(gain: Tensor, finite: Tensor, signs: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Accept moves, and none over a node.

    Args:
        gain: logarithm of the probability of each, shape (B,); all above 0 are accepted.
        finite: whether all is finite where it leads, shape (B,).
        signs: sign of psi there times that here, shape (B,).
        draws: random numbers of all walkers.

    Returns:
        Whether each is accepted, and whether it would cross a node, each (B,).
    """
    crossed = signs <= 0
    return finite & ~crossed & (draws.uniform(gain).log() < gain), crossed


def squares(there: Scattering, new: Tensor) -> Tensor:
    """Squared diffusion of all electrons of a walker, shape (B,), in bohr^2; `gained` says what is given."""
    return (new.double() - there.drifted).square().sum((-2, -1))


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
            own = slice(electron, electron + 1)
            there = self.scattering(positions[:, own], drift[:, own], timestep)
            place = there.draw(draws).to(positions.dtype)
            tried = torch.cat([positions[:, :electron], place, positions[:, electron + 1 :]], 1)
            new_sign, new_log, new_drift = self.slope(tried)
            back = self.scattering(place, new_drift[:, own], timestep)
            gain = 2 * (new_log - log_abs) + gained(there, place, back, positions[:, own])
            finite = new_log.isfinite() & new_drift.flatten(1).sum(-1).isfinite()
            accepted, crossed = judged(gain, finite, new_sign * sign, draws)
            length = squares(there, place)
            sums += torch.stack([accepted, crossed, torch.where(accepted, length, 0), length])
            chosen = accepted[:, None, None]
            positions, drift = torch.where(chosen, tried, positions), torch.where(chosen, new_drift, drift)
            sign, log_abs = torch.where(accepted, new_sign, sign), torch.where(accepted, new_log, log_abs)
        end = self.guide(positions)
        whole = end.where(end.finite(), walkers)  # a walker that cannot be evaluated stays where it was
        shares = sums[:2] / n_electrons
        return Moved(whole, whole.energy, whole.measured, *shares, *sums[2:])
