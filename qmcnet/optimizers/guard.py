"""One comparison a run of the scores with autograd, so that no wavefunction is trained with wrong ones.

Scores are put together from what single modules receive and return, which a module can defeat: a weight that is used
by a call of its module and read elsewhere besides, walkers that see one another, random numbers, a state.
"""

import torch
from torch import Tensor, nn

from qmcnet.optimizers.gradient import trained_parameters
from qmcnet.optimizers.scores import score_operator

# More than there are nuclei or spins, and no usual length of any other axis, that one of them be taken for walkers.
WALKERS = 13


class ScoreGuard:
    """Compares O^T w with the gradient of sum_b w_b log|psi_b| by autograd, at the first update."""

    def __init__(self, ansatz: nn.Module, chunk_size: int) -> None:
        """Prepare the comparison.

        Args:
            ansatz: the wavefunction.
            chunk_size: walkers differentiated at once.
        """
        self.ansatz, self.chunk_size, self.passed = ansatz, chunk_size, False

    def __call__(self, positions: Tensor) -> None:
        """Compare once; later calls do nothing.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.

        Raises:
            ValueError: naming the parameters whose scores are wrong, or where there are none.
        """
        if self.passed:
            return
        names, few = list(trained_parameters(self.ansatz)), positions[:WALKERS]
        try:
            error, limit = errors_of_scores(self.ansatz, few, self.chunk_size)
            excess = (error - limit).tolist()
        except RuntimeError as reason:
            raise ValueError(f"ansatz: the scores of its walkers cannot be formed: {reason}") from reason
        if wrong := [name for name, by in zip(names, excess, strict=True) if by > 0]:
            raise ValueError(
                f"ansatz: the scores of parameters {wrong} differ from autograd. Only calls of its own module may use "
                "a parameter, and they treat walkers independently and draw no random numbers; a first-order optimiser "
                "(optimizer=adam) needs no scores"
            )
        # Where a derivative is not finite nothing has been compared, and the next update compares.
        self.passed = all(by <= 0 for by in excess)


def errors_of_scores(ansatz: nn.Module, positions: Tensor, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Measure the errors of O^T w.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.
        chunk_size: walkers differentiated at once.

    Returns:
        Of each of the n trained parameters the length of the error, NaN where a score is not finite, and the length
        that rounding may explain: eps^(1/3) of what the walkers add up to in magnitude, and eps^(2/3) of the same of
        all parameters; (n,) each.
    """
    parameters = list(trained_parameters(ansatz).values())
    operator = score_operator(ansatz, positions, chunk_size)
    scores = operator.dense()  # (B G, P), zero where one of a walker is not finite
    weights = torch.linspace(0.5, 1.5, len(scores), dtype=scores.dtype, device=scores.device)
    with torch.enable_grad():
        functions = ansatz.factors(positions)  # type: ignore[operator]
        total = (weights.to(functions.dtype).view_as(functions) * functions).sum()
        expected = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    sizes, eps = [parameter.numel() for parameter in parameters], torch.finfo(parameters[0].dtype).eps
    parts = zip((weights @ scores).split(sizes), (weights @ scores.abs()).split(sizes), expected, strict=True)
    lengths = [((found - true.flatten()).norm(), magnitude.norm()) for found, magnitude, true in parts]
    error, magnitude = (torch.stack(column) for column in zip(*lengths, strict=True))
    error = torch.where(operator.finite.all(), error, torch.nan)
    return error, eps ** (1 / 3) * magnitude + eps ** (2 / 3) * magnitude.norm()
