"""How much each nucleus takes an electron along when it moves: the weights of the space warp.

An electron close to a nucleus moves with it, one between several with their mean, in which heavy ones count more: the
electrons of a hydrogen atom bound to an oxygen belong to both. Exponents were chosen by the variance of forces.

References:
    Umrigar, Int. J. Quantum Chem. 36 (S23), 217 (1989), doi:10.1002/qua.560360826;
    Filippi, Umrigar, Phys. Rev. B 61, R16291 (2000), doi:10.1103/PhysRevB.61.R16291 (powers of the distance).

Dimension letters: B walkers, N electrons, A nuclei.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

POWER = 2.5
CHARGE_POWER = 1.875
CLOSEST = 1e-9
"""Distance in bohr below which an electron stands on a nucleus, where the weight would not be finite."""


def warp_weights(positions: Tensor, nuclei: Tensor, charges: Tensor) -> Tensor:
    """Evaluate w_A(r), proportional to (Z_A^(3/4) / |r - R_A|)^(5/2), with sum_A w_A = 1.

    Args:
        positions: electron positions, shape (..., N, 3), in bohr; they may be tracked by a forward Laplacian.
        nuclei: nuclear positions, shape (A, 3), in bohr.
        charges: of the nuclei, shape (A,).

    Returns:
        Shape (..., N, A).
    """
    squares = (positions[..., None, :] - nuclei).square().sum(-1) + CLOSEST**2
    return (CHARGE_POWER * charges.to(nuclei).log() - POWER / 2 * squares.log()).softmax(-1)


def warp_slopes(positions: Tensor, nuclei: Tensor, charges: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the weights with their gradients, w_A (g_A - <g>).

    g_A is the gradient of -5/2 log|r - R_A|, and <> an average by the weights.

    Args:
        positions: electron positions, shape (..., N, 3), float64, in bohr.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr.
        charges: of the nuclei, shape (A,).

    Returns:
        Weights, shape (..., N, A), and gradients by the position of the electron, (..., N, A, 3), in 1/bohr.
    """
    weights = warp_weights(positions, nuclei, charges)
    return weights, weights[..., None] * _relative(weights, _gradients(positions, nuclei)[0])


def strain(before: Tensor, after: Tensor, charges: Tensor) -> float:
    """Measure how much electrons between two nuclei are pulled apart or together that follow their nuclei.

    Where two of them have equal weights, x_A and x_B away, w_A changes by 5/8 (1 / x_A + 1 / x_B) a bohr; nearer to the
    lighter one it may change faster, by a tenth.

    Args:
        before: nuclear positions, shape (A, 3), in bohr.
        after: where they are now, shape (A, 3), in bohr.
        charges: of the nuclei, shape (A,).

    Returns:
        Change of a distance between electrons there, over the distance, the largest of all pairs of nuclei.
    """
    shift = after - before
    apart = torch.linalg.vector_norm(after[:, None] - after, dim=-1)  # (A, A)
    change = torch.linalg.vector_norm(shift[:, None] - shift, dim=-1)
    reach = charges ** (CHARGE_POWER / POWER)
    slope = POWER / 4 * (reach[:, None] + reach) ** 2 / (reach[:, None] * reach)
    return float((slope * change / apart.clamp(min=CLOSEST)).max())


def largest_outside(distances: Tensor, nuclei: Tensor, charges: Tensor) -> Tensor:
    """Bound 1 - w_A, the say of all other nuclei, anywhere on the sphere about nucleus A that an electron is on.

    The nucleus B is at least | |R_B - R_A| - r | away from all of it.

    Args:
        distances: of the electrons from the nuclei, r, shape (..., N, A), in bohr.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr.
        charges: of the nuclei, shape (A,).

    Returns:
        Shape (..., N, A), between 0 and 1.
    """
    apart = torch.linalg.vector_norm(nuclei[:, None] - nuclei, dim=-1)  # (A, A)
    nearest = (apart - distances[..., None]).abs().clamp(min=CLOSEST)  # (..., N, A, A)
    charged = CHARGE_POWER * charges.to(distances).log()
    ratios = POWER * (distances[..., None].clamp(min=CLOSEST) / nearest).log() + charged - charged[:, None]
    own = torch.eye(len(nuclei), dtype=torch.bool, device=nuclei.device)
    return ratios.masked_fill(own, -torch.inf).logsumexp(-1).sigmoid()


@dataclass(frozen=True)
class Warp:
    """The weights of the space warp with their derivatives by the position of the electron.

    Attributes:
        weights: w_A(r), shape (..., N, A).
        slopes: their gradients, shape (..., N, A, 3), in 1/bohr.
        curvatures: their second derivatives, shape (..., N, A, 3, 3), in 1/bohr^2.
    """

    weights: Tensor
    slopes: Tensor
    curvatures: Tensor


def warp(positions: Tensor, nuclei: Tensor, charges: Tensor) -> Warp:
    """Evaluate the weights with first and second derivatives.

    With d_A = g_A - <g>, and h_A the second derivatives of -5/2 log|r - R_A|, those of w_A are
    w_A (d_A d_A + h_A - <d d + h>).

    Args:
        positions: electron positions, shape (..., N, 3), float64, in bohr.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr.
        charges: of the nuclei, shape (A,).

    Returns:
        Weights, slopes and curvatures.
    """
    weights = warp_weights(positions, nuclei, charges)
    g, inverse = _gradients(positions, nuclei)
    d = _relative(weights, g)
    unit = torch.eye(3, dtype=g.dtype, device=g.device)
    h = (2 / POWER) * g[..., :, None] * g[..., None, :] - POWER * inverse[..., None] * unit
    second = d[..., :, None] * d[..., None, :] + h
    second = second - (weights[..., None, None] * second).sum(-3, keepdim=True)
    return Warp(weights, weights[..., None] * d, weights[..., None, None] * second)


def _relative(weights: Tensor, g: Tensor) -> Tensor:
    """Take gradients (..., N, A, 3) from their average by the weights."""
    return g - (weights[..., None] * g).sum(-2, keepdim=True)


def _gradients(positions: Tensor, nuclei: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate gradients of -5/2 log|r - R_A|, (..., N, A, 3), and |r - R_A|^-2, (..., N, A, 1)."""
    vectors = positions[..., None, :] - nuclei
    inverse = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=CLOSEST).square().reciprocal()
    return vectors * (-POWER * inverse), inverse
