import csv
import dataclasses
import math
from importlib.resources import files

import pytest
import torch
from composing import composed
from hydra.utils import instantiate

from qmcnet.report.reference import Reference, lookup
from qmcnet.system.geometry import congruent
from qmcnet.system.molecule import Molecule

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
def load():
    return lambda *overrides: instantiate(composed(*overrides).system, _convert_="all")


def atoms(row):
    rows = [atom.split() for atom in row["geometry"].split(";")]
    return [(symbol, *map(float, position)) for symbol, *position in rows]


def atoms_of(molecule):
    return [(symbol, *position) for symbol, position in zip(molecule.symbols, molecule.coordinates, strict=True)]


@pytest.fixture(scope="module")
def rows():
    with files("qmcnet.report").joinpath("reference_energies.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_row_is_a_preset_geometry(load, rows):
    molecules = [load(*overrides) for overrides in system_overrides()]
    assert len(molecules) == sum(not row["ecp"] for row in rows)
    for molecule in molecules:
        matches = [
            row
            for row in rows
            if (row["formula"], int(row["charge"]), int(row["spin"]), row["ecp"])
            == (molecule.formula, molecule.charge, molecule.spin, "")
            and congruent(atoms(row), atoms_of(molecule), 1e-9)
        ]
        assert len(matches) == 1, molecule.summary()
        reference = lookup(molecule)
        assert reference is not None
        assert reference.energy == pytest.approx(float(matches[0]["energy"]), abs=1e-12)
        assert reference.source == matches[0]["source"]


def test_rows_of_one_system_cannot_be_confused(rows):
    for i, row in enumerate(rows):
        for other in rows[:i]:
            if all(row[key] == other[key] for key in ("formula", "charge", "spin", "ecp")):
                assert not congruent(atoms(row), atoms(other), 5e-4)


def test_energies_with_core_potentials_are_those_of_their_set_alone(rows):
    for row in [row for row in rows if row["ecp"]]:
        atom = Molecule.atom(row["formula"])
        found, whole = lookup(atom.with_ecp(row["ecp"])), lookup(atom)
        assert found is not None
        assert (found.energy, str(atom.spin)) == (float(row["energy"]), row["spin"])
        if whole is not None and dict(atom.with_ecp(row["ecp"]).ecp)[row["formula"]].n_core:
            assert found.energy > whole.energy + 1
    carbon = dict(Molecule.atom("C").with_ecp("ccecp").ecp)["C"]
    for other in ("bfd", {"C": dataclasses.replace(carbon, name="")}):
        assert lookup(Molecule.atom("C").with_ecp(other)) is None
    lithium_hydride = Molecule.diatomic("Li", "H", 3.015, "bohr")
    assert lookup(lithium_hydride) is not None
    assert lookup(lithium_hydride.with_ecp({"Li": "ccecp"})) is None
    assert lookup(lithium_hydride.with_ecp("ccecp")) is None


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


def twisted_ethylene(load, degrees):
    """Turn one CH2 group about the axis."""
    flat = load("+system=C2H4")
    turn = torch.eye(3, dtype=torch.float64)
    angle = torch.tensor(math.radians(degrees), dtype=torch.float64)
    turn[0, 0] = turn[1, 1] = angle.cos()
    turn[0, 1], turn[1, 0] = -angle.sin(), angle.sin()
    nuclei = torch.where(flat.nuclei[:, 2:] > 0, flat.nuclei @ turn.T, flat.nuclei)
    return flat, dataclasses.replace(flat, coordinates=tuple(map(tuple, nuclei.tolist())))


def flatter_ammonia(load, share):
    """Move all nuclei towards one plane."""
    bent = load("+system=NH3")
    nuclei = bent.nuclei * torch.tensor([1.0, 1.0, share], dtype=torch.float64)
    return bent, dataclasses.replace(bent, coordinates=tuple(map(tuple, nuclei.tolist())))


@pytest.mark.parametrize(
    "change", [(twisted_ethylene, 40), (twisted_ethylene, 10), (flatter_ammonia, 0.0), (flatter_ammonia, 0.9)]
)
def test_another_shape_with_the_same_nuclear_repulsion_finds_nothing(load, change):
    make, parameter = change
    known, other = make(load, parameter)
    factor = other.nuclear_repulsion / known.nuclear_repulsion
    other = dataclasses.replace(other, coordinates=tuple(map(tuple, (factor * other.nuclei).tolist())))
    assert other.nuclear_repulsion == pytest.approx(known.nuclear_repulsion, rel=1e-12)
    assert lookup(other) is None
    assert lookup(known) is not None


@pytest.mark.parametrize("system", ["NH3", "C2H4", "methylamine", "ethanol", "bicyclobutane"])
def test_every_way_to_write_a_geometry_is_recognised(load, system):
    molecule = load(f"+system={system}")
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]  # maybe a reflection
    order = torch.randperm(len(molecule.symbols), generator=generator).tolist()
    nuclei = molecule.nuclei @ turn + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for factor, found in ((1.0, True), (1 + 1e-4, True), (1 + 4e-4, False), (1 - 4e-4, False)):
        written = Molecule(
            tuple(molecule.symbols[i] for i in order), tuple(map(tuple, (factor * nuclei[order]).tolist()))
        )
        assert (lookup(written) == lookup(molecule)) is found


def test_shapes_that_share_all_their_distances_are_told_apart():
    # Two sets of numbers with the same differences (Bloom, J. Comb. Theory A 22, 378 (1977)).
    one, other = (
        [("H", 0.0, 0.0, float(z)) for z in marks] for marks in ((0, 1, 4, 10, 12, 17), (0, 1, 8, 11, 13, 17))
    )
    distances = [sorted(abs(a[3] - b[3]) for i, a in enumerate(s) for b in s[:i]) for s in (one, other)]
    assert distances[0] == distances[1]
    assert congruent(one, one[::-1], 1e-9)
    assert not congruent(one, other, 1e-9)


def test_exchanged_elements_are_another_shape():
    atoms = [("H", 0.0, 0.0, 0.0), ("C", 0.0, 0.0, 2.0), ("N", 0.0, 0.0, 4.2)]
    exchanged = [("H", 0.0, 0.0, 0.0), ("N", 0.0, 0.0, 2.0), ("C", 0.0, 0.0, 4.2)]
    assert not congruent(atoms, exchanged, 1e-3)
    assert not congruent(atoms, atoms[:2], 1e-3)


@pytest.mark.parametrize(
    ("uncertainty", "kind", "text"),
    [
        (1e-17, "exact", "exact; S"),
        (0.0001, "estimate", "estimate +- 0.1 mHa; S"),
        (0.0021, "experimental curve", "experimental curve +- 2.1 mHa; S"),
        (None, "CCSD(T)/CBS", "CCSD(T)/CBS, uncertainty not given; S"),
    ],
)
def test_a_reference_says_what_it_is_worth(uncertainty, kind, text):
    assert Reference(-1.0, uncertainty, "S", kind).description == text
