"""The diffusion stage: fixed-node energies at several time steps, one after the other, from each other's walkers."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qmcnet.compute.team import team
from qmcnet.diffusion import Branching, DriftDiffusion, Generation, Guided, OneByOne, Population
from qmcnet.operators.hamiltonian import trace
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Numbers, Record, Row, Trial
from qmcnet.states.measurements import make_operators
from qmcnet.statistics.estimate import Estimate
from qmcnet.statistics.extrapolation import amplification, to_zero
from qmcnet.statistics.mixed import equilibrated, mixed

logger = logging.getLogger(__name__)

FIRST_LOOK, GROWTH = 200, 1.25
"""Generations at which the error is looked at first, and the ratio of those at which it is looked at again."""
LOWEST_ACCEPTANCE = 0.9
KEPT = ("energy", "log_weight", "variance", "accepted", "crossed", "effective", "heaviest", "reconfigured")
"""Figures of each generation that estimates are made of."""


def check_wavefunction(simulation: Simulation) -> None:
    """Refuse a wavefunction that walkers cannot be guided by.

    Args:
        simulation: wavefunction and walkers.

    Raises:
        ValueError: for several states, or complex orbitals.
    """
    if simulation.ensemble.n_states > 1:
        raise ValueError("diffusion Monte Carlo is for a single state: this run has several")
    if any(value.is_complex() for value in simulation.ensemble.parameters()) or simulation.states().psi.is_complex():
        raise ValueError("diffusion Monte Carlo fixes nodes, which a complex wavefunction has none of")


class Diffusion:
    """Propagates weighted walkers in imaginary time, at one time step until its error is reached, then at the next."""

    name = "dmc"
    table = "dmc_stats.csv"
    may_end_early = True

    def __init__(self, simulation: Simulation, settings: DiffusionSettings, observables: Collection[str] = ()) -> None:
        """Prepare the first generation.

        Args:
            simulation: trained wavefunction, and walkers that follow its square.
            settings: how long to diffuse.
            observables: names of what to measure besides the energy.
        """
        check_wavefunction(simulation)
        self.simulation, self.settings, self.step = simulation, settings, 0
        device = simulation.generator.device
        self.operators = make_operators(observables, simulation.molecule, device)
        how = (self.guide, simulation.ensemble.nuclei, simulation.molecule.charges.to(device))
        self.move = OneByOne(*how, self.slope) if settings.single_electron else DriftDiffusion(*how)
        self.names: list[str] = []
        self.series: list[list[Tensor]] = [[]]  # of each time step so far, what each generation was like
        self.population: Population | None = None
        self.best = math.nan  # estimate of the energy, in hartree
        self.needed = settings.steps  # generations at this time step, as far as is known
        self.known = "energy not known yet"  # when the error was looked at last

    @torch.no_grad()
    def guide(self, own: Tensor) -> Guided:
        """Evaluate the wavefunction at walkers of this process, with all that is measured there."""
        states = self.simulation.states(own)
        energy = self.simulation.hamiltonian(states)
        parts = {name: trace(term).real[:, None] for name, term in energy.terms.items()}
        for operator in self.operators:
            values = states.local(operator(states)).flatten(1).real  # (b, C)
            labels = getattr(operator, "components", [operator.name])
            parts |= {f"{operator.name}.{label}": value[:, None] for label, value in zip(labels, values.T, strict=True)}
        self.names = list(parts)
        return Guided(
            positions=own,
            sign=states.psi[:, 0].sign(),
            log_abs=states.log_scale[:, 0],
            drift=states.log_gradient[:, 0],
            energy=energy.total.real,
            measured=torch.cat(list(parts.values()), -1),
        )

    def slope(self, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate the wavefunction at walkers of this process, with its gradient and without local energies."""
        found = self.simulation.chunks.map(self._slope, self._slope, own)
        return found[:, 0], found[:, 1], found[:, 2:].unflatten(-1, own.shape[1:])

    def _slope(self, positions: Tensor) -> Tensor:
        with torch.enable_grad():
            places = positions.detach().requires_grad_()
            sign, log_abs = self.simulation.ensemble(places)
            (gradient,) = torch.autograd.grad(log_abs.sum(), places)
        found = torch.cat([sign[:, None], log_abs[:, None], gradient.flatten(1)], -1)
        return found.detach().double()

    def finished(self) -> bool:
        """Whether the last time step is done."""
        return len(self.series) > len(self.settings.timesteps)

    def progress(self) -> tuple[int, int]:
        """Generations made, and those that will be, if every time step takes as much imaginary time as this one."""
        if self.finished():
            return self.step, self.step
        timesteps, place = self.settings.timesteps, len(self.series) - 1
        time = max(self.needed, len(self.series[-1])) * timesteps[place]
        later = sum(min(math.ceil(time / timestep), self.settings.steps) for timestep in timesteps[place + 1 :])
        return self.step, sum(map(len, self.series[:-1])) + max(self.needed, len(self.series[-1])) + later

    def advance(self) -> Row:
        """Make one generation."""
        population, timestep = self._started(), self.settings.timesteps[len(self.series) - 1]
        branching = Branching(self.best, self.simulation.molecule.n_electrons, timestep)
        generation = population.advance(self.move, branching)
        self.simulation.walkers = self.simulation.walkers.replace(positions=population.walkers.positions)
        self.step += 1
        figures = torch.stack([getattr(generation, name) for name in KEPT])
        self.series[-1].append(torch.cat([figures, generation.measured]))
        if self._done():
            _, found = self._estimate(len(self.series) - 1)
            logger.info("timestep %g: %.6f +- %.6f hartree", timestep, found.mean, found.standard_error)
            self.best, self.needed = found.mean, self.settings.steps
            self.series.append([])
            population.restart()
        return {"timestep": timestep, **self._row(generation)}

    def _started(self) -> Population:
        """Give all walkers the same weight at the first generation."""
        if self.population is None:
            run = self.simulation
            own = self.guide(team().share(run.walkers.positions))
            names = own.to_state()
            whole = team().gather(list(names.values()), len(run.walkers.positions))
            self.population = Population(Guided(**dict(zip(names, whole, strict=True))), run.generator)
        if math.isnan(self.best):
            self.best = float(self.population.walkers.energy.median())
        return self.population

    def _row(self, generation: Generation) -> Row:
        figures = {name: getattr(generation, name) for name in KEPT}
        return figures | dict(zip(self.names, generation.measured, strict=True)) | {"nonfinite": generation.nonfinite}

    def _done(self) -> bool:
        """Look at the error now and then; the next time step begins where it is reached."""
        made = len(self.series[-1])
        due = FIRST_LOOK
        while due < made:
            due = math.ceil(GROWTH * due)
        if made >= self.settings.steps:
            return True
        if due != made:
            return False
        _, found = self._estimate(len(self.series) - 1)
        self.known = f"energy {found.mean:.6f} +- {found.standard_error:.6f}"
        if self.settings.target_error is None:
            return False
        target = self.settings.target_error / amplification(self.settings.timesteps)
        if found.stationary:
            self.needed = math.ceil(made * (found.standard_error / target) ** 2)
        return found.stationary and self.needed <= made

    def _window(self, place: int) -> int:
        return math.ceil(self.settings.window / self.settings.timesteps[place])

    def _columns(self, place: int) -> Any:
        """What each generation of a time step was like, (T, figures), on the host."""
        return torch.stack(self.series[place]).cpu().numpy()

    def _estimate(self, place: int) -> tuple[int, Estimate]:
        columns = self._columns(place)
        return equilibrated(columns[:, 0], columns[:, 1], self._window(place))

    def record(self, rows: Sequence[tuple[int, Numbers]]) -> Record:
        """Take note of the steps since the last fetch.

        Args:
            rows: step and statistics of each.

        Returns:
            The same.
        """
        return Record(rows)

    def tag(self, column: str) -> str:
        """Name a column of the table in TensorBoard.

        Args:
            column: its name in the table.

        Returns:
            The tag.
        """
        return f"{self.name}/{column}"

    def status(self, row: Numbers) -> str:
        """Say where the energy was when the error was looked at.

        Args:
            row: statistics of a generation.

        Returns:
            A few words.
        """
        return f"timestep {row['timestep']:g}  {self.known}  accepted {row['accepted']:.3f}"

    def memory(self) -> None:
        """Predict nothing: the optimisation needs more."""

    def trial(self, simulation: Simulation) -> Trial:
        """Prepare a generation to be timed.

        Args:
            simulation: used for nothing else.

        Returns:
            It.
        """
        return Trial(Diffusion(simulation, self.settings).advance)

    def conclude(self, folder: Path) -> Mapping[str, Any]:
        """Extrapolate the energies.

        Args:
            folder: not used.

        Returns:
            The energy at time step zero, those at each time step, and averages of all that was measured.
        """
        points = [self._point(place) for place in range(len(self.settings.timesteps))]
        for point in points:
            if point["accepted"] < LOWEST_ACCEPTANCE:
                logger.warning(
                    "timestep %g: only %.0f %% of the moves are accepted, and 90 should be: choose smaller timesteps",
                    point["timestep"],
                    100 * point["accepted"],
                )
        energies, errors = ([point[name] for point in points] for name in ("energy", "standard_error"))
        figures = {"energy": energies[0], "standard_error": errors[0], "order": None, "chi2": None, "freedom": None}
        if len(points) > 1:
            found = to_zero(self.settings.timesteps, energies, errors)
            figures = {"energy": found.value, "standard_error": found.error, "order": found.order}
            figures |= {"chi2": found.chi2, "freedom": found.freedom}
        return {**figures, "walkers": len(self.simulation.walkers.positions), "points": points}

    def _point(self, place: int) -> dict[str, Any]:
        columns, window = self._columns(place), self._window(place)
        discarded, found = self._estimate(place)
        means = dict(zip(KEPT, columns[discarded:].mean(0), strict=False))
        unweighted = mixed(columns[:, 0], columns[:, 1], 0, discarded)
        measured = {
            name: {"value": each.mean, "error": each.standard_error}
            for name, values in zip(self.names, columns[:, len(KEPT) :].T, strict=True)
            for each in [mixed(values, columns[:, 1], window, discarded)]
        }
        return {
            "timestep": self.settings.timesteps[place],
            "energy": found.mean,
            "standard_error": found.standard_error,
            "stationary": found.stationary,
            "reason": found.reason,
            "generations": len(columns),
            "discarded": discarded,
            "correlation_time": found.tau * self.settings.timesteps[place],
            "energy_without_window": unweighted.mean,
            **{name: float(means[name]) for name in KEPT[2:]},
            "measured": measured,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        series = [torch.stack(part) if part else None for part in self.series]
        population = None if self.population is None else self.population.state_dict()
        return {"step": self.step, "series": series, "best": self.best, "needed": self.needed, "names": self.names} | {
            "population": population
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        generator = self.simulation.generator
        self.step, self.best, self.needed, self.names = (state[name] for name in ("step", "best", "needed", "names"))
        self.series = [[] if part is None else list(part.to(generator.device)) for part in state["series"]]
        found = state["population"]
        self.population = None if found is None else Population.from_state(found, generator)
