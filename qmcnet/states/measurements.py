"""What an evaluation accumulates besides the statistics of its steps, and the observables that can be asked for.

Letters: B walkers, S states, C components.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from qmcnet.checks import one_of
from qmcnet.compute.team import team
from qmcnet.compute.transfer import to_host
from qmcnet.operators import LocalEnergy, MolecularHamiltonian, States
from qmcnet.operators.operator import OBSERVABLES, Observable
from qmcnet.states.density import DensityAverage
from qmcnet.states.ensemble import labels
from qmcnet.states.spectrum import MOST_FOLLOWED
from qmcnet.statistics.averages import Averages
from qmcnet.statistics.eigenstates import in_eigenstates
from qmcnet.system.molecule import Molecule

MOST_WALKERS = 20_000
"""Walkers whose values are kept for the overlaps of states."""


class Measurement(Protocol):
    """Something that is accumulated over the steps of an evaluation, in memory that does not grow."""

    def add(self, states: States, finite: Tensor) -> None:
        """Take in one step, from the states of this process; of all walkers those that are `finite` (B,) count."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed evaluation needs."""

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a saved state."""


MEASUREMENTS: Mapping[str, Callable[[Molecule], DensityAverage]] = {"density": DensityAverage.around}
"""Observables that are no operators with components, by name."""


def observables() -> list[str]:
    """Names of all that can be measured."""
    return sorted({*OBSERVABLES, *MEASUREMENTS})


def check_observables(names: Iterable[str], ensemble: Any, hamiltonian: MolecularHamiltonian) -> None:
    """Refuse an observable that is unknown, or not made for a run.

    Args:
        names: names of observables.
        ensemble: the states.
        hamiltonian: of which they have energies.
    """
    terms = [term.name for term in hamiltonian.terms]
    for name in names:
        one_of(observables(), observables=name)
        if check := getattr(OBSERVABLES.get(name), "check", None):
            check(ensemble.molecule, ensemble.n_states, terms)


def make_operators(names: Iterable[str], molecule: Molecule, device: torch.device) -> list[Observable]:
    """Make those observables that are operators.

    Args:
        names: names of observables, in any order.
        molecule: the system.
        device: where the walkers are.

    Returns:
        The operators in the order of their names.
    """
    for name in names:
        one_of(observables(), observables=name)
    modules: list[Any] = [OBSERVABLES[name](molecule) for name in sorted(names) if name in OBSERVABLES]
    return [module.to(device) for module in modules]


@torch.no_grad()
def local_matrices(states: States, energy: LocalEnergy, operators: Sequence[Observable]) -> dict[str, Tensor]:
    """Evaluate local matrices, and bring together what all processes find.

    Args:
        states: at the walkers of this process.
        energy: local energy of all walkers.
        operators: what to measure besides the energy.

    Returns:
        Matrices by name, each (B, C, S, S): `energy` and `kinetic` in hartree, `overlap` of the identity, observables
        in units of their own.
    """
    found = {"energy": energy.matrix, "kinetic": energy.terms["kinetic"], "overlap": energy.overlap}
    measured = team().gather([states.local(operator(states)) for operator in operators], states.count)
    named = {operator.name: matrices for operator, matrices in zip(operators, measured, strict=True)}
    return {name: matrix[:, None] for name, matrix in found.items()} | named


class Points:
    """The states at all walkers of some steps, for their overlaps; when there are many, of half as many steps."""

    def __init__(self) -> None:
        """Start without a step."""
        self.step, self.steps_per_point, self.points = 0, 50, list[Tensor]()

    def add(self, states: States, finite: Tensor) -> None:
        """Keep the states, where it is time to.

        Args:
            states: at the walkers of this process.
            finite: which of all walkers count, shape (B,).
        """
        self.step += 1
        if self.step % self.steps_per_point:
            return
        if self.points and (len(self.points) + 1) * len(finite) > MOST_WALKERS:
            self.points, self.steps_per_point = self.points[1::2], 2 * self.steps_per_point
            if self.step % self.steps_per_point:
                return
        (values,) = team().gather([states.by_walker(states.psi)], len(finite))  # (B, S, S)
        self.points.append(torch.where(finite[:, None, None], values, torch.nan).flatten(0, 1))

    def after(self, discarded: int) -> Tensor | None:
        """Give the states at the points after some steps.

        Args:
            discarded: steps to leave out at the start.

        Returns:
            Shape (M, S), on the CPU; None if there are none.
        """
        # Points are kept at multiples of `steps_per_point`.
        kept = self.points[discarded // self.steps_per_point :]
        points = torch.cat(kept).cpu() if kept else None
        return None if points is None else points[points.isfinite().all(-1)]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed evaluation needs."""
        return {"step": self.step, "points": list(self.points), "steps_per_point": self.steps_per_point}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
            device: where the walkers are.
        """
        self.step, self.steps_per_point = state["step"], state["steps_per_point"]
        self.points = [values.to(device) for values in state["points"]]


def expectations(local: Mapping[str, Tensor], operators: Sequence[Observable]) -> dict[str, float]:
    """Average local matrices of one step, those of few components.

    Args:
        local: matrices by name, as `local_matrices` returns them; none give nothing.
        operators: what was measured besides the energy.

    Returns:
        Expectation values by tag, such as `dipole/z`, or `dipole/z_0` and so on of several states.
    """
    if not local:
        return {}
    averages = Averages()
    averages.add(dict(zip(local, to_host(list(local.values())), strict=True)))
    basis = in_eigenstates(averages.means())
    found = dict[str, float]()
    for operator in operators:
        if len(operator.components) <= MOST_FOLLOWED:
            for component, matrix in zip(operator.components, basis[operator.name], strict=True):
                values = np.diagonal(matrix).real
                named = zip(labels(len(values)), values, strict=True)
                found |= {f"{operator.name}/{component}{end}": float(value) for end, value in named}
    return found
