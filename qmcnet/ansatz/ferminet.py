"""The Fermionic neural network.

References:
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429.

Letters: B walkers, N electrons, A nuclei, K determinants, F features.
"""

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from qmcnet.ansatz.embedding import check_sizes, draw_weights
from qmcnet.ansatz.features import Features, check_molecule, spin_slices
from qmcnet.ansatz.frame import Frame
from qmcnet.ansatz.head import DeterminantHead, HeadOptions
from qmcnet.compute.kernels import Linear, mean, tanh
from qmcnet.system.molecule import Molecule


class FermiNet(nn.Module):
    """psi = e^J sum_k det[phi^k_i(r_j; {r_/j})], antisymmetric in electrons of equal spin.

    Equals the network of the paper with its concatenated features [own, pair means, means] split into two linear
    maps, so that the means over electrons are contracted once per walker and not once per electron.
    """

    def __init__(
        self,
        molecule: Molecule,
        *,
        n_layers: int = 4,
        hidden_one: int = 256,
        hidden_two: int = 32,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        **head: Unpack[HeadOptions],
    ) -> None:
        """Build the network with random weights.

        Args:
            molecule: the system, whose nuclei and spins set the shapes.
            n_layers: interaction layers.
            hidden_one: features of the one-electron stream.
            hidden_two: features of the two-electron stream.
            seed: seed of the initial weights.
            dtype: precision of the weights and of the positions to come.
            **head: what follows the electron features, as in `HeadOptions`. By default there is no Jastrow factor.

        Raises:
            ValueError: if a size is not positive, a name unknown or the network too narrow for the electrons.
        """
        super().__init__()
        check_molecule(molecule)
        sizes = {"n_layers": n_layers, "hidden_one": hidden_one, "hidden_two": hidden_two}
        check_sizes(**sizes)
        self.molecule, self.frame = molecule, Frame(molecule)
        n_up, n_down, n_nuclei = molecule.n_up, molecule.n_down, len(molecule.symbols)
        one, two = [4 * n_nuclei] + [hidden_one] * n_layers, [4] + [hidden_two] * (n_layers - 1)
        # torch draws default weights, which `initialize` replaces: keep them off the global generator.
        with torch.random.fork_rng(devices=[]):
            self.layers = nn.ModuleList(
                InteractionLayer(n_up, n_down, one[i], two[i], one[i + 1], two[i + 1] if i + 1 < n_layers else None)
                for i in range(n_layers)
            )
            self.head = DeterminantHead(molecule, hidden_one, **({"jastrow": "none"} | head))
        self.settings = {**sizes, **self.head.settings, "seed": seed}
        self.to(dtype)
        initialize(self, torch.Generator().manual_seed(seed))

    def orbitals(self, positions: Tensor, nuclei: Tensor) -> list[Tensor]:
        """Evaluate the orbital matrices.

        Args:
            positions: electron positions, spin-up electrons first, shape (B, N, 3), in bohr.
            nuclei: nuclear positions, shape (A, 3), in bohr.

        Returns:
            One matrix per spin, shape (B, S K, n, M).
        """
        return self.head.orbitals(*self._streams(positions, nuclei))

    def forward(self, positions: Tensor, nuclei: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            positions: electron positions, spin-up electrons first, shape (B, N, 3), in bohr.
            nuclei: nuclear positions, shape (A, 3), in bohr.

        Returns:
            sign and log_abs_psi of S states, each (B, S).
        """
        return self.head(*self._streams(positions, nuclei))

    def _streams(self, positions: Tensor, nuclei: Tensor) -> tuple[Tensor, Features]:
        inputs = self.frame(positions, nuclei)
        return self._one_electron_stream(inputs), inputs

    def _one_electron_stream(self, inputs: Features) -> Tensor:
        h_one = torch.cat([inputs.r_en, inputs.d_en[..., None]], -1).flatten(-2)  # (B, N, 4A)
        h_two = torch.cat([inputs.r_ee, inputs.d_ee[..., None]], -1)  # (B, N, N, 4)
        for layer in self.layers:
            h_one, h_two = layer(h_one, h_two)
        return h_one


class InteractionLayer(nn.Module):
    """One layer: each electron sees itself, the mean of each spin, and the mean of its pairs with each spin."""

    neutral_without = ("own", "mean")  # then a layer between equal widths divides by sqrt(2), and psi by a constant

    def __init__(self, n_up: int, n_down: int, one_in: int, two_in: int, one_out: int, two_out: int | None) -> None:
        """Create the linear maps.

        Args:
            n_up: number of spin-up electrons, which come first.
            n_down: number of spin-down electrons.
            one_in: features of the one-electron stream coming in.
            two_in: features of the two-electron stream coming in.
            one_out: features of the one-electron stream going out.
            two_out: features of the two-electron stream going out; None in the last layer, which does not need it.
        """
        super().__init__()
        self.spins = spin_slices(n_up, n_down)
        self.own = Linear(one_in + len(self.spins) * two_in, one_out)
        self.mean = Linear(len(self.spins) * one_in, one_out, bias=False)
        self.pair = None if two_out is None else Linear(two_in, two_out)

    def forward(self, h_one: Tensor, h_two: Tensor) -> tuple[Tensor, Tensor]:
        """Update both streams.

        Args:
            h_one: one-electron stream, shape (B, N, F).
            h_two: two-electron stream, shape (B, N, N, G).

        Returns:
            The streams with their new features.
        """
        means = torch.cat([mean(h_one[..., spin, :], -2, keepdim=True) for spin in self.spins], -1)  # (B, 1, 2F)
        pair_means = [mean(h_two[..., spin, :], -2) for spin in self.spins]  # (B, N, G) each
        update = self.own(torch.cat([h_one, *pair_means], -1))  # (B, N, F)
        update += self.mean(means)
        h_one = residual(h_one, tanh(update))
        return h_one, h_two if self.pair is None else residual(h_two, tanh(self.pair(h_two)))


def residual(old: Tensor, new: Tensor) -> Tensor:
    """Add the old features where the shape allows, keeping the variance.

    Args:
        old: features coming in.
        new: features going out.

    Returns:
        (old + new) / sqrt(2), or the new features where the widths differ.
    """
    if old.shape != new.shape:
        return new
    total = old + new
    total *= math.sqrt(0.5)
    return total


@torch.no_grad()
def initialize(network: FermiNet, generator: torch.Generator) -> None:
    """Draw weights with variance 1/fan-in, counting the inputs of the concatenated layer of the paper.

    Args:
        network: the network; changed.
        generator: source of randomness, on the CPU, so that a seed means the same weights on every device.
    """
    for layer in network.layers:
        assert isinstance(layer, InteractionLayer)
        fan_in = layer.own.in_features + layer.mean.in_features
        for module in [layer.own, layer.mean]:
            module.weight.normal_(0, fan_in**-0.5, generator=generator)
        layer.own.bias.normal_(0, 1, generator=generator)
        if layer.pair is not None:
            layer.pair.weight.normal_(0, layer.pair.in_features**-0.5, generator=generator)
            layer.pair.bias.normal_(0, 1, generator=generator)
    draw_weights(network.head, generator)
