import itertools
import math

import members
import pytest
import torch
from echo import Rank
from evaluating import local_energy

from qmcnet import (
    FermiNet,
    ForwardLaplacian,
    LapNet,
    Metropolis,
    MolecularHamiltonian,
    Molecule,
    NaturalStates,
    Penalty,
    Psiformer,
)
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.chemistry.targets import excited_determinants
from qmcnet.compute.team import standing_in, team
from qmcnet.stages.pretraining import Pretraining, PretrainingSettings, orbital_error
from qmcnet.stages.simulation import Simulation

ACTIVE = ("active_electrons", "active_orbitals")
CHOSEN = {
    FermiNet: {"n_layers": 2, "hidden_one": 16, "hidden_two": 4},
    Psiformer: {"n_layers": 1, "n_heads": 2, "head_size": 8},
    LapNet: {"n_layers": 1, "n_heads": 2, "head_size": 8},
}
SIZES = members.sizes(CHOSEN)
LITHIUM = Molecule.atom("Li")  # two electrons up, one down
BERYLLIUM = Molecule.atom("Be")


def simulated(ensemble, batch_size):
    how = MolecularHamiltonian(ensemble.molecule), ForwardLaplacian(), Metropolis(steps=10)
    return Simulation.start(ensemble, *how, batch_size, 0, torch.device("cpu"))


def pretraining(molecule, full=True, batch_size=16, n_states=1, complex=False, **settings):
    sizes = {"n_layers": 1, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2, "n_states": n_states}
    ansatz = FermiNet(molecule, full_determinants=full, complex=complex, dtype=torch.float64, **sizes)
    targets = excited_determinants(hartree_fock(molecule, "sto-3g", "uhf"), n_states, "ordered", 0)
    simulation = simulated(NaturalStates(ansatz), batch_size)
    return Pretraining(simulation, targets, PretrainingSettings(basis="sto-3g", **settings))


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_error_of_block_determinants_in_closed_form():
    up = tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 4.0]]]])  # (1, K = 2, 2, 2)
    up_target = tensor([[[[1.0, 2.0], [3.0, 2.0]]]])  # (1, S = 1, 2, 2)
    down, down_target = tensor([[[[5.0]], [[2.0]]]]), tensor([[[[3.0]]]])
    # up: first determinant differs by 2 in one entry, second by 2, 3 and 2; 8 entries in all. Down: 2 and -1.
    expected = (4 + 4 + 9 + 4) / 8 + (4 + 1) / 2
    assert orbital_error([up, down], [up_target, down_target]).item() == pytest.approx(expected)


def test_error_of_full_determinants_fits_the_other_spin_to_zero():
    # Columns 0 and 1 belong to the two electrons up, column 2 to the one down.
    up = tensor([[[[1.0, 2.0, 0.5], [3.0, 4.0, 0.0]]]])
    down = tensor([[[[0.0, 2.0, 7.0]]]])
    targets = [tensor([[[[1.0, 2.0], [3.0, 1.0]]]]), tensor([[[[4.0]]]])]
    expected = (0.25 + 9) / 6 + (4 + 9) / 3
    assert orbital_error([up, down], targets).item() == pytest.approx(expected)


def test_complex_orbitals_are_fitted_in_modulus():
    up = torch.complex(tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), tensor([[[[0.0, 0.5], [0.0, 0.0]]]]))
    error = orbital_error([up], [tensor([[[[1.0, 2.0], [3.0, 1.0]]]])])
    assert error.dtype == torch.float64
    assert error.item() == pytest.approx((0.25 + 9) / 4)


def test_error_of_several_states_in_closed_form():
    orbitals = tensor([[[[1.0]], [[2.0]], [[3.0]], [[4.0]]]])  # (1, S K = 4, 1, 1): states slowest
    targets = tensor([[[[1.0]], [[5.0]]]])
    assert orbital_error([orbitals], [targets]).item() == pytest.approx((0 + 1 + 4 + 1) / 4)


@pytest.mark.parametrize("full", [True, False])
def test_exact_orbitals_have_no_error(full):
    # Two states of three determinants each.
    targets = [torch.randn(5, 2, 2, 2, dtype=torch.float64), torch.randn(5, 2, 1, 1, dtype=torch.float64)]
    orbitals, column = [], 0
    for target in targets:
        count = target.shape[-1]
        matrix = torch.zeros(5, 6, count, 3 if full else count, dtype=torch.float64)
        start = column if full else 0
        matrix[:, :3, :, start : start + count] = target[:, :1]
        matrix[:, 3:, :, start : start + count] = target[:, 1:]
        orbitals.append(matrix)
        column += count
    assert orbital_error(orbitals, targets) == 0
    orbitals[0][0, 0, 0, 0] += 1
    assert orbital_error(orbitals, targets) > 0


@pytest.mark.parametrize(
    ("symbol", "full", "complex"),
    [("Li", True, False), ("Li", False, True), ("H", True, True), ("H", False, False), ("N", False, True)],
)
def test_the_error_falls(symbol, full, complex):
    molecule = Molecule.atom(symbol)
    stage = pretraining(molecule, full, complex=complex, learning_rate=1e-2, steps=80)
    errors = []
    while not stage.finished():
        errors.append(stage.advance()["mse"].item())
    assert stage.progress() == (80, 80)
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
    assert all(map(math.isfinite, errors))


@pytest.mark.parametrize("batch_size", [8, 9])
def test_half_of_the_walkers_follow_hartree_fock_and_half_the_network(batch_size):
    stage = pretraining(LITHIUM, batch_size=batch_size)
    positions = stage.simulation.walkers.positions
    mixed = stage.log_prob(positions)
    assert mixed.shape == (batch_size,)
    torch.testing.assert_close(mixed[:4], stage.targets.log_prob(positions)[:4], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixed[4:], 2 * stage.simulation.ensemble(positions)[1][4:], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(mixed[4:], stage.targets.log_prob(positions)[4:])


@pytest.mark.parametrize("batch_size", [3, 4, 8, 9])
def test_every_process_has_its_share_of_both_halves(batch_size):
    stage = pretraining(LITHIUM, batch_size=batch_size)
    positions = stage.simulation.walkers.positions
    whole = stage.log_prob(positions)
    for rank in range(3):
        with standing_in(Rank(rank, 3)):
            own = stage.log_prob(team().share(positions))
        torch.testing.assert_close(own, whole[rank::3], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("molecule", "full"), [(LITHIUM, True), (Molecule.diatomic("H", "H", 1.4, "bohr"), False)], ids=["Li", "H2"]
)
def test_the_error_of_several_states_falls(molecule, full):
    stage = pretraining(molecule, full, n_states=3, learning_rate=1e-2, steps=80)
    errors = []
    while not stage.finished():
        errors.append(stage.advance()["mse"].item())
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])


def test_the_error_of_several_states_is_that_of_each_at_the_points_of_all():
    stage = pretraining(LITHIUM, n_states=3, batch_size=4, learning_rate=1e-12, steps=1)
    network = stage.simulation.ensemble.network
    error = stage.advance()["mse"].item()
    points = stage.simulation.walkers.positions.view(4, 3, 3, 3)  # (B, S, N, 3)
    squares = [[], []]
    for walker, copy, state in itertools.product(range(4), range(3), range(3)):
        point = points[walker, copy]
        targets = stage.targets(point)
        for spin, matrix in enumerate(network.orbitals(point, stage.simulation.ensemble.nuclei)):
            target = torch.zeros(matrix.shape[1:], dtype=torch.float64)
            target[:, 2 * spin : 2 * spin + target.shape[0]] = targets[spin][state]
            squares[spin] += [(matrix[2 * state + k] - target).square().mean().item() for k in range(2)]
    assert error == pytest.approx(sum(sum(part) / len(part) for part in squares), rel=1e-9)


def test_half_of_the_walkers_of_several_states_follow_independent_copies():
    stage = pretraining(LITHIUM, n_states=3, batch_size=6)
    positions = stage.simulation.walkers.positions
    mixed = stage.log_prob(positions)
    expected = torch.zeros(3, dtype=torch.float64)
    for copy, points in enumerate(positions[:3].unflatten(1, (3, 3)).unbind(1)):
        for matrices in stage.targets(points):
            expected += 2 * torch.linalg.slogdet(matrices[:, copy]).logabsdet
    torch.testing.assert_close(mixed[:3], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixed[3:], 2 * stage.simulation.ensemble(positions)[1][3:], rtol=1e-12, atol=1e-12)


def test_hartree_fock_is_not_changed():
    stage = pretraining(LITHIUM, steps=3)
    before = {name: value.clone() for name, value in stage.targets.state_dict().items()}
    parameters = [parameter.detach().clone() for parameter in stage.simulation.ensemble.parameters()]
    while not stage.finished():
        stage.advance()
    assert all(torch.equal(value, before[name]) for name, value in stage.targets.state_dict().items())
    changed = zip(parameters, stage.simulation.ensemble.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in changed)


def test_the_number_of_moves_between_updates_is_a_setting():
    assert pretraining(LITHIUM, sampling_steps=3).sampler.steps == 3


def casscf_pretraining(molecule=BERYLLIUM, network=FermiNet, batch_size=32, head=None, **settings):
    sizes = SIZES[network] | {"n_determinants": 4, "dtype": torch.float64} | (head or {})
    simulation = simulated(NaturalStates(network(molecule, **sizes)), batch_size)
    active = {"method": "casscf", "active_electrons": 2, "active_orbitals": 4}
    return Pretraining.prepare(simulation, PretrainingSettings(basis="6-31g", **(active | settings)), 0)


@pytest.mark.parametrize(
    ("network", "full", "complex"), [(FermiNet, False, False), (Psiformer, True, False), (LapNet, False, True)]
)
def test_the_error_of_casscf_determinants_falls(network, full, complex):
    head = {"full_determinants": full, "complex": complex}
    stage = casscf_pretraining(network=network, head=head, learning_rate=1e-2, steps=60)
    errors = [stage.advance()["mse"].item() for _ in range(60)]
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])


def test_half_of_the_walkers_follow_the_sum_of_casscf_determinants():
    stage = casscf_pretraining(batch_size=9)
    positions = stage.simulation.walkers.positions
    mixed, (up, down) = stage.log_prob(positions), stage.targets(positions)
    expected = (up.det() * down.det()).sum(-1).square().log()
    torch.testing.assert_close(mixed[:4], expected[:4], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(mixed[4:], 2 * stage.simulation.ensemble(positions)[1][4:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n_network", "n_targets"), [(1, 1), (6, 4)])
def test_casscf_determinants_are_dealt_to_the_network(n_network, n_targets, caplog):
    with caplog.at_level("INFO"):
        stage = casscf_pretraining(head={"n_determinants": n_network})
    assert len(stage.targets.coefficients) == n_network
    assert "CASSCF(2,4)/6-31g energy -14.6" in caplog.text
    assert f"its {n_targets} leading determinants" in caplog.text


def test_a_network_pretrained_on_casscf_breaks_a_bond():
    """At 5 bohr, Hartree-Fock puts both electrons of H2 at the same nucleus half of the time."""
    hydrogen, space = Molecule.diatomic("H", "H", 5.0, "bohr"), {"active_electrons": 2, "active_orbitals": 2}
    stage = casscf_pretraining(hydrogen, batch_size=64, learning_rate=1e-2, sampling_steps=3, steps=120, **space)
    while not stage.finished():
        stage.advance()
    run, energies, ionic = stage.simulation, [], []
    walkers, middle = run.walkers, hydrogen.nuclei[:, 2].mean()
    for _ in range(40):
        walkers, _ = run.sampler.sweep(run.log_prob, walkers, run.generator)
        energies.append(local_energy(run.ensemble, walkers.positions).total)
        ionic.append(((walkers.positions[..., 2] - middle).prod(-1) > 0).double())
    energy, ionic = (torch.stack(values[10:]).mean().item() for values in (energies, ionic))
    # CASSCF gives -0.9993 hartree in this basis, Hartree-Fock -0.8432.
    assert ionic < 0.25
    assert -1.04 < energy < -0.9


def test_penalised_states_are_pretrained_as_natural_ones_are():
    molecule, settings = Molecule.atom("He"), PretrainingSettings(basis="6-31g", steps=40, learning_rate=1e-2)
    network = FermiNet(molecule, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=2, n_states=2)
    stage = Pretraining.prepare(simulated(Penalty().ensemble(network), 16), settings, 0)
    errors = [stage.advance()["mse"].item() for _ in range(40)]
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "rhf"}, "'rhf' must be one of"),
        ({"method": "casscf", "active_orbitals": 4}, "needs active_electrons and active_orbitals, got None and 4"),
        ({"method": "casscf"}, "needs active_electrons and active_orbitals, got None and None"),
        (
            {"active_electrons": 2},
            "active_electrons and active_orbitals belong to method='casscf', not to method='auto'",
        ),
        ({"excitations": "lowest"}, "'lowest' must be one of"),
        ({"steps": -1}, "steps=-1"),
        ({"sampling_steps": 0}, "sampling_steps=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        PretrainingSettings(**settings)
