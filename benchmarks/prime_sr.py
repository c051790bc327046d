"""SPRING with the momentum of PRIME-SR, for comparison.

The momentum follows from the kernel K of the scores: its effective dimension alpha = (tr K)^2 / tr K^2 relative to its
rank, and the overlap of its leading ceil(alpha) eigenvectors with those of the update before.

References:
    Wang, Liu, arXiv:2604.18357.
"""

import torch
from torch import Tensor, nn

from qmcnet.optimizers.gradient import centred, without_lost_walkers
from qmcnet.optimizers.least_squares import WalkerSystem
from qmcnet.optimizers.operator import add_to_parameters
from qmcnet.optimizers.scores import score_operator


class PrimeSR:
    """The update of SPRING with a momentum that is computed and not set."""

    def __init__(self, ansatz: nn.Module, learning_rate: float, norm_constraint: float, damping: float = 1e-3) -> None:
        """Start without a previous direction.

        Args:
            ansatz: the wavefunction to optimise.
            learning_rate: learning rate.
            norm_constraint: largest squared length of a parameter change.
            damping: regularisation of the kernel.
        """
        self.ansatz, self.learning_rate = ansatz, learning_rate
        self.norm_constraint, self.damping = norm_constraint, damping
        self.direction = torch.zeros_like(nn.utils.parameters_to_vector(ansatz.parameters())).detach()
        self.leading: Tensor | None = None

    def momentum(self, kernel: Tensor) -> float:
        """Compute the momentum, and remember the leading eigenvectors.

        Args:
            kernel: centred, shape (B, B).

        Returns:
            1 - (1 - sqrt(overlap)) (1 - (alpha / rank)^(1/4)), or 0 at the first update.
        """
        values, vectors = torch.linalg.eigh(kernel)
        kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
        rank, values = int(kept.sum()), torch.where(kept, values, 0)
        alpha = float(values.sum() ** 2 / values.square().sum())
        size = min(max(int(-(-alpha // 1)), 1), rank)
        before, self.leading = self.leading, vectors[:, -size:].clone()
        if before is None:
            return 0.0
        overlap = float((self.leading.mT @ before).norm()) / min(size, before.shape[1]) ** 0.5
        return 1 - (1 - min(overlap, 1.0) ** 0.5) * (1 - min(alpha / rank, 1.0) ** 0.25)

    @torch.no_grad()
    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> dict[str, Tensor | float]:
        """Change the parameters once.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            local_energy: shape (B,), in hartree.
            scale: multiplies the learning rate.

        Returns:
            The momentum.
        """
        finite = torch.isfinite(local_energy)
        root = finite.sum().double().sqrt()
        scores = score_operator(self.ansatz, without_lost_walkers(positions, local_energy), 1024)
        with torch.inference_mode():
            system = WalkerSystem(scores, finite)
        momentum = self.momentum(system.kernel.clone())
        with torch.inference_mode():
            residual = centred(local_energy.double(), finite) - momentum * centred(scores.times(self.direction), finite)
            step, _ = system.solve(residual / root, self.damping)
        self.direction = step + momentum * self.direction
        change = -self.learning_rate * scale * self.direction
        add_to_parameters(self.ansatz, change * (self.norm_constraint**0.5 / change.norm()).clamp(max=1))
        return {"momentum": momentum}
