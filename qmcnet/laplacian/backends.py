"""The two interchangeable Laplacian back ends, and the chunking that bounds their memory."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.laplacian.laptuple import LapTuple
from qmcnet.laplacian.structure import track
from qmcnet.protocols import Derivatives

Function = Callable[[Tensor], Tensor]


@torch.inference_mode()
def forward_laplacian(function: Function, positions: Tensor) -> Derivatives:
    """Differentiate by one forward pass that carries (value, jacobian, Laplacian).

    Args:
        function: maps positions (B, N, 3) to values (B,), written in functions that have a derivative rule.
        positions: shape (B, N, 3), in bohr.

    Returns:
        Value, gradient and Laplacian at each walker.
    """
    result: LapTuple = function(track(positions)).dense()  # type: ignore[arg-type,attr-defined]
    gradient = result.jacobian.movedim(0, -1).unflatten(-1, positions.shape[-2:])  # (B, N, 3)
    return Derivatives(result.value, gradient, result.laplacian)


def torch_func_laplacian(function: Function, positions: Tensor) -> Derivatives:
    """Differentiate by reverse mode for the gradient and forward mode over it, one direction at a time.

    Other nestings of torch.func are silently wrong through slogdet (pytorch issues 192540 and 196697); this one
    is pinned to finite differences in the tests.

    Args:
        function: maps positions (B, N, 3) to values (B,).
        positions: shape (B, N, 3), in bohr.

    Returns:
        Value, gradient and Laplacian at each walker.
    """

    def gradient_of(x: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(lambda y: function(y).sum())(x)
        return gradient

    laplacian = positions.new_zeros(positions.shape[0])
    for direction in range(positions.shape[1] * positions.shape[2]):
        tangent = torch.zeros_like(positions)
        tangent.flatten(1)[:, direction] = 1
        derivative = torch.func.jvp(gradient_of, (positions,), (tangent,))[1]
        laplacian = laplacian + derivative.flatten(1)[:, direction]
    with torch.no_grad():
        value = function(positions)
    return Derivatives(value, gradient_of(positions).detach(), laplacian.detach())


def chunked(
    backend: Callable[[Function, Tensor], Derivatives], size: int, function: Function, positions: Tensor
) -> Derivatives:
    """Apply a back end to slices of the walkers and join the results.

    Args:
        backend: differentiates a function at positions.
        size: walkers in a slice.
        function: maps positions (B, N, 3) to values (B,).
        positions: shape (B, N, 3), in bohr.

    Returns:
        Value, gradient and Laplacian at each walker.
    """
    parts = [backend(function, part) for part in positions.split(size)]
    if len(parts) == 1:
        return parts[0]
    values, gradients = [part.value for part in parts], [part.gradient for part in parts]
    return Derivatives(torch.cat(values), torch.cat(gradients), torch.cat([part.laplacian for part in parts]))


TYPICAL_WIDTH = 256
"""Features of a dense jacobian assumed when a chunk is sized."""


def automatic_chunk_size(positions: Tensor) -> int:
    """Choose how many walkers to differentiate at once.

    One dense jacobian of a chunk, 3N x N x TYPICAL_WIDTH numbers a walker, should stay in the cache of a CPU and, with
    the few copies alive at a time, within a share of the memory of a GPU. The size depends on the device's
    total memory, not on what is free, so that a resumed run rounds as the first one did.

    Args:
        positions: shape (B, N, 3), in bohr.

    Returns:
        Number of walkers, at least one.
    """
    n_electrons = positions.shape[1]
    bytes_per_walker = 3 * n_electrons * n_electrons * TYPICAL_WIDTH * positions.element_size()
    budget = 4 * 2**20
    if positions.device.type == "cuda":
        budget = torch.cuda.get_device_properties(positions.device).total_memory // 32
    return max(1, budget // bytes_per_walker)


@dataclass(frozen=True)
class ForwardLaplacian:
    """Forward Laplacian, in chunks of walkers.

    Attributes:
        chunk_size: walkers differentiated at once; chosen from the device and the electrons when None.
    """

    chunk_size: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_chunk_size(self.chunk_size)

    def __call__(self, function: Function, positions: Tensor) -> Derivatives:
        """Differentiate a function of the positions.

        Args:
            function: maps positions (B, N, 3) to values (B,).
            positions: shape (B, N, 3), in bohr.

        Returns:
            Value, gradient and Laplacian at each walker.
        """
        size = self.chunk_size or automatic_chunk_size(positions)
        return chunked(forward_laplacian, size, function, positions)


@dataclass(frozen=True)
class TorchFuncLaplacian:
    """Reference back end: reverse-mode gradient and a forward-mode derivative for each coordinate.

    Attributes:
        chunk_size: walkers differentiated at once; all of them when None.
    """

    chunk_size: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_chunk_size(self.chunk_size)

    def __call__(self, function: Function, positions: Tensor) -> Derivatives:
        """Differentiate a function of the positions.

        Args:
            function: maps positions (B, N, 3) to values (B,).
            positions: shape (B, N, 3), in bohr.

        Returns:
            Value, gradient and Laplacian at each walker.
        """
        return chunked(torch_func_laplacian, self.chunk_size or len(positions), function, positions)


def check_chunk_size(chunk_size: int | None) -> None:
    """Refuse an impossible chunk size.

    Args:
        chunk_size: walkers in a chunk, or None for the automatic choice.

    Raises:
        ValueError: if it is not positive.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} must be at least 1, or null for the automatic choice")
