"""SPRING: subsampled projected-increment natural gradient.

References:
    Goldshlager, Abrahamsen, Lin, J. Comput. Phys. 516, 113351 (2024), doi:10.1016/j.jcp.2024.113351,
    arXiv:2401.10190.

Letters: B walkers, P parameters.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from qmcnet.optimizers.gradient import centred_energies, check_positive, without_lost_walkers
from qmcnet.optimizers.operator import ScoreOperator
from qmcnet.optimizers.schedules import inverse_decay
from qmcnet.optimizers.scores import score_operator


def robust_cholesky(kernel: Tensor, rounding: float) -> Tensor:
    """Cholesky factor of a kernel that rounding may have made indefinite.

    A failed factorisation leaves finite but wrong numbers. It is replaced, without asking the device whether it
    failed, by that of the kernel damped at the level of its rounding errors, and by NaN should that fail too.

    Args:
        kernel: positive definite up to rounding, shape (B, B).
        rounding: relative rounding error of the products summed in the kernel.

    Returns:
        Lower triangular factor, shape (B, B).
    """
    factor, failed = torch.linalg.cholesky_ex(kernel)
    lift = rounding * kernel.trace() * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    lifted, lost = torch.linalg.cholesky_ex(kernel + lift)
    return torch.where(failed == 0, factor, torch.where(lost == 0, lifted, torch.nan))


def centred(values: Tensor, finite: Tensor) -> Tensor:
    """Subtract the mean over walkers that are not lost, and put zero at those that are.

    Args:
        values: shape (B, ...).
        finite: which walkers are not lost, shape (B,).

    Returns:
        Centred values, shape (B, ...).
    """
    finite = finite.view(-1, *[1] * (values.dim() - 1))
    mean = torch.where(finite, values, 0).sum(0) / finite.sum().clamp(min=1)
    return torch.where(finite, values - mean, 0)


class Spring:
    """Natural-gradient descent by a Kaczmarz-like projection that remembers its previous direction.

    With scores O centred and divided by sqrt(B), energies e centred and divided by sqrt(B), and
    r = e - mu O phi_old: phi = O^T (O O^T + damping)^-1 r + mu phi_old, and the step is -rate phi, shortened to
    the norm constraint.
    """

    def __init__(
        self,
        ansatz: nn.Module,
        *,
        learning_rate: float = 0.02,
        decay_steps: float | None = 10_000,
        momentum: float = 0.99,
        damping: float = 1e-3,
        norm_constraint: float = 1e-3,
        clip: float = 5.0,
        chunk_size: int = 1024,
    ) -> None:
        """Start without a previous direction.

        Args:
            ansatz: the wavefunction to optimise.
            learning_rate: initial learning rate.
            decay_steps: steps after which the rate has halved; None keeps it constant.
            momentum: share mu of the previous direction that is kept, in [0, 1).
            damping: regularisation of the kernel, dimensionless.
            norm_constraint: largest squared Euclidean length of a parameter change.
            clip: clipping window of the local energies, in mean absolute deviations; 0 is off.
            chunk_size: walkers differentiated at once.

        Raises:
            ValueError: for a setting out of range.
        """
        check_positive(
            learning_rate=learning_rate,
            damping=damping,
            norm_constraint=norm_constraint,
            chunk_size=chunk_size,
        )
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum} must be in [0, 1)")
        self.settings = {"learning_rate": learning_rate, "decay_steps": decay_steps, "momentum": momentum}
        self.settings |= {
            "damping": damping,
            "norm_constraint": norm_constraint,
            "clip": clip,
            "chunk_size": chunk_size,
        }
        self.ansatz, self.rate, self.decay_steps = ansatz, learning_rate, decay_steps
        self.momentum, self.damping, self.norm_constraint = momentum, damping, norm_constraint
        self.clip, self.chunk_size, self.step = clip, chunk_size, 0
        self.direction = torch.zeros_like(parameters_to_vector(ansatz.parameters())).detach()

    @torch.no_grad()
    def update(self, positions: Tensor, local_energy: Tensor) -> dict[str, Tensor | float]:
        """Change the parameters of the ansatz once.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            local_energy: shape (B,), in hartree.

        Returns:
            Statistics of the update.
        """
        energies, clipped = centred_energies(local_energy, self.clip)
        positions = without_lost_walkers(positions, local_energy)
        scores = score_operator(self.ansatz, positions, self.chunk_size)
        finite = torch.isfinite(local_energy)
        with torch.inference_mode():  # products are faster there
            grad_norm, direction = self._project(scores, energies, finite)
        # The new state is no tensor of inference mode. Without a single finite walker there is nothing to learn.
        self.direction = torch.where(finite.any(), direction, self.direction)
        rate = inverse_decay(self.rate, self.step, self.decay_steps)
        change = -rate * self.direction
        change = change * (self.norm_constraint**0.5 / change.norm()).clamp(max=1)
        parameters = list(self.ansatz.parameters())
        for parameter, part in zip(parameters, change.split([p.numel() for p in parameters]), strict=True):
            parameter.add_(part.view_as(parameter))
        self.step += 1
        norms = {"grad_norm": grad_norm, "update_norm": change.norm()}
        return norms | {"clipped_share": clipped, "learning_rate": rate}

    def _project(self, scores: ScoreOperator, energies: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
        """Norm of the energy gradient, and new direction; scores are centred through the vectors they act on."""
        root = finite.sum().clamp(min=1).double().sqrt()
        target = energies.double() / root
        residual = target - self.momentum * centred(scores.times(self.direction), finite) / root
        kernel = centred(centred(scores.kernel(), finite).mT, finite) / root**2
        grad_norm = 2 * (target @ kernel @ target).clamp(min=0).sqrt()
        # Centring makes the constant vector an exact null direction: lift it, as the authors do.
        kernel += 1 / len(kernel)
        kernel.diagonal().add_(self.damping)
        factor = robust_cholesky(kernel, 10 * torch.finfo(self.direction.dtype).eps)
        solution = centred(torch.cholesky_solve(residual[:, None], factor), finite)[:, 0] / root
        step = scores.transposed_times(solution.to(self.direction.dtype))
        return grad_norm, step + self.momentum * self.direction

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"step": self.step, "direction": self.direction}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step = state["step"]
        self.direction = state["direction"].to(self.direction)
