"""The derivatives of a wavefunction of the user's own."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from qmcnet.laplacian.backends import ForwardLaplacian
from qmcnet.laplacian.laptuple import LapTuple

Result = tuple[Tensor, Tensor, Tensor]


def laplacian(function: Callable[[Tensor], Tensor], chunk_size: int | None = None) -> Callable[[Tensor], Result]:
    """Return a function that gives value, gradient and Laplacian in one forward pass.

    The function is called on a stand-in for the positions that carries derivatives through the torch functions of
    `qmcnet.laplacian.laptuple.RULES`; another one names itself and asks for a rule. No graph is recorded for backward.

    Args:
        function: maps positions (B, N, 3) to real or complex values (B,), each walker on its own.
        chunk_size: walkers differentiated at once; chosen from the device and the electrons when None.

    Returns:
        A function of positions (B, N, 3), in bohr, that returns the value (B,), the gradient (B, N, 3), in 1/bohr, and
        the Laplacian (B,), the sum of the second derivatives over all 3N coordinates, in 1/bohr^2.

    Example:
        import torch
        from qmcnet.laplacian import laplacian

        mix = torch.nn.Linear(3, 8)

        def log_psi(positions):  # (B, N, 3)
            h = torch.tanh(mix(positions))  # (B, N, 8)
            weights = torch.softmax(h @ h.transpose(-2, -1), -1)  # (B, N, N)
            return -torch.linalg.vector_norm(positions, dim=-1).sum(-1) + (weights @ h).mean((-2, -1))

        value, gradient, second = laplacian(log_psi)(torch.randn(100, 4, 3))
    """
    backend = ForwardLaplacian(chunk_size)

    def scalar(positions: Tensor) -> Tensor:
        """Evaluate the function and refuse what is no number of each walker."""
        result = function(positions)
        _check_result(result, positions)
        return result

    def derivatives(positions: Tensor) -> Result:
        """Differentiate the function at positions."""
        if positions.ndim != 3 or positions.shape[-1] != 3 or not positions.is_floating_point():
            raise ValueError(
                f"positions of shape {tuple(positions.shape)} and dtype {positions.dtype} must be real floating-point "
                "numbers of shape (B, N, 3)"
            )
        result = backend(scalar, positions)
        return result.value, result.gradient, result.laplacian

    return derivatives


def _check_result(result: Any, positions: Tensor) -> None:
    if isinstance(result, tuple | list):
        raise ValueError(
            f"function returned a {type(result).__name__} and must return one tensor of shape (B,): of a wavefunction "
            "psi that returns (sign, log_abs_psi) pass lambda positions: psi(positions)[1]"
        )
    if isinstance(positions, LapTuple) and not isinstance(result, LapTuple):
        raise ValueError(f"function returned {type(result).__name__}, which does not depend on the positions")
    if result.shape != positions.shape[:1] or not (result.dtype.is_floating_point or result.dtype.is_complex):
        raise ValueError(
            f"function returned shape {tuple(result.shape)} and dtype {result.dtype}, and must return one number "
            f"for each of the {positions.shape[0]} walkers"
        )
