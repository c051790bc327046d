"""Local matrices of the energy and of observables at the walkers of a simulation.

Letters: B walkers, S states, N electrons, C components of an observable.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from qmcnet.hamiltonian import LocalEnergy
from qmcnet.hamiltonian.states import local_matrix
from qmcnet.laplacian import scaled_exp
from qmcnet.observables.observable import Observable, StateValues
from qmcnet.training.simulation import Simulation


@torch.no_grad()
def local_matrices(run: Simulation, energy: LocalEnergy, observables: Sequence[Observable]) -> dict[str, Tensor]:
    """Evaluate local matrices Psi^-1 (O Psi) at the walkers; those of a single state have one row and column.

    Args:
        run: wavefunction and walkers.
        energy: local energy at the walkers.
        observables: what to measure besides the energy.

    Returns:
        Matrices by name, each (B, C, S, S): `energy` and `kinetic` in hartree, observables in units of their own.
    """
    energy = energy.real
    if energy.matrix is None or energy.kinetic_matrix is None:
        matrices = {"energy": energy.total[:, None, None, None], "kinetic": energy.kinetic[:, None, None, None]}
    else:
        matrices = {"energy": energy.matrix[:, None], "kinetic": energy.kinetic_matrix[:, None]}
    return matrices if not observables else {**matrices, **observed(run, observables)}


def observed(run: Simulation, observables: Sequence[Observable]) -> Mapping[str, Tensor]:
    """Evaluate the local matrices of observables.

    Args:
        run: wavefunction and walkers.
        observables: what to measure.

    Returns:
        Matrices by name, each (B, C, S, S).
    """
    states = state_values(run)
    n_states = states.values.shape[-1]
    psi = states.values.unflatten(0, (-1, n_states))  # (B, S, S)
    matrices = {}
    for observable in observables:
        operated = observable(states).unflatten(0, (-1, n_states)).movedim(-2, 1)  # (B, C, S, S)
        matrices[observable.name] = local_matrix(psi[:, None], operated)
    return matrices


def state_values(run: Simulation) -> StateValues:
    """Evaluate all states at the positions of all walkers.

    Args:
        run: wavefunction and walkers.

    Returns:
        The states at M = B S points.
    """
    network = getattr(run.ansatz, "network", run.ansatz)
    points = run.walkers.positions.reshape(-1, run.molecule.n_electrons, 3)
    sign, log_abs_psi = (part.view(len(points), -1) for part in network(points))
    values, shift = scaled_exp(sign, log_abs_psi)
    precise = values.to(torch.promote_types(values.dtype, torch.float64))
    return StateValues(network, points, precise, shift, run.generator)
