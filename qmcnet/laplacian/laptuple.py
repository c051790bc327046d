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
from weakref import ref

import torch
from torch import Tensor

from qmcnet.laplacian.in_place import IN_PLACE, INSTEAD, SHARED, name_of
from qmcnet.laplacian.supports import Kind, Support, dense_support, scatter

RULES: dict[Callable[..., Any], Callable[..., Any]] = {}

VIEWS: set[Callable[..., Any]] = set()
"""Functions whose result may share the memory of their first argument, so that writing into one changes the other."""


def rule(*functions: Callable[..., Any], view: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the derivative rule of one or more torch functions.

    A rule takes the arguments of the torch function, with LapTuples in place of some tensors, and returns a
    LapTuple. Register both the function and the tensor method: `@rule(torch.exp, torch.Tensor.exp)`.

    Args:
        *functions: the torch functions that the decorated rule replaces.
        view: whether torch may return a view of the first argument.

    Returns:
        A decorator that registers the rule and returns it unchanged.
    """

    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        """Keep the rule of each function."""
        VIEWS.update(functions if view else ())
        RULES.update(dict.fromkeys(functions, implementation))
        return implementation

    return register


class LapTuple:
    """A tensor that depends on the electron positions, with its first and second derivatives.

    Jacobian, Laplacian and value are the rows of one tensor, so that a linear map acts on all of them in one product.
    Rules write into their results where nothing is recorded for autograd, and leave all as it is where something is, so
    that the result can be differentiated once more, by whatever requires a gradient.

    Attributes:
        rows: the D directions of the jacobian, then the Laplacian, then the value, shape (D + 2, B, ...).
        support: which electrons each entry depends on; sets the meaning of the D directions.
        relatives: it and its views, or what it is a view of; None as long as there are none.
        untouched: whether it still is what `track` made: the positions themselves.
    """

    __slots__ = ("__weakref__", "_split", "relatives", "rows", "support", "untouched")

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
        self.relatives: list[ref[LapTuple]] | None = None
        self.untouched = False
        self._split: tuple[Tensor, ...] | None = None

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
        result.relatives, result.untouched, result._split = None, False, None
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

        What is written in place goes into a tensor of its own; into one that shares its numbers it is refused, because
        rules do not keep views and what they look at in step.

        Args:
            func: the torch function called.
            types: argument types that take part in the dispatch.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            The result of the registered rule.

        Raises:
            NotImplementedError: if no rule is registered for the function, or it writes where it may not.
        """
        options = dict(kwargs or {})
        writes = options.pop("inplace", False) or func in IN_PLACE
        if options.pop("out", None) is not None:
            raise NotImplementedError(f"{name_of(func)} with out= is not tracked: use the tensor that it returns")
        if writes and not isinstance(args[0], LapTuple):
            raise NotImplementedError(f"{name_of(func)} writes a tracked tensor into one that is not: {INSTEAD}")
        if writes and args[0].is_shared():
            raise NotImplementedError(f"{name_of(func)} {SHARED}")
        call = RULES.get(func) or RULES.get(IN_PLACE.get(func, func))
        if call is None:
            advice = INSTEAD if name_of(func)[-1] == "_" else f"add one with qmcnet.laplacian.rule({name_of(func)})"
            raise NotImplementedError(
                f"the forward Laplacian has no rule for torch function {name_of(func)!r}; {advice}, or use the back "
                "end laplacian=torch_func"
            )
        result = call(*args, **options)
        if writes:
            return args[0].become(result)
        if func in VIEWS:
            args[0].relate(result)
        return result

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
        return self._parts()[2].squeeze(0) if torch.is_grad_enabled() else self.rows[-1]

    @property
    def jacobian(self) -> Tensor:
        """First derivatives, directions first, shape (D, B, ...)."""
        return self._parts()[0] if torch.is_grad_enabled() else self.rows[:-2]

    @property
    def laplacian(self) -> Tensor:
        """Sum of the second derivatives, shape (B, ...)."""
        return self._parts()[1].squeeze(0) if torch.is_grad_enabled() else self.rows[-2]

    def _parts(self) -> tuple[Tensor, ...]:
        """Split the rows once, of which autograd puts the gradients together once and not for each use."""
        if self._split is None:
            self._split = self.rows.split([len(self.rows) - 2, 1, 1])
        return self._split

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

    def become(self, result: LapTuple) -> LapTuple:
        """Take over the numbers of another quantity, as an operation in place does.

        Args:
            result: of the same shape.

        Returns:
            This object.

        Raises:
            RuntimeError: if the shape would change, or numbers would not fit into the type.
        """
        if result.shape != self.shape or not torch.can_cast(result.dtype, self.dtype):
            raise RuntimeError(
                f"in place, a tensor of shape {tuple(self.shape)} and {self.dtype} cannot become one of "
                f"{tuple(result.shape)} and {result.dtype}"
            )
        self.rows, self.support, self.untouched = result.rows.to(self.dtype), result.support, False
        self._split = None
        return self

    def relate(self, views: LapTuple | tuple[LapTuple, ...]) -> None:
        """Remember which tensors torch would keep in the same memory as this one.

        Args:
            views: made from this tensor.
        """
        if self.relatives is None:
            self.relatives = [ref(self)]
        for view in views if isinstance(views, tuple) else (views,):
            if view is not self:
                view.relatives = self.relatives
                self.relatives.append(ref(view))

    def is_shared(self) -> bool:
        """Tell whether a view of this tensor, or what it is a view of, still lives."""
        return any(other() is not None and other() is not self for other in self.relatives or ())

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
OPERATORS = "add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv pow rpow ipow neg matmul getitem "
OPERATORS += "setitem eq ne lt le gt ge bool"
for _name in OPERATORS.split():
    setattr(LapTuple, f"__{_name}__", _operator(f"__{_name}__"))
