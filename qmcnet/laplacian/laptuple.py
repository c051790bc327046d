"""LapTuple: a value carried together with its jacobian and Laplacian (forward Laplacian).

For y = f(x): J_y = f' J_x and L_y = f' L_x + sum_D J_x^T f'' J_x. A LapTuple is a plain class with
`__torch_function__`, so that a wavefunction written once in ordinary torch functions runs on tensors and on
LapTuples alike.

References:
    Li, Ye, Zhang, Wang et al., Nat. Mach. Intell. 6, 209 (2024), doi:10.1038/s42256-024-00794-x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from qmcnet.laplacian.supports import Kind, Support, dense_support, scatter

RULES: dict[Callable[..., Any], Callable[..., Any]] = {}


def rule(*functions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the derivative rule of one or more torch functions.

    A rule takes the arguments of the torch function, with LapTuples in place of some tensors, and returns a
    LapTuple. Register both the function and the tensor method: `@rule(torch.exp, torch.Tensor.exp)`.

    Args:
        *functions: the torch functions that the decorated rule replaces.

    Returns:
        A decorator that registers the rule and returns it unchanged.
    """

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        RULES.update(dict.fromkeys(functions, implementation))
        return implementation

    return register


class LapTuple:
    """A tensor that depends on the electron positions, with its first and second derivatives.

    Jacobian, Laplacian and value are the rows of one tensor, so that a linear map acts on all of them in one product.
    Parameters are constants here: nothing is recorded for autograd.

    Attributes:
        rows: the D directions of the jacobian, then the Laplacian, then the value, shape (D + 2, B, ...).
        support: which electrons each entry depends on; sets the meaning of the D directions.
    """

    __slots__ = ("rows", "support")

    def __init__(self, value: Tensor, jacobian: Tensor, laplacian: Tensor, support: Support) -> None:
        """Wrap a value and its derivatives.

        Args:
            value: shape (B, ...).
            jacobian: shape (D, B, ...).
            laplacian: shape (B, ...).
            support: the sparsity of the jacobian.
        """
        self.rows = torch.cat([jacobian, laplacian[None], value[None]])
        self.support = support

    @classmethod
    def from_rows(cls, rows: Tensor, support: Support) -> LapTuple:
        """Wrap rows that lie in one tensor already, without a copy.

        Args:
            rows: jacobian, Laplacian and value, shape (D + 2, B, ...).
            support: the sparsity of the jacobian.

        Returns:
            The tracked tensor.
        """
        result = cls.__new__(cls)
        result.rows, result.support = rows, support
        return result

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Route a torch function applied to a LapTuple to its derivative rule.

        Args:
            func: the torch function called.
            types: argument types that take part in the dispatch.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            The result of the registered rule.

        Raises:
            NotImplementedError: if no rule is registered for the function.
        """
        if func not in RULES:
            name = torch.overrides.resolve_name(func) or repr(func)
            raise NotImplementedError(
                f"the forward Laplacian has no rule for torch function {name!r}; add one with "
                f"qmcnet.laplacian.rule({name}), or use the back end laplacian=torch_func"
            )
        with torch.no_grad():
            return RULES[func](*args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Offer the methods of a tensor, each by its derivative rule.

        Args:
            name: name of the method.

        Returns:
            The method bound to this quantity.

        Raises:
            AttributeError: if a tensor has no such method.
        """
        method = None if name.startswith("_") else getattr(Tensor, name, None)
        if not callable(method):
            raise AttributeError(f"a LapTuple has no attribute {name!r}")
        return _bound(method, self)

    @property
    def value(self) -> Tensor:
        """The value, shape (B, ...)."""
        return self.rows[-1]

    @property
    def jacobian(self) -> Tensor:
        """First derivatives, directions first, shape (D, B, ...)."""
        return self.rows[:-2]

    @property
    def laplacian(self) -> Tensor:
        """Sum of the second derivatives, shape (B, ...)."""
        return self.rows[-2]

    @property
    def shape(self) -> torch.Size:
        """Shape of the value, (B, ...)."""
        return self.rows.shape[1:]

    @property
    def ndim(self) -> int:
        """Number of axes of the value."""
        return self.rows.ndim - 1

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the value."""
        return self.rows.dtype

    @property
    def device(self) -> torch.device:
        """Device of the value."""
        return self.rows.device

    def feature_axis(self, dim: int, new: int = 0) -> int:
        """Number an axis from the front, refusing the batch axis, along which walkers would mix.

        Args:
            dim: number of the axis, from either end.
            new: axes that the operation adds.

        Returns:
            The number from the front, at least 1.

        Raises:
            IndexError: if there is no such axis.
            ValueError: if it is the batch axis.
        """
        ndim = self.ndim + new
        if not -ndim <= dim < ndim:
            raise IndexError(f"dim={dim} is out of range: a tensor with {ndim} axes has {-ndim}..{ndim - 1}")
        if dim % ndim == 0:
            raise ValueError(
                f"dim={dim} is the batch axis of a tracked tensor, whose walkers are independent: "
                f"choose one of the other axes, 1..{ndim - 1}"
            )
        return dim % ndim

    def dense(self) -> LapTuple:
        """Return the same quantity with all 3N derivative directions written out."""
        if self.support.kind is Kind.DENSE:
            return self
        return LapTuple.from_rows(scatter(self.rows, self.support), dense_support(self.support.n_electrons))

    def map_linear(self, function: Callable[[Tensor], Tensor], support: Support | None = None) -> LapTuple:
        """Apply a linear function of the value that leaves the batch axis alone.

        Args:
            function: linear, written with negative axes so that the leading axis of the rows passes through.
            support: support of the result, by default unchanged.

        Returns:
            The function of the value with its derivatives.
        """
        return LapTuple.from_rows(function(self.rows), support or self.support)


def _bound(method: Callable[..., Any], x: LapTuple) -> Callable[..., Any]:
    return lambda *args, **kwargs: LapTuple.__torch_function__(method, (LapTuple,), (x, *args), kwargs)


def _operator(name: str) -> Callable[..., Any]:
    return lambda self, *args: _bound(getattr(Tensor, name), self)(*args)


# Python looks operators up on the class, past __getattr__.
OPERATORS = "add radd iadd imul sub rsub mul rmul truediv rtruediv neg pow rpow matmul getitem"
for _name in OPERATORS.split():
    setattr(LapTuple, f"__{_name}__", _operator(f"__{_name}__"))
