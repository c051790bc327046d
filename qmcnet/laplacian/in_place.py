"""What the forward Laplacian knows of operations that write into a tensor."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

IN_PLACE = {
    getattr(Tensor, name): getattr(Tensor, plain)
    for name in dir(Tensor)
    for plain in (f"__{name[3:]}" if name.startswith("__i") else name[:-1],)
    if (name.startswith("__i") or name[-1] == "_" != name[0]) and callable(getattr(Tensor, plain, None))
}
"""Methods of a tensor that write their result into it, and the methods that return it."""

INSTEAD = "instead of writing into a tensor make it by torch.where, torch.cat or torch.stack"

SHARED = (
    "writes into a tensor that shares its numbers with a view of it, or with what it is a view of, which the forward "
    "Laplacian does not keep in step: use the operation that returns its result, as y = 2 * x for x *= 2, or write "
    "into a copy, x.clone()"
)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a torch function, such as 'torch.Tensor.add_'."""
    return torch.overrides.resolve_name(function) or repr(function)
