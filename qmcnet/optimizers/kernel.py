"""The kernel of the scores of all walkers, K = O O^T, of which every process forms a part.

Walkers of one process meet by `layer_gram`; those of two processes meet in one of the two, which has been sent the
inputs and signals of the other, a few layers at once.

Letters: B walkers, b walkers of a process, G functions of a walker, M rows of a walker, F features.
"""

from collections.abc import Generator, Sequence

from torch import Tensor

from qmcnet.compute.team import team
from qmcnet.optimizers.gram import layer_cross, layer_gram

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
    first, *others = layers
    own = layer_gram(*first)
    for layer in others:
        own += layer_gram(*layer)
    return assembled(own, met(layers, count), count)


def met(layers: Sequence[Layer], count: int) -> list[Tensor]:
    """Multiply the scores of own walkers with those of other processes.

    Args:
        layers: inputs and signals of the walkers of this process.
        count: number of all walkers B.

    Returns:
        For each meeting, shape (mine G, theirs G), in float64.
    """
    meetings = team().meetings(count)
    found: list[Tensor | float] = [0.0] * len(meetings)
    for group in grouped(layers) if meetings else ():
        whole = team().gather([tensor for layer in group for tensor in layer], count)
        for layer, theirs in zip(group, zip(whole[::2], whole[1::2], strict=True), strict=True):
            for index, meeting in enumerate(meetings):
                mine = [_walkers(tensor, len(range(count)[team().own]))[meeting.mine] for tensor in layer]
                others = [_walkers(tensor, count)[meeting.other :: team().size][meeting.theirs] for tensor in theirs]
                flat = [tensor.flatten(0, 1) for tensor in (*mine, *others)]
                found[index] = found[index] + layer_cross(*flat)
    return [block for block in found if isinstance(block, Tensor)]


def grouped(layers: Sequence[Layer]) -> Generator[list[Layer]]:
    """Put small layers together.

    Args:
        layers: inputs and signals.

    Yields:
        Layers of no more than `TOGETHER` bytes, or a single one.
    """
    group, size = list[Layer](), 0
    for layer in layers:
        more = sum(tensor.nbytes for tensor in layer)
        if group and size + more > TOGETHER:
            yield group
            group, size = [], 0
        group, size = [*group, layer], size + more
    yield group


def assembled(own: Tensor, blocks: Sequence[Tensor], count: int) -> Tensor:
    """Put the blocks of all processes together.

    Args:
        own: of the walkers of this process, shape (b G, b G).
        blocks: of each meeting.
        count: number of all walkers B.

    Returns:
        Shape (B G, B G).
    """
    meetings = team().meetings(count)
    if not meetings:
        return own
    size, n_functions = team().size, len(own) // len(range(count)[team().own])
    whole = own.new_zeros(count, n_functions, count, n_functions)
    mine = whole[team().own]  # (b, G, B, G)
    mine[:, :, team().own] = own.view(len(mine), n_functions, len(mine), n_functions)
    for meeting, block in zip(meetings, blocks, strict=True):
        part = mine[meeting.mine][:, :, meeting.other :: size][:, :, meeting.theirs]
        part.copy_(block.view(part.shape))
        mirror = whole[meeting.other :: size][meeting.theirs][:, :, team().own][:, :, meeting.mine]
        mirror.copy_(block.mT.reshape(mirror.shape))
    (total,) = team().sum([whole])
    return total.flatten(2).flatten(0, 1)


def _walkers(tensor: Tensor, count: int) -> Tensor:
    """Put the functions of a walker on an axis of their own, (b, G, ...)."""
    return tensor.unflatten(0, (count, -1))
