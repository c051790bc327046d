"""The two interchangeable Laplacian back ends, and the chunking that bounds their memory."""

from collections.abc import Callable
from functools import partial
from typing import cast
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from torch import Tensor

from qmcnet.checks import at_least
from qmcnet.compute.chunks import FEW_WALKERS, bytes_per_walker, with_halving
from qmcnet.compute.compilation import Compiled
from qmcnet.compute.device import memory_share, sizes
from qmcnet.laplacian.guard import compare
from qmcnet.laplacian.laptuple import LapTuple
from qmcnet.laplacian.structure import track
from qmcnet.protocols import Derivatives, Function

Differentiate = Callable[[Function, Tensor], Derivatives]


@torch.inference_mode()
def forward_laplacian(function: Function, positions: Tensor) -> Derivatives:
    """Differentiate by one forward pass that carries (value, jacobian, Laplacian).

    Args:
        function: maps positions (B, N, 3) to values (B, ...), written in functions that have a derivative rule.
        positions: shape (B, N, 3), in bohr.

    Returns:
        Value, gradient and Laplacian at each walker.
    """
    return Derivatives(*_tracked(function, positions))


@torch.inference_mode(False)
@torch.enable_grad()
def recorded_laplacian(function: Function, positions: Tensor) -> Derivatives:
    """Do what `forward_laplacian` does, and record it, so that autograd differentiates the results.

    Args:
        function: maps positions (B, N, 3) to values (B, ...), written in functions that have a derivative rule.
        positions: shape (B, N, 3), in bohr; no tensor of inference mode.

    Returns:
        Value, gradient and Laplacian at each walker.
    """
    return Derivatives(*_tracked(function, positions))


def _tracked(function: Function, positions: Tensor) -> tuple[Tensor, ...]:
    returned, extra = _parts(function(track(positions)))  # type: ignore[arg-type]
    result: LapTuple = returned.dense()  # type: ignore[attr-defined]
    gradient = result.jacobian.movedim(0, -1).unflatten(-1, positions.shape[-2:])  # (B, ..., N, 3)
    carried = extra.value if isinstance(extra, LapTuple) else extra
    return result.value, gradient, result.laplacian, *([] if carried is None else [carried])


def _parts(returned: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
    return returned if isinstance(returned, tuple) else (returned, None)


def torch_func_laplacian(function: Function, positions: Tensor) -> Derivatives:
    """Differentiate by reverse mode for the gradient and forward mode over it, one direction at a time.

    Other nestings of torch.func are silently wrong through slogdet (pytorch issues 192540 and 196697); this one
    is pinned to finite differences in the tests.

    Args:
        function: maps positions (B, N, 3) to real or complex values (B, ...).
        positions: shape (B, N, 3), in bohr.

    Returns:
        Value, gradient and Laplacian at each walker.
    """
    with torch.no_grad():
        value, extra = _parts(function(positions))
    if value.is_complex():
        real = torch_func_laplacian(lambda r: _parts(function(r))[0].real, positions)
        imag = torch_func_laplacian(lambda r: _parts(function(r))[0].imag, positions)
        gradient = torch.complex(real.gradient, imag.gradient)
        return Derivatives(value, gradient, torch.complex(real.laplacian, imag.laplacian), extra)
    parts = [_reverse_forward(partial(_entry, function, index), positions) for index in range(value[0].numel())]
    gradient = torch.stack([gradient for gradient, _ in parts], 1)
    laplacian = torch.stack([laplacian for _, laplacian in parts], 1)
    return Derivatives(value, gradient.view(*value.shape, *positions.shape[1:]), laplacian.view(value.shape), extra)


def _entry(function: Function, index: int, positions: Tensor) -> Tensor:
    value = _parts(function(positions))[0]
    return value.reshape(len(value), -1)[:, index]


def _reverse_forward(function: Callable[[Tensor], Tensor], positions: Tensor) -> tuple[Tensor, Tensor]:
    def gradient_of(x: Tensor) -> Tensor:
        """Differentiate once, in reverse."""
        gradient: Tensor = torch.func.grad(lambda y: function(y).sum())(x)
        return gradient

    laplacian = positions.new_zeros(positions.shape[0])
    for direction in range(positions.shape[1] * positions.shape[2]):
        tangent = torch.zeros_like(positions)
        tangent.flatten(1)[:, direction] = 1
        derivative = torch.func.jvp(gradient_of, (positions,), (tangent,))[1]
        laplacian = laplacian + derivative.flatten(1)[:, direction]
    return gradient_of(positions).detach(), laplacian.detach()


def chunked(differentiate: Differentiate, size: int, function: Function, positions: Tensor) -> Derivatives:
    """Differentiate slices of the walkers, of equal lengths up to one, and join the results.

    Args:
        differentiate: differentiates a function at positions.
        size: most walkers in a slice.
        function: maps positions (B, N, 3) to values (B, ...).
        positions: shape (B, N, 3), in bohr.

    Returns:
        Value, gradient and Laplacian at each walker.
    """
    n_chunks = -(-len(positions) // size)
    parts = [differentiate(function, part) for part in positions.tensor_split(n_chunks)]
    # Out of inference mode, so that autograd may save the results.
    columns = zip(*((part.value, part.gradient, part.laplacian, part.extra) for part in parts), strict=True)
    return Derivatives(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]


def padded(differentiate: Differentiate, size: int, function: Function, positions: Tensor) -> Derivatives:
    """Differentiate slices of one length, as compiled code wants them, the last filled up with copies.

    Args:
        differentiate: differentiates a function at positions.
        size: most walkers in a slice.
        function: maps positions (B, N, 3) to values (B, ...).
        positions: shape (B, N, 3), in bohr.

    Returns:
        Value, gradient and Laplacian at each walker.
    """
    n_walkers = len(positions)
    n_chunks = -(-n_walkers // size)
    size = -(-n_walkers // n_chunks)
    filling = positions[:1].expand(n_chunks * size - n_walkers, -1, -1)
    whole = chunked(differentiate, size, function, torch.cat([positions, filling]))
    extra = None if whole.extra is None else whole.extra[:n_walkers]
    return Derivatives(whole.value[:n_walkers], whole.gradient[:n_walkers], whole.laplacian[:n_walkers], extra)


def automatic_chunk_size(function: Function, positions: Tensor) -> int:
    """Choose how many walkers to differentiate at once, from the memory that one of them takes.

    On a GPU that depends on what else lives there, so that a run keeps the size in its checkpoints.

    Args:
        function: maps positions (B, N, 3) to values (B, ...).
        positions: shape (B, N, 3), in bohr.

    Returns:
        Number of walkers, at least one.
    """
    budget = sizes(positions.device).differentiated or memory_share(positions.device)
    return max(1, budget // bytes_per_walker(partial(forward_laplacian, function), positions))


def _kind(function: Function, positions: Tensor) -> str:
    return f"{type(function).__name__} on {positions.device.type}"


class ForwardLaplacian:
    """Forward Laplacian, in chunks of walkers.

    Attributes:
        recorded: size of the chunks of a function, by its kind and that of the device, which a resumed run takes over.
    """

    def __init__(self, chunk_size: int | None = None, compile: bool = False) -> None:
        """Choose how the work is cut and run.

        Args:
            chunk_size: walkers differentiated at once; chosen from the device and the function when None.
            compile: compile the function with its derivatives, which takes half a minute or so once.
        """
        at_least(1, chunk_size=chunk_size)
        self.settings = {"chunk_size": chunk_size, "compile": compile}
        self.chunk_size, self.compile = chunk_size, compile
        self._sizes: WeakKeyDictionary[Function, int] = WeakKeyDictionary()
        self.recorded: dict[str, int] = {}
        self._taken: set[str] = set()  # kinds of functions of which one has a size: another of the kind gets its own
        self._programs: WeakKeyDictionary[Function, Compiled] = WeakKeyDictionary()
        self._compared: WeakSet[Function] = WeakSet()

    def __call__(self, function: Function, positions: Tensor) -> Derivatives:
        """Differentiate a function of the positions.

        What was found out about a function, such as its chunk size, is kept for as long as the function lives. At its
        first call the result is compared with torch's, on a few walkers.

        Args:
            function: maps positions (B, N, 3) to values (B, ...).
            positions: shape (B, N, 3), in bohr.

        Returns:
            Value, gradient and Laplacian at each walker.
        """

        def apply(size: int) -> Derivatives:
            """Differentiate in chunks of a size."""
            if self.compile:
                return padded(self._compiled, size, function, positions)
            return chunked(forward_laplacian, size, function, positions)

        size = min(self.size_of_chunk(function, positions), len(positions))
        result, fitting = with_halving(apply, size, "laplacian.chunk_size")
        if fitting < size:
            self._sizes[function] = self.recorded[_kind(function, positions)] = fitting
        if function not in self._compared:
            compare(function, positions, result)
            self._compared.add(function)
        return result

    def size_of_chunk(self, function: Function, positions: Tensor) -> int:
        """Tell how many walkers are differentiated at once.

        Args:
            function: maps positions (B, N, 3) to values (B, ...).
            positions: shape (B, N, 3), in bohr.

        Returns:
            Most walkers in a chunk: what fitted into memory before, what was asked for, or the automatic choice.
        """
        if function in self._sizes:
            return self._sizes[function]
        kind = _kind(function, positions)
        if kind not in self._taken and kind in self.recorded:
            self._sizes[function] = self.recorded[kind]
        elif self.chunk_size is not None:
            return self.chunk_size
        elif len(positions) <= FEW_WALKERS:
            return FEW_WALKERS
        else:
            self._sizes[function] = self.recorded[kind] = automatic_chunk_size(function, positions)
        self._taken.add(kind)
        return self._sizes[function]

    def _compiled(self, function: Function, positions: Tensor) -> Derivatives:
        if function not in self._programs:
            reference = ref(function)  # a program that held its key would keep it alive
            self._programs[function] = Compiled(lambda r: _tracked(cast(Function, reference()), r), "local energy")
        return Derivatives(*self._programs[function](positions))


class TorchFuncLaplacian:
    """Reference back end: reverse-mode gradient and a forward-mode derivative for each coordinate.

    Attributes:
        recorded: size of the chunks that fitted, by kind of device, which a resumed run takes over.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        """Choose how the work is cut.

        Args:
            chunk_size: walkers differentiated at once; all of them when None.
        """
        at_least(1, chunk_size=chunk_size)
        self.settings = {"chunk_size": chunk_size}
        self.chunk_size, self.recorded = chunk_size, dict[str, int]()

    def __call__(self, function: Function, positions: Tensor) -> Derivatives:
        """Differentiate a function of the positions.

        Args:
            function: maps positions (B, N, 3) to values (B, ...).
            positions: shape (B, N, 3), in bohr.

        Returns:
            Value, gradient and Laplacian at each walker.
        """

        def apply(size: int) -> Derivatives:
            """Differentiate in chunks of a size."""
            return chunked(torch_func_laplacian, size, function, positions)

        kind = positions.device.type
        size = min(self.recorded.get(kind, self.chunk_size or len(positions)), len(positions))
        result, fitting = with_halving(apply, size, "laplacian.chunk_size")
        if fitting < size:
            self.recorded[kind] = fitting
        return result
