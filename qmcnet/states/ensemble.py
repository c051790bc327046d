"""S >= 1 states as one sampled function, and what is minimised; one state is not a special case.

Letters: B walkers, S states, M = B S points, N electrons, G functions of a walker, A nuclei.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmcnet.compute.team import drawn, team
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.operators import LocalEnergy, Operator, States
from qmcnet.protocols import LaplacianBackend
from qmcnet.system.molecule import Molecule


class Ensemble(Protocol):
    """One function of the positions of S copies of a molecule, made of S states.

    Attributes:
        network: evaluates all states at the positions of one copy.
        molecule: the system.
        n_states: their number S.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr.
        log_psi: the states as one function of the positions of a copy, for a Laplacian back end.
        spectrum: names of the observables that figures of its states are made of.
    """

    network: nn.Module
    molecule: Molecule
    n_states: int
    nuclei: Tensor
    log_psi: "LogPsi"
    spectrum: tuple[str, ...]

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the function at positions (B, S N, 3) of x^1, then x^2, and so on: sign (B,), log_abs_psi (B,)."""

    def factors(self, positions: Tensor) -> Tensor:
        """Evaluate the G real functions of the parameters whose derivatives are the scores, shape (B, G)."""

    def identity(self, psi: Tensor) -> Tensor:
        """Local matrix of the identity, from states at points x^i, (B, S, S)."""

    def local_matrix(self, psi: Tensor, operated: Tensor) -> Tensor:
        """Local matrix of an operator, from states at points x^i, (B, S, S), and columns of O psi_j, (B, S, K)."""

    def overlaps(self, mean: NDArray[Any], vectors: NDArray[Any], points: NDArray[Any] | None) -> NDArray[Any] | None:
        """Moduli of the overlaps (S, S), from the mean local identity, eigenvectors, and states at points (M, S)."""


class Objective(Protocol):
    """Says what is sampled, and which local energies the optimiser sees."""

    def ensemble(self, network: nn.Module) -> nn.Module:
        """Make the sampled function of a run from a network."""

    def penalties(self, molecule: Molecule) -> tuple[Operator, ...]:
        """Operators that are minimised besides the energy, in hartree."""

    def __call__(self, energy: LocalEnergy, penalties: Sequence[Tensor]) -> Tensor:
        """Energies whose covariance with the scores of the G factors is the gradient, (B, G), in hartree."""


class LogPsi:
    """The logarithms of all states: log|psi|, or log|psi| + i arg psi of complex ones, and beside them the signs."""

    def __init__(self, ensemble: Ensemble) -> None:
        """Refer to the states.

        Args:
            ensemble: has the network and the nuclei.
        """
        self.ensemble = ensemble

    def __call__(self, positions: Tensor, nuclei: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate the states.

        Args:
            positions: electron positions of one copy, shape (M, N, 3), in bohr; tracked or not.
            nuclei: nuclear positions of each point, shape (M, A, 3), in bohr; those of the molecule by default.

        Returns:
            log psi and the signs or phases, each (M, S).
        """
        sign, log_abs_psi = self.states(positions, nuclei)
        return log_abs_psi + 1j * sign.angle() if sign.is_complex() else log_abs_psi, sign

    def states(self, positions: Tensor, nuclei: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate the states; the one state of a network that has no axis for it gets one.

        Args:
            positions: electron positions, shape (..., N, 3), in bohr.
            nuclei: nuclear positions of each point, shape (..., A, 3), in bohr; those of the molecule by default.

        Returns:
            Signs or phases, and log_abs_psi, each (..., S).
        """
        shape = (*positions.shape[:-2], self.ensemble.n_states)
        sign, log_abs_psi = self.ensemble.network(positions, self.ensemble.nuclei if nuclei is None else nuclei)
        return sign.reshape(shape), log_abs_psi.reshape(shape)


@torch.no_grad()
def states_at(
    ensemble: Ensemble,
    positions: Tensor,
    laplacian: LaplacianBackend | None = None,
    generator: torch.Generator | None = None,
    count: int | None = None,
    numbers: Tensor | None = None,
) -> States:
    """Evaluate all states at the points of all walkers, with their derivatives.

    psi is formed from its logarithm in double precision.

    Args:
        ensemble: the states.
        positions: electron positions of the walkers, shape (B, S N, 3), in bohr.
        laplacian: back end that differentiates; the forward Laplacian by default.
        generator: source of randomness for operators that draw; a fresh one by default.
        count: number of walkers of all processes, where these are those of one.
        numbers: of these among the walkers of one process, (B,), if they are not all of them.

    Returns:
        The states at M = B S points.
    """
    points = copies(positions, ensemble.n_states).flatten(0, 1)  # (M, N, 3)
    source, count = generator or torch.Generator(points.device), count or len(positions)
    log_psi = (laplacian or ForwardLaplacian())(ensemble.log_psi, points)
    assert log_psi.extra is not None
    dtype = torch.promote_types(log_psi.value.dtype, torch.float64)
    log_abs = log_psi.value.real.double()
    shift = log_abs.amax(-1, keepdim=True)
    psi = log_psi.extra.to(dtype) * (log_abs - shift).exp()
    random = partial(drawn, generator=source, rows=len(points), count=count)
    if numbers is not None:
        random = partial(_of_some, generator=source, count=count, n_states=ensemble.n_states, numbers=numbers)
    return States(
        positions=points.double(),
        nuclei=ensemble.nuclei,
        psi=psi,
        log_scale=shift,
        log_gradient=log_psi.gradient.to(dtype),
        log_laplacian=log_psi.laplacian.to(dtype),
        at=partial(_elsewhere, ensemble, points.dtype, dtype, shift),
        local_matrix=ensemble.local_matrix,
        overlap=ensemble.identity(psi.unflatten(0, (len(positions), -1))),
        drawn=random,
        count=count,
        slopes_at=partial(_slopes_elsewhere, ensemble, points.dtype, dtype, shift),
    )


def _of_some(
    draw: Callable[[int, torch.Generator], Tensor],
    generator: torch.Generator,
    count: int,
    n_states: int,
    numbers: Tensor,
) -> Tensor:
    """Draw random numbers for all walkers, and take those of the points of some, (M, ...)."""
    rows = drawn(draw, generator, n_states * len(range(count)[team().own]), count)
    return rows.unflatten(0, (-1, n_states))[numbers].flatten(0, 1)


@torch.no_grad()
def _elsewhere(
    ensemble: Ensemble,
    single: torch.dtype,
    double: torch.dtype,
    shift: Tensor,
    moved: Tensor,
    points: Tensor | slice = slice(None),
) -> Tensor:
    """Evaluate the states at changed copies of some or all points, (..., M, N, 3), divided by the same factors."""
    sign, log_abs_psi = ensemble.log_psi.states(moved.to(single))
    return sign.to(double) * torch.exp(log_abs_psi - shift[points])


@torch.inference_mode(False)
@torch.enable_grad()
def _slopes_elsewhere(
    ensemble: Ensemble,
    single: torch.dtype,
    double: torch.dtype,
    shift: Tensor,
    moved: Tensor,
    points: Tensor,
    electrons: Tensor,
) -> tuple[Tensor, Tensor]:
    """Evaluate the states at changed copies of some points, with gradients by the positions of one electron of each."""
    leaf = moved.detach().to(single, copy=True).requires_grad_()
    sign, log_abs_psi = ensemble.log_psi.states(leaf)
    psi = (sign.to(double) * torch.exp(log_abs_psi - shift[points])).detach()
    parts = [log_abs_psi, *([sign.angle()] if sign.is_complex() else [])]
    rows = torch.arange(len(leaf), device=leaf.device)
    found = [
        torch.stack([torch.autograd.grad(column.sum(), leaf, retain_graph=True)[0] for column in part.unbind(-1)], 1)
        for part in parts
    ]  # of each part (K, S, N, 3)
    logarithmic = torch.complex(*found) if sign.is_complex() else found[0]
    return psi, psi[..., None] * logarithmic[rows, :, electrons].to(double)


def copies(positions: Tensor, n_states: int) -> Tensor:
    """Tell the copies of the molecule apart.

    Args:
        positions: electron positions of x^1, then of x^2, and so on, shape (..., S N, 3), in bohr.
        n_states: their number S.

    Returns:
        Shape (..., S, N, 3).
    """
    return positions.unflatten(-2, (n_states, -1))


def labels(n_states: int) -> list[str]:
    """Tell the states apart at the end of a name.

    Args:
        n_states: number of states S.

    Returns:
        '_0', '_1' and so on; nothing where there is one state.
    """
    return [f"_{state}" for state in range(n_states)] if n_states - 1 else [""]


def spectrum_of(n_states: int) -> tuple[str, ...]:
    """Say which observables excitations are described by.

    Args:
        n_states: number of states S.

    Returns:
        Their names; none without an excited state.
    """
    return ("dipole", "spin") if n_states - 1 else ()


@torch.no_grad()
def count_states(network: nn.Module, molecule: Molecule) -> int:
    """Find out how many states a network has, by asking it.

    Args:
        network: maps positions and nuclei to sign and log_abs_psi.
        molecule: the system.

    Returns:
        Number of states S.
    """
    parameter = next(network.parameters())
    point = torch.linspace(-1, 1, 3 * molecule.n_electrons).view(1, -1, 3).to(parameter)
    return int(network(point, molecule.nuclei.to(parameter.device))[1].numel())
