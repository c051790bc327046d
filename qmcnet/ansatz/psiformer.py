"""The Psiformer: self-attention over electrons.

References:
    von Glehn, Spencer, Pfau, ICLR 2023, arXiv:2211.13672.

Letters: B walkers, N electrons, A nuclei, K determinants, F features.
"""

from typing import Unpack

import torch
from torch import Tensor, nn

from qmcnet.ansatz.attention import Attention
from qmcnet.ansatz.embedding import Embedding, check_sizes, draw_weights
from qmcnet.ansatz.features import Features, check_molecule
from qmcnet.ansatz.frame import Frame
from qmcnet.ansatz.head import DeterminantHead, HeadOptions
from qmcnet.compute.kernels import Linear, tanh
from qmcnet.system.molecule import Molecule


class Psiformer(nn.Module):
    """psi = e^J sum_k det[phi^k_i(r_j; {r_/j})] with electron features by self-attention."""

    def __init__(
        self,
        molecule: Molecule,
        *,
        n_layers: int = 4,
        n_heads: int = 4,
        head_size: int = 64,
        perceptron_size: int = 256,
        layer_norm: bool = True,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        **head: Unpack[HeadOptions],
    ) -> None:
        """Build the network with random weights.

        Args:
            molecule: the system, whose nuclei and spins set the shapes.
            n_layers: attention layers.
            n_heads: heads of a layer.
            head_size: features of a head.
            perceptron_size: hidden features of the perceptron of a layer.
            layer_norm: normalise the features after attention and perceptron.
            seed: seed of the initial weights.
            dtype: precision of the weights and of the positions to come.
            **head: what follows the electron features, as in `HeadOptions`.

        Raises:
            ValueError: if a size is not positive, a name unknown or the network too narrow for the electrons.
        """
        super().__init__()
        check_molecule(molecule)
        sizes = {"n_layers": n_layers, "n_heads": n_heads, "head_size": head_size, "perceptron_size": perceptron_size}
        check_sizes(**sizes)
        self.molecule, self.frame = molecule, Frame(molecule)
        width = n_heads * head_size
        # torch draws default weights, which are replaced below: keep them off the global generator.
        with torch.random.fork_rng(devices=[]):
            self.embedding = Embedding(molecule, width, bias=False)
            layers = (PsiformerLayer(n_heads, head_size, perceptron_size, layer_norm) for _ in range(n_layers))
            self.layers = nn.Sequential(*layers)
            self.head = DeterminantHead(molecule, width, **head)
        self.settings = {**sizes, "layer_norm": layer_norm, **self.head.settings, "seed": seed}
        self.to(dtype)
        draw_weights(self, torch.Generator().manual_seed(seed))

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
        return self.layers(self.embedding(inputs)), inputs


class PsiformerLayer(nn.Module):
    """Self-attention, then a perceptron, each added to what comes in and normalised."""

    def __init__(self, n_heads: int, head_size: int, perceptron_size: int, layer_norm: bool) -> None:
        """Create the parts.

        Args:
            n_heads: number of heads H.
            head_size: features of a head.
            perceptron_size: hidden features of the perceptron.
            layer_norm: normalise after attention and perceptron.
        """
        super().__init__()
        width = n_heads * head_size
        self.attention = Attention(n_heads, head_size)
        self.hidden, self.out = Linear(width, perceptron_size), Linear(perceptron_size, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) if layer_norm else nn.Identity() for _ in range(2))
        self.neutral_without = () if layer_norm else ("attention.output", "out")  # norms change what comes in

    def forward(self, h: Tensor) -> Tensor:
        """Update the electron features.

        Args:
            h: electron features, shape (B, N, F).

        Returns:
            New features, shape (B, N, F).
        """
        h = self.norms[0](h + self.attention(h, h))
        new: Tensor = self.norms[1](h + tanh(self.out(tanh(self.hidden(h)))))
        return new
