"""Contracted Gaussian basis functions and mean-field orbitals in torch, on any device.

chi(r) = Y_lm(r - R) |r - R|^l sum_p c_p exp(-a_p |r - R|^2), with orthonormal real spherical harmonics Y_lm.

Dimension letters: B walkers, N electrons, A centres, P primitives, R radial functions, M points, H harmonics.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from qmcnet.chemistry.harmonics import derivative_matrices, solid_harmonics

LARGEST_DEGREE = 4


@dataclass(frozen=True)
class Shell:
    """Contracted Gaussians at one centre with one angular momentum and common exponents.

    Attributes:
        center: position, (3,), bohr.
        degree: angular momentum l: 0 for s, up to 4 for g.
        exponents: exponents of the primitives, (n_primitives,), 1/bohr^2.
        coefficients: one row per contracted function, (n_contracted, n_primitives), including the radial
            normalisation of the primitives.
    """

    center: tuple[float, float, float]
    degree: int
    exponents: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Refuse shells that cannot be evaluated.

        Raises:
            ValueError: the angular momentum is not supported, or the contraction does not fit the exponents.
        """
        if not 0 <= self.degree <= LARGEST_DEGREE:
            raise ValueError(
                f"degree: angular momentum l={self.degree} is outside 0 (s) to {LARGEST_DEGREE} (g): "
                "choose a smaller basis"
            )
        for row in self.coefficients:
            if len(row) != len(self.exponents):
                raise ValueError(
                    f"coefficients: a row has {len(row)} entries for {len(self.exponents)} exponents: "
                    "give one coefficient per exponent"
                )


class GaussianBasis(nn.Module):
    """All functions of a Gaussian basis set at given points.

    The functions are ordered by shell, then contracted function, then m = -l..l; p functions are x, y, z.

    Attributes:
        n_ao: number of basis functions.
    """

    centers: Tensor
    exponents: Tensor
    contraction: Tensor
    center_of_primitive: Tensor
    radial_of_ao: Tensor
    harmonic_of_ao: Tensor
    center_of_ao: Tensor
    harmonic_derivatives: Tensor

    def __init__(self, shells: Sequence[Shell]) -> None:
        """Build the basis in float64 on the CPU.

        Args:
            shells: the basis set.

        Raises:
            ValueError: there is no shell.
        """
        super().__init__()
        if not shells:
            raise ValueError("shells=[]: a basis needs at least one shell")
        self.degree = max(shell.degree for shell in shells)
        self.n_ao = sum(len(shell.coefficients) * (2 * shell.degree + 1) for shell in shells)
        centers = _numbered(shell.center for shell in shells)
        primitives = _numbered((centers[s.center], a) for s in shells for a in s.exponents)
        self.register_buffer("centers", torch.tensor(list(centers), dtype=torch.float64))
        self.register_buffer("exponents", torch.tensor([a for _, a in primitives], dtype=torch.float64))
        self.register_buffer("center_of_primitive", torch.tensor([c for c, _ in primitives]))
        self.register_buffer("harmonic_derivatives", derivative_matrices(self.degree), persistent=False)
        self._register_contraction(shells, centers, primitives)
        self._register_ao_order(shells, centers)

    def forward(self, points: Tensor, centers: Tensor | None = None) -> Tensor:
        """Evaluate the basis functions.

        Args:
            points: positions, (..., 3), bohr.
            centers: where the centres are, (A, 3), bohr, or (B, A, 3) for points (B, N, 3); by default where they were
                when the basis was made.

        Returns:
            Basis functions, (..., n_ao), bohr^-3/2.
        """
        displacement = self._displacement(points, centers)  # (3, A, M)
        radial = self.contraction @ self._primitives(displacement)  # (R, M)
        harmonics = solid_harmonics(displacement, self.degree).flatten(0, 1)  # (HA, M)
        values = radial[self.radial_of_ao] * harmonics[self.harmonic_of_ao]  # (n_ao, M)
        return values.T.reshape(*points.shape[:-1], self.n_ao)

    def derivatives(
        self, points: Tensor, metric: Tensor, centers: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate the basis functions with first and second derivatives in closed form.

        Args:
            points: positions, (..., 3), bohr.
            metric: weights g_ab of the second derivatives, symmetric, (..., 3, 3); the identity gives the Laplacian.
            centers: where the centres are, as for `forward`.

        Returns:
            Values, (..., n_ao), bohr^-3/2; gradients, (..., 3, n_ao), bohr^-5/2; and sum_ab g_ab d_a d_b of the
            functions, (..., n_ao), bohr^-7/2.
        """
        r, g = self._displacement(points, centers), metric.reshape(-1, 3, 3).permute(1, 2, 0)  # (3, A, M), (3, 3, M)
        primitives = self._primitives(r)  # (P, M)
        radial, slope, bend = (
            ((-2 * self.exponents) ** k * self.contraction @ primitives)[self.radial_of_ao] for k in range(3)
        )  # (n_ao, M)
        harmonics = solid_harmonics(r, self.degree)  # (H, A, M)
        first = torch.einsum("xhk,kam->xham", self.harmonic_derivatives, harmonics)
        second = torch.einsum("yhk,ykam->ham", self.harmonic_derivatives, torch.einsum("xym,xkam->ykam", g, first))
        s, s_first, s_second = (h.flatten(-3, -2)[..., self.harmonic_of_ao, :] for h in (harmonics, first, second))
        weighted = torch.einsum("xym,xam->yam", g, r)  # (3, A, M)
        squared, r, weighted = (x[..., self.center_of_ao, :] for x in ((weighted * r).sum(0), r, weighted))
        gradient = radial * s_first + slope * s * r  # (3, n_ao, M)
        trace = g.diagonal().sum(-1)  # (M,)
        curvature = radial * s_second + slope * (2 * (weighted * s_first).sum(0) + trace * s) + bend * squared * s
        shape = points.shape[:-1]
        return (
            (radial * s).T.reshape(*shape, self.n_ao),
            gradient.permute(2, 0, 1).reshape(*shape, 3, self.n_ao),
            curvature.T.reshape(*shape, self.n_ao),
        )

    def _register_contraction(
        self,
        shells: Sequence[Shell],
        centers: dict[tuple[float, float, float], int],
        primitives: dict[tuple[int, float], int],
    ) -> None:
        n_radial = sum(len(shell.coefficients) for shell in shells)
        contraction = torch.zeros(n_radial, len(primitives), dtype=torch.float64)
        row = 0
        for shell in shells:
            for coefficients in shell.coefficients:
                for a, c in zip(shell.exponents, coefficients, strict=True):
                    contraction[row, primitives[centers[shell.center], a]] += c
                row += 1
        self.register_buffer("contraction", contraction)

    def _register_ao_order(self, shells: Sequence[Shell], centers: dict[tuple[float, float, float], int]) -> None:
        functions = [shell for shell in shells for _ in shell.coefficients]
        rows = [
            (i, (f.degree**2 + m) * len(centers) + centers[f.center], centers[f.center])
            for i, f in enumerate(functions)
            for m in range(2 * f.degree + 1)
        ]
        for name, index in zip(
            ("radial_of_ao", "harmonic_of_ao", "center_of_ao"), zip(*rows, strict=True), strict=True
        ):
            self.register_buffer(name, torch.tensor(index))

    def _displacement(self, points: Tensor, centers: Tensor | None) -> Tensor:
        at = self.centers if centers is None else centers
        if at.ndim > 2:
            at = at[..., None, :, :].expand(*points.shape[:-1], *at.shape[-2:])
        # Points come last so that gathering functions copies whole rows.
        return points.reshape(-1, 3).T[:, None, :] - at.reshape(-1, *at.shape[-2:]).permute(2, 1, 0)

    def _primitives(self, displacement: Tensor) -> Tensor:
        x, y, z = displacement
        squared = x * x + y * y + z * z  # (A, M)
        return torch.exp(-self.exponents[:, None] * squared[self.center_of_primitive])


class Orbitals(NamedTuple):
    """Occupied orbitals of both spins.

    Attributes:
        basis: Gaussian basis set.
        up: coefficients of the spin-up orbitals, (n_ao, n_up).
        down: coefficients of the spin-down orbitals, (n_ao, n_down).
    """

    basis: GaussianBasis
    up: Tensor
    down: Tensor


def _numbered(items: Iterable[Any]) -> dict[Any, int]:
    return {item: i for i, item in enumerate(dict.fromkeys(items))}
