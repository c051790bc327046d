import pytest
import torch
from composing import composed

from qmcnet.config.build import build
from qmcnet.config.naming import config_directory, systems
from qmcnet.stages.optimization import Optimization
from qmcnet.system.units import BOHR_PER_ANGSTROM

CHEAP = [
    "batch_size=4",
    "sampler.steps=2",
    "pretraining.steps=0",
    "dtype=float64",
    "device=cpu",
]
SHALLOW = ["ansatz.n_layers=1", "ansatz.n_determinants=1"]
TINY = [*CHEAP, *SHALLOW]
REGULAR = ["ansatz.hidden_one=64", "ansatz.hidden_two=4"]  # fresh determinants of more electrons than features vanish
CLASSICAL = {"slater_jastrow", "slater_backflow"}
XYZ = "3\nwater\nO 0 0 0\nH 0 0.757 0.586\nH 0 -0.757 0.586\n"
INPUT = {
    "atom": ["symbol=C"],
    "atoms": ["system.atoms=[[Li,0,0,0],[H,0,0,3.015]]"],
    "xyz": ["path=water.xyz"],
    "file": ["path=water.xyz"],
}
EXCITED = {"C2": 8, "twisted_ethylene": 5, "pyramidal_ethylene": 3, "nitroxyl": 5, "benzene": 6}
EXCITED |= dict.fromkeys(["Li", "Be", "B", "C", "N", "O", "F", "Ne"], 5)
EXCITED |= dict.fromkeys(["nitrosomethane", "butadiene", "glyoxal", "tetrazine", "cyclopentadienone"], 6)
# Filled and open shells, ions, one and several kinds of nuclei, every way to name the nuclei, and the largest.
STEPPED = [
    "H",
    "He",
    "Li",
    "N",
    "Ne",
    "Ar",
    "H2+",
    "LiH",
    "O2",
    "NO",
    "CH4",
    "H_chain",
    "atom",
    "atoms",
    "xyz",
    "benzene",
]
DIATOMIC = ["H2", "H2+", "HeH+", "LiH", "Li2", "Be2", "B2", "C2", "N2", "O2", "F2", "CO", "HF", "BH", "NO"]


def built(directory, system, *overrides, sizes=(*TINY, *REGULAR)):
    return build(composed(f"+system={system}", *sizes, *overrides), directory)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Build a system, with the file or the symbols that it needs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "water.xyz").write_text(XYZ)
    return lambda system: built(tmp_path, system, *INPUT.get(system, []))


@pytest.mark.parametrize("system", systems())
def test_every_system_is_built(system, prepared):
    run = prepared(system)
    assert run.ansatz.molecule == run.molecule
    # The shortest and the longest bond of the presets are those of H2 and H4.
    distance = run.molecule.nearest_neighbour
    assert distance is None or 1.39 < distance < 5.06
    assert run.molecule.n_up >= run.molecule.n_down


@pytest.mark.parametrize("system", STEPPED)
def test_systems_of_every_kind_are_optimised_for_a_step(system, prepared):
    run = prepared(system)
    molecule = run.molecule
    before = torch.nn.utils.parameters_to_vector(run.ansatz.parameters()).clone()
    row = Optimization(run.simulation, run.optimizer, 1).advance()
    after = torch.nn.utils.parameters_to_vector(run.ansatz.parameters())
    assert run.simulation.walkers.positions.shape == (4, molecule.n_electrons, 3)
    assert all(torch.as_tensor(value).isfinite() for value in row.values())
    assert row["nonfinite"] == 0
    assert after.isfinite().all()
    assert not torch.equal(before, after)


@pytest.mark.parametrize(("system", "states"), EXCITED.items())
def test_every_excited_system_names_its_states(system, states):
    text = (config_directory() / "system" / f"{system}.yaml").read_text()
    assert f"states={states}" in text


@pytest.mark.parametrize("system", ["B", "nitroxyl"])
def test_states_of_an_atom_and_a_molecule_are_optimised_for_a_step(system, tmp_path):
    states = EXCITED[system]
    run = built(tmp_path, system, f"states={states}")
    before = torch.nn.utils.parameters_to_vector(run.ansatz.parameters()).clone()
    row = Optimization(run.simulation, run.optimizer, 1).advance()
    after = torch.nn.utils.parameters_to_vector(run.ansatz.parameters())
    assert run.simulation.walkers.positions.shape == (4, states * run.molecule.n_electrons, 3)
    assert torch.as_tensor(row["energy"]).isfinite()
    assert row["nonfinite"] == 0
    assert after.isfinite().all()
    assert (after - before).norm() > 1e-6


@pytest.mark.parametrize("preset", ["paper", "paper_excited"])
def test_the_paper_settings_take_several_states(preset, tmp_path):
    run = built(tmp_path, "C2", "states=8", f"preset={preset}", sizes=["batch_size=2", "device=cpu"])
    assert type(run.ansatz).__name__ == {"paper": "FermiNet", "paper_excited": "Psiformer"}[preset]
    assert run.ansatz.settings["n_states"] == run.simulation.ensemble.n_states == 8
    assert run.ansatz.settings["n_determinants"] == 16
    assert (run.steps, run.pretraining.steps) == {"paper": (200000, 1000), "paper_excited": (100000, 10000)}[preset]
    small = [*TINY, "ansatz.n_heads=2", "ansatz.head_size=8", "ansatz.perceptron_size=16"]
    sizes = [*TINY, *REGULAR] if preset == "paper" else small
    tiny = built(tmp_path, "C2", "states=8", f"preset={preset}", sizes=sizes)
    row = Optimization(tiny.simulation, tiny.optimizer, 1).advance()
    assert torch.as_tensor(row["energy"]).isfinite()


@pytest.mark.parametrize("ansatz", sorted(path.stem for path in (config_directory() / "ansatz").glob("*.yaml")))
def test_every_ansatz_is_built_and_optimised_for_a_step(ansatz, tmp_path):
    classical = ansatz in CLASSICAL
    run = built(tmp_path, "Li", f"ansatz={ansatz}", sizes=CHEAP if classical else TINY)
    name = "slaterjastrow" if classical else ansatz.split("_")[0]
    assert type(run.ansatz).__name__.lower() == name
    before = torch.nn.utils.parameters_to_vector(run.ansatz.parameters()).clone()
    row = Optimization(run.simulation, run.optimizer, 1).advance()
    after = torch.nn.utils.parameters_to_vector(run.ansatz.parameters())
    assert torch.as_tensor(row["energy"]).isfinite()
    assert row["nonfinite"] == 0
    assert after.isfinite().all()
    assert not torch.equal(before, after)


def test_the_promised_ansatzes_are_there():
    names = {path.stem for path in (config_directory() / "ansatz").glob("*.yaml")}
    families = {name.split("_")[0] for name in names - CLASSICAL}
    assert families >= {"ferminet", "psiformer", "lapnet"}
    assert names >= CLASSICAL | families | {f"{name}_small" for name in families}


@pytest.mark.parametrize(("preset", "layers"), [("quick", 2), ("medium", 3)])
def test_the_presets_of_a_laptop_anneal_and_move_by_local_lengths(preset, layers, tmp_path):
    run = built(tmp_path, "LiH", f"preset={preset}", sizes=["batch_size=4", "device=cpu"])
    assert (run.ansatz.settings["n_layers"], run.ansatz.settings["jastrow"]) == (layers, "cusp")
    assert run.sampler.local
    assert run.optimizer.settings["constraint_follows_rate"]
    assert run.schedule(run.steps - 1, run.steps) < 0.002 < run.schedule(run.steps // 3, run.steps) == 1
    assert run.evaluation.target_error == "auto"
    rows = [Optimization(run.simulation, run.optimizer, 2, schedule=run.schedule).advance() for _ in range(2)]
    assert all(torch.as_tensor(row["energy"]).isfinite() for row in rows)


def test_the_promised_systems_are_there():
    atoms = ["H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar"]
    molecules = "H2O NH3 CH4 CH2O C2H4 methylamine ozone ethanol butadiene cyclobutadiene benzene bicyclobutane"
    assert {*atoms, *DIATOMIC, *molecules.split(), *EXCITED, *INPUT, "H4", "H_chain", "H10"} == set(systems())


@pytest.mark.parametrize("system", DIATOMIC)
def test_bond_lengths_are_in_the_unit_named_beside_them(system, tmp_path):
    molecule = built(tmp_path, system, "bond_length=1.5", "units=angstrom").molecule
    assert molecule.nearest_neighbour == pytest.approx(1.5 * BOHR_PER_ANGSTROM, rel=1e-12)


def test_bond_lengths_are_in_bohr_where_no_unit_is_named(tmp_path):
    assert built(tmp_path, "LiH", "bond_length=1.5").molecule.nearest_neighbour == pytest.approx(1.5, rel=1e-12)


@pytest.mark.parametrize(("symbol", "spin"), [("H", 1), ("He", 0), ("C", 2), ("N", 3), ("S", 2), ("Ar", 0)])
def test_an_atom_by_name_is_the_atom_by_symbol_in_its_ground_state(symbol, spin, tmp_path):
    named = built(tmp_path, symbol).molecule
    assert named == built(tmp_path, "atom", f"symbol={symbol}").molecule
    assert named.spin == spin


@pytest.mark.parametrize(("system", "spin", "charge"), [("O2", 2, 0), ("B2", 2, 0), ("NO", 1, 0), ("H2+", 1, 1)])
def test_open_shells_and_ions(system, spin, charge, tmp_path):
    molecule = built(tmp_path, system).molecule
    assert (molecule.spin, molecule.charge) == (spin, charge)


def test_single_spin_states_are_optimised(tmp_path):
    for overrides in (["Li", "system.spin=3"], ["H2", "system.spin=2"]):
        run = built(tmp_path, *overrides)
        assert run.molecule.n_down == 0
        assert torch.as_tensor(Optimization(run.simulation, run.optimizer, 1).advance()["energy"]).isfinite()


def test_hydrogen_clusters_take_their_lengths(tmp_path):
    rectangle = built(tmp_path, "H4", "width=2", "height=3").molecule
    distances = sorted(torch.pdist(rectangle.nuclei).tolist())
    assert distances == pytest.approx([2, 2, 3, 3, 13**0.5, 13**0.5])
    chain = built(tmp_path, "H_chain", "n_atoms=5", "bond_length=2").molecule
    assert (len(chain.symbols), chain.spin) == (5, 1)
    assert torch.diff(chain.nuclei[:, 2]).tolist() == pytest.approx([2.0] * 4)
    assert built(tmp_path, "H10").molecule == built(tmp_path, "H_chain", "n_atoms=10").molecule


@pytest.mark.parametrize(
    ("system", "first", "second", "angstrom"),
    [
        ("nitrosomethane", 1, 2, 1.21),  # N=O
        ("butadiene", 0, 2, 1.34),  # C=C
        ("glyoxal", 0, 2, 1.21),  # C=O
        ("tetrazine", 2, 4, 1.32),  # N=N
        ("cyclopentadienone", 0, 5, 1.21),  # C=O
        ("nitroxyl", 0, 1, 1.21),  # N=O
        ("benzene", 0, 1, 1.39),  # C=C
        ("twisted_ethylene", 0, 1, 1.35),  # C=C
        ("pyramidal_ethylene", 0, 1, 1.377),  # C-C
    ],
)
def test_bonds_of_excited_systems_have_their_known_lengths(system, first, second, angstrom, tmp_path):
    nuclei = built(tmp_path, system).molecule.nuclei
    assert (nuclei[first] - nuclei[second]).norm() / BOHR_PER_ANGSTROM == pytest.approx(angstrom, abs=0.01)


def test_ethylene_takes_its_angles(tmp_path):
    planar = built(tmp_path, "twisted_ethylene").molecule.nuclei
    assert planar[:, 1].abs().max() == 0
    twisted = built(tmp_path, "twisted_ethylene", "tau=90").molecule.nuclei
    assert twisted[4:, 2].abs().max() < 1e-12 < twisted[4:, 1].abs().min()
    bent = built(tmp_path, "pyramidal_ethylene", "phi=30").molecule.nuclei
    assert bent[4:, 2].min() > 0.5


def test_an_xyz_file_is_in_angstrom_and_takes_charge_and_spin(tmp_path):
    path = tmp_path / "water.xyz"
    path.write_text(XYZ)
    molecule = built(tmp_path, "xyz", f"path={path}", "system.charge=1", "system.spin=1").molecule
    assert (molecule.formula, molecule.n_up, molecule.n_down) == ("H2O+", 5, 4)
    assert molecule.nuclei[1, 1].item() == pytest.approx(0.757 * BOHR_PER_ANGSTROM)
