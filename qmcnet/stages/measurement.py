"""Local matrices of the energy and of observables at the walkers of a simulation.

Letters: B walkers, S states, N electrons, C components of an observable.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from qmcnet.compute.transfer import to_host
from qmcnet.laplacian import scaled_exp
from qmcnet.operators import LocalEnergy
from qmcnet.operators.operator import Observable, StateValues
from qmcnet.stages.simulation import Simulation
from qmcnet.states.product import ProductStates
from qmcnet.states.spectrum import MOST_COMPONENTS
from qmcnet.statistics.averages import Averages
from qmcnet.statistics.eigenstates import in_eigenstates


@torch.no_grad()
def snapshot(run: Simulation, observables: Sequence[Observable]) -> dict[str, float]:
    """Measure observables of few components once, at the walkers as they are.

    Args:
        run: wavefunction and walkers.
        observables: what to measure.

    Returns:
        Expectation values by tag, such as `dipole/z`, of several states `dipole/z_0` and so on.
    """
    observables = [observable for observable in observables if len(observable.components) <= MOST_COMPONENTS]
    random_numbers = run.generator.get_state()
    energy = run.hamiltonian.local_energy(run.ansatz, run.walkers.positions)
    local = local_matrices(run, energy, observables)
    averages = Averages()
    averages.add(dict(zip(local, to_host(list(local.values())), strict=True)))
    run.generator.set_state(random_numbers)  # how often one looks must not change what comes
    basis, n_states = in_eigenstates(averages.means()), averages.n_states
    return {
        f"{observable.name}/{component}" + (f"_{state}" if n_states > 1 else ""): float(matrix[state, state].real)
        for observable in observables
        for component, matrix in zip(observable.components, basis[observable.name], strict=True)
        for state in range(n_states)
    }


@torch.no_grad()
def local_matrices(run: Simulation, energy: LocalEnergy, observables: Sequence[Observable]) -> dict[str, Tensor]:
    """Evaluate local matrices at the walkers; those of a single state have one row and column.

    Args:
        run: wavefunction and walkers.
        energy: local energy at the walkers.
        observables: what to measure besides the energy.

    Returns:
        Matrices by name, each (B, C, S, S): `energy` and `kinetic` in hartree, `overlap` where it is not one,
        observables in units of their own.
    """
    energy = energy.real
    if energy.matrix is None or energy.kinetic_matrix is None:
        matrices = {"energy": energy.total[:, None, None, None], "kinetic": energy.kinetic[:, None, None, None]}
    else:
        matrices = {"energy": energy.matrix[:, None], "kinetic": energy.kinetic_matrix[:, None]}
        if energy.overlap_matrix is not None:
            matrices["overlap"] = energy.overlap_matrix[:, None]
    return matrices if not observables else {**matrices, **observed(run, observables)}


@torch.no_grad()
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
    psi = states.values.unflatten(0, (-1, n_states))[:, None]  # (B, 1, S, S)
    local_matrix = local_matrix_of(run)
    operated = {observable.name: observable(states).unflatten(0, (-1, n_states)) for observable in observables}
    return {name: local_matrix(psi, values.movedim(-2, 1)) for name, values in operated.items()}  # (B, C, S, S)


@torch.no_grad()
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


def points_and_states(run: Simulation) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate what a function of the positions of one copy of the molecule is averaged with.

    Args:
        run: wavefunction and walkers.

    Returns:
        Positions (B S, N, 3) in bohr, states at these points (B, S, S), and what local matrices have on the left,
        (B, S, S).
    """
    states = state_values(run)
    n_states = states.values.shape[-1]
    psi = states.values.unflatten(0, (-1, n_states))
    identity = torch.eye(n_states, dtype=psi.dtype, device=psi.device).expand_as(psi)
    return states.positions, psi, local_matrix_of(run)(psi, identity)


def local_matrix_of(run: Simulation) -> Callable[[Tensor, Tensor], Tensor]:
    """Tell how local matrices of a simulation are made; a single state is not wrapped and divides by its value.

    Args:
        run: wavefunction and walkers.

    Returns:
        Maps states and an operator applied to them, each (..., S, S), to the local matrix (..., S, S).
    """
    return getattr(run.ansatz, "local_matrix", ProductStates.local_matrix)
