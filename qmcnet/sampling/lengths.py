"""How far electrons move at a place: short in a core, long outside.

References:
    Umrigar, Phys. Rev. Lett. 71, 408 (1993), doi:10.1103/PhysRevLett.71.408 (moves in proportion to the distance to
    the nearest nucleus, down to the size of its core).

Letters: B walkers, N electrons, A nuclei.
"""

from torch import Tensor

LONGEST = 1.2
"""Length far from all nuclei, in bohr. Of carbon, five moves a sweep with it decorrelate r^2 as fast as twenty of one
width."""


def local_lengths(positions: Tensor, nuclei: Tensor, charges: Tensor) -> Tensor:
    """Measure lengths w L / (w + L), w = sqrt(d^2 + 1/Z^2), of the nucleus for which w is shortest.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.
        nuclei: nuclear positions, shape (A, 3), in bohr.
        charges: nuclear charges Z, shape (A,).

    Returns:
        Length at each electron, from 1/Z at a nucleus to 1.2 far away, shape (B, N, 1), in bohr.
    """
    nuclei, charges = nuclei.to(positions.dtype), charges.to(positions.dtype)
    squares = (positions[..., :, None, :] - nuclei).square().sum(-1)  # (B, N, A)
    nearest: Tensor = (squares + charges.pow(-2)).amin(-1, keepdim=True).sqrt()  # (B, N, 1)
    return nearest * LONGEST / (nearest + LONGEST)
