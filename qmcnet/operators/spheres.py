"""Rules for integrals over the sphere, and random rotations of them.

References:
    Lebedev, Laikov, Dokl. Math. 59, 477 (1999) (rules of any degree, as SciPy has them);
    Shoemake, Graphics Gems III, 124 (1992) (uniform rotations from random quaternions).
"""

import math

import torch
from torch import Tensor


def sphere_rule(degree: int) -> tuple[Tensor, Tensor]:
    """Choose directions and weights that integrate spherical harmonics up to a degree exactly.

    Args:
        degree: 1 takes two opposite directions, 5 the corners of an icosahedron, others the Lebedev rule of the degree.

    Returns:
        Unit vectors, shape (Q, 3), and weights that add up to one, shape (Q,), float64.

    Raises:
        ValueError: if there is no rule of this degree.
    """
    if degree == 1:
        return torch.tensor([[0, 0, 1], [0, 0, -1]], dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    if degree == 5:
        return icosahedron(), torch.full((12,), 1 / 12, dtype=torch.float64)
    from scipy.integrate import lebedev_rule

    try:
        points, weights = lebedev_rule(degree)
    except NotImplementedError as error:
        raise ValueError(f"degree={degree}: there is no Lebedev rule of it; {str(error).splitlines()[-1]}") from None
    return torch.tensor(points.T).contiguous(), torch.tensor(weights) / (4 * math.pi)


def icosahedron() -> Tensor:
    """Corners of an icosahedron, unit vectors, shape (12, 3), float64."""
    golden = (1 + math.sqrt(5)) / 2
    corners = [(0.0, one, two) for one in (1, -1) for two in (golden, -golden)]
    turned = [corner[k:] + corner[:k] for corner in corners for k in range(3)]
    return torch.nn.functional.normalize(torch.tensor(turned, dtype=torch.float64), dim=-1)


def rotations(quaternions: Tensor) -> Tensor:
    """Make rotations of quaternions; of normal variates, rotations that are uniform.

    Args:
        quaternions: of any length but zero, shape (..., 4).

    Returns:
        Rotation matrices, shape (..., 3, 3).
    """
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def legendre(cosines: Tensor, count: int) -> Tensor:
    """Evaluate (2 l + 1) P_l, by the recursion (l + 1) P_(l+1) = (2 l + 1) x P_l - l P_(l-1).

    Args:
        cosines: x, shape (...).
        count: how many, l = 0, 1, ...

    Returns:
        Shape (..., count).
    """
    values = [torch.ones_like(cosines), cosines]
    for degree in range(1, count - 1):
        values.append(((2 * degree + 1) * cosines * values[-1] - degree * values[-2]) / (degree + 1))
    return torch.stack([(2 * degree + 1) * value for degree, value in enumerate(values[:count])], -1)
