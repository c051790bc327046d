"""Peak memory of a computation, counted or predicted without running it.

Letters: B walkers, N electrons.
"""

import copy
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations allocate and that are still alive.

    Views share the storage they look at, in-place operations allocate nothing, and what existed before does not
    count. Scratch memory inside an operation stays unseen.

    Attributes:
        live: bytes alive now.
        peak: most bytes alive at a time.
        failed: name of the operation that raised an error, or nothing.
    """

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.peak, self.failed = 0, 0, ""
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation and count what it allocates.

        Args:
            func: the operation.
            types: tensor types among its arguments.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            The result of the operation.

        Raises:
            RuntimeError: whatever the operation raises.
        """
        kwargs = kwargs or {}
        self._meet((*args, *kwargs.values()), allocated=False)
        try:
            result = func(*args, **kwargs)
        except RuntimeError:
            self.failed = str(func)
            raise
        self._meet(result, allocated=True)
        return result

    def _meet(self, value: Any, allocated: bool) -> None:
        if isinstance(value, Tensor):
            self._count(value, allocated)
        elif isinstance(value, (list, tuple)):  # operations take and return no other collections
            for each in value:
                self._meet(each, allocated)

    def _count(self, tensor: Tensor, allocated: bool) -> None:
        # The layouts of oneDNN hide their storage; no view shares it.
        owner = tensor.untyped_storage() if tensor.layout == torch.strided else tensor
        key = id(owner)
        if key in self._known:
            return
        counted = (owner.nbytes if isinstance(owner, Tensor) else owner.nbytes()) if allocated else 0

        def forget(_: weakref.ref[Any]) -> None:
            """Count the tensor no more."""
            self.live -= counted
            del self._known[key]

        self._known[key] = weakref.ref(owner, forget)
        self.live += counted
        self.peak = max(self.peak, self.live)


def peak_bytes(function: Callable[..., object], *inputs: Tensor) -> int:
    """Count the most bytes that a function holds at a time.

    On the device 'meta' nothing is computed: the shapes alone are followed, which costs milliseconds at any size.

    Args:
        function: takes the inputs.
        *inputs: on any device.

    Returns:
        Bytes of the tensors it allocates, its results among them, its inputs and parameters not.

    Raises:
        NotImplementedError: if shapes are not enough, as where the function looks at numbers to decide what to do.
        RuntimeError: whatever the function raises on numbers.
    """
    memory = LiveBytes()
    with memory:
        try:
            function(*inputs)
        except RuntimeError as error:
            if memory.failed and any(tensor.is_meta for tensor in inputs):
                where = f"shapes alone do not carry it past {memory.failed} ({error})"
                raise NotImplementedError(f"the memory of this function cannot be predicted: {where}") from error
            raise
    return memory.peak


class AsShapes(TorchFunctionMode):
    """Lets `copy.deepcopy` copy what holds tensors without their numbers, onto 'meta'; a number without axes stays."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Copy a tensor without its numbers.

        Args:
            func: what torch is asked to do.
            types: kinds of tensors among the arguments.
            args: positional arguments.
            kwargs: keyword arguments.

        Returns:
            What it is asked for; instead of a copy, a tensor on 'meta'.
        """
        if func is Tensor.__deepcopy__:  # parameters have a way of their own, which clones them
            tensor, memo = args
            number = tensor.ndim == 0 and tensor.device.type == "cpu"  # optimisers of torch read their steps
            memo[id(tensor)] = torch.tensor(tensor.item(), dtype=tensor.dtype) if number else tensor.detach().to("meta")
            return memo[id(tensor)]
        result = func(*args, **(kwargs or {}))
        return result.to("meta") if func is Tensor.clone else result


@torch.no_grad()
def predicted_peak(
    backend: Callable[[Any, Tensor], object],
    function: Callable[[Tensor], object],
    n_walkers: int,
    n_electrons: int,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Predict the memory of differentiating a function of some walkers at once, without computing it.

    Args:
        backend: differentiates a function; one that chooses a chunk by the device will not know this one.
        function: maps positions to tensors; is copied without its numbers.
        n_walkers: walkers at once.
        n_electrons: number of electrons N.
        dtype: precision of the positions.

    Returns:
        Bytes on top of the parameters and positions; affine in the number of walkers.
    """
    with AsShapes():
        shapes = copy.deepcopy(function)
    positions = torch.empty(n_walkers, n_electrons, 3, dtype=dtype, device="meta")
    return peak_bytes(lambda r: backend(shapes, r), positions)
