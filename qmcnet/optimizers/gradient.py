"""What every optimiser differentiates, and what it does to energies and walkers before.

The gradient of the energy is 2 sum_g <(e_g - <e_g>) grad f_g> with G real functions f_g of the parameters and as many
energies e_g per walker: log|psi| and E_L of a real wavefunction; log|psi| and Re E_L, arg psi and Im E_L of a complex
one; log|psi_g| of each factor of a product of states, with an energy of its own. The metric of natural gradients is
sum_g cov(grad f_g), for a complex wavefunction the real part of the quantum geometric tensor.

Letters: B walkers, G functions of a walker.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from qmcnet.compute.team import team


def trained_parameters(ansatz: nn.Module) -> dict[str, nn.Parameter]:
    """Select what an optimiser changes: parameters that are not frozen by `requires_grad_(False)`.

    Args:
        ansatz: the sampled function.

    Returns:
        Parameters by name, a shared one once, in the order in which they stand in a vector of all.

    Raises:
        ValueError: for what is no sampled function, without a single parameter to train, or for a complex one.
    """
    if not hasattr(ansatz, "factors"):
        raise ValueError(f"ansatz: {type(ansatz).__name__} says nothing of scores: wrap it, as NaturalStates(ansatz)")
    trained = {name: parameter for name, parameter in ansatz.named_parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("ansatz: no parameter is left to train; requires_grad_(True) takes back requires_grad_(False)")
    if several := [name for name, parameter in trained.items() if parameter.is_complex()]:
        raise ValueError(f"ansatz: parameters {several} must be real; keep real and imaginary parts as two parameters")
    return trained


def finite_walkers(local_energy: Tensor) -> Tensor:
    """Tell which walkers are not lost.

    Args:
        local_energy: energies that go with the factors, shape (B, G), in hartree.

    Returns:
        Which walkers have finite energies, shape (B,).

    Raises:
        ValueError: for energies that are complex or lack the axis of factors.
    """
    if local_energy.ndim != 2 or local_energy.is_complex():
        raise ValueError(
            f"local_energy of shape {tuple(local_energy.shape)} and {local_energy.dtype} must be real, one for each of "
            "the factors of a walker: (B, G), as Natural()(energy, ()) makes of a LocalEnergy"
        )
    return local_energy.isfinite().all(-1)


def centred(values: Tensor, finite: Tensor) -> Tensor:
    """Subtract the mean over walkers that are not lost, and put zero at those that are.

    Args:
        values: shape (B, ...), or (B G, ...) with the functions of a walker in a row, each centred for itself.
        finite: which walkers are not lost, shape (B,).

    Returns:
        Centred values, of the same shape.
    """
    return _centred(values, finite, finite.sum(), lambda total: total)


def centred_share(values: Tensor, finite: Tensor) -> Tensor:
    """Subtract the mean over the walkers of all processes that are not lost, and put zero at those that are.

    Args:
        values: of the walkers of this process, shape (b, ...), or (b G, ...) as for `centred`.
        finite: which of all walkers are not lost, shape (B,).

    Returns:
        Centred values, of the same shape.
    """
    return _centred(values, team().share(finite), finite.sum(), lambda total: team().sum([total])[0])


def _centred(values: Tensor, finite: Tensor, count: Tensor, over_all: Callable[[Tensor], Tensor]) -> Tensor:
    grouped = values.unflatten(0, (len(finite), -1))  # (B, G, ...)
    mask = finite.view(-1, *[1] * values.dim())
    mean = over_all(torch.where(mask, grouped, 0).sum(0)) / count.clamp(min=1)
    return torch.where(mask, grouped - mean, 0).flatten(0, 1)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes, in place.

    Args:
        parameters: with gradients; the same ones in every process.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for own, total in zip(gradients, team().sum(gradients), strict=True):
        own.copy_(total)


def without_lost_walkers(positions: Tensor, finite: Tensor) -> Tensor:
    """Put walkers whose local energy is not finite onto one whose is.

    Their weight in the gradient is zero, but zero times a derivative that is not finite would still be lost.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.
        finite: which walkers are not lost, shape (B,).

    Returns:
        Positions at which every derivative is finite, shape (B, N, 3), in bohr.
    """
    good = positions.index_select(0, finite.to(torch.uint8).argmax().view(1))
    return torch.where(finite[:, None, None], positions, good)


def measured(kept: Tensor, statistics: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
    """Put zero for the figures of an update that was left out.

    Args:
        kept: whether the update was made.
        statistics: figures of the update; those that are no tensors are settings, and stay.

    Returns:
        The figures.
    """
    figures = {name: value for name, value in statistics.items() if isinstance(value, Tensor)}
    return statistics | {name: torch.where(kept, value, 0) for name, value in figures.items()}
