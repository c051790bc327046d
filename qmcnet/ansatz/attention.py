"""Multi-head attention between electrons.

Letters: B walkers, N electrons, F features, H heads.
"""

import torch
from torch import Tensor, nn

from qmcnet.compute.kernels import Linear


class Attention(nn.Module):
    """Electrons look at one another: sum_j softmax_j(q_i . k_j / sqrt(F / H)) v_j for each head, then a linear map."""

    def __init__(self, n_heads: int, head_size: int, bias: bool = False) -> None:
        """Create the linear maps.

        Args:
            n_heads: number of heads H.
            head_size: features of a head.
            bias: whether the linear maps have one.
        """
        super().__init__()
        self.shape = n_heads, head_size
        width = n_heads * head_size
        self.query, self.key, self.value, self.output = (Linear(width, width, bias=bias) for _ in range(4))

    def forward(self, looking: Tensor, seen: Tensor) -> Tensor:
        """Let each electron gather the features of all.

        Args:
            looking: features that queries and keys come from, shape (B, N, F).
            seen: features that values come from, shape (B, N, F).

        Returns:
            Gathered features, shape (B, N, F).
        """
        # Electrons stay on axis 1, where features of one electron are tracked with three directions, not 3N.
        query, key = (linear(looking).unflatten(-1, self.shape) for linear in (self.query, self.key))
        value = self.value(seen).unflatten(-1, self.shape)  # (B, N, H, F / H)
        b = "bs"[: looking.ndim - 2]  # walkers, and states that each holds a position of
        scores = torch.einsum(f"{b}ihf,{b}jhf->{b}hij", query, key) * self.shape[1] ** -0.5  # (B, H, N, N)
        gathered = torch.einsum(f"{b}hij,{b}jhf->{b}ihf", torch.softmax(scores, -1), value)
        result: Tensor = self.output(gathered.flatten(-2))
        return result
