"""Real solid harmonics r^l Y_lm and their derivatives, in Cartesian coordinates.

r^l Y_lm = norm P_lm(z, r^2) C_m(x, y) by the recursions of the first reference. With r_lm = P_lm (x + iy)^m / (l + m)!
derivatives are harmonics of one degree less: d_z r_lm = r_(l-1)m, (d_x + i d_y) r_lm = -r_(l-1)(m+1) and
(d_x - i d_y) r_lm = r_(l-1)(m-1).

References:
    Bigi, Fraux, Browning, Ceriotti, J. Chem. Phys. 159, 064802 (2023), doi:10.1063/5.0156307 (values);
    Helgaker, Jorgensen, Olsen, Molecular Electronic-Structure Theory, Wiley (2000), section 6.4 (derivatives).

Letters: A centres, M points, H harmonics.
"""

import math

import torch
from torch import Tensor


def orders(largest: int) -> list[tuple[int, int]]:
    """List degree and order (l, m) of all harmonics, with p functions as x, y, z.

    Args:
        largest: largest degree.

    Returns:
        The pairs in the order of the functions here.
    """
    exceptions = {1: (1, -1, 0)}
    return [(n, m) for n in range(largest + 1) for m in exceptions.get(n, range(-n, n + 1))]


def solid_harmonics(r: Tensor, largest: int) -> Tensor:
    """Evaluate all solid harmonics up to a degree.

    Args:
        r: vectors, shape (3, A, M), in bohr.
        largest: largest degree.

    Returns:
        r^l Y_lm, shape (H, A, M), in bohr^l.
    """
    legendre, cosine, sine = _factors(r, largest)
    rows = [_norm(n, m) * legendre[n, abs(m)] * (sine[-m] if m < 0 else cosine[m]) for n, m in orders(largest)]
    return torch.stack(rows)


def derivative_matrices(largest: int) -> Tensor:
    """Express the derivatives of solid harmonics in solid harmonics.

    Args:
        largest: largest degree.

    Returns:
        D with d_a S_h = sum_k D_ahk S_k, shape (3, H, H), float64.
    """
    # Of order k there is a real part and, for k > 0, an imaginary part.
    index = {(n, abs(m), m < 0): i for i, (n, m) in enumerate(orders(largest))}
    matrices = torch.zeros(3, len(index), len(index), dtype=torch.float64)
    for (n, k, imaginary), row in index.items():
        up, down = (-0.5, 0.5) if k else (-1.0, 0.0)
        turn = -1 if imaginary else 1
        terms = [(0, k + 1, imaginary, up), (0, k - 1, imaginary, down), (2, k, imaginary, 1.0)]
        terms += [(1, k + 1, not imaginary, turn * up), (1, k - 1, not imaginary, -turn * down)]
        for axis, order, part, factor in terms:
            column = index.get((n - 1, order, part))
            if column is not None:
                ratio = _norm(n, k) * math.factorial(n + k) / (_norm(n - 1, order) * math.factorial(n - 1 + order))
                matrices[axis, row, column] = factor * ratio
    return matrices


def _norm(degree: int, m: int) -> float:
    ratio = math.factorial(degree - abs(m)) / math.factorial(degree + abs(m))
    return math.sqrt((2 * degree + 1) / (4 * math.pi) * (1 if m == 0 else 2) * ratio)


# P_nm for 0 <= m <= n, and the real and imaginary parts C_m of (x + iy)^m, each (A, M).
def _factors(r: Tensor, largest: int) -> tuple[dict[tuple[int, int], Tensor], list[Tensor], list[Tensor]]:
    x, y, z = r
    squared = x * x + y * y + z * z
    cosine, sine = [torch.ones_like(z)], [torch.zeros_like(z)]
    legendre = {(0, 0): torch.ones_like(z)}
    for m in range(largest):
        c, s = cosine[m], sine[m]
        cosine.append(x * c - y * s)
        sine.append(x * s + y * c)
        legendre[m + 1, m + 1] = (2 * m + 1) * legendre[m, m]
        legendre[m + 1, m] = (2 * m + 1) * z * legendre[m, m]
        for n in range(m + 2, largest + 1):
            upper, lower = legendre[n - 1, m], legendre[n - 2, m]
            legendre[n, m] = ((2 * n - 1) * z * upper - (n + m - 1) * squared * lower) / (n - m)
    return legendre, cosine, sine
