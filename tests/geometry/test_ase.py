import contextlib
import copy
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.mep import NEB
from ase.optimize import BFGS
from ase.units import Bohr, Hartree
from ase.vibrations import Vibrations
from geometry.surfaces import EXPONENT, LENGTH, STIFFNESS, Morse

from qmcnet.ase import QMCNetCalculator
from qmcnet.config.schema import ConfigError
from qmcnet.system.units import BOHR_PER_ANGSTROM

SMALL = {"ansatz": {"n_layers": 1, "hidden_one": 8, "hidden_two": 4, "n_determinants": 1}, "device": "cpu"}


@pytest.fixture
def calculator(monkeypatch, tmp_path):
    """One that has a Morse potential for runs."""
    monkeypatch.setattr(QMCNetCalculator, "surface", lambda self, run: Morse())
    monkeypatch.setattr("qmcnet.ase.composed", lambda molecule, settings, directory: Run(molecule))
    return QMCNetCalculator(directory=tmp_path, **SMALL)


class Run:
    def __init__(self, molecule):
        self.molecule = molecule


def hydrogen(length):
    return Atoms("H2", [[0, 0, 0], [0, 0, length * Bohr]])


def test_an_optimiser_of_ase_finds_the_bond_length(calculator):
    atoms = hydrogen(1.8)
    atoms.calc = calculator
    assert BFGS(atoms, logfile=None).run(fmax=0.005, steps=30)
    assert atoms.get_distance(0, 1) * BOHR_PER_ANGSTROM == pytest.approx(LENGTH, abs=0.005 / 51.4 / STIFFNESS)
    assert calculator.results["forces_error"].shape == (2, 3)
    assert calculator.results["energy_error"] == pytest.approx(1e-9 * Hartree)
    assert atoms.get_potential_energy() == pytest.approx(0, abs=1e-4)


def test_vibrations_of_ase(calculator, tmp_path):
    atoms = hydrogen(LENGTH)
    atoms.calc = calculator
    vibrations = Vibrations(atoms, name=str(tmp_path / "vibrations"), delta=0.005)
    vibrations.run()
    exact = np.sqrt(STIFFNESS / (atoms.get_masses()[0] * 1822.888486209 / 2)) * 219474.63
    assert vibrations.get_frequencies()[-1].real == pytest.approx(exact, rel=(EXPONENT * 0.01) ** 2 * 7 / 6)


def test_images_of_a_band_have_copies(calculator):
    images = [hydrogen(1.2 + 0.2 * number) for number in range(3)]
    for image in images:
        image.calc = copy.deepcopy(calculator)
    band = NEB(images, method="improvedtangent")
    assert np.isfinite(band.get_forces()).all()
    assert len({id(image.calc) for image in images}) == 3


def test_charge_and_spin_that_the_atoms_come_to_state_are_not_those_of_the_results(calculator):
    atoms = hydrogen(1.4)
    atoms.calc = calculator
    atoms.get_potential_energy()
    for name, value in (("spin", 2), ("charge", 1)):
        atoms.info[name] = value
        assert calculator.calculation_required(atoms, ["energy"])
        with contextlib.suppress(ValueError):  # one electron without a spin
            atoms.get_potential_energy()
    with pytest.raises(ValueError, match="spin=2 is impossible with 1 electrons"):
        calculator.calculate(atoms)
    with pytest.raises(ValueError, match="spin=2 is impossible with 1 electrons"):
        atoms.get_forces()


def test_settings_that_are_changed_are_not_those_of_the_results(calculator, monkeypatch):
    asked = []
    monkeypatch.setattr("qmcnet.ase.composed", lambda molecule, *how: asked.append((molecule, *how)) or Run(molecule))
    atoms = hydrogen(1.4)
    atoms.calc = calculator
    atoms.get_potential_energy()
    assert calculator.set(charge=1, spin=1, batch_size=99) == {"charge": 1, "spin": 1, "batch_size": 99}
    atoms.get_potential_energy()
    assert [molecule.charge for molecule, *_ in asked] == [0, 1]
    assert asked[1][1] == {"preset": "quick", "batch_size": 99, **SMALL}
    assert calculator.set(charge=1) == {}
    assert calculator.todict()["batch_size"] == 99
    for wrong in ({"relaxation": {"step": 1}}, {"relaxation": {"steps": 0}}, {"directory": "elsewhere"}):
        with pytest.raises(ValueError, match=next(iter(wrong)) + "|steps=0"):
            calculator.set(**wrong)
    assert "energy" in calculator.results


def test_results_are_what_tools_of_ase_take(calculator):
    atoms = hydrogen(1.5)
    atoms.calc = calculator
    known = atoms.get_properties(["energy", "forces"])
    assert known["energy"] == atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_array_equal(known["forces"], atoms.get_forces())


def test_what_makes_forces_hard_to_trust_is_said(calculator, monkeypatch, caplog):
    def doubtful(molecule):
        return replace(Morse()(molecule), caveats=("forces take the wavefunction for exact",))

    monkeypatch.setattr(QMCNetCalculator, "surface", lambda self, run: doubtful)
    atoms = hydrogen(1.5)
    atoms.calc = calculator
    atoms.get_forces()
    assert [record.message for record in caplog.records] == ["000: forces take the wavefunction for exact"]


def test_settings_without_effect_are_named(tmp_path, caplog):
    QMCNetCalculator(directory=tmp_path, evaluation={"steps": 9, "burn_in": 3})
    assert [record.message for record in caplog.records] == [
        "evaluation.steps has no effect here: set relaxation.evaluation_steps and relaxation.most_evaluation_steps"
    ]


def test_settings_that_do_not_exist_are_refused(tmp_path):
    atoms = hydrogen(1.4)
    for settings, message in (
        ({"presett": 1}, "unknown setting presett"),
        ({"preset": "qick"}, "preset/qick"),
        ({"batch_size": 1}, "batch_size=1"),
    ):
        atoms.calc = QMCNetCalculator(directory=tmp_path, **(SMALL | settings))
        with pytest.raises(ConfigError, match=message):
            atoms.get_potential_energy()
    atoms.calc = QMCNetCalculator(directory=tmp_path, states=2, **SMALL)
    with pytest.raises(ValueError, match="states=2: the structure of the ground state is found by runs of one state"):
        atoms.get_potential_energy()
    with pytest.raises(ValueError, match=r"relaxation=5 is not a mapping: write relaxation=\{'steps': 100\}"):
        QMCNetCalculator(relaxation=5)
    with pytest.raises(ConfigError, match=r"unknown key relaxation\.step"):
        QMCNetCalculator(relaxation={"step": 1})
