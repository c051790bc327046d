"""PRIME-SR: the momentum of SPRING from the spectrum of the kernel, without a parameter to tune.

The published method decomposes the kernel of the walkers, K = O O^T, at every update, and compares its leading
eigenvectors, which have one entry for each walker, with those of the update before. So it is here, whether the update
itself is solved in the space of walkers or in that of parameters: the products of K with a few vectors are all that is
needed of it. What differs:

* the leading eigenvectors come from a few steps of orthogonal iteration that start from those of the update before,
  which costs a few products with `WIDTH` columns, and no more than `WIDTH` of them are compared;
* the rank is that of the centred scores, not that of the kernel up to rounding;
* the momentum is at most `LARGEST`. The published formula reaches one, for kernels whose leading space stays the same
  or whose eigenvalues are all equal, and the authors prove convergence below one and show divergence at one.

References:
    Wang, Liu, arXiv:2604.18357 (algorithm 2).

Letters: B walkers, G functions of a walker, W columns.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qmcnet.optimizers.least_squares import System

ITERATIONS = 6
WIDTH = 64
LARGEST = 0.99  # the momentum that was published for SPRING


@dataclass(frozen=True)
class Principal:
    """Leading eigenvectors of the kernel of an update.

    Attributes:
        vectors: orthonormal columns, leading ones first, shape (B G, W).
        dimension: how many of them count, 0 before the first update.
    """

    vectors: Tensor
    dimension: Tensor

    def leading(self) -> Tensor:
        """Put zero for the columns that do not count."""
        columns = torch.arange(self.vectors.shape[1], device=self.vectors.device)
        return torch.where(columns < self.dimension, self.vectors, 0)

    def replaced(self, after: "Principal", kept: Tensor) -> "Principal":
        """Take those of the next update if it is kept.

        Args:
            after: of the next update.
            kept: whether it counts, on the device.

        Returns:
            Either, as tensors that autograd can use.
        """
        vectors = torch.where(kept, after.vectors, self.vectors)
        return Principal(vectors, torch.where(kept, after.dimension, self.dimension))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"leading": self.vectors, "dimension": self.dimension}

    @staticmethod
    def from_state(state: dict[str, Any], device: torch.device) -> "Principal | None":
        """Read what a run has saved.

        Args:
            state: what `state_dict` returned; earlier versions kept the columns that count alone, or None.
            device: where to compute.

        Returns:
            The eigenvectors, if there are any.
        """
        if state["leading"] is None:
            return None
        vectors = state["leading"][:, :WIDTH].to(device)
        dimension = torch.as_tensor(state.get("dimension", vectors.shape[1]), dtype=vectors.dtype, device=device)
        return Principal(F.pad(vectors, (0, min(WIDTH, len(vectors)) - vectors.shape[1])), dimension)


def known(before: Principal | None, energies: Tensor) -> Principal:
    """Take what the update before left, or begin.

    Args:
        before: of the update before, if there was one; another number of walkers has nothing to do with it.
        energies: of the walkers, shape (B, G), in float64.

    Returns:
        It, or unit vectors of which none counts.
    """
    size = energies.numel()
    if before is not None and len(before.vectors) == size:
        return before
    vectors = torch.eye(size, min(size, WIDTH), dtype=energies.dtype, device=energies.device)
    return Principal(vectors, energies.new_zeros(()))


def follow(system: System, before: Principal) -> tuple[Tensor, Principal]:
    """Compute mu = 1 - (1 - sqrt(beta)) (1 - (alpha / rank)^(1/4)).

    alpha = (tr K)^2 / tr K^2 is the effective dimension of the kernel K, and beta the overlap of its ceil(alpha)
    leading eigenvectors with those of the update before, |V^T V_old| / sqrt(the smaller number of columns).

    Args:
        system: normal equations of an update, in either space.
        before: what the update before left.

    Returns:
        The momentum, 0 at the first update, and what the next update needs. Of a kernel that is zero or not finite
        neither means anything.
    """
    alpha = system.matrix.trace().square() / system.matrix.square().sum()  # the same in both spaces
    vectors = before.vectors
    for _ in range(ITERATIONS):
        vectors = torch.linalg.qr(system.kernel_times(vectors)).Q
    after = Principal(vectors, alpha.ceil().clamp(1, vectors.shape[1]))
    smaller = torch.minimum(after.dimension, before.dimension).clamp(min=1)
    overlap = ((after.leading().mT @ before.leading()).norm() / smaller.sqrt()).clamp(max=1)
    share = (alpha / system.rank.clamp(min=1)).clamp(max=1)
    momentum = (1 - (1 - overlap.sqrt()) * (1 - share**0.25)).clamp(max=LARGEST)
    return torch.where(before.dimension > 0, momentum, 0), after
