import pytest
import torch

from qmcnet import FermiNet, FirstOrder, ForwardLaplacian, Metropolis, MolecularHamiltonian, Molecule, Spring
from qmcnet.sampling import initial_positions

OPTIMIZERS = {
    "spring": lambda ansatz: Spring(ansatz, learning_rate=0.05, decay_steps=200),
    "adam": lambda ansatz: FirstOrder(ansatz, name="Adam", learning_rate=5e-3, decay_steps=None),
}
EXACT = {"H": -0.5, "He": -2.903724}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("symbol", EXACT)
def test_a_hundred_updates_lower_the_energy_but_not_below_the_exact_one(symbol, optimizer):
    molecule = Molecule.atom(symbol)
    ansatz = FermiNet(molecule, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=1, dtype=torch.float64)
    hamiltonian = MolecularHamiltonian(molecule, ForwardLaplacian())
    optimize, sampler = OPTIMIZERS[optimizer](ansatz), Metropolis(steps=5)
    generator = torch.Generator().manual_seed(2)
    state = sampler.start(initial_positions(molecule, 128, generator, torch.float64, "cpu"))

    def sweep(count):
        nonlocal state
        for _ in range(count):
            state, _ = sampler.sweep(lambda r: 2 * ansatz(r)[1], state, generator)
        return hamiltonian.local_energy(ansatz, state.positions).total

    def measure():
        samples = torch.stack([sweep(4) for _ in range(25)])  # (T, B); the walkers are independent
        return samples.mean().item(), (samples.mean(0).std() / len(samples[0]) ** 0.5).item()

    sweep(20)
    before, error_before = measure()
    for _ in range(100):
        energies = sweep(1)
        optimize.update(state.positions, energies)
    sweep(10)
    after, error_after = measure()
    assert after < before - 4 * (error_before + error_after)
    assert after > EXACT[symbol] - 4 * error_after
