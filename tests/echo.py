from typing import Any

from qmcnet.compute.processes import ALL_GATHER, Processes


class Echo(Processes):
    """One of several processes of which the others, which are not there, always say the same as this one.

    Of an odd number of processes, each has as many meetings with the one after it, so that the echo makes sense.
    """

    def __init__(self, size: int = 3) -> None:
        self.rank, self.size, self.local_rank, self.local_size = 0, size, 0, size
        self.messages = self.bytes = 0
        self.own = slice(0, None, size)

    def _call(self, collective: Any, *arguments: Any, **keywords: Any) -> None:
        self.messages += 1
        if collective is ALL_GATHER:
            found, sent = arguments
            found.view(self.size, -1).copy_(sent.expand(self.size, -1))

    def agree(self, value: Any) -> Any:
        self.messages += 1
        return value


class Rank(Echo):
    """A process of any rank."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(size)
        self.rank, self.own = rank, slice(rank, None, size)
