"""Linear maps, tanh and short sums in the fastest form that torch offers on a CPU.

For float32 on a CPU torch multiplies matrices with MKL, whose kernels reach half the speed of oneDNN's on AMD
processors with AVX-512 and up to three times it on Intel's. On AMD processors it evaluates tanh five times slower than
oneDNN does, on Intel's it is oneDNN that takes several times as long, most of it to bring numbers there and back. Both
libraries are part of torch. The detour through oneDNN has no derivative formulas, so it is taken in inference mode
only, and where a function is traced to be compiled.
"""

import os
import platform
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qmcnet.checks import one_of

SMALLEST_PRODUCT = 2**20
SMALLEST_TANH = 2**12
"""Multiplications and elements below which the fixed cost of a oneDNN call, about 15 microseconds, is not won back."""

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
"""Whether this build of torch has oneDNN."""

LIBRARIES = ("onednn", "mkl")
"""What may multiply float32 matrices on a CPU: oneDNN, or what torch uses by itself, on x86 MKL."""
CPUINFO = Path("/proc/cpuinfo")
"""Where Linux describes the processor."""

_recorded: str | None = None


def processor() -> str:
    """Name the maker of the CPU.

    Returns:
        'AMD', 'Intel', or an empty string if it is another or not to be found out.
    """
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    text = next((line for line in text.splitlines() if line.startswith("vendor_id")), platform.processor())
    if platform.system() == "Darwin" and platform.machine() == "x86_64":
        return "Intel"
    return next((name for name in ("AMD", "Intel") if name in text), "")


def model_name() -> str:
    """Name the processor for people.

    Returns:
        Its model, or its architecture where the system does not say more.
    """
    text = CPUINFO.read_text(errors="replace") if CPUINFO.exists() else ""
    found = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def choose_library() -> str:
    """Choose what multiplies matrices on this CPU.

    Returns:
        'mkl' on a processor of Intel and where this build of torch has no oneDNN, or else 'onednn'.
    """
    return "mkl" if not HAS_ONEDNN or processor() == "Intel" else "onednn"


@cache
def library() -> str:
    """Tell what multiplies float32 matrices on the CPU.

    Returns:
        What the environment variable QMCNET_CPU_KERNELS asks for; unless it is 'auto', what the run that this process
        continues was started with, so that it rounds alike on another processor; the choice for this one.

    Raises:
        ValueError: if the variable is none of onednn, mkl and auto, or there is no oneDNN.
    """
    asked = os.environ.get("QMCNET_CPU_KERNELS", "auto")
    one_of((*LIBRARIES, "auto"), QMCNET_CPU_KERNELS=asked)
    if asked == "onednn" and not HAS_ONEDNN:
        raise ValueError("QMCNET_CPU_KERNELS='onednn': this build of torch has no oneDNN; use mkl or auto")
    found = asked if asked != "auto" else _recorded or choose_library()
    return found if HAS_ONEDNN else "mkl"


def use_library(recorded: str | None) -> None:
    """Multiply matrices from now on as a run did that is continued.

    Args:
        recorded: what `library` returned there; None for the choice for this processor.
    """
    global _recorded
    _recorded = recorded
    library.cache_clear()


_tracing = ContextVar("_tracing", default=False)


@contextmanager
def traceable() -> Generator[None, None, None]:
    """Use operations that the compiler can follow."""
    token = _tracing.set(True)
    try:
        yield
    finally:
        _tracing.reset(token)


def tracing() -> bool:
    """Tell whether a function is being traced to be compiled."""
    return _tracing.get()


@torch.library.custom_op("qmcnet::linear", mutates_args=())
def traced_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a linear map by oneDNN, as one operation for the compiler.

    Args:
        x: shape (..., F).
        weight: shape (G, F).

    Returns:
        x weight^T, shape (..., G).
    """
    return onednn_linear(x, weight, None)


@traced_linear.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], len(weight)))


def detour(x: Tensor) -> bool:
    """Tell whether oneDNN may take over the arithmetic on a tensor.

    Args:
        x: any tensor.

    Returns:
        True for float32 on a CPU in inference mode or under tracing.
    """
    eligible = HAS_ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32
    return eligible and (torch.is_inference_mode_enabled() or _tracing.get())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear map to the last axis: x weight^T + bias.

    Args:
        x: shape (..., F).
        weight: shape (G, F).
        bias: shape (G,).

    Returns:
        The product, shape (..., G).
    """
    if library() == "onednn" and detour(x) and x.numel() * len(weight) >= SMALLEST_PRODUCT:
        if _tracing.get():
            product: Tensor = traced_linear(x, weight)
            return product if bias is None else product + bias
        return onednn_linear(x, weight, bias)
    return F.linear(x, weight, bias)


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear map by oneDNN.

    Args:
        x: shape (..., F), float32, on a CPU.
        weight: shape (G, F).
        bias: shape (G,).

    Returns:
        The product, shape (..., G).
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(packed(x), packed(weight), bias, "none", [], "")
    return product


def packed(x: Tensor) -> Tensor:
    """Lay a tensor out without gaps between its rows, for which oneDNN has no fast kernel.

    Args:
        x: any shape.

    Returns:
        The same numbers, copied if need be.
    """
    return x if x.is_contiguous() or (x.ndim == 2 and x.mT.is_contiguous()) else x.contiguous()


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Multiply batches of matrices.

    Args:
        x: shape (M, R, n).
        y: shape (M, n, n).

    Returns:
        The products, shape (M, R, n).
    """
    return linear(x[0], y[0].mT)[None] if len(x) == 1 else torch.bmm(x, y)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent.

    Args:
        x: any tensor, tracked or not.

    Returns:
        tanh(x).
    """
    large = isinstance(x, Tensor) and x.numel() >= SMALLEST_TANH
    if large and library() == "onednn" and detour(x) and not _tracing.get():
        return x.to_mkldnn().tanh_().to_dense()
    return torch.tanh(x)


SHORT_AXIS = 8
"""Entries along an axis up to which adding slices beats a reduction of torch on a CPU, up to eight times."""


def summation(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Sum over one axis.

    Args:
        x: any tensor, tracked or not.
        dim: axis.
        keepdim: keep the axis with length one.

    Returns:
        The sum.
    """
    short = isinstance(x, Tensor) and x.device.type == "cpu" and not torch.is_grad_enabled()
    if not short or not 2 <= x.shape[dim] <= SHORT_AXIS:
        return torch.sum(x, dim, keepdim=keepdim)
    first, second, *others = x.unbind(dim)
    total = first + second
    for other in others:
        total += other
    return total.unsqueeze(dim) if keepdim else total


LONG_ROW = 2**13
"""Entries of a row from which adding up squares row by row, within the cache, beats squaring all rows first."""


def sum_of_squares(rows: Tensor) -> Tensor:
    """Add up the squares of rows.

    Args:
        rows: shape (D, ...).

    Returns:
        Shape (...).
    """
    if rows.device.type != "cpu" or _tracing.get() or torch.is_grad_enabled() or rows[0].numel() < LONG_ROW:
        return rows.square().sum(0)
    total = torch.zeros_like(rows[0])
    for row in rows.unbind(0):
        total.addcmul_(row, row)
    return total


def mean(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Average over one axis.

    Args:
        x: any tensor, tracked or not.
        dim: axis.
        keepdim: keep the axis with length one.

    Returns:
        The mean.
    """
    return summation(x, dim, keepdim) * (1 / x.shape[dim])


class Linear(nn.Linear):
    """torch's linear layer, faster where no gradient is asked for."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to the last axis.

        Args:
            input: shape (..., F), tracked or not.

        Returns:
            Shape (..., G).
        """
        if isinstance(input, Tensor):
            return linear(input, self.weight, self.bias)
        return F.linear(input, self.weight, self.bias)
