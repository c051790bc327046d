import math
from dataclasses import replace

import numpy as np
import pytest
from geometry.surfaces import LENGTH, STIFFNESS, WATER, Cluster, Morse, Springs, hydrogen, water
from geometry.test_coordinates import turned

from qmcnet.chemistry.masses import isotope_mass
from qmcnet.geometry.conclusion import concluded, curve_of
from qmcnet.geometry.coordinates import internal_directions
from qmcnet.geometry.frequencies import harmonic
from qmcnet.geometry.model import Model
from qmcnet.geometry.relaxation import Search, settled
from qmcnet.report.relaxation import Relaxation
from qmcnet.system.molecule import Molecule

STRAIGHT = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.8], [0.0, 0.0, -1.8]])
PYRAMID = {(0, 1): 1.9, (0, 2): 1.9, (0, 3): 1.9, (1, 2): 3.0, (1, 3): 3.0, (2, 3): 3.0}


def ammonia():
    nuclei = [[0, 0, 0.65], [1.9, 0, 0], [-0.95, 1.6454, 0], [-0.95, -1.6454, 0]]
    return Molecule(("N", "H", "H", "H"), tuple(map(tuple, nuclei)))


def relaxed(surface, start, hessian, frequencies=False, geometries=20):
    search = Search(surface, hessian, 0.3, 1e-3, geometries)
    model, place, reason = search.relax(start, frequencies)
    return search, concluded(
        search.points, model, place, reason, search.max_force, frequencies, {"formula": start.formula}
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_morse_potential_relaxes_to_its_minimum(seed):
    surface = Morse(force_error=1e-3, error=2e-4, distance=2e-5, seed=seed)
    search, found = relaxed(surface, hydrogen(1.8), surface.hessian)
    bond = found.bonds["H1-H2"]
    assert found.succeeded
    assert found.force_error < 1.1e-3  # by 400 samples, to 3.5 %
    assert bond["error"] < 0.006
    assert abs(bond["value"] - LENGTH) < 4 * bond["error"]
    assert found.angles == {}
    assert len(search.points) < 10
    assert found.nearest == "000"


def test_the_same_points_are_asked_for_again():
    first, second = (relaxed(Morse(1e-3, 2e-4, seed=5), hydrogen(1.7), Morse.hessian, True) for _ in range(2))
    assert first[0].surface.asked == second[0].surface.asked
    assert first[1].content() == second[1].content()
    wavenumber = first[1].wavenumbers[0]
    assert wavenumber["error"] < 100


def test_water_relaxes_to_its_bonds_and_its_angle(tmp_path):
    springs = Springs()
    start = water(WATER + 0.1 * np.random.default_rng(6).standard_normal((3, 3)))
    _, found = relaxed(springs, start, lambda _: springs.hessian())
    bond = np.linalg.norm(WATER[1])
    angle = 2 * np.degrees(np.arctan2(WATER[1, 1], WATER[1, 2]))
    assert found.bonds.keys() == {"O1-H2", "O1-H3"}
    for each in found.bonds.values():  # where no force is larger than 1e-3
        assert each["value"] == pytest.approx(bond, abs=4e-3)
    assert found.angles["H2-O1-H3"]["value"] == pytest.approx(angle, abs=0.5)
    found.store(tmp_path)
    again = Molecule.from_xyz(tmp_path / "relaxed.xyz")
    np.testing.assert_allclose(again.coordinates, found.molecule.coordinates, atol=1e-7)
    assert (again.charge, again.spin) == (0, 0)


def test_energies_are_compared_first_along_the_direction_that_moves_the_structure_most():
    """What forces are off by goes with the root of the force constant, and where they vanish by its inverse root."""
    springs, asked = Springs(), []

    def surface(molecule, energy_error):
        asked.append(energy_error)
        return replace(springs(molecule), distance=2e-3, error=1e-4)

    max_force = 1e-3
    search = Search(surface, lambda _: springs.hessian(), 0.3, max_force, 3)
    search.relax(water(), frequencies=False)
    start, *pair = search.points
    between = np.linalg.norm(pair[0].nuclei - pair[1].nuclei)
    slope_error = math.sqrt(2) * asked[1] / between  # of the difference of energies with this error
    assert asked == [None, asked[1], asked[1]]
    assert slope_error == pytest.approx(max_force, rel=1e-3)
    apart = [np.linalg.norm(each.nuclei[1] - each.nuclei[2]) for each in (start, *pair)]
    assert min(apart) + 0.1 < apart[0] < max(apart) - 0.1
    for each in pair:
        bonds = [np.linalg.norm(each.nuclei[k] - each.nuclei[0]) for k in (1, 2)]
        np.testing.assert_allclose(bonds, np.linalg.norm(WATER[1]), atol=0.05)


def test_files_hold_energies_and_forces_in_the_units_of_ase(tmp_path):
    from ase.io import read
    from ase.units import Bohr, Hartree

    search, found = relaxed(Morse(1e-3, 2e-4), hydrogen(1.7), Morse.hessian)
    found.store(tmp_path)
    frames = read(tmp_path / "trajectory.extxyz", ":")
    assert len(frames) == len(search.points)
    for frame, point in zip(frames, search.points, strict=True):
        assert frame.get_potential_energy() == pytest.approx(point.energy * Hartree, rel=1e-6)
        assert frame.info["energy_error"] == pytest.approx(point.error * Hartree, rel=1e-6)
        np.testing.assert_allclose(frame.get_forces(), point.forces * Hartree / Bohr, atol=1e-6)
        np.testing.assert_allclose(frame.arrays["forces_error"], point.force_errors * Hartree / Bohr, rtol=1e-4)
        np.testing.assert_allclose(frame.positions, point.nuclei * Bohr, atol=1e-7)


def test_a_stored_relaxation_is_read_again(tmp_path):
    surface = Morse(1e-3, 2e-5)
    _, found = relaxed(surface, hydrogen(1.7), surface.hessian, frequencies=True)
    assert found.curve is not None
    found.store(tmp_path)
    again = Relaxation.read(tmp_path, hydrogen(1.0))
    assert again.content() == found.content()
    assert again.summary() == found.summary()


def test_too_few_geometries_leave_a_structure_that_moves():
    surface = Morse(force_error=1e-4, error=1e-5)
    _, found = relaxed(surface, hydrogen(2.2), surface.hessian, frequencies=True, geometries=1)
    assert isinstance(found, Relaxation)
    assert not found.succeeded
    assert found.wavenumbers is None
    assert "not at rest" in found.summary()
    assert found.no_vibrations == "the structure is not at rest"


@pytest.mark.parametrize(("force_error", "geometries", "warned"), [(1e-4, 20, False), (2e-2, 2, True)])
def test_forces_that_vanish_only_because_their_errors_are_large_are_told(force_error, geometries, warned):
    surface = Morse(force_error, error=1e-5)
    _, found = relaxed(surface, hydrogen(1.45), surface.hessian, geometries=geometries)
    assert found.succeeded
    assert (found.force_error > found.max_force) == warned
    assert ("forces vanish within their errors alone" in found.summary()) == warned


def test_energies_and_forces_that_disagree_are_told():
    exact = Morse(force_error=1e-4, error=1e-4)

    def surface(molecule, energy_error):
        """Forces of which one in two is off by many errors."""
        found = exact(molecule)
        off = 3e-3 * (-1) ** len(exact.asked)
        return replace(found, forces=found.forces + off * np.array([[0, 0, -1], [0, 0, 1]]))

    _, agreeing = relaxed(exact, hydrogen(1.6), Morse.hessian, frequencies=True)
    _, disagreeing = relaxed(surface, hydrogen(1.6), Morse.hessian, frequencies=True)
    assert "disagree" not in agreeing.summary()
    assert "which disagree beyond their errors" in disagreeing.summary()


def test_a_surface_without_a_minimum_is_said_to_have_none():
    with pytest.raises(ValueError, match="tell no minimum"):
        relaxed(Morse(force_error=1e-4, error=1e-5), hydrogen(3.5), Morse.hessian, geometries=2)


@pytest.mark.parametrize("distance", [0.0, 2e-3])
def test_a_curve_of_energies_knows_how_far_each_is_above_the_exact_one(distance):
    surface, masses = Morse(error=2e-5), [isotope_mass("H")] * 2
    points = []
    for number, bond in enumerate((1.2, 1.3, 1.4, 1.5, 1.6, 1.7)):
        found, above = surface(hydrogen(bond)), distance * (1 - number / 10)
        points.append(replace(found, energy=found.energy + above, distance=above))
    curve = curve_of(points, masses)
    exact = np.sqrt(STIFFNESS / (masses[0] / 2 * 1822.888486209)) * 219474.6313632
    for figure, value in ((curve.bond_length, LENGTH), (curve.wavenumber, exact), (curve.energy, 0.0)):
        assert abs(figure["value"] - value) < 4 * figure["error"]
    assert curve.wavenumber["error"] < 0.05 * exact
    assert curve_of(points[:3], masses) is None
    assert curve_of([replace(point, error=5e-3) for point in points], masses) is None


@pytest.mark.parametrize("seed", range(2))
def test_a_saddle_point_is_left(seed):
    """The forces of bent water that begins as a straight line vanish across it by symmetry alone."""
    surface = Cluster({(0, 1): 1.8, (0, 2): 1.8, (1, 2): 2.86}, force_error=3e-4, seed=seed)
    _, found = relaxed(surface, water(turned(STRAIGHT, seed)), surface.hessian)
    angle = found.angles["H2-O1-H3"]
    assert found.succeeded
    assert abs(angle["value"] - 2 * np.degrees(np.arcsin(2.86 / 3.6))) < 4 * angle["error"]
    assert angle["error"] < 0.5


def test_a_saddle_point_that_cannot_be_left_is_told():
    surface = Cluster({(0, 1): 1.8, (0, 2): 1.8, (1, 2): 2.86}, force_error=3e-4)
    straight = water(STRAIGHT * (1.8 + 2.86) / 3 / 1.8)  # where forces along the line vanish
    with pytest.raises(ValueError, match="after 1 geometries the surface has no minimum near"):
        relaxed(surface, straight, surface.hessian, geometries=1)


def test_a_saddle_point_of_the_mean_field_alone_is_a_minimum():
    surface = Cluster({(0, 1): 1.8, (0, 2): 1.8, (1, 2): 4.5}, force_error=3e-4)
    bent = Cluster({(0, 1): 1.8, (0, 2): 1.8, (1, 2): 3.2})
    _, found = relaxed(surface, water(STRAIGHT), bent.hessian)
    assert found.succeeded
    assert found.angles["H2-O1-H3"]["value"] > 177


@pytest.mark.parametrize("turn", [lambda nuclei: nuclei, turned], ids=["along z", "turned"])
def test_a_linear_molecule_has_all_its_vibrations_wherever_its_line_points(turn):
    surface = Cluster({(0, 1): 1.8, (0, 2): 1.8, (1, 2): 4.5}, force_error=1e-3)
    start = water(turn(STRAIGHT))
    search, found = relaxed(surface, start, surface.hessian, frequencies=True)
    rest = water(STRAIGHT * 2.1 / 1.8)  # where all three springs pull alike
    assert found.succeeded
    assert len(search.points) < 20
    directions = internal_directions(np.array(rest.coordinates))
    masses = np.array([isotope_mass(symbol) for symbol in rest.symbols])
    exact = harmonic(directions.T @ surface.hessian(rest) @ directions, directions, masses)
    assert len(found.wavenumbers) == 4
    for figure, value in zip(found.wavenumbers, exact, strict=True):
        assert abs(figure["value"] - value) < 4 * figure["error"] < 0.15 * value


@pytest.mark.parametrize("seed", range(2))
def test_couplings_that_nothing_tells_leave_a_minimum(seed):
    surface = Cluster(PYRAMID, force_error=3e-4, seed=seed)
    search, found = relaxed(surface, ammonia(), surface.hessian)
    assert found.succeeded
    assert len(search.points) < 6
    for name, bond in found.bonds.items():
        assert abs(bond["value"] - 1.9) < 4 * bond["error"] < 0.02, name


def test_geometries_that_frequencies_need_are_besides_the_most_there_may_be():
    surface = Cluster(PYRAMID, force_error=1e-3, seed=3)
    search, found = relaxed(surface, ammonia(), surface.hessian, frequencies=True, geometries=5)
    assert found.succeeded
    assert search.aside >= 12
    assert len(search.points) - search.aside <= 5


def test_many_vibrations_are_at_rest_as_often_as_one():
    """Of 60 times 41 +- 3.6, where no force has to be larger than its own error 6 would be."""
    molecule, times = ammonia(), 0
    lengths = {
        pair: math.dist(*(molecule.coordinates[i] for i in pair)) for pair in PYRAMID
    }  # of which all are at rest
    for seed in range(60):
        surface = Cluster(lengths, force_error=1e-3, seed=seed)
        model = Model.fit([surface(molecule)], np.array(molecule.coordinates), surface.hessian(molecule))
        times += settled(model, 1e-6)
    assert 41 - 3.5 * 3.6 < times < 41 + 3.5 * 3.6
