"""How local quantities change when electrons and nuclei are moved: one pass in reverse through a forward Laplacian.

Letters: M points, S states, N electrons, A nuclei.

References:
    Sorella, Capriotti, J. Chem. Phys. 133, 234111 (2010), doi:10.1063/1.3516208.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qmcnet.compute.chunks import Chunks
from qmcnet.laplacian import recorded_laplacian
from qmcnet.operators import States
from qmcnet.operators.operator import Response

Local = Callable[[States], Tensor]
FEW = 3
"""Points at which a wavefunction is looked at with nuclei of their own."""


@contextmanager
def constant(module: nn.Module) -> Generator[None, None, None]:
    """Take parameters for constants, which spares what their derivatives would need.

    Args:
        module: any.

    Yields:
        Nothing.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def respond(ensemble: Any, points: Tensor, chunks: Chunks, local: Local) -> Response:
    """Differentiate a local quantity and log|psi| by the positions of electrons and nuclei.

    Args:
        ensemble: of a single state.
        points: electron positions, shape (M, N, 3), in the precision of the network, in bohr.
        chunks: how many of them at once.
        local: makes real numbers of the states at each point, (M,), by ratios of operators applied to psi to psi.

    Returns:
        The derivatives.
    """
    assert ensemble.n_states == 1
    _check_nuclei(ensemble, points[:FEW])
    n_electrons, n_nuclei = points.shape[1], len(ensemble.nuclei)
    function = partial(_columns, ensemble, local)
    with constant(ensemble):
        columns = chunks.map(function, function, points)
    sizes = [1, 3 * n_electrons, 3 * n_nuclei, 3 * n_nuclei]
    value, *slopes = columns.split(sizes, -1)
    return Response(value[:, 0], *(slope.unflatten(-1, (-1, 3)) for slope in slopes))


@torch.no_grad()
def _check_nuclei(ensemble: Any, points: Tensor) -> None:
    """Refuse a wavefunction that is another one where each point has nuclei of its own."""
    (expected,) = ensemble.log_psi.states(points)[1:]
    try:
        (found,) = ensemble.log_psi.states(points, ensemble.nuclei.expand(len(points), -1, -1))[1:]
    except (RuntimeError, IndexError):  # shapes that do not fit
        found = torch.full_like(expected, torch.nan)
    if not torch.allclose(found, expected, rtol=1e-3, atol=1e-3, equal_nan=False) and expected.isfinite().all():
        name = type(ensemble.network).__name__
        raise ValueError(
            f"forces need nuclei of shape (B, A, 3), other ones for each walker, which {name} does not take: write "
            "positions[..., :, None, :] - nuclei[..., None, :, :]"
        )


@torch.inference_mode(False)
@torch.enable_grad()
def _columns(ensemble: Any, local: Local, points: Tensor) -> Tensor:
    """Evaluate value, derivatives by electrons and nuclei, and those of log|psi| by nuclei, side by side."""
    electrons = points.double().clone().requires_grad_()
    nuclei = ensemble.nuclei.expand(len(points), -1, -1).clone().requires_grad_()
    value = local(_recorded(ensemble, electrons, nuclei, points.dtype))
    slopes = torch.autograd.grad(value.sum(), [electrons, nuclei], materialize_grads=True)
    log_abs = ensemble.log_psi.states(points, nuclei)[1]
    log_slope = torch.autograd.grad(log_abs.sum() + 0 * nuclei.sum(), nuclei)
    return torch.cat([value.detach()[:, None], *(slope.flatten(1) for slope in (*slopes, *log_slope))], -1)


def _recorded(ensemble: Any, electrons: Tensor, nuclei: Tensor, single: torch.dtype) -> States:
    """Evaluate the states with what autograd needs; psi itself, of which only ratios are formed, is a constant."""
    log_psi = recorded_laplacian(partial(ensemble.log_psi, nuclei=nuclei), electrons.to(single))
    assert log_psi.extra is not None
    dtype = torch.promote_types(log_psi.value.dtype, torch.float64)
    psi = log_psi.extra.detach().to(dtype)
    return States(
        positions=electrons,
        nuclei=nuclei,
        psi=psi,
        log_scale=log_psi.value.detach().real.double(),
        log_gradient=log_psi.gradient.to(dtype),
        log_laplacian=log_psi.laplacian.to(dtype),
        at=_elsewhere,
        local_matrix=ensemble.local_matrix,
        overlap=ensemble.identity(psi[:, None]),
        drawn=_elsewhere,
        count=len(electrons),
    )


def _elsewhere(*_: Any) -> Any:
    raise NotImplementedError("operators that evaluate the states elsewhere are not differentiated by nuclei")
