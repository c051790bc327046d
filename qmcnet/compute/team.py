"""The processes that share the work of a run, on one machine or on many.

Every process holds the positions of all walkers and draws the random numbers of all, and so none of these depends on
how many processes there are. Each evaluates the wavefunction at its own share of the walkers, every R-th one, and what
it found is brought together. What is then made of it, from averages to updates, is computed by all alike.

One process needs none of this, and no torch.distributed: `Solo` hands back what it is given.

Letters: B walkers, R processes.
"""

import functools
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

T = TypeVar("T")
P = ParamSpec("P")


class PeerLost(RuntimeError):
    """Raised where another process of the run has ended, and its part will never come."""


@dataclass(frozen=True)
class Meeting:
    """Walkers of this process that meet walkers of another one here, in a sum over pairs of walkers.

    Attributes:
        other: rank of the other process.
        mine: which of the own walkers.
        theirs: which of the other's.
    """

    other: int
    mine: slice
    theirs: slice


class Team(Protocol):
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on its machine.
        messages: collective operations so far.
        bytes: what this process has put into them.
    """

    rank: int
    size: int
    local_rank: int
    messages: int
    bytes: int

    @property
    def own(self) -> slice:
        """Places of the own share among all walkers."""

    def share(self, whole: Tensor) -> Tensor:
        """Take the own share of all walkers, (B, ...)."""

    def gather(self, parts: Sequence[Tensor], count: int) -> list[Tensor]:
        """Bring shares of `count` walkers together in one message; each is (k b, ...) with k rows for a walker."""

    def sum(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Add up tensors of all processes in one message."""

    def meetings(self, count: int) -> list[Meeting]:
        """Share out the pairs of `count` walkers that belong to different processes, each to one of the two."""

    def agree(self, value: T | None) -> T | None:
        """Take the value of the first process that has one."""

    def first(self, task: Callable[[], T]) -> T:
        """Let the first process do something; all get what it returns or raises."""

    def alone(self, make: Callable[[], T]) -> T:
        """Let the first process make something; for the others there is an idle one, which does nothing."""

    def fails(self, reason: str | None) -> str | None:
        """Tell the other processes why this one ends; None where others ended before. Returns what it is to say."""


class Solo:
    """A single process."""

    rank, size, local_rank, messages, bytes = 0, 1, 0, 0, 0
    own = slice(None)

    def share(self, whole: Tensor) -> Tensor:
        """Take all.

        Args:
            whole: shape (B, ...).

        Returns:
            The same.
        """
        return whole

    def gather(self, parts: Sequence[Tensor], count: int) -> list[Tensor]:
        """Give back the parts, which are whole.

        Args:
            parts: tensors.
            count: number of walkers.

        Returns:
            The same.
        """
        return list(parts)

    def sum(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Give back the parts, which are the sums.

        Args:
            parts: tensors.

        Returns:
            The same.
        """
        return list(parts)

    def meetings(self, count: int) -> list[Meeting]:
        """Meet nobody.

        Args:
            count: number of walkers.

        Returns:
            Nothing.
        """
        return []

    def agree(self, value: T | None) -> T | None:
        """Agree with oneself.

        Args:
            value: anything.

        Returns:
            The same.
        """
        return value

    def first(self, task: Callable[[], T]) -> T:
        """Do something.

        Args:
            task: what to do.

        Returns:
            What it returns.
        """
        return task()

    def alone(self, make: Callable[[], T]) -> T:
        """Make something.

        Args:
            make: makes it.

        Returns:
            It.
        """
        return make()

    def fails(self, reason: str | None) -> str | None:
        """Say everything.

        Args:
            reason: why this process ends.

        Returns:
            The same.
        """
        return reason


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

    def __init__(self, store: TCPStore, local_rank: int) -> None:
        """Take the place that torch.distributed has been started with.

        Args:
            store: where processes leave notes for each other.
            local_rank: number of this process on its machine.
        """
        self.rank, self.size, self.local_rank = dist.get_rank(), dist.get_world_size(), local_rank
        self.store, self.messages, self.bytes = store, 0, 0
        self.own = slice(self.rank, None, self.size)

    def _call(self, collective: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Meet the others.

        Raises:
            PeerLost: if one of them is no more.
        """
        sent = arguments[-1]
        self.messages, self.bytes = self.messages + 1, self.bytes + (sent.nbytes if isinstance(sent, Tensor) else 0)
        try:
            collective(*arguments, **keywords)
        except RuntimeError as error:
            raise PeerLost("another process of this run has ended") from error

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
        if not parts:
            return []
        most = -(-count // self.size)
        shapes = [(len(part) * count // len(range(count)[self.own]), *part.shape[1:]) for part in parts]
        if parts[0].is_meta:  # shapes alone, whose memory is predicted, need no message
            return [part.new_empty(shape) for part, shape in zip(parts, shapes, strict=True)]
        packed = [_bytes(part, len(range(count)[self.own])) for part in parts]
        sent = torch.cat(packed, 1)
        if len(sent) < most:
            sent = torch.cat([sent, sent.new_zeros(most - len(sent), sent.shape[1])])
        found = sent.new_empty(self.size, *sent.shape)
        self._call(dist.all_gather, list(found.unbind()), sent)
        rows = found.transpose(0, 1).flatten(0, 1)[:count].split([part.shape[1] for part in packed], 1)
        return [
            row.contiguous().view(part.dtype).reshape(shape)
            for row, part, shape in zip(rows, parts, shapes, strict=True)
        ]

    def sum(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Add up tensors of all processes, one message for each type of numbers.

        Args:
            parts: tensors of the same shapes in every process.

        Returns:
            The sums, the same bits in every process.
        """
        if parts and parts[0].is_meta:
            return [part.clone() for part in parts]
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

    def meetings(self, count: int) -> list[Meeting]:
        """Share out the pairs of walkers that belong to different processes, to each process as many.

        Args:
            count: number of walkers B.

        Returns:
            Who meets whom here.
        """
        met = [(self.rank + step) % self.size for step in range(1, (self.size + 1) // 2)]
        found = [Meeting(other, slice(None), slice(None)) for other in met]
        if self.size % 2 == 0:  # the one opposite is met by both, each with half of the walkers of the lower rank
            other = (self.rank + self.size // 2) % self.size
            half = len(range(count)[min(self.rank, other) :: self.size]) // 2
            first, second = slice(None, half), slice(half, None)
            mine, theirs = (first, slice(None)) if self.rank < other else (slice(None), second)
            found.append(Meeting(other, mine, theirs))
        return found

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


NOTE, TOLD = "why a process ended", "why a process ended has been told"
PATIENCE = 3.0
"""Seconds to wait for such a note."""


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


def _bytes(part: Tensor, n_walkers: int) -> Tensor:
    """View what belongs to a walker as its bytes, (b, n)."""
    return part.resolve_conj().contiguous().view(n_walkers, -1).view(torch.uint8)


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


_team: Team = Solo()


def team() -> Team:
    """Return the processes of the run that this process belongs to."""
    return _team


@contextmanager
def standing_in(other: Team) -> Generator[None]:
    """Let another team stand for that of this process.

    Args:
        other: the team.

    Yields:
        Nothing.
    """
    global _team
    before, _team = _team, other
    try:
        yield
    finally:
        _team = before


def drawn(draw: Callable[[int], Tensor], rows: int, count: int) -> Tensor:
    """Draw random numbers for all walkers in every process, so that none depends on how many processes there are.

    Args:
        draw: draws as many rows as it is asked for, from a generator in the same state in every process.
        rows: rows for the own walkers, k b.
        count: number of all walkers B.

    Returns:
        Those of the own walkers, shape (k b, ...).
    """
    of_a_walker = rows // len(range(count)[team().own])
    return team().share(draw(count * of_a_walker).unflatten(0, (count, of_a_walker))).flatten(0, 1)


def by_first(function: Callable[P, T]) -> Callable[P, T]:
    """Let the first process alone do what a function does, such as write a file; all get what it returns or raises.

    Args:
        function: what to do.

    Returns:
        The same for a team.
    """

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> T:
        """Call it in the first process."""
        return team().first(lambda: function(*arguments, **keywords))

    return call
