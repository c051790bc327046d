"""Values, gradients and Laplacians of wavefunctions written in ordinary torch functions."""

from qmcnet.laplacian import arithmetic, attention, pointwise, products, rearrange
from qmcnet.laplacian.backends import (
    ForwardLaplacian,
    TorchFuncLaplacian,
    automatic_chunk_size,
    forward_laplacian,
    torch_func_laplacian,
)
from qmcnet.laplacian.determinant import signed_log_sum
from qmcnet.laplacian.functional import laplacian
from qmcnet.laplacian.laptuple import LapTuple, rule
from qmcnet.laplacian.structure import pair_differences, track

__all__ = [
    "ForwardLaplacian",
    "LapTuple",
    "TorchFuncLaplacian",
    "arithmetic",
    "attention",
    "automatic_chunk_size",
    "forward_laplacian",
    "laplacian",
    "pair_differences",
    "pointwise",
    "products",
    "rearrange",
    "rule",
    "signed_log_sum",
    "torch_func_laplacian",
    "track",
]
