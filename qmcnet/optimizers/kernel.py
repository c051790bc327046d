"""The kernel of the scores of all walkers, K = O O^T, of which every process forms a part.

Walkers of one process meet by `add_layer`; those of two processes meet in one of the two, which has been sent the
inputs and signals of the other, a few layers at once.

Letters: B walkers, b walkers of a process, G functions of a walker, M rows of a walker, F features.
"""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from qmcnet.compute.team import Meeting, team
from qmcnet.optimizers.gram import add_layer, layer_cross

TOGETHER = 2**25
"""Bytes of inputs and signals that are brought together in one message."""


Layer = tuple[Tensor, Tensor]
"""Inputs (b G, M, F_in) and signals (b G, M, F_out)."""


def kernel(layers: Sequence[Layer], count: int) -> Tensor:
    """Multiply the scores of every two walkers.

    Args:
        layers: inputs and signals of the walkers of this process.
        count: number of all walkers B.

    Returns:
        Kernel in float64, shape (B G, B G).
    """
    n_own = len(layers[0][0])
    half = layers[0][0].new_zeros(n_own, n_own, dtype=torch.float64)
    for layer in layers:
        add_layer(half, *layer)
    meetings = team().meetings(count)
    return assembled([half + half.mT, *met(layers, meetings[team().rank], count)], meetings, count)


def met(layers: Sequence[Layer], meetings: Sequence[Meeting], count: int) -> list[Tensor]:
    """Multiply the scores of own walkers with those of other processes.

    Args:
        layers: inputs and signals of the walkers of this process.
        meetings: who meets whom here.
        count: number of all walkers B.

    Returns:
        For each meeting, shape (mine G, theirs G), in float64.
    """
    found: list[Tensor | float] = [0.0] * len(meetings)
    for group in grouped(layers, count) if meetings else ():
        whole = team().gather([tensor for layer in group for tensor in layer], count)
        for layer, theirs in zip(group, zip(whole[::2], whole[1::2], strict=True), strict=True):
            for index, meeting in enumerate(meetings):
                mine = [_walkers(tensor, len(range(count)[team().own]))[meeting.mine] for tensor in layer]
                others = [_walkers(tensor, count)[meeting.other :: team().size][meeting.theirs] for tensor in theirs]
                flat = [tensor.flatten(0, 1) for tensor in (*mine, *others)]
                found[index] = found[index] + layer_cross(*flat)
    return [block for block in found if isinstance(block, Tensor)]


def grouped(layers: Sequence[Layer], count: int) -> Generator[list[Layer]]:
    """Put small layers together, in the same groups in every process, though some have a walker less.

    Args:
        layers: inputs and signals of the walkers of this process.
        count: number of all walkers B.

    Yields:
        Layers of no more than `TOGETHER` bytes in the largest share, or a single one.
    """
    group, size = list[Layer](), 0
    own, most = len(range(count)[team().own]), -(-count // team().size)
    for layer in layers:
        more = sum(tensor.nbytes for tensor in layer) // own * most
        if group and size + more > TOGETHER:
            yield group
            group, size = [], 0
        group, size = [*group, layer], size + more
    yield group


def assembled(blocks: Sequence[Tensor], meetings: Sequence[Sequence[Meeting]], count: int) -> Tensor:
    """Put the blocks of all processes together.

    Args:
        blocks: of the own walkers with one another, (b G, b G), and of each meeting.
        meetings: of each process.
        count: number of all walkers B.

    Returns:
        Shape (B G, B G).
    """
    if len(blocks) == 1:
        return blocks[0]
    n_functions = len(blocks[0]) // len(range(count)[team().own])
    places = [list(_places(rank, of_rank, count)) for rank, of_rank in enumerate(meetings)]
    lengths = [sum(len(rows) * len(columns) for rows, columns in of_rank) * n_functions**2 for of_rank in places]
    whole = blocks[0].new_empty(count, n_functions, count, n_functions)
    for vector, of_rank in zip(team().collect(torch.cat([b.flatten() for b in blocks]), lengths), places, strict=True):
        parts = iter(vector.split([len(rows) * len(columns) * n_functions**2 for rows, columns in of_rank]))
        for rows, columns in of_rank:
            block = next(parts).view(len(rows), n_functions, len(columns), n_functions)
            whole[_slice(rows), :, _slice(columns)] = block
            whole[_slice(columns), :, _slice(rows)] = block.permute(2, 3, 0, 1)
    return whole.flatten(2).flatten(0, 1)


def _places(rank: int, meetings: Sequence[Meeting], count: int) -> Generator[tuple[range, range]]:
    """Walkers of the rows and the columns of the blocks of a process."""
    walkers = range(count)
    own = walkers[rank :: team().size]
    yield own, own
    for meeting in meetings:
        yield own[meeting.mine], walkers[meeting.other :: team().size][meeting.theirs]


def _slice(walkers: range) -> slice:
    return slice(walkers.start, walkers.stop, walkers.step)


def _walkers(tensor: Tensor, count: int) -> Tensor:
    """Put the functions of a walker on an axis of their own, (b, G, ...)."""
    return tensor.unflatten(0, (count, -1))
