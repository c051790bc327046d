"""Peak memory of a computation, counted or predicted without running it, and going on when it does not fit.

Letters: B walkers, N electrons.
"""

import copy
import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

logger = logging.getLogger(__name__)
T = TypeVar("T")


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations allocate and that are still alive.

    Views share the storage they look at, in-place operations allocate nothing, and what existed before does not
    count. Scratch memory inside an operation stays unseen.

    Attributes:
        live: bytes alive now.
        peak: most bytes alive at a time.
        operation: name of the operation that is running, empty in between.
    """

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.live, self.peak, self.operation = 0, 0, ""
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
        """
        self.operation = str(func)
        kwargs = kwargs or {}
        for tensor in tree_leaves((args, kwargs)):
            self._meet(tensor, allocated=False)
        result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            self._meet(tensor, allocated=True)
        self.operation = ""
        return result

    def _meet(self, tensor: Any, allocated: bool) -> None:
        if not isinstance(tensor, Tensor):
            return
        # The layouts of oneDNN hide their storage; no view shares it.
        owner = tensor.untyped_storage() if tensor.layout == torch.strided else tensor
        key, size = id(owner), owner.nbytes if isinstance(owner, Tensor) else owner.nbytes()
        if key in self._known:
            return
        counted = size if allocated else 0

        def forget(_: weakref.ref[Any]) -> None:
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
            if memory.operation and any(tensor.is_meta for tensor in inputs):
                where = f"shapes alone do not carry it past {memory.operation} ({error})"
                raise NotImplementedError(f"the memory of this function cannot be predicted: {where}") from error
            raise
    return memory.peak


@torch.no_grad()
def predicted_peak(
    backend: Callable[[Callable[[Tensor], Tensor], Tensor], object],
    wavefunction: nn.Module,
    n_walkers: int,
    n_electrons: int,
    dtype: torch.dtype = torch.float32,
) -> int:
    """Predict the memory of differentiating log|psi| of some walkers at once, without computing it.

    Args:
        backend: differentiates a function; one that chooses a chunk by the device will not know this one.
        wavefunction: returns (sign, log_abs_psi); keeps its tensors as parameters and buffers.
        n_walkers: walkers at once.
        n_electrons: number of electrons N.
        dtype: precision of the positions.

    Returns:
        Bytes on top of the parameters and positions; affine in the number of walkers.
    """
    shapes = copy.deepcopy(wavefunction).to("meta")
    positions = torch.empty(n_walkers, n_electrons, 3, dtype=dtype, device="meta")
    return peak_bytes(lambda r: backend(lambda x: shapes(x)[1], r), positions)


ALLOCATION_FAILURES = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch says in a plain RuntimeError when there is no memory: on a CPU, and inside a library of CUDA."""


def out_of_memory(error: RuntimeError) -> bool:
    """Tell a lack of memory from other errors.

    Args:
        error: raised by an operation on tensors.

    Returns:
        Whether the same operation may succeed on fewer walkers.
    """
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in ALLOCATION_FAILURES)


def with_halving(apply: Callable[[int], T], size: int, option: str) -> tuple[T, int]:
    """Apply a function to chunks of walkers, halving the chunks for as long as the memory does not hold them.

    Args:
        apply: does all the work in chunks of the size it is given; called again from the start with a smaller one.
        size: walkers in a chunk to begin with.
        option: name of the setting behind the size, for the warnings.

    Returns:
        The result, and the size that worked, to begin with next time.

    Raises:
        OutOfMemoryError: if not even one walker fits.
        RuntimeError: any other error of the function.
    """
    while True:
        try:
            return apply(size), size
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise torch.OutOfMemoryError(f"out of memory with {option}=1, one walker at a time: {error}") from error
        # The tensors of the failed attempt live until its traceback is gone, which is here and not in the handler.
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        logger.warning("out of memory with %d walkers at once: going on with %s=%d", size, option, size // 2)
        size //= 2
