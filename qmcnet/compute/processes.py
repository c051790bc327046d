"""A team of several processes, by the collective operations of torch.distributed.

Letters: B walkers, b of them of this process, R processes.
"""

import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from qmcnet.compute.team import Meeting, Solo, meetings, standing_in

T = TypeVar("T")

NOTE, TOLD = "why a process ended", "why a process ended has been told"
ALL_GATHER = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # which torch 2.13 renamed
ALIGNED = 16
PATIENCE = 3.0
"""Seconds to wait for such a note."""


class PeerLost(RuntimeError):
    """Raised where another process of the run has ended, and its part will never come."""


class Idle:
    """Stands for something that the first process alone has; takes every call and does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Offer any method.

        Args:
            name: of the method.

        Returns:
            One that does nothing.

        Raises:
            AttributeError: for what Python asks of every object.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **keywords: None

    def __enter__(self) -> "Idle":
        """Do nothing."""
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""


class Processes:
    """One of several processes, by the collective operations of torch.distributed."""

    def __init__(self, store: TCPStore, local_rank: int, local_size: int) -> None:
        """Take the place that torch.distributed has been started with.

        Args:
            store: where processes leave notes for each other.
            local_rank: number of this process on its machine.
            local_size: number of processes on its machine.
        """
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_rank, self.local_size = local_rank, local_size
        self.store, self.messages, self.bytes, self.lost_peer = store, 0, 0, False
        self.own = slice(self.rank, None, self.size)

    def _call(self, collective: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Meet the others.

        Raises:
            PeerLost: if one of them is no more.
            RuntimeError: any other error of the operation.
        """
        sent = arguments[-1]
        if isinstance(sent, Tensor) and sent.is_meta:  # shapes alone, whose memory is predicted, need no message
            return
        self.messages, self.bytes = self.messages + 1, self.bytes + (sent.nbytes if isinstance(sent, Tensor) else 0)
        try:
            collective(*arguments, **keywords)
        except RuntimeError as error:
            if isinstance(error, dist.DistError) or "gloo/transport" in str(error):
                self.lost_peer = True
                raise PeerLost("another process of this run has ended") from error
            raise

    def share(self, whole: Tensor) -> Tensor:
        """Take every R-th walker.

        Args:
            whole: shape (B, ...).

        Returns:
            The own share, shape (b, ...).
        """
        return whole[self.own].contiguous()

    def gather(self, parts: Sequence[Tensor], count: int) -> list[Tensor]:
        """Bring shares together in one message.

        Args:
            parts: each of the own walkers, shape (k b, ...) with k rows for a walker.
            count: number of all walkers B.

        Returns:
            Each of all walkers, shape (k B, ...), the same bits in every process.
        """
        own, most = len(range(count)[self.own]), -(-count // self.size)
        if not parts:
            return []
        shapes = [(len(part) // own * count, *part.shape[1:]) for part in parts]
        places, total = list[slice](), 0  # bytes of each part, where any type of numbers may start
        for part in parts:
            places.append(slice(total, total + most * (part.nbytes // own)))
            total = -(-places[-1].stop // ALIGNED) * ALIGNED
        sent = torch.zeros(total, dtype=torch.uint8, device=parts[0].device)
        for part, place in zip(parts, places, strict=True):
            sent[place].view(part.dtype).view(most, -1)[:own] = part.reshape(own, -1)
        found = self._all_gather(sent)
        return [
            found[:, place].view(part.dtype).unflatten(1, (most, -1)).transpose(0, 1).flatten(0, 1)[:count].view(shape)
            for part, place, shape in zip(parts, places, shapes, strict=True)
        ]

    def collect(self, vector: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Bring vectors of different lengths together.

        Args:
            vector: of this process.
            lengths: of those of all processes, by rank.

        Returns:
            The vectors, by rank.
        """
        sent = torch.cat([vector, vector.new_zeros(max(lengths) - len(vector))])
        return [row[:length] for row, length in zip(self._all_gather(sent), lengths, strict=True)]

    def _all_gather(self, sent: Tensor) -> Tensor:
        found = sent.new_empty(self.size * len(sent))
        self._call(ALL_GATHER, found, sent)
        return found.view(self.size, -1)

    def sum(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Add up tensors of all processes, one message for each type of numbers.

        Args:
            parts: tensors of the same shapes in every process.

        Returns:
            The sums, the same bits in every process.
        """
        alike: dict[torch.dtype, list[int]] = defaultdict(list)
        for index, part in enumerate(parts):
            alike[part.dtype].append(index)
        sums = list(parts)
        for indices in alike.values():
            total = torch.cat([parts[index].reshape(-1) for index in indices])
            self._call(dist.all_reduce, total)
            for index, flat in zip(indices, total.split([parts[index].numel() for index in indices]), strict=True):
                sums[index] = flat.view(parts[index].shape)
        return sums

    def meetings(self, count: int) -> list[list[Meeting]]:
        """Share out the pairs of walkers that belong to different processes, to each process as many.

        Args:
            count: number of walkers B.

        Returns:
            Who meets whom, by rank.
        """
        return [meetings(rank, self.size, count) for rank in range(self.size)]

    def agree(self, value: T | None) -> T | None:
        """Take the value of the first process that has one; where none has, this costs one small message.

        Args:
            value: plain data, or None.

        Returns:
            The value, the same in every process.
        """
        found = torch.tensor([value is not None], dtype=torch.int32)
        self._call(dist.all_reduce, found)
        if not found:
            return None
        values: list[T | None] = [None] * self.size
        self._call(dist.all_gather_object, values, value)
        return next(given for given in values if given is not None)

    def first(self, task: Callable[[], T]) -> T:
        """Let the first process do something, such as write a file.

        Args:
            task: what to do; nothing in it meets the other processes.

        Returns:
            What it returns.
        """
        found: list[tuple[Any, Exception | None]] = [(None, None)]
        if self.rank == 0:
            with standing_in(Solo()):
                try:
                    found = [(task(), None)]
                except Exception as error:
                    found = [(None, portable(error))]
        self._call(dist.broadcast_object_list, found)
        result, failure = found[0]
        if failure is not None:
            raise failure
        return cast(T, result)

    def alone(self, make: Callable[[], T]) -> T:
        """Let the first process make something, such as an open file.

        Args:
            make: makes it.

        Returns:
            It, or an idle one that does nothing.
        """
        return make() if self.rank == 0 else cast(T, Idle())

    def fails(self, reason: str | None) -> str | None:
        """Tell the other processes why this one ends, if it is the cause; the first process speaks for all.

        Args:
            reason: why; None where another process ended before.

        Returns:
            What this process is to say, if anything.
        """
        with suppress(RuntimeError):  # whoever kept the notes may be gone
            if self.rank == 0:
                reason = reason or noted(self.store, PATIENCE)
                self.store.set(TOLD, "") if reason else None
                return reason
            if reason:
                self.store.set(NOTE, f"rank {self.rank}: {reason}")
        return None


def noted(store: TCPStore, patience: float = 0.0) -> str | None:
    """Read why a process ended.

    Args:
        store: where processes leave notes for each other.
        patience: how long to wait for the note, in seconds.

    Returns:
        Its note; None if it left none.
    """
    last = time.monotonic() + patience
    while not store.check([NOTE]):
        if time.monotonic() >= last:
            return None
        time.sleep(0.05)
    return bytes(store.get(NOTE)).decode()


def portable(error: Exception) -> Exception:
    """Make sure that an error can be sent to another process.

    Args:
        error: any.

    Returns:
        The same, or one that says the same.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a class of errors does to its arguments
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
