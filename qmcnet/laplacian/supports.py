"""Which electron coordinates a tracked tensor depends on, and how to widen that knowledge.

Letters: B walkers, N electrons, F features, D derivative directions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qmcnet.compute import kernels


class Kind(Enum):
    """The sparsity pattern of a jacobian.

    ELECTRON: entry [:, i] depends on electron i alone; D = 3, its own x, y, z.
    PAIR: entry [:, i, j] depends on u = r_i - r_j alone; D = 3, the components of u, and the Laplacian carried
        is the one over u. On i = j the entry is a constant.
    DENSE: any entry may depend on any electron; D = 3N, ordered electron by electron.
    """

    ELECTRON = "electron"
    PAIR = "pair"
    DENSE = "dense"


@dataclass(frozen=True)
class Support:
    """Sparsity of a jacobian: its kind, the number of electrons, and the first owner on each owner axis.

    The owner axes of a value of shape (B, N, ...) or (B, N, N, ...) are 1 (ELECTRON) or 1 and 2 (PAIR); after
    a slice by spin they start at another electron, which `first` records.
    """

    kind: Kind
    n_electrons: int
    first: tuple[int, ...] = ()

    @property
    def owner_axes(self) -> int:
        """Number of leading axes, after the batch, that name electrons."""
        return len(self.first)


def electron_support(n_electrons: int) -> Support:
    """Return the support of a tensor (B, N, ...) whose entry i depends on electron i alone."""
    return Support(Kind.ELECTRON, n_electrons, (0,))


def pair_support(n_electrons: int) -> Support:
    """Return the support of a tensor (B, N, N, ...) whose entry i, j depends on r_i - r_j alone."""
    return Support(Kind.PAIR, n_electrons, (0, 0))


def dense_support(n_electrons: int) -> Support:
    """Return the support of a tensor that may depend on every electron."""
    return Support(Kind.DENSE, n_electrons)


def own_slots(jacobian: Tensor, n_electrons: int, first: int, count: int, axis: int) -> Tensor:
    """View the entries of a dense jacobian in which electron first + i is differentiated at index i of an axis.

    Args:
        jacobian: dense jacobian, shape (3N, B, ...).
        n_electrons: number of electrons N.
        first: electron named by index 0 of the axis.
        count: length of the axis.
        axis: axis of the value (batch is 0) that names electrons.

    Returns:
        A writable view of shape (3, B, ..., count) with the owner axis moved to the end.
    """
    by_electron = jacobian.unflatten(0, (n_electrons, 3))[first : first + count]
    return by_electron.diagonal(dim1=0, dim2=axis + 2)


Map = Callable[[Tensor, Support], Tensor]


class Spread(torch.autograd.Function):
    """A linear map of sparse to dense rows with its adjoint, which reads a few slots where autograd would copy all."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, support: Support, spread: Map, adjoint: Map) -> Tensor:
        """Apply the map.

        Args:
            ctx: keeps what `backward` needs.
            rows: sparse rows, shape (5, B, ...).
            support: their support.
            spread: the map.
            adjoint: its adjoint.

        Returns:
            Dense rows, shape (3N + 2, B, ...).
        """
        ctx.shape, ctx.support, ctx.adjoint = rows.shape, support, adjoint
        return spread(rows, support)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Apply the adjoint.

        Args:
            ctx: what `forward` kept.
            *gradients: by the dense rows.

        Returns:
            Gradient by the sparse rows, and none by the rest.
        """
        return ctx.adjoint(gradients[0], ctx.support).expand(ctx.shape), None, None, None


def scatter(rows: Tensor, support: Support) -> Tensor:
    """Spread a sparse jacobian over all 3N directions.

    Args:
        rows: jacobian of ELECTRON or PAIR support, Laplacian and value, shape (5, B, ...).
        support: its support.

    Returns:
        Dense jacobian, Laplacian and value, shape (3N + 2, B, ...).
    """
    return _recorded(rows, support, _scatter, _gather)


def _recorded(rows: Tensor, support: Support, spread: Map, adjoint: Map) -> Tensor:
    if not rows.requires_grad:
        return spread(rows, support)
    dense: Tensor = Spread.apply(rows, support, spread, adjoint)  # type: ignore[no-untyped-call]
    return dense


def _scatter(rows: Tensor, support: Support) -> Tensor:
    dense = rows.new_zeros((3 * support.n_electrons + 2, *rows.shape[1:]))
    accumulate(dense[:-2], rows[:-2], support)
    set_laplacian_and_value(dense, rows, support)
    return dense


def _gather(dense: Tensor, support: Support) -> Tensor:
    jacobian: Any = 0
    for axis, (first, sign) in enumerate(zip(support.first, (1, -1), strict=False), start=1):
        slots = own_slots(dense[:-2], support.n_electrons, first, dense.shape[axis + 1], axis)
        jacobian = jacobian + sign * slots.movedim(-1, axis + 1)
    return torch.cat([jacobian, _laplacian_and_value(dense, support)])


def _laplacian_and_value(dense: Tensor, support: Support) -> Tensor:
    """Apply the adjoint of `set_laplacian_and_value`."""
    if support.kind is not Kind.PAIR:
        return dense[-2:]
    return torch.stack([2 * dense[-2], dense[-1]])


def set_laplacian_and_value(dense: Tensor, rows: Tensor, support: Support) -> None:
    """Carry the last two rows over to dense support, in place.

    Args:
        dense: rows of dense support, shape (3N + 2, B, ...); changed.
        rows: rows of another support and the same value, shape (5, B, ...).
        support: their support.
    """
    dense[-2:] = rows[-2:]
    if support.kind is Kind.PAIR:
        # u = r_i - r_j moves with both electrons, so the Laplacian over both is twice the one over u.
        dense[-2] *= 2


def accumulate(dense: Tensor, jacobian: Tensor, support: Support) -> None:
    """Add a sparse jacobian into a dense one of the same value shape, in place.

    Args:
        dense: dense jacobian, shape (3N, B, ...); changed.
        jacobian: jacobian of ELECTRON or PAIR support, shape (3, B, ...).
        support: support of the sparse jacobian.
    """
    for axis, (first, sign) in enumerate(zip(support.first, (1, -1), strict=False), start=1):
        slots = own_slots(dense, support.n_electrons, first, jacobian.shape[axis + 1], axis)
        slots.add_(jacobian.movedim(axis + 1, -1), alpha=sign)


def sum_over_owner(rows: Tensor, support: Support) -> Tensor:
    """Sum an ELECTRON tensor over its electrons: each electron fills its own directions.

    Args:
        rows: shape (5, B, n, ...).
        support: ELECTRON support.

    Returns:
        Rows of the sum, of dense support, shape (3N + 2, B, ...).
    """
    return _recorded(rows, support, _over_owner, partial(_owners, count=rows.shape[2]))


def _over_owner(rows: Tensor, support: Support) -> Tensor:
    (first,) = support.first
    count = rows.shape[2]
    dense = rows.new_zeros((3 * support.n_electrons + 2, rows.shape[1], *rows.shape[3:]))
    dense[:-2].unflatten(0, (-1, 3))[first : first + count] = rows[:-2].movedim(2, 0)
    set_laplacian_and_value(dense, rows.sum(2), support)
    return dense


def _owners(dense: Tensor, support: Support, count: int) -> Tensor:
    (first,) = support.first
    jacobian = dense[:-2].unflatten(0, (-1, 3))[first : first + count].movedim(0, 2)
    return torch.cat([jacobian, dense[-2:].unsqueeze(2).expand(2, *jacobian.shape[1:])])


def sum_over_partner(rows: Tensor, support: Support) -> Tensor:
    """Sum a PAIR tensor over its partners j: +sum_j J_ij for the owner i, -J_ij for each partner j.

    Args:
        rows: the jacobian with respect to r_i - r_j, zero where i = j, shape (5, B, n, m, ...).
        support: PAIR support.

    Returns:
        Rows of the sum, of dense support, shape (3N + 2, B, n, ...).
    """
    return _recorded(rows, support, _over_partner, partial(_partners, count=rows.shape[3]))


def _over_partner(rows: Tensor, support: Support) -> Tensor:
    first_i, first_j = support.first
    count, partners = rows.shape[2:4]
    dense = rows.new_zeros((3 * support.n_electrons + 2, *rows.shape[1:3], *rows.shape[4:]))
    by_electron = dense[:-2].unflatten(0, (-1, 3))[first_j : first_j + partners]
    torch.neg(rows[:-2].movedim(3, 0), out=by_electron)
    total = kernels.summation(rows, 3)
    own_slots(dense[:-2], support.n_electrons, first_i, count, 1).add_(total[:-2].movedim(2, -1))
    set_laplacian_and_value(dense, total, support)
    return dense


def _partners(dense: Tensor, support: Support, count: int) -> Tensor:
    first_i, first_j = support.first
    own = own_slots(dense[:-2], support.n_electrons, first_i, dense.shape[2], 1).movedim(-1, 2)  # (3, B, n, ...)
    partner = dense[:-2].unflatten(0, (-1, 3))[first_j : first_j + count].movedim(0, 3)  # (3, B, n, m, ...)
    jacobian = own.unsqueeze(3) - partner
    rest = _laplacian_and_value(dense, support).unsqueeze(3)
    return torch.cat([jacobian, rest.expand(2, *jacobian.shape[1:])])
