"""LapNet: attention whose weights depend on single electrons, so that their derivatives stay sparse.

References:
    Li et al., Nat. Mach. Intell. 6, 209 (2024), doi:10.1038/s42256-024-00794-x, arXiv:2307.08214.

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


class LapNet(nn.Module):
    """psi = e^J sum_k det[phi^k_i(r_j; {r_/j})] with two streams of electron features.

    The single stream of an electron depends on that electron alone and gives queries and keys; the mixed stream gives
    values and gathers them.
    """

    def __init__(
        self,
        molecule: Molecule,
        *,
        n_layers: int = 4,
        n_heads: int = 4,
        head_size: int = 64,
        n_single: int = 2,
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
            n_single: updates of the single stream between two layers.
            seed: seed of the initial weights.
            dtype: precision of the weights and of the positions to come.
            **head: what follows the electron features, as in `HeadOptions`.

        Raises:
            ValueError: if a size is not positive, a name unknown or the network too narrow for the electrons.
        """
        super().__init__()
        check_molecule(molecule)
        sizes = {"n_layers": n_layers, "n_heads": n_heads, "head_size": head_size, "n_single": n_single}
        check_sizes(**sizes)
        self.molecule, self.frame = molecule, Frame(molecule)
        width = n_heads * head_size
        # torch draws default weights, which are replaced below: keep them off the global generator.
        with torch.random.fork_rng(devices=[]):
            self.embedding = Embedding(molecule, width, bias=True)
            self.layers = nn.ModuleList(LapNetLayer(n_heads, head_size) for _ in range(n_layers))
            self.single = nn.ModuleList(SingleStream(width, n_single) for _ in range(n_layers - 1))
            self.head = DeterminantHead(molecule, width, **head)
        self.settings = {**sizes, **self.head.settings, "seed": seed}
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
        return self._mixed_stream(inputs), inputs

    def _mixed_stream(self, inputs: Features) -> Tensor:
        single = mixed = self.embedding(inputs)
        for i, layer in enumerate(self.layers):
            if i:
                single = self.single[i - 1](single)
            mixed = layer(single, mixed)
        return mixed


class LapNetLayer(nn.Module):
    """Attention from the single to the mixed stream, then a perceptron, each added to the mixed stream."""

    neutral_without = ("attention.output", "update")

    def __init__(self, n_heads: int, head_size: int) -> None:
        """Create the parts.

        Args:
            n_heads: number of heads.
            head_size: features of a head.
        """
        super().__init__()
        self.attention = Attention(n_heads, head_size, bias=True)
        self.update = Linear(n_heads * head_size, n_heads * head_size)

    def forward(self, single: Tensor, mixed: Tensor) -> Tensor:
        """Update the mixed stream.

        Args:
            single: features of each electron alone, shape (B, N, F).
            mixed: features that depend on all electrons, shape (B, N, F).

        Returns:
            New mixed stream, shape (B, N, F).
        """
        mixed = mixed + self.attention(single, mixed)
        return mixed + tanh(self.update(mixed))


class SingleStream(nn.Module):
    """Perceptrons that see one electron each, added to what comes in."""

    def __init__(self, width: int, count: int) -> None:
        """Create the linear maps.

        Args:
            width: features F.
            count: perceptrons in a row.
        """
        super().__init__()
        self.updates = nn.ModuleList(Linear(width, width) for _ in range(count))

    def forward(self, h: Tensor) -> Tensor:
        """Update the single stream.

        Args:
            h: shape (B, N, F).

        Returns:
            Shape (B, N, F).
        """
        for update in self.updates:
            h = h + tanh(update(h))
        return h
