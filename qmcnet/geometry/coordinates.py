"""Displacements of nuclei without rigid translations and rotations.

Letters: A nuclei, n = 3A - 6 internal directions, 3A - 5 of linear molecules.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALL = 0.03
"""Of nuclei from a common line, over the size of the molecule, below which it counts as linear: errors of forces bend a
linear molecule by 1 %, and one that is bent by less than 3 degrees in truth is rare."""


def rigid_motions(nuclei: Array) -> Array:
    """Span translations and rotations.

    Args:
        nuclei: positions, shape (A, 3), in bohr.

    Returns:
        Orthonormal columns, shape (3 A, 6), or (3 A, 5) of nuclei on a line, (3, 3) of a single one.
    """
    centred = nuclei - nuclei.mean(0)
    shifts = np.tile(np.eye(3), (len(nuclei), 1))  # (3A, 3)
    turns = np.stack([np.cross(axis, centred).ravel() for axis in np.eye(3)], -1)  # (3A, 3)
    columns, _, _ = np.linalg.svd(turns, full_matrices=False)  # that about a line comes last
    kept = 0 if len(nuclei) == 1 else 2 if _on_a_line(centred) else 3
    return np.hstack([shifts / np.sqrt(len(nuclei)), columns[:, :kept]])


def internal_directions(nuclei: Array) -> Array:
    """Span what is neither translation nor rotation.

    Args:
        nuclei: positions, shape (A, 3), in bohr.

    Returns:
        Orthonormal columns, shape (3 A, n).
    """
    rigid = rigid_motions(nuclei)
    columns, sizes, _ = np.linalg.svd(np.eye(nuclei.size) - rigid @ rigid.T)
    return np.asarray(columns[:, sizes > 0.5])


def aligned(nuclei: Array, onto: Array) -> tuple[Array, Array]:
    """Turn and shift nuclei onto others: the displacements that are left are orthogonal to rigid motions.

    A rotation about the line of a linear molecule moves nothing of it, but directions in which others are displaced
    from it, and forces: there is none.

    Args:
        nuclei: positions, shape (A, 3), in bohr.
        onto: those to come near to, of the same shape.

    Returns:
        The positions moved, and the rotation, shape (3, 3), which takes vectors as `vectors @ rotation`.

    References:
        Kabsch, Acta Cryst. A 32, 922 (1976), doi:10.1107/S0567739476001873.
    """
    centre, target = nuclei.mean(0), onto.mean(0)
    left, _, right = np.linalg.svd((nuclei - centre).T @ (onto - target))
    if _on_a_line(nuclei - centre) or _on_a_line(onto - target):
        rotation = _shortest_turn(left[:, 0], right[0])
    else:
        rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    return (nuclei - centre) @ rotation + target, rotation


def _on_a_line(centred: Array) -> bool:
    """Whether all nuclei, shape (A, 3), are on a line through their centre, or nearly so."""
    longest, across, height = np.linalg.svd(centred, compute_uv=False)[:3] if len(centred) > 2 else (1.0, 0.0, 0.0)
    return bool(np.hypot(across, height) <= SMALL * np.hypot(longest, across))


def _shortest_turn(start: Array, end: Array) -> Array:
    """Find the rotation of the smallest angle that takes one unit vector, as `start @ rotation`, to another."""
    cosine, cross = float(start @ end), np.outer(start, end) - np.outer(end, start)
    if cosine < SMALL - 1:  # by way of a third, as all turns by 180 degrees are alike
        between = np.cross(start, np.eye(3)[np.abs(start).argmin()])
        between /= np.linalg.norm(between)
        return _shortest_turn(start, between) @ _shortest_turn(between, end)
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + cosine))
