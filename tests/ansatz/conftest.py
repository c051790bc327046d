import math

import members
import pytest
import torch

from qmcnet import ForwardLaplacian, Metropolis, MolecularHamiltonian, Molecule, NaturalStates
from qmcnet.ansatz import FermiNet, LapNet, Psiformer
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.chemistry.targets import excited_determinants
from qmcnet.stages.pretraining import Pretraining, PretrainingSettings
from qmcnet.stages.simulation import Simulation

DOUBLE = torch.float64
CHOSEN = {
    FermiNet: {"n_layers": 3, "hidden_one": 12, "hidden_two": 5},
    Psiformer: {"n_layers": 2, "n_heads": 2, "head_size": 5, "perceptron_size": 7},
    LapNet: {"n_layers": 3, "n_heads": 2, "head_size": 5, "n_single": 2},
}
SMALL = members.sizes(CHOSEN, n_determinants=3)


@pytest.fixture(scope="session")
def small():
    """Small networks without gradients."""

    def build(ansatz, molecule, dtype=DOUBLE, **options):
        return ansatz(molecule, **{**SMALL[ansatz], "seed": 2, **options}, dtype=dtype).requires_grad_(False)

    return build


@pytest.fixture(scope="session")
def randomized():
    """Move every parameter away from its initial value, which some share."""

    def moved(module, scale=0.3):
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(scale * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator))
        return module

    return moved


@pytest.fixture(scope="session")
def walkers():
    def draw(molecule, n_walkers=8, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n_walkers, molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)

    return draw


def jastrow_of(head, r, n_up):
    if head.jastrow is None:
        return 0.0
    total = 0.0
    for i in range(len(r)):
        for j in range(i):
            equal = (i < n_up) == (j < n_up)
            cusp, a = (1 / 4, head.jastrow.range[0]) if equal else (1 / 2, head.jastrow.range[1])
            total -= cusp * a**2 / (a + (r[i] - r[j]).norm())
    return total


@pytest.fixture(scope="session")
def plain_head():
    """Evaluate psi of one walker from the features of its electrons, one electron and one determinant at a time."""

    def evaluate(network, h, r):
        n_up, nuclei, orbitals, total = network.molecule.n_up, network.molecule.nuclei, network.head.orbitals, 0
        spins = [spin for spin in (range(n_up), range(n_up, len(r))) if len(spin)]
        for k in range(orbitals.n_determinants):
            blocks = []
            for spin, linear, envelope in zip(spins, orbitals.linear, orbitals.envelope, strict=True):
                size = linear.out_features // orbitals.n_determinants
                columns = slice(k * size, (k + 1) * size)
                rows = []
                for i in spin:
                    decay = 0
                    for a, nucleus in enumerate(nuclei):
                        decay += envelope.weight[a, columns] * torch.exp(
                            -envelope.exponent[a, columns] * (r[i] - nucleus).norm()
                        )
                    rows.append(linear.weight[columns] @ h[i] * decay)
                blocks.append(torch.stack(rows))
            square = blocks[0].shape[0] == blocks[0].shape[1]
            total = total + (math.prod(block.det() for block in blocks) if square else torch.cat(blocks).det())
        return total * math.exp(jastrow_of(network.head, r, n_up))

    return evaluate


@pytest.fixture(scope="session")
def plain_embedding():
    """Embed the electrons of one walker as the formulas read: [r log(1 + d) / d, log(1 + d)] and the spin."""

    def embed(network, r):
        weight, bias, h = network.embedding.linear.weight, network.embedding.linear.bias, []
        for i, position in enumerate(r):
            numbers = []
            for nucleus in network.molecule.nuclei:
                vector = position - nucleus
                distance = math.sqrt(sum(x * x for x in vector.tolist()))
                numbers += [x * math.log(1 + distance) / distance for x in vector.tolist()]
                numbers.append(math.log(1 + distance))
            numbers.append(1.0 if i < network.molecule.n_up else -1.0)
            h.append(weight @ torch.tensor(numbers, dtype=DOUBLE) + (0 if bias is None else bias))
        return h

    return embed


@pytest.fixture(scope="session")
def plain_attention():
    """Gather features head by head and electron by electron."""

    def gather(attention, looking, seen):
        n_heads, size = attention.shape

        def apply(linear, x):
            return linear.weight @ x + (0 if linear.bias is None else linear.bias)

        gathered = []
        for own in looking:
            parts = []
            for head in range(n_heads):
                part = slice(head * size, (head + 1) * size)
                query = apply(attention.query, own)[part]
                weights = [math.exp(query @ apply(attention.key, x)[part] / math.sqrt(size)) for x in looking]
                values = [apply(attention.value, x)[part] for x in seen]
                parts.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
            gathered.append(apply(attention.output, torch.cat(parts)))
        return gathered

    return gather


@pytest.fixture(scope="session")
def pretraining_errors():
    """Fit the orbitals of a network to Hartree-Fock and return the error of every step."""

    def errors(ansatz, full, steps=40):
        molecule = Molecule.atom("Li")
        network = ansatz(molecule, **SMALL[ansatz], full_determinants=full, dtype=DOUBLE)
        parts = NaturalStates(network), MolecularHamiltonian(molecule), ForwardLaplacian(), Metropolis(steps=10)
        simulation = Simulation.start(*parts, 16, 0, torch.device("cpu"))
        settings = PretrainingSettings(basis="sto-3g", learning_rate=1e-2, steps=steps)
        targets = excited_determinants(hartree_fock(molecule, "sto-3g", "uhf"), 1, "ordered", 0)
        stage = Pretraining(simulation, targets, settings)
        return [float(stage.advance()["mse"]) for _ in range(steps)]

    return errors
