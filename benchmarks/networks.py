"""Networks that the benchmarks measure beside those of the package.

`attention_network` is as large as the published Psiformer: self-attention over electrons whose inputs are the vectors
and distances to the nuclei alone.

References:
    von Glehn, Spencer, Pfau, ICLR 2023, arXiv:2211.13672.

Letters: B walkers, N electrons, A nuclei, F features, H heads.
"""

import torch
from torch import Tensor, nn

from qmcnet.ansatz.features import features
from qmcnet.ansatz.jastrow import ElectronCusp
from qmcnet.ansatz.orbitals import Orbitals, sum_of_determinants
from qmcnet.molecule import Molecule


class SelfAttention(nn.Module):
    """Electrons look at one another: sum_j softmax_j(q_i . k_j / sqrt(F / H)) v_j, for each head."""

    def __init__(self, n_heads: int, head_size: int) -> None:
        """Create the linear maps.

        Args:
            n_heads: number of heads H.
            head_size: features of a head.
        """
        super().__init__()
        self.shape = n_heads, head_size
        width = n_heads * head_size
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, h: Tensor) -> Tensor:
        """Let each electron gather the features of the others.

        Args:
            h: electron features, shape (B, N, F).

        Returns:
            Gathered features, shape (B, N, F).
        """
        # With the electrons left on axis 1 the first layer is tracked with three directions, not 3N.
        query, key, value = (linear(h).unflatten(-1, self.shape) for linear in (self.query, self.key, self.value))
        scores = torch.einsum("bihf,bjhf->bhij", query, key) * self.shape[1] ** -0.5  # (B, H, N, N)
        gathered = torch.einsum("bhij,bjhf->bihf", torch.softmax(scores, -1), value)  # (B, N, H, F / H)
        return self.output(gathered.flatten(-2))


class AttentionLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each added to what comes in and normalised."""

    def __init__(self, n_heads: int, head_size: int) -> None:
        """Create the parts.

        Args:
            n_heads: number of heads H.
            head_size: features of a head.
        """
        super().__init__()
        width = n_heads * head_size
        self.attention = SelfAttention(n_heads, head_size)
        self.perceptron = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, h: Tensor) -> Tensor:
        """Update the electron features.

        Args:
            h: electron features, shape (B, N, F).

        Returns:
            New features, shape (B, N, F).
        """
        h = self.norms[0](h + self.attention(h))
        return self.norms[1](h + self.perceptron(h))


class AttentionNetwork(nn.Module):
    """psi = e^J sum_k det[phi^k_i(r_j; {r_/j})] with features by self-attention; full determinants."""

    nuclei: Tensor
    spins: Tensor

    def __init__(
        self, molecule: Molecule, *, n_layers: int = 4, n_heads: int = 4, head_size: int = 64, n_determinants: int = 16
    ) -> None:
        """Create the parts.

        Args:
            molecule: the system, whose nuclei and spins set the shapes.
            n_layers: attention layers.
            n_heads: heads of a layer.
            head_size: features of a head.
            n_determinants: number of determinants K.
        """
        super().__init__()
        n_up, n_down, n_nuclei = molecule.n_up, molecule.n_down, len(molecule.symbols)
        width = n_heads * head_size
        self.register_buffer("nuclei", molecule.nuclei, persistent=False)
        self.register_buffer("spins", torch.tensor([1.0] * n_up + [-1.0] * n_down)[:, None], persistent=False)
        self.embedding = nn.Linear(4 * n_nuclei + 1, width, bias=False)
        self.layers = nn.Sequential(*(AttentionLayer(n_heads, head_size) for _ in range(n_layers)))
        self.orbitals = Orbitals(n_up, n_down, n_nuclei, width, n_determinants, True, "isotropic")
        self.jastrow = ElectronCusp(n_up, n_down)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            positions: electron positions, spin-up electrons first, shape (B, N, 3), in bohr.

        Returns:
            sign (B,) and log_abs_psi (B,).
        """
        inputs = features(positions, self.nuclei)
        distances = inputs.d_en[..., None]
        grown = torch.log1p(distances)
        rescaled = torch.cat([inputs.r_en * (grown / distances), grown], -1).flatten(-2)  # (B, N, 4A)
        spins = self.spins.expand(*rescaled.shape[:-1], 1)
        h = self.layers(self.embedding(torch.cat([rescaled, spins], -1)))
        sign, log_abs_psi = sum_of_determinants(self.orbitals(h, inputs))
        return sign, log_abs_psi + self.jastrow(inputs.d_ee)


@torch.no_grad()
def attention_network(
    molecule: Molecule, seed: int = 0, dtype: torch.dtype = torch.float32, **sizes: int
) -> AttentionNetwork:
    """Build the network with random weights of variance 1/fan-in.

    Args:
        molecule: the system.
        seed: seed of the weights.
        dtype: precision of the weights and of the positions to come.
        **sizes: sizes other than the published ones, as named by AttentionNetwork.

    Returns:
        The wavefunction.
    """
    with torch.random.fork_rng(devices=[]):
        network = AttentionNetwork(molecule, **sizes).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0, module.in_features**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
    return network
