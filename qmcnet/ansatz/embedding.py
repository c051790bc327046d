"""The first part of attention networks: one-electron features that grow slowly, and the weights that all start from.

References:
    von Glehn, Spencer, Pfau, ICLR 2023, arXiv:2211.13672.

Letters: B walkers, N electrons, A nuclei, F features.
"""

import torch
from torch import Tensor, nn

from qmcnet.ansatz.features import Features
from qmcnet.checks import between
from qmcnet.compute.kernels import Linear
from qmcnet.system.molecule import Molecule


class Embedding(nn.Module):
    """Linear map of the vectors to the nuclei, rescaled to the length log(1 + d), of these lengths, and of the spin."""

    spins: Tensor

    def __init__(self, molecule: Molecule, n_features: int, bias: bool) -> None:
        """Create the linear map.

        Args:
            molecule: the system.
            n_features: features F that go out.
            bias: whether the map has one.
        """
        super().__init__()
        spins = torch.tensor([1.0] * molecule.n_up + [-1.0] * molecule.n_down)
        self.register_buffer("spins", spins[:, None], persistent=False)
        self.linear = Linear(4 * len(molecule.symbols) + 1, n_features, bias=bias)

    def forward(self, features: Features) -> Tensor:
        """Embed the electrons.

        Args:
            features: vectors and distances to the nuclei.

        Returns:
            Electron features, shape (B, N, F).
        """
        distance = features.d_en[..., None]  # (B, N, A, 1)
        grown = torch.log1p(distance)
        rescaled = torch.cat([features.r_en * (grown / distance), grown], -1).flatten(-2)  # (B, N, 4A)
        spins = self.spins.expand(*rescaled.shape[:-1], 1)
        embedded: Tensor = self.linear(torch.cat([rescaled, spins], -1))
        return embedded


MOST_LAYERS, MOST = 1000, 100_000
"""Networks with more would take minutes to be made, and are slips of the finger."""


def check_sizes(**sizes: int) -> None:
    """Refuse sizes of a network that are not positive, or that nobody can mean.

    Args:
        **sizes: sizes by name.
    """
    for name, size in sizes.items():
        between(1, MOST_LAYERS if name.startswith("n_layer") else MOST, **{name: size})


@torch.no_grad()
def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of all linear maps with variance 1/fan-in, and their biases with variance one.

    Args:
        network: the network; changed.
        generator: source of randomness, on the CPU, so that a seed means the same weights on every device.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0, module.in_features**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.normal_(0, 1, generator=generator)
