import copy

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
    with pytest.raises(ConfigError, match=r"unknown key relaxation\.step"):
        QMCNetCalculator(relaxation={"step": 1})
