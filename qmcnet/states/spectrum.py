"""The spectrum of a finished evaluation: figures of every state with error bars, a table, and a level diagram.

Letters: S states, C components of an observable.
"""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.operators.operator import Observable
from qmcnet.states.derived import multiplicity, oscillator_strengths
from qmcnet.statistics.averages import Averages, Means
from qmcnet.statistics.eigenstates import (
    eigenstates,
    in_eigenstates,
    level_means,
    resolved,
    swapped,
    warnings_of,
    without_overlap,
)
from qmcnet.statistics.jackknife import Report, jackknife
from qmcnet.statistics.window import Window
from qmcnet.system.units import EV_PER_HARTREE, WAVENUMBERS_PER_HARTREE

Figure = dict[str, float | None]
State = dict[str, Any]
UNKNOWN: Figure = {"value": None, "error": None}


@dataclass(frozen=True)
class Spectrum:
    """What was measured of each state.

    Attributes:
        states: by ascending energy; of each, figures by name as `value` and `error`, and its `multiplicity`.
        warnings: sentences on what makes the spectrum hard to read.
        overlaps: moduli of the overlaps of the states, (S, S), one on the diagonal; None if unknown. Off the diagonal
            those of exact states are zero. Of an objective that penalises overlaps, those of the network's states.
    """

    states: list[State]
    warnings: list[str]
    overlaps: list[list[float]] | None


def spectrum(
    averages: Averages,
    window: Window,
    observables: Sequence[Observable],
    n_electrons: int,
    overlaps: Callable[[NDArray[Any], NDArray[Any], NDArray[Any] | None], NDArray[Any] | None],
    points: NDArray[Any] | None = None,
) -> Spectrum:
    """Diagonalise the averages of an evaluation.

    Args:
        averages: of the local matrices of the energy, the kinetic energy and the observables.
        window: the part of the evaluation to average, with the energies and their errors.
        observables: what was measured besides the energy.
        n_electrons: number of electrons of the molecule.
        overlaps: makes overlaps of the mean identity, the eigenvectors and the points.
        points: the states at points sampled, for their overlaps, (M, S), rows scaled freely.

    Returns:
        Figures of every state, energies in hartree and others in units of their own; no state after a refusal.
    """
    if not window.stationary:
        return Spectrum([], [], None)
    groups = averages.groups(window.discarded)
    sums = {name: total for name, total in groups.items() if name not in window.refused}
    reports = {
        part.name: partial(_by_state, part.report)
        for part in observables
        if hasattr(part, "report") and part.name not in window.refused
    }
    values, errors = jackknife(partial(figures, kept_complex=reports, labels=window.levels), sums, reports)
    # States of the lowest level have one mean in every group of walkers, whatever separates them.
    errors["excitation"][1:][window.levels[1:] == 0] = np.nan
    states = [_state(values, errors, observables, n_electrons, index) for index in range(len(window.states))]
    for state, estimate in zip(states, window.states, strict=True):
        state["energy"] = {"value": estimate.mean, "error": estimate.standard_error}
    means = averages.means(window.discarded)
    matrix = without_overlap(means)["energy"][0]
    energies = eigenstates(matrix)[0]
    warnings = warnings_of(energies, errors["gap"], matrix)
    warnings += swapped(averages.halves(window.discarded), resolved(energies, errors["gap"]))
    warnings += [
        f"{number} samples of {name} were not finite and are left out" + " with it all" * (name in window.refused)
        for name, number in window.lost.items()
    ]
    vectors = eigenstates(matrix)[1]
    found = overlaps(means["overlap"][0], vectors, points)
    return Spectrum(states, warnings, None if found is None else found.tolist())


def figures(means: Means, kept_complex: Container[str] = (), labels: NDArray[np.int64] | None = None) -> Means:
    """Make figures of each state out of averaged local matrices.

    Args:
        means: averages by name, each (C, S, S), with `energy` in hartree, and `kinetic`, among them.
        kept_complex: names of those whose imaginary parts mean something.
        labels: level of each state, (S,), of which the energies are means; None takes every state for itself.

    Returns:
        Energies, (S,), gaps between neighbouring eigenvalues, (S - 1,), expectation values of every observable, (S, C),
        and with dipoles the oscillator strengths of transitions from the lowest state, (S,).
    """
    basis = in_eigenstates(means)
    eigenvalues = basis.pop("energy")
    labels = np.arange(len(eigenvalues)) if labels is None else labels
    energy = level_means(eigenvalues, labels)
    found = {name: np.diagonal(matrices, axis1=-2, axis2=-1).T for name, matrices in basis.items()}
    found = {name: values if name in kept_complex else values.real for name, values in found.items()}
    found |= {"energy": energy, "excitation": energy - energy[0], "gap": np.diff(eigenvalues)}
    if "kinetic" in found:
        kinetic = level_means(found.pop("kinetic")[:, 0], labels)
        potential = energy - kinetic
        found |= {"kinetic": kinetic, "potential": potential, "virial_ratio": -potential / kinetic}
    if "dipole" in basis:
        found["oscillator_strength"] = oscillator_strengths(energy, basis["dipole"])
    return found


def _by_state(report: Report, groups: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    reported = [report(groups[:, state]) for state in range(groups.shape[1])]
    return np.stack([values for values, _ in reported]), np.stack([errors for _, errors in reported])


SCALARS = ("energy", "excitation", "kinetic", "potential", "virial_ratio", "oscillator_strength")


def _state(values: Means, errors: Means, observables: Sequence[Observable], n_electrons: int, index: int) -> State:
    def figure(name: str, *place: int) -> Figure:
        """Give a value with its error."""
        return {"value": float(values[name][place]), "error": _known(errors[name][place])}

    state: State = {name: figure(name, index) if name in values else UNKNOWN for name in SCALARS[:-1]}
    if "oscillator_strength" in values:
        state["oscillator_strength"] = figure("oscillator_strength", index)
    state |= excitation_units(state["excitation"])
    for observable in observables:
        names = getattr(observable, "reported", observable.components)
        known = observable.name in values
        state[observable.name] = {
            part: figure(observable.name, index, i) if known else UNKNOWN for i, part in enumerate(names)
        }
    if "spin" in values:
        s_squared, error = (float(found["spin"][index, 0]) for found in (values, errors))
        state["multiplicity"] = multiplicity(s_squared, error, n_electrons)
    return state


def _known(error: float) -> float | None:
    return float(error) if math.isfinite(error) else None


def excitation_units(excitation: Figure) -> dict[str, Figure]:
    """Convert an excitation energy.

    Args:
        excitation: value and error, in hartree.

    Returns:
        The same in eV and cm^-1, and the wavelength in nm, which is None for the lowest state.
    """
    value, error = excitation["value"], excitation["error"]
    assert value is not None
    units = {"excitation_ev": EV_PER_HARTREE, "excitation_wavenumber": WAVENUMBERS_PER_HARTREE}
    found: dict[str, Figure] = {
        name: {"value": value * factor, "error": None if error is None else error * factor}
        for name, factor in units.items()
    }
    wavelength = 1e7 / (value * WAVENUMBERS_PER_HARTREE) if value > 0 else None
    relative = None if error is None or wavelength is None else wavelength * error / value
    return found | {"wavelength_nm": {"value": wavelength, "error": relative}}


MOST_COMPONENTS = 6
"""Of an observable that is printed as a line of text."""
MOST_FOLLOWED = 48
"""Of an observable that is measured in training, each component being a curve of its own."""
