"""Electron-nucleus cusps of Gaussian orbitals: near a nucleus, s functions become smooth ones with its cusp.

Gaussians have no slope at the nucleus, and around it swing about the orbital they stand for, which their local energy
shows magnified. Within the reach c of a nucleus of charge Z the s part of every function is replaced by
e^(-Z r) sum_k b_k r^k: with value, slope and curvature of the s part at c, with the slope -Z phi(0) at the nucleus,
where phi is the whole function, and for the rest as near the s part as least squares in r^2 dr bring it. All of this is
linear in the function, so that it is done once for each function of the basis set.

References:
    Ma, Towler, Drummond, Needs, J. Chem. Phys. 122, 224322 (2005), doi:10.1063/1.1940588, replace s parts likewise, by
    exponentials of polynomials that a search finds.

Letters: B walkers, N electrons, A nuclei, P primitives of a nucleus, F functions, K = DEGREE + 1, Q points.
"""

import math

import torch
from torch import Tensor, nn

from qmcnet.chemistry.gto import GaussianBasis
from qmcnet.compute.kernels import sum_of_squares
from qmcnet.laplacian import LapTuple
from qmcnet.system.molecule import Molecule

REACH = 1.6
"""c Z: the local energy of 1s and 2s functions from He to Ne varies least for 1.3 to 2."""
DEGREE = 5
POINTS = 400


class OrbitalCusps(nn.Module):
    """What is added to the functions of a basis set near the nuclei."""

    charges: Tensor
    reach: Tensor
    powers: Tensor
    exponents: Tensor
    weights: Tensor

    def __init__(self, molecule: Molecule, basis: GaussianBasis) -> None:
        """Replace the s part of every function, in float64 on the CPU.

        Args:
            molecule: the system.
            basis: Gaussian basis set, centred at the nuclei.
        """
        super().__init__()
        charges = molecule.point_charges
        s_parts = [s_part(basis, nucleus) for nucleus in range(len(charges))]
        width = max(len(exponents) for exponents, _ in s_parts)
        at_nuclei = basis(molecule.nuclei.double().cpu())  # (A, F)
        exponents, weights = charges.new_zeros(len(charges), width), []
        for nucleus, (own, contraction) in enumerate(s_parts):
            exponents[nucleus, : len(own)] = own
            if not charges[nucleus]:  # a core potential, without a cusp
                own, contraction = own[:0], contraction[:0]
            smooth = smoothed(float(charges[nucleus]) or 1.0, own, contraction, at_nuclei[nucleus])  # (K, F)
            padding = contraction.new_zeros(width - len(own), basis.n_ao)
            weights.append(torch.cat([smooth, -contraction, padding]))
        buffers = {
            "charges": charges,
            "reach": torch.where(charges > 0, REACH / charges, -1),  # of no electron
            "exponents": exponents,
            "weights": torch.stack(weights),
            "powers": torch.arange(DEGREE + 1, dtype=torch.float64),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, d_en: Tensor | LapTuple) -> Tensor | LapTuple:
        """Evaluate what is added.

        Args:
            d_en: electron-nucleus distances, shape (B, N, A), in bohr; tracked or not.

        Returns:
            Shape (B, N, F), in bohr^-3/2.
        """
        weights = self.weights.flatten(0, 1)  # (A (K + P), F)
        if not isinstance(d_en, LapTuple):
            added: Tensor = self.radial(d_en)[0].flatten(-2) @ weights
            return added
        value, first, second = self.radial(d_en.value)  # (B, N, A, K + P)
        jacobian, laplacian = d_en.jacobian[..., None], d_en.laplacian[..., None]
        bend = second * sum_of_squares(d_en.jacobian)[..., None]
        rows = torch.cat([jacobian * first, (laplacian * first + bend)[None], value[None]])
        return LapTuple.from_rows(rows.flatten(-2) @ weights, d_en.support)

    def radial(self, d_en: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate (r / c)^k e^(-Z r) and exp(-a r^2) with two derivatives in r; all vanish beyond the reach.

        Args:
            d_en: electron-nucleus distances r, shape (B, N, A), in bohr.

        Returns:
            Values, first and second derivatives, each (B, N, A, K + P).
        """
        inside = d_en < self.reach
        # What is not used is evaluated where it is small, since a gradient sees it.
        r, near = torch.where(inside, d_en, self.reach.abs())[..., None], inside[..., None]
        found = zip(
            slater(r, self.charges[:, None], self.reach[:, None], self.powers), gaussian(r, self.exponents), strict=True
        )
        value, first, second = (torch.where(near, torch.cat(pair, -1), 0) for pair in found)
        return value, first, second


def s_part(basis: GaussianBasis, nucleus: int) -> tuple[Tensor, Tensor]:
    """Find what of the functions at a nucleus has no direction.

    Args:
        basis: Gaussian basis set.
        nucleus: number of the centre.

    Returns:
        Exponents, shape (P,), in bohr^-2, and sum_p c_pf exp(-a_p r^2) of each function f, as c of shape (P, F).
    """
    chosen = basis.center_of_primitive == nucleus
    own = (basis.harmonic_of_ao == nucleus).double()  # the first of the harmonics, of each centre, is that of s
    of_function = basis.contraction[basis.radial_of_ao][:, chosen].T * own  # (P, F)
    used = of_function.abs().sum(-1) > 0
    return basis.exponents[chosen][used], of_function[used] / math.sqrt(4 * math.pi)  # with Y_00


def smoothed(charge: float, exponents: Tensor, contraction: Tensor, at_nucleus: Tensor) -> Tensor:
    """Fit (r / c)^k e^(-Z r) to s parts.

    Args:
        charge: Z.
        exponents: of the s parts, shape (P,).
        contraction: of each function, shape (P, F).
        at_nucleus: whole functions at the nucleus, shape (F,).

    Returns:
        Coefficients, shape (K, F).
    """
    reach, powers = REACH / charge, torch.arange(DEGREE + 1, dtype=torch.float64)
    r = torch.linspace(1, 2 * POINTS - 1, POINTS, dtype=torch.float64)[:, None] * (reach / (2 * POINTS))  # (Q, 1)
    end = r.new_full((1, 1), reach)
    model = slater(r, r.new_tensor(charge), end[0, 0], powers)[0] * r  # (Q, K)
    data = gaussian(r, exponents)[0] @ contraction * r  # (Q, F)
    slope = (powers == 1).double()[None]  # (r / c) e^(-Z r) alone bends the slope away from that of e^(-Z r)
    others = at_nucleus - contraction.sum(0)
    conditions = torch.cat([*slater(end, end.new_tensor(charge), end[0, 0], powers), slope])  # (4, K)
    targets = torch.cat([part @ contraction for part in gaussian(end, exponents)] + [-charge * reach * others[None]])
    system = torch.zeros(DEGREE + 5, DEGREE + 5, dtype=torch.float64)
    system[: DEGREE + 1, : DEGREE + 1] = model.T @ model / POINTS
    system[DEGREE + 1 :, : DEGREE + 1], system[: DEGREE + 1, DEGREE + 1 :] = conditions, conditions.T
    return torch.linalg.solve(system, torch.cat([model.T @ data / POINTS, targets]))[: DEGREE + 1]


def slater(r: Tensor, charge: Tensor, reach: Tensor, powers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate (r / c)^k e^(-Z r) and its first two derivatives in r.

    Args:
        r: distances, shape (..., 1), in bohr.
        charge: Z, which goes with r.
        reach: c, which goes with r, in bohr.
        powers: k, shape (K,).

    Returns:
        Each of shape (..., K).
    """
    t = r / reach
    lower, lowest = powers.clamp(min=1) - 1, powers.clamp(min=2) - 2
    power, first = t**powers, powers * t**lower / reach
    second, decay = powers * (powers - 1) * t**lowest / reach**2, torch.exp(-charge * r)
    return (
        decay * power,
        decay * (first - charge * power),
        decay * (second - 2 * charge * first + charge**2 * power),
    )


def gaussian(r: Tensor, exponents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate exp(-a r^2) and its first two derivatives in r.

    Args:
        r: distances, shape (..., 1), in bohr.
        exponents: a, in bohr^-2, shape (P,) or one row for each place.

    Returns:
        Each of shape (..., P).
    """
    value = torch.exp(-exponents * r.square())
    return value, -2 * exponents * r * value, (4 * exponents.square() * r.square() - 2 * exponents) * value
