"""The processes that share the work of a run, on one machine or on many.

Every process holds the positions of all walkers and draws the random numbers of all, and so none of these depends on
how many processes there are. Each evaluates the wavefunction at its own share of the walkers, every R-th one, and what
it found is brought together. What is then made of it, from averages to updates, is computed by all alike.

One process needs none of this, and no torch.distributed: `Solo` hands back what it is given.

Letters: B walkers, R processes.
"""

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
P = ParamSpec("P")


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


def meetings(rank: int, size: int, count: int) -> list[Meeting]:
    """Say which walkers of other processes those of one meet.

    Args:
        rank: the process.
        size: how many there are.
        count: number of all walkers B.

    Returns:
        The meetings; each pair of walkers has one in one of its two processes.
    """
    met = [(rank + step) % size for step in range(1, (size + 1) // 2)]
    found = [Meeting(other, slice(None), slice(None)) for other in met]
    if size % 2 == 0:  # the one opposite is met by both, each with half of the walkers of the lower rank
        other = (rank + size // 2) % size
        half = len(range(count)[min(rank, other) :: size]) // 2
        first, second = slice(None, half), slice(half, None)
        mine, theirs = (first, slice(None)) if rank < other else (slice(None), second)
        found.append(Meeting(other, mine, theirs))
    return found


class Team(Protocol):
    """The processes of a run, as one of them sees them.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on its machine.
        local_size: how many there are on its machine, which share its memory.
        messages: collective operations so far.
        bytes: what this process has put into them.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
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

    def collect(self, vector: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Bring vectors together that have different lengths, by rank."""

    def meetings(self, count: int) -> list[list[Meeting]]:
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

    rank, size, local_rank, local_size, messages, bytes = 0, 1, 0, 1, 0, 0
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

    def collect(self, vector: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Give back the vector.

        Args:
            vector: any.
            lengths: its length.

        Returns:
            The same.
        """
        return [vector]

    def meetings(self, count: int) -> list[list[Meeting]]:
        """Meet nobody.

        Args:
            count: number of walkers.

        Returns:
            No meeting of the one process.
        """
        return [[]]

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


def drawn(draw: Callable[[int, torch.Generator], Tensor], generator: torch.Generator, rows: int, count: int) -> Tensor:
    """Draw random numbers for all walkers in every process, so that none depends on how many processes there are.

    Args:
        draw: draws as many rows as it is asked for from a generator.
        generator: in the same state in every process.
        rows: rows for the own walkers, k b.
        count: number of all walkers B.

    Returns:
        Those of the own walkers, shape (k b, ...).
    """
    of_a_walker = rows // len(range(count)[team().own])
    return team().share(draw(count * of_a_walker, generator).unflatten(0, (count, of_a_walker))).flatten(0, 1)


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
