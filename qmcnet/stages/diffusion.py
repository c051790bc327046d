"""The diffusion stage: fixed-node energies at several time steps, one after the other, from each other's walkers."""

import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qmcnet.checks import at_least
from qmcnet.compute.team import team
from qmcnet.diffusion import Branching, DriftDiffusion, Generation, Guided, Move, OneByOne, Population, TMoves
from qmcnet.operators.core_hops import hops
from qmcnet.operators.effective_core import EffectiveCore
from qmcnet.operators.hamiltonian import trace
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.ladder import Ladder
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Numbers, Row, Stage, StartsAgain, Trial
from qmcnet.stages.visit import KEPT
from qmcnet.states.measurements import make_operators
from qmcnet.states.spectrum import MOST_COMPONENTS

logger = logging.getLogger(__name__)


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


class Diffusion(Stage):
    """Propagates weighted walkers in imaginary time, at one time step until its error is reached, then at the next."""

    name = "dmc"
    table = "dmc_stats.csv"
    of_trained = True
    may_end_early = True

    def __init__(self, simulation: Simulation, settings: DiffusionSettings, observables: Collection[str] = ()) -> None:
        """Prepare the first generation.

        Args:
            simulation: trained wavefunction, and walkers that follow its square.
            settings: how long to diffuse.
            observables: names of what to measure besides the energy.
        """
        check_wavefunction(simulation)
        settings = settings.with_timesteps(simulation.molecule.charges)
        at_least(team().size, walkers=settings.walkers)  # one for each process
        self.simulation, self.settings, self.observables, self.step = simulation, settings, observables, 0
        device = simulation.generator.device
        made = make_operators(observables, simulation.molecule, device)
        if biased := [operator.name for operator in made if getattr(operator, "pure_only", False)]:
            logger.warning(
                "%s are left out: mixed averages of a trial wavefunction and a fixed-node state make no derivative of "
                "an energy; qmcnet-evaluate measures them for the wavefunction itself",
                ", ".join(biased),
            )
            made = [operator for operator in made if operator.name not in biased]
            observables = {*observables} - {*biased}
        self.operators = [operator for operator in made if len(operator.components) <= MOST_COMPONENTS]
        self.label = settings.label(True, [operator.name for operator in self.operators])
        if left := sorted({*observables} - {operator.name for operator in self.operators}):
            logger.info("of %s there are too many figures: an evaluation measures them", ", ".join(left))
        how = (self.guide, simulation.ensemble.nuclei, simulation.molecule.charges.to(device))
        move: Move = OneByOne(*how, self.slope) if settings.single_electron else DriftDiffusion(*how)
        self.core = simulation.hamiltonian.core if settings.t_moves else None
        self.move = TMoves(move, self.guide) if self.core else move
        self.names: list[str] = []
        self.ladder = Ladder(settings)
        self.population: Population | None = None
        self.best = math.nan  # estimate of the energy, in hartree

    @torch.no_grad()
    def guide(self, own: Tensor, numbers: Tensor | None = None) -> Guided:
        """Evaluate the wavefunction, with all that is measured there, at walkers of this process or at some of them."""
        states = self.simulation.states(own, numbers)
        hopping = hops(self.core, states) if self.core else None
        energy = self.simulation.hamiltonian(states, {EffectiveCore.name: hopping.applied} if hopping else None)
        parts = {name: trace(term).real[:, None] for name, term in energy.terms.items()}
        for operator in self.operators:
            values = states.local(operator(states)).flatten(1).real  # (b, C)
            named = zip(operator.components, values.T, strict=True)
            parts |= {f"{operator.name}.{component}": value[:, None] for component, value in named}
        self.names = list(parts)
        return Guided(
            positions=own,
            sign=states.psi[:, 0].sign(),
            log_abs=states.log_scale[:, 0],
            drift=states.log_gradient[:, 0],
            energy=energy.total.real,
            measured=torch.cat(list(parts.values()), -1),
            hops=hopping.hops if hopping else own.new_zeros(len(own), 0, 4, dtype=torch.float64),
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

    @property
    def open_ended(self) -> bool:
        """Whether it is not known yet how many generations the error takes."""
        return self.ladder.open_ended

    def finished(self) -> bool:
        """Whether all time steps are done."""
        return self.ladder.place() is None

    def progress(self) -> tuple[int, int]:
        """Generations made, and those that will be as far as is known."""
        return self.ladder.progress()

    def advance(self) -> Row:
        """Make one generation."""
        place = self.ladder.place()
        assert place is not None
        population, timestep = self._started(), self.ladder.timesteps[place]
        generation = population.advance(self.move, Branching(self.best, self.simulation.molecule.n_electrons, timestep))
        self.simulation.walkers = self.simulation.walkers.replace(positions=population.walkers.positions)
        self.step += 1
        found = self.ladder.add(generation)
        if found is not None:
            logger.info("timestep %g: %.6f +- %.6f hartree", timestep, found.mean, found.standard_error)
            self.best = found.mean
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

    def status(self, row: Numbers) -> str:
        """Say where the energy was when the error was looked at.

        Args:
            row: statistics of a generation.

        Returns:
            A few words.
        """
        return f"timestep {row['timestep']:g}  {self.ladder.known}  accepted {row['accepted']:.3f}"

    def trial(self, simulation: Simulation) -> Trial:
        """Prepare a generation to be timed.

        Args:
            simulation: used for nothing else.

        Returns:
            It.
        """
        stage = Diffusion(simulation, self.settings, self.observables)

        def generation() -> None:
            """Evaluate what a generation does with as many walkers as there are at the time."""
            own = simulation.walkers.positions
            for _ in range(own.shape[1] if self.settings.single_electron else 0):
                stage.slope(own)
            stage.guide(own)

        return Trial(generation)

    def conclude(self, folder: Path) -> Mapping[str, Any]:
        """Extrapolate the energies.

        Args:
            folder: not used.

        Returns:
            The energy at time step zero, those at each time step, and averages of all that was measured.
        """
        return {**self.ladder.findings(self.names), "walkers": len(self.simulation.walkers.positions)}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        population = None if self.population is None else self.population.state_dict()
        own = {"step": self.step, "best": self.best, "names": self.names, "population": population}
        return own | {"ladder": self.ladder.state_dict(), "label": self.label}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.

        Raises:
            StartsAgain: if it comes from other time steps, moves, walkers or observables.
        """
        if state.get("label", self.label) != self.label:
            raise StartsAgain(f"this is diffusion with {state['label']}, and {self.label} is asked for")
        generator, found = self.simulation.generator, state["population"]
        self.step, self.best, self.names = (state[name] for name in ("step", "best", "names"))
        self.ladder.load_state_dict(state.get("ladder", state), generator.device)
        self.population = None if found is None else Population.from_state(found, generator)
