import numpy as np
import pytest
from geometry.surfaces import WATER

from qmcnet.geometry.coordinates import aligned, internal_directions, rigid_motions

LINE = np.array([[0.0, 0.0, -2.2], [0.0, 0.0, 0.0], [0.0, 0.0, 2.2]])


def turned(nuclei, seed=0):
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    return nuclei @ (rotation * np.linalg.det(rotation)) + generator.standard_normal(3)


@pytest.mark.parametrize(("nuclei", "count"), [(WATER, 3), (LINE, 4), (turned(LINE), 4), (LINE[:2], 1)])
def test_what_is_left_has_as_many_directions_as_there_are_vibrations(nuclei, count):
    inside = internal_directions(nuclei)
    assert inside.shape == (nuclei.size, count)
    np.testing.assert_allclose(inside.T @ inside, np.eye(count), atol=1e-12)
    np.testing.assert_allclose(rigid_motions(nuclei).T @ inside, 0, atol=1e-12)


def test_a_small_rotation_is_a_rigid_motion():
    angle = 1e-6
    rotation = np.array([[1, -angle, 0], [angle, 1, 0], [0, 0, 1]])
    shift = (WATER @ rotation.T - WATER).ravel() / angle
    np.testing.assert_allclose(internal_directions(WATER).T @ shift, 0, atol=1e-9)


def test_nuclei_that_were_moved_as_a_whole_come_back_and_a_mirror_image_does_not():
    back, rotation = aligned(turned(WATER + 0.1 * np.eye(3)), WATER + 0.1 * np.eye(3))
    np.testing.assert_allclose(back, WATER + 0.1 * np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    chiral = np.random.default_rng(1).standard_normal((4, 3))
    back, rotation = aligned(chiral * [1, 1, -1], chiral)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.abs(back - chiral).max() > 0.1


def test_displacements_of_aligned_nuclei_are_internal():
    displaced = turned(WATER + 0.2 * np.random.default_rng(2).standard_normal((3, 3)))
    shift = (aligned(displaced, WATER)[0] - WATER).ravel()
    np.testing.assert_allclose(rigid_motions(WATER).T @ shift, 0, atol=1e-12)


@pytest.mark.parametrize("turn", [lambda nuclei: nuclei, turned], ids=["along z", "turned"])
@pytest.mark.parametrize("bent", [0.0, 0.02], ids=["straight", "bent by noise"])
def test_displacements_from_a_line_keep_their_direction_about_it(turn, bent):
    line = turn(LINE + bent * np.array([[0, 1, 0], [0, -2, 0], [0, 1, 0]]))
    inside = internal_directions(line)
    assert inside.shape == (9, 4)
    for direction in inside.T:
        for size in (0.2, -0.2):
            displaced = line + size * direction.reshape(3, 3)
            moved, rotation = aligned(displaced, line)
            np.testing.assert_allclose((moved - line).ravel() @ inside, size * inside.T @ direction, atol=2e-2)
            np.testing.assert_allclose(rotation, np.eye(3), atol=1e-1 * bent + 1e-9)


def test_nuclei_on_a_line_are_turned_the_shortest_way():
    for start, end in (([0, 0, 1.0], [0, 0, -1.0]), ([1.0, 0, 0], [0, 0.6, 0.8]), ([0, 0, 1.0], [0, 1e-9, -1.0])):
        first, second = np.outer([-1, 0, 2], start), np.outer([-1, 0, 2], end)
        moved, rotation = aligned(first, second)
        np.testing.assert_allclose(moved, second, atol=1e-12)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        angle = np.arccos(np.clip(np.dot(start, end), -1, 1))
        assert np.trace(rotation) == pytest.approx(1 + 2 * np.cos(angle), abs=1e-12)
