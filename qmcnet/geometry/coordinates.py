"""Displacements of nuclei without rigid translations and rotations.

Letters: A nuclei, n = 3A - 6 internal directions, 3A - 5 of linear molecules.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALL = 1e-3
"""Of a nucleus from the common line, over the size of the molecule, below which the molecule counts as linear."""


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
    columns, sizes, _ = np.linalg.svd(turns, full_matrices=False)
    kept = columns[:, sizes > SMALL * max(sizes.max(), 1e-12)] if len(nuclei) > 1 else columns[:, :0]
    return np.hstack([shifts / np.sqrt(len(nuclei)), kept])


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
    proper = np.diag([1.0, 1.0, np.linalg.det(left @ right)])
    rotation = left @ proper @ right
    return (nuclei - centre) @ rotation + target, rotation
