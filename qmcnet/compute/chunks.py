"""How many walkers are worked on at once, and going on with fewer when their memory does not fit.

Letters: B walkers, N electrons.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from qmcnet.compute.device import memory_share, sizes
from qmcnet.compute.memory import peak_bytes
from qmcnet.compute.team import team

logger = logging.getLogger(__name__)
T = TypeVar("T")

ALLOCATION_FAILURES = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "bad_alloc",
)
"""What torch says in a plain RuntimeError when there is no memory: on a CPU (Linux, Windows), and inside of CUDA."""


def out_of_memory(error: Exception) -> bool:
    """Tell a lack of memory from other errors.

    Args:
        error: raised by an operation on tensors.

    Returns:
        Whether the same operation may succeed on fewer walkers.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in ALLOCATION_FAILURES)


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
        MemoryError: never; it counts as a lack of memory.
    """
    while True:
        try:
            return apply(size), size
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise torch.OutOfMemoryError(f"out of memory with {option}=1, one walker at a time: {error}") from error
        # The tensors of the failed attempt live until its traceback is gone, which is here and not in the handler.
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        logger.warning("out of memory with %d walkers at once: going on with %s=%d", size, option, size // 2)
        size //= 2


FEW_WALKERS = 8
"""So many walkers are taken at once without a choice."""


def bytes_per_walker(function: Callable[[Tensor], object], positions: Tensor) -> int:
    """Count the memory that a function needs for each further walker.

    Args:
        function: takes positions (B, N, 3); is called with two and with four walkers.
        positions: shape (B, N, 3).

    Returns:
        Bytes, at least one.
    """
    two, four = (peak_bytes(function, positions[:1].repeat(count, 1, 1)) for count in (2, 4))
    return max(1, (four - two) // 2)


SHARED = "processes"


class Chunks:
    """How many walkers some work takes at once: as many as fit the share of the memory that is meant for it.

    The size is chosen once on each kind of device, halved with a warning when memory ends all the same, and kept for a
    resumed run, which rounds as the first one did.

    Attributes:
        sizes: walkers in a chunk, by kind of device.
    """

    def __init__(self, option: str, most: int | None = None) -> None:
        """Choose nothing yet.

        Args:
            option: name of the setting behind the size, for the warnings.
            most: walkers at once, if the memory allows it; None for no limit.
        """
        self.option, self.most, self.sizes = option, most, dict[str, int]()

    def state_dict(self) -> dict[str, int]:
        """Return the sizes, and among how many processes the memory was shared out."""
        return self.sizes | {SHARED: team().local_size}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take over sizes that were chosen for as many processes.

        Args:
            state: what `state_dict` returned; earlier versions had one process.
        """
        if state.get(SHARED, 1) == team().local_size:
            self.sizes |= {kind: size for kind, size in state.items() if kind != SHARED}

    def run(self, apply: Callable[[int], T], few: Callable[[Tensor], object], positions: Tensor) -> T:
        """Do work in chunks.

        Args:
            apply: does all of it in chunks of the size it is given; called again from the start when memory ends.
            few: does it for a few walkers at once, from which its memory is counted.
            positions: of all walkers, shape (B, N, 3).

        Returns:
            The result.
        """
        size = min(self._size(few, positions), len(positions))
        result, fitting = with_halving(apply, size, self.option)
        if fitting < size:
            self.sizes[positions.device.type] = fitting
        return result

    def map(self, function: Callable[[Tensor], Tensor], few: Callable[[Tensor], object], positions: Tensor) -> Tensor:
        """Apply a function to chunks of nearly equal length.

        Args:
            function: maps positions (B, N, 3) to values (B, ...).
            few: the same function, not compiled.
            positions: of all walkers, shape (B, N, 3).

        Returns:
            Values, shape (B, ...).
        """

        def apply(size: int) -> Tensor:
            """Do the work in chunks of a size."""
            n_chunks = -(-len(positions) // size)
            if n_chunks == 1:
                return function(positions)
            return torch.cat([function(part) for part in positions.tensor_split(n_chunks)])

        return self.run(apply, few, positions)

    def _size(self, few: Callable[[Tensor], object], positions: Tensor) -> int:
        kind, limit = positions.device.type, len(positions) if self.most is None else self.most
        if kind not in self.sizes:
            if len(positions) <= FEW_WALKERS:
                return limit
            own = (sizes(positions.device).evaluated or 0) // team().local_size
            budget = own or memory_share(positions.device)
            self.sizes[kind] = max(1, budget // bytes_per_walker(few, positions))
        return min(self.sizes[kind], limit)
