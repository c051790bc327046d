"""Forward-Laplacian rules of products that contract indices: linear layers, einsum and matmul.

For z = x y: J_z = J_x y + x J_y and L_z = L_x y + x L_y + 2 sum_D J_x J_y. The last sum runs over D and the
contracted indices at once, in one matrix product. A sparse operand is never written out in 3N directions: its
electron index i stands for the direction, too.

Letters: B walkers, N electrons, D derivative directions.
"""

import string
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qmcnet.compute import kernels
from qmcnet.laplacian.laptuple import LapTuple, rule
from qmcnet.laplacian.supports import Kind, dense_support, own_slots

ROWS = string.ascii_letters[-1]
"""Letter of the derivative directions, with or without Laplacian and value; the others spell what a user writes."""

Owner = tuple[str, int, int]
"""Letter of an electron axis, the electron it starts with, and the sign with which that electron moves the entry."""


@rule(F.linear)
def linear(x: LapTuple, weight: Tensor, bias: Tensor | None = None) -> LapTuple:
    """Apply a linear layer to the last axis.

    Args:
        x: tracked tensor, shape (B, ..., F).
        weight: shape (G, F).
        bias: shape (G,).

    Returns:
        x weight^T + bias with its derivatives, shape (B, ..., G).
    """
    x = x if x.feature_axis(-1) > x.support.owner_axes else x.dense()
    constant = not (weight.requires_grad or (bias is not None and bias.requires_grad))
    if torch.is_grad_enabled() and constant:
        return LapTuple.from_rows(Affine.apply(x.rows, weight, bias), x.support)  # type: ignore[no-untyped-call]
    return LapTuple.from_rows(_affine(x.rows, weight, bias), x.support)


def _affine(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result = kernels.linear(rows, weight)
    if bias is not None:
        result[-1] += bias
    return result


class Affine(torch.autograd.Function):
    """A linear layer whose parameters are constants, which needs none of its rows to be differentiated."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Apply the layer.

        Args:
            ctx: keeps what `backward` needs.
            rows: shape (D + 2, B, ..., F).
            weight: shape (G, F).
            bias: shape (G,).

        Returns:
            Shape (D + 2, B, ..., G).
        """
        ctx.save_for_backward(weight)
        return _affine(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate in reverse.

        Args:
            ctx: what `forward` kept.
            *gradients: by the result.

        Returns:
            Gradient by the rows, and none by the parameters.
        """
        return kernels.linear(gradients[0], ctx.saved_tensors[0].mH), None, None


@rule(torch.einsum)
def einsum(equation: str, *operands: Any) -> LapTuple:
    """Sum products of operands over the letters that the result leaves out.

    Args:
        equation: letters of the operands and of the result, such as 'bif,bjf->bij'; '...' stands for further axes. The
            first letter of a tracked operand is its batch axis, and must be the first of the result.
        *operands: tracked tensors and tensors, at least one of them tracked.

    Returns:
        The sum with its derivatives.

    Raises:
        ValueError: if the equation does not fit the operands, names no result, or moves or sums the batch axis of a
            tracked operand.
    """
    if "->" not in equation or equation.count(",") + 1 != len(operands):
        raise ValueError(
            f"einsum equation {equation!r} must describe {len(operands)} operands, and their result after '->'"
        )
    letters, out = _letters(equation, operands)
    for operand, own in zip(operands, letters, strict=True):
        if isinstance(operand, LapTuple) and (own[:1] != out[:1] or own.count(own[0]) > 1):
            raise ValueError(
                f"einsum equation {equation!r} mixes walkers: the batch axis of a tracked tensor must come first "
                "in the operand and in the result"
            )
    result, own = operands[0], letters[0]
    for k in range(1, len(operands)):
        later = set(out).union(*letters[k + 1 :])
        both = "".join(dict.fromkeys(own + letters[k] if isinstance(result, LapTuple) else letters[k] + own))
        joined = out if k + 1 == len(operands) else "".join(letter for letter in both if letter in later)
        result, own = _product(result, own, operands[k], letters[k], joined), joined
    if len(operands) > 1:
        return result
    moved = _linear(result, own, out)
    result.relate(moved)
    return moved


def _letters(equation: str, operands: Sequence[Any]) -> tuple[list[str], str]:
    inputs, out = equation.replace(" ", "").split("->")
    parts = inputs.split(",")
    free = "".join(letter for letter in string.ascii_letters if letter not in equation)
    extra = [operand.ndim - len(part.replace("...", "")) for part, operand in zip(parts, operands, strict=True)]
    for part, count, operand in zip(parts, extra, operands, strict=True):
        if count < 0 or (count > 0 and "..." not in part):
            raise ValueError(f"einsum operand {part!r} of {equation!r} cannot have the shape {tuple(operand.shape)}")
    # The axes of an ellipsis are aligned from the last one.
    spelt = [part.replace("...", free[:count][::-1]) for part, count in zip(parts, extra, strict=True)]
    widest = max((count for part, count in zip(parts, extra, strict=True) if "..." in part), default=0)
    out = out.replace("...", free[:widest][::-1])
    used = "".join(dict.fromkeys("".join(spelt) + out))
    names = str.maketrans(used, string.ascii_letters[: len(used)])
    return [part.translate(names) for part in spelt], out.translate(names)


def _product(x: Any, x_letters: str, y: Any, y_letters: str, out: str) -> Any:
    if not isinstance(x, LapTuple):
        x, x_letters, y, y_letters = y, y_letters, x, x_letters
    if not isinstance(x, LapTuple):
        return torch.einsum(f"{x_letters},{y_letters}->{out}", x, y)
    if not isinstance(y, LapTuple):
        x = _unless_broadcast(x, x_letters, y, y_letters)
        return _linear(x, x_letters, out, y, y_letters)
    x, y = _unless_broadcast(x, x_letters, y, y_letters), _unless_broadcast(y, y_letters, x, x_letters)
    return _bilinear(x, x_letters, y, y_letters, out)


def _unless_broadcast(x: LapTuple, letters: str, y: Any, y_letters: str) -> LapTuple:
    # An electron axis of length one that is stretched no longer names electrons.
    sizes = dict(zip(y_letters, y.shape, strict=True))
    owners = range(1, 1 + x.support.owner_axes)
    return x.dense() if any(sizes.get(letters[axis], x.shape[axis]) != x.shape[axis] for axis in owners) else x


def _keeps_owners(x: LapTuple, letters: str, out: str) -> bool:
    owners = x.support.owner_axes
    kept = letters[: 1 + owners]
    return out[: 1 + owners] == kept and all(letters.count(letter) == 1 for letter in kept)


def _linear(x: LapTuple, letters: str, out: str, y: Tensor | None = None, y_letters: str = "") -> LapTuple:
    x = x if _keeps_owners(x, letters, out) else x.dense()
    if y is None:
        return x.map_linear(lambda rows: torch.einsum(f"{ROWS}{letters}->{ROWS}{out}", rows))
    return x.map_linear(lambda rows: torch.einsum(f"{ROWS}{letters},{y_letters}->{ROWS}{out}", rows, y))


def _bilinear(x: LapTuple, x_letters: str, y: LapTuple, y_letters: str, out: str) -> LapTuple:
    if y.support.kind is Kind.DENSE:
        x, x_letters, y, y_letters = y, y_letters, x, x_letters
    if x.support == y.support and _keeps_owners(x, x_letters, out) and _keeps_owners(y, y_letters, out):
        rows = torch.einsum(f"{ROWS}{x_letters},{y_letters}->{ROWS}{out}", x.rows, y.value)
        rows[:-1] += torch.einsum(f"{x_letters},{ROWS}{y_letters}->{ROWS}{out}", x.value, y.rows[:-1])
        cross = torch.einsum(f"{ROWS}{x_letters},{ROWS}{y_letters}->{out}", x.jacobian, y.jacobian)
        rows[-2].add_(cross, alpha=2)
        return LapTuple.from_rows(rows, x.support)
    support = dense_support(x.support.n_electrons)
    if x.support.kind is Kind.DENSE:
        rows = torch.einsum(f"{ROWS}{x_letters},{y_letters}->{ROWS}{out}", x.rows, y.value)
    else:
        value = torch.einsum(f"{x_letters},{y_letters}->{out}", x.value, y.value)
        rows = value.new_zeros((3 * support.n_electrons + 2, *value.shape))
        rows[-1] = value
        _add_change(rows, x, x_letters, y.value, y_letters, out)
    _add_change(rows, y, y_letters, x.value, x_letters, out)
    for here in _owners(y, y_letters):
        _add_meeting(rows[-2], out, x, x_letters, y, y_letters, here)
    return LapTuple.from_rows(rows, support)


def _owners(x: LapTuple, letters: str) -> list[Owner]:
    return list(zip(letters[1:], x.support.first, (1, -1), strict=False))


def _add_change(rows: Tensor, x: LapTuple, letters: str, y: Tensor, y_letters: str, out: str) -> None:
    """Add J_x y and L_x y of a sparse operand."""
    # u = r_i - r_j moves with both electrons, so the Laplacian over both is twice the one over u.
    curvature = torch.einsum(f"{letters},{y_letters}->{out}", x.laplacian, y)
    rows[-2].add_(curvature, alpha=x.support.owner_axes)
    n_electrons, dense = x.support.n_electrons, rows[:-2]
    for axis, (owner, first, sign) in enumerate(_owners(x, letters), start=1):
        count = x.shape[axis]
        if owner in out:
            kept = out.replace(owner, "") + owner
            term = torch.einsum(f"{ROWS}{letters},{y_letters}->{ROWS}{kept}", x.jacobian, y)
            own_slots(dense, n_electrons, first, count, out.index(owner)).add_(term, alpha=sign)
        else:
            term = torch.einsum(f"{ROWS}{letters},{y_letters}->{owner}{ROWS}{out}", x.jacobian, y)
            dense.unflatten(0, (n_electrons, 3))[first : first + count].add_(term, alpha=sign)


def _add_meeting(
    laplacian: Tensor, out: str, x: LapTuple, x_letters: str, y: LapTuple, y_letters: str, here: Owner
) -> None:
    """Add 2 sum_D J_x J_y over the directions of the electrons named by an owner letter of a sparse y."""
    owner, first, sign = here
    if x.support.kind is Kind.DENSE:
        by_electron = x.jacobian.unflatten(0, (x.support.n_electrons, 3))
        moved = by_electron[first : first + y.shape[y_letters.index(owner)]]
        equation = f"{owner}{ROWS}{x_letters},{ROWS}{y_letters}->{out}"
        laplacian.add_(torch.einsum(equation, moved, y.jacobian), alpha=2 * sign)
    for there in _owners(x, x_letters):
        _add_overlap(laplacian, out, x, x_letters, there, y, y_letters, here)


def _add_overlap(
    laplacian: Tensor, out: str, x: LapTuple, x_letters: str, here: Owner, y: LapTuple, y_letters: str, there: Owner
) -> None:
    """Add 2 sum_D J_x J_y over the electrons that are named by `here` in x and by `there` in y."""
    (i, first_i, sign_i), (j, first_j, sign_j) = here, there
    if i == j and first_i != first_j:
        return
    start = max(first_i, first_j)
    stop = min(first_i + x.shape[x_letters.index(i)], first_j + y.shape[y_letters.index(j)])
    spans = {i: slice(start - first_i, stop - first_i), j: slice(start - first_j, stop - first_j)}

    def meeting(tensor: Tensor, letters: str) -> Tensor:
        """Give the letters of the axes that meet."""
        index: list[Any] = [spans.get(letter, slice(None)) for letter in letters]
        return tensor[..., *index]

    if start >= stop:
        return
    part, kept = meeting(laplacian, out), out.replace(j, i)
    if i != j and i in out and j in out:
        part, kept = part.diagonal(dim1=out.index(i), dim2=out.index(j)), out.replace(i, "").replace(j, "") + i
    equation = f"{ROWS}{x_letters},{ROWS}{y_letters}".replace(j, i) + f"->{kept}"
    term = torch.einsum(equation, meeting(x.jacobian, x_letters), meeting(y.jacobian, y_letters))
    part.add_(term, alpha=2 * sign_i * sign_j)


@rule(torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm)
@rule(torch.mm, torch.Tensor.mm, torch.mv, torch.Tensor.mv)
def matmul(x: Any, y: Any) -> LapTuple:
    """Multiply matrices in the last two axes, or a matrix and a vector.

    Args:
        x: tracked tensor or tensor, shape (..., n, m) or (m,).
        y: tracked tensor or tensor, shape (..., m, k) or (m,).

    Returns:
        x y with its derivatives, shape (..., n, k).
    """
    left, right = "nm"[-x.ndim :], "mk"[: y.ndim]
    first = "..." + left if x.ndim > 2 else left
    second = "..." + right if y.ndim > 2 else right
    lead = "..." if x.ndim > 2 or y.ndim > 2 else ""
    return einsum(f"{first},{second}->{lead}{left[:-1]}{right[1:]}", x, y)


@rule(F.bilinear)
def bilinear(x: Any, y: Any, weight: Tensor, bias: Tensor | None = None) -> LapTuple:
    """Apply a bilinear layer: z_g = x_f weight_gfe y_e + bias_g.

    Args:
        x: tracked tensor or tensor, shape (B, ..., f).
        y: tracked tensor or tensor, shape (B, ..., e).
        weight: shape (g, f, e).
        bias: shape (g,).

    Returns:
        z with its derivatives, shape (B, ..., g).
    """
    result = einsum("...f,gfe,...e->...g", x, weight, y)
    return result if bias is None else result + bias
