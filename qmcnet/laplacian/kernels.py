"""Linear maps and tanh through the fastest CPU library that torch ships.

For float32 on a CPU torch multiplies matrices with MKL, whose kernels reach half the speed of oneDNN's on AMD
processors, and evaluates tanh five times slower than oneDNN does. Both libraries are part of torch. The detour has no
derivative formulas, so it is taken in inference mode only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_PRODUCT = 2**20
SMALLEST_TANH = 2**12
"""Multiplications and elements below which the fixed cost of a oneDNN call, about 15 microseconds, is not won back."""


def detour(x: Tensor) -> bool:
    """Tell whether oneDNN may take over the arithmetic on a tensor.

    Args:
        x: any tensor.

    Returns:
        True for float32 on a CPU in inference mode.
    """
    eligible = x.device.type == "cpu" and x.dtype == torch.float32 and torch.is_inference_mode_enabled()
    return eligible and torch.backends.mkldnn.is_available()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear map to the last axis: x weight^T + bias.

    Args:
        x: shape (..., F).
        weight: shape (G, F).
        bias: shape (G,).

    Returns:
        The product, shape (..., G).
    """
    if detour(x) and x.numel() * len(weight) >= SMALLEST_PRODUCT:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent.

    Args:
        x: any tensor, tracked or not.

    Returns:
        tanh(x).
    """
    if isinstance(x, Tensor) and detour(x) and x.numel() >= SMALLEST_TANH:
        return x.to_mkldnn().tanh_().to_dense()
    return torch.tanh(x)


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
