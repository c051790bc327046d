"""Spectra of symmetric matrices, each found by one of the processes of a run.

Letters: K matrices of one size.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from qmcnet.compute.team import team


def eigh(matrices: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Decompose positive semidefinite matrices; one that is not finite gives eigenvalues that say so.

    A GPU is waited for at every call of torch's: matrices of one size share one, which decomposes each by itself.

    Args:
        matrices: of one size or of several, each (n, n).

    Returns:
        Of each, eigenvalues (n,), none negative, and eigenvectors (n, n).
    """
    found: list[tuple[Tensor, Tensor]] = [(matrix, matrix) for matrix in matrices]
    alike: dict[tuple[int, torch.dtype], list[int]] = defaultdict(list)
    for index, matrix in enumerate(matrices):
        alike[len(matrix), matrix.dtype].append(index)
    for indices in alike.values():
        stacked = torch.stack([matrices[index] for index in indices])  # (K, n, n)
        good = stacked.isfinite().flatten(1).all(1)
        values, bases = torch.linalg.eigh(torch.where(good[:, None, None], stacked, 0))
        values = torch.where(good[:, None], values.clamp(min=0), torch.nan)
        for index, pair in zip(indices, zip(values, bases, strict=True), strict=True):
            found[index] = pair
    return found


def shared_eigh(matrices: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Decompose matrices that all processes have, each in one of them.

    Args:
        matrices: each (n, n), the same in every process.

    Returns:
        What `eigh` returns, the same in every process.
    """
    own = sorted(range(len(matrices)), key=lambda index: -len(matrices[index]))[
        team().own
    ]  # to each as many large ones
    found = dict(zip(own, eigh([matrices[index] for index in own]), strict=True))
    nothing = {k: (matrix.new_zeros(len(matrix)), torch.zeros_like(matrix)) for k, matrix in enumerate(matrices)}
    pairs = [found.get(index, nothing[index]) for index in nothing]
    sums = team().sum([tensor for pair in pairs for tensor in pair])
    return list(zip(sums[::2], sums[1::2], strict=True))
