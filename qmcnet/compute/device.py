"""What differs between kinds of devices: sizes of pieces of work, memory, and waiting for results."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from qmcnet.compute.team import team


@dataclass(frozen=True)
class Sizes:
    """How work is cut: a CPU keeps a piece in its cache, a GPU wants few large ones.

    Attributes:
        block: numbers in a block of products of the kernel of scores.
        piece: numbers of a score that are multiplied at once: enough for a product to outweigh the addition of its
            result.
        differentiated: bytes of walkers whose local energy is evaluated at once; None for a share of the memory.
        evaluated: bytes of walkers that are moved, or whose scores are formed, at once; None for a share of the memory.
    """

    block: int
    piece: int
    differentiated: int | None
    evaluated: int | None


SIZES = {
    # The derivatives of a chunk stay near the last cache, and its thousands of calls are worth their fixed cost: small
    # networks gain a quarter over 24 MiB. Moves and scores only get slower in smaller chunks.
    "cpu": Sizes(block=2**18, piece=2**13, differentiated=64 * 2**20, evaluated=2**30),
    "cuda": Sizes(block=2**25, piece=2**20, differentiated=None, evaluated=None),
}


def sizes(device: torch.device) -> Sizes:
    """Return how work is cut on a device.

    Args:
        device: any; one of an unknown kind is taken for a CPU.

    Returns:
        The sizes.
    """
    return SIZES.get(device.type, SIZES["cpu"])


@contextmanager
def standing_for(device: torch.device) -> Generator[None, None, None]:
    """Cut work on shapes alone as it is cut on a device.

    Args:
        device: what the device 'meta' stands for.

    Yields:
        Nothing.
    """
    SIZES["meta"] = sizes(device)
    try:
        yield
    finally:
        del SIZES["meta"]


def memory_share(device: torch.device) -> int:
    """Return the memory that one piece of work may take on a GPU.

    Args:
        device: a GPU.

    Returns:
        Bytes: a quarter of its memory, but no more than half of what nobody uses now.
    """
    free, total = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for later
    return min(total // 4, (free + kept) // 2)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all it was asked to do.

    Args:
        device: any; a CPU is never behind.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def choose_device(device: str | torch.device) -> torch.device:
    """Turn a device name into a device that exists.

    Args:
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' (of several processes on a machine, each takes its own) or
            'cuda:N', or a device of torch.

    Returns:
        The device.

    Raises:
        ValueError: if the name is unknown or the device is not there.
    """
    device = str(device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and team().size > 1 and torch.cuda.device_count() != 1:  # srun may show each process its own
        device = f"cuda:{team().local_rank}"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device={device!r} must be auto, cpu, cuda or cuda:N")
    found = torch.device(device)
    n_gpus = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= n_gpus:
        raise ValueError(
            f"device={device!r}: torch {torch.__version__} sees {n_gpus or 'no'} CUDA device"
            f"{'s' * (n_gpus > 1)}; use device=cpu or auto"
        )
    return found
