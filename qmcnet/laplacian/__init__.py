"""Values, gradients and Laplacians of wavefunctions written in ordinary torch functions.

`laplacian(f)(positions)` differentiates f: (B, N, 3) -> (B,) in one forward pass; `ForwardLaplacian` is the same as a
back end of a Hamiltonian, `TorchFuncLaplacian` the slow reference. The function is called on a `LapTuple`, which stands
in for the positions and carries jacobian and Laplacian along. These operations have derivative rules, as functions and
as methods of tensors:

* linear layers, einsum, matmul, bmm, bilinear; + - * /; vector_norm;
* tanh, exp, expm1, log, log1p, sqrt, rsqrt, reciprocal, square, pow, sin, cos, erf, abs, sigmoid, relu, leaky_relu,
  elu, silu, gelu, softplus;
* softmax, log_softmax, logsumexp, logaddexp, scaled_dot_product_attention, layer_norm;
* sum, mean, indexing by slices, integers and None, index_select, cat, stack, complex, split, chunk, unbind, where,
  masked_fill, expand, reshape, flatten, unflatten, transpose, permute, movedim, squeeze, unsqueeze;
* slogdet and, from here, `signed_log_sum`, `scaled_exp` and `pair_differences`.

Their in-place forms, such as `x += y`, `x.tanh_()` and `inplace=True`, write into a tensor that shares its numbers with
no view still in use; into another one they are refused by name, as are `x[...] = y` and `out=`.

Another operation names itself and says that `rule` adds one: a function of LapTuples that builds the result from
`value`, `jacobian` and `laplacian`, or by `map_linear` where the operation is linear.
"""

from qmcnet.laplacian import arithmetic, attention, pointwise, products, rearrange
from qmcnet.laplacian.backends import (
    ForwardLaplacian,
    TorchFuncLaplacian,
    automatic_chunk_size,
    forward_laplacian,
    recorded_laplacian,
    torch_func_laplacian,
)
from qmcnet.laplacian.determinant import scaled_exp, signed_log_sum
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
    "recorded_laplacian",
    "rule",
    "scaled_exp",
    "signed_log_sum",
    "torch_func_laplacian",
    "track",
]
