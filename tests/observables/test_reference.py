import csv
from importlib.resources import files
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from qmcnet.molecule import Molecule
from qmcnet.observables.reference import lookup

CONF = Path(__file__).parents[2] / "conf"
PRESETS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar H2 H2+ LiH Li2 N2 CO NH3 CH4 C2H4 "
    "methylamine ozone ethanol bicyclobutane"
)
STRETCHED = {
    "H2": (1.4011,),
    "N2": (2.0, 2.2, 2.4, 4.0),
    "H10": (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.4, 2.8, 3.2, 3.6),
}


def system_overrides():
    yield from ((f"+system={name}",) for name in PRESETS.split())
    for name, lengths in STRETCHED.items():
        yield from ((f"+system={name}", f"bond_length={length}") for length in lengths)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conf")
    (folder / "main.yaml").write_text(f"hydra:\n  searchpath: ['file://{CONF}']\n")

    def load(*overrides):
        with initialize_config_dir(str(folder), version_base="1.3"):
            return instantiate(compose("main", overrides=list(overrides)).system, _convert_="all")

    return load


@pytest.fixture(scope="module")
def rows():
    with files("qmcnet.observables").joinpath("reference_energies.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_row_is_a_preset_geometry(load, rows):
    molecules = [load(*overrides) for overrides in system_overrides()]
    assert len(molecules) == len(rows)
    for molecule in molecules:
        matches = [
            row
            for row in rows
            if (row["formula"], int(row["charge"]), int(row["spin"]))
            == (molecule.formula, molecule.charge, molecule.spin)
            and float(row["nuclear_repulsion"]) == pytest.approx(molecule.nuclear_repulsion, rel=1e-9)
        ]
        assert len(matches) == 1, molecule.summary()
        reference = lookup(molecule)
        assert reference is not None
        assert reference.energy == pytest.approx(float(matches[0]["energy"]), abs=1e-12)
        assert reference.source == matches[0]["source"]


def test_rows_of_one_system_cannot_be_confused(rows):
    for i, row in enumerate(rows):
        for other in rows[:i]:
            if all(row[key] == other[key] for key in ("formula", "charge", "spin")):
                repulsion = float(row["nuclear_repulsion"])
                assert float(other["nuclear_repulsion"]) != pytest.approx(repulsion, rel=5e-4)


def test_known_energies(load):
    lithium_hydride = lookup(load("+system=LiH"))
    assert lithium_hydride is not None
    assert (lithium_hydride.energy, lithium_hydride.kind) == (-8.07054846, "exact")
    methane = lookup(load("+system=CH4"))
    assert methane is not None
    assert methane.uncertainty is None
    assert methane.kind == "CCSD(T)/CBS"


def test_moved_rotated_and_reordered_molecules_are_recognised(load):
    lithium_hydride = load("+system=LiH")
    turned = Molecule.from_atoms([["H", 1.0, 2.0 + 0.6 * 3.015, 0.8 * 3.015], ["Li", 1.0, 2.0, 0.0]])
    assert lookup(turned) == lookup(lithium_hydride)


@pytest.mark.parametrize(
    "overrides",
    [
        ("+system=LiH", "bond_length=3.02"),
        ("+system=N2", "bond_length=2.1"),
        ("+system=N2", "system.spin=2"),
        ("+system=N2", "system.charge=1", "system.spin=1"),
        ("+system=He", "system.spin=2"),
        ("+system=C", "system.charge=1"),
        ("+system=butadiene",),
    ],
)
def test_another_geometry_or_state_finds_nothing(load, overrides):
    assert lookup(load(*overrides)) is None
