"""Zero-variance forces with parameters kept, an estimator that others use and qmcnet does not: for `forces.py`.

What is averaged is D_A E_L + (E_L - E) b_A, with D_A = d/dR_A + sum_i w_A(r_i) d/dr_i, the wavefunction a function of
the nuclei by what it is made of, and b_A = 2 D_A log|psi| + sum_i grad_i w_A(r_i).

Letters: M points, N electrons, A nuclei.

References:
    Assaraf, Caffarel, J. Chem. Phys. 119, 10536 (2003), doi:10.1063/1.1621615;
    Sorella, Capriotti, J. Chem. Phys. 133, 234111 (2010), doi:10.1063/1.3516208 (one reverse pass).
"""

import dataclasses
from functools import partial
from typing import Any

import torch
from torch import Tensor

from qmcnet.laplacian import recorded_laplacian
from qmcnet.operators import MolecularHamiltonian
from qmcnet.operators.operator import States
from qmcnet.system.warp import Warp


@torch.enable_grad()
def derivatives(ensemble: Any, points: Tensor, states: States) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate the local energy and log|psi| of a single state.

    Args:
        ensemble: of the state.
        points: electron positions, shape (M, N, 3), in the precision of the network, in bohr.
        states: the state there.

    Returns:
        Local energies (M,), their derivatives by electrons (M, N, 3) and nuclei (M, A, 3), and those of log|psi| by
        nuclei (M, A, 3).
    """
    electrons = points.double().clone().requires_grad_()
    nuclei = ensemble.nuclei.expand(len(points), -1, -1).clone().requires_grad_()
    log_psi = recorded_laplacian(partial(ensemble.log_psi, nuclei=nuclei), electrons.to(points.dtype))
    moving = dataclasses.replace(
        states,
        positions=electrons,
        nuclei=nuclei,
        log_gradient=log_psi.gradient.double(),
        log_laplacian=log_psi.laplacian.double(),
    )
    operated = [term(moving)[:, 0, 0] for term in MolecularHamiltonian(ensemble.molecule).terms]
    local = (torch.stack(operated).sum(0) / states.psi[:, 0]).real
    by_electrons, by_nuclei = torch.autograd.grad(local.sum(), [electrons, nuclei])
    log_abs = ensemble.log_psi.states(points, nuclei)[1]
    (log_by_nuclei,) = torch.autograd.grad(log_abs.sum(), nuclei)
    return local.detach(), by_electrons, by_nuclei, log_by_nuclei


def parts(ensemble: Any, points: Tensor, states: States, moving: Warp | None) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate what is averaged.

    Args:
        ensemble: of the state.
        points: electron positions, shape (M, N, 3), in the precision of the network, in bohr.
        states: the state there.
        moving: weights with which electrons follow the nuclei; None where they stay.

    Returns:
        D E_L and b, each (M, A, 3), and E_L (M,).
    """
    energy, by_electrons, by_nuclei, log_by_nuclei = derivatives(ensemble, points, states)
    if moving is None:
        return by_nuclei, 2 * log_by_nuclei, energy
    follow, gradient = moving.weights.mT, states.log_gradient[:, 0].real
    weight = 2 * (log_by_nuclei + follow @ gradient) + moving.slopes.sum(1)
    return by_nuclei + follow @ by_electrons, weight, energy
