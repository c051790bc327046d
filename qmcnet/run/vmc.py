"""A variational Monte Carlo run: pretraining, burn-in, optimisation and evaluation in one directory."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from qmcnet.compute.device import choose_device
from qmcnet.compute.process import prepare_process
from qmcnet.compute.team import team
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.operators import MolecularHamiltonian, Operator
from qmcnet.optimizers import Clipping, Schedule, Spring
from qmcnet.optimizers.averaging import AveragingSettings
from qmcnet.protocols import LaplacianBackend
from qmcnet.report.diffused import Diffused
from qmcnet.report.result import Result
from qmcnet.report.summary import summary
from qmcnet.run.afterwards import diffuse, evaluate_further
from qmcnet.run.checkpoint import Checkpoint, Checkpoints
from qmcnet.run.conclusion import conclude, finished, steps_to_make
from qmcnet.run.description import defaults_of, describe, described, settings_of
from qmcnet.run.directory import RunDirectoryError, claim, write_config
from qmcnet.run.driver import Driver
from qmcnet.run.init_from import begin_from, check_source
from qmcnet.run.interruption import Interruption
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.run.lock import lock
from qmcnet.run.plan import Part, execute
from qmcnet.run.report import html_of, report_of
from qmcnet.run.start import check_parts, check_scalars, check_start
from qmcnet.sampling import Metropolis
from qmcnet.stages.burn_in import BurnIn, BurnInSettings
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.optimization import Optimization, Optimizer
from qmcnet.stages.pretraining import Pretraining, PretrainingSettings
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Stage
from qmcnet.states.ensemble import Objective
from qmcnet.states.measurements import check_observables, make_operators
from qmcnet.states.natural import Natural
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)


class VMC:
    """A run that can be trained, interrupted, continued and evaluated; making it computes and writes nothing.

    Attributes:
        ansatz: the network, with a `molecule` and `settings`; its precision is that of the run.
        ensemble: its states as one sampled function.
        hamiltonian: gives their local energy.
        directory: run directory; a directory that holds this run continues it.
        objective: what is minimised; of several states, also what is sampled.
        optimizer: changes the parameters; given as what makes the optimiser of an ansatz.
        clipping: of the local energies that the optimiser sees.
        schedule: share of its learning rate at each step.
        averaging: which average of the parameters is evaluated.
        sampler: moves the walkers.
        laplacian: back end that differentiates log|psi|.
        terms: of the Hamiltonian besides those of every molecule, by name, in hartree; given as what makes each.
        pretraining: how to pretrain.
        burn_in: how to relax the walkers.
        evaluation: how to evaluate.
        logging: how often statistics are fetched.
        checkpoints: when checkpoints are written.
        steps: optimisation steps.
        accuracy: distance to the exact energy, in hartree, until which more steps are made than `steps`; None for none.
        batch_size: number of walkers.
        seed: seed of the random numbers.
        init_from: directory of a run whose wavefunction and walkers this one starts from, without pretraining, or None.
        device: given as 'auto', 'cpu', 'cuda' or 'cuda:N', or as a device of torch.
        compile: compile the wavefunction for sampling and, unless `laplacian` is given, for the local energy.
        observables: what to measure besides the energy, by name; of several states always spin and dipole too.
        wall_time: seconds after which the run saves and stops; None for no limit.
        resume: continue a run found in the directory.
        overwrite: with `resume=False`, move a run found in the directory aside.
    """

    def __init__(
        self,
        ansatz: nn.Module,
        directory: str | Path,
        *,
        objective: Objective = Natural(),
        optimizer: Callable[[nn.Module], Optimizer] = Spring,
        clipping: Clipping = Clipping(),
        schedule: Schedule = Schedule(),
        averaging: AveragingSettings = AveragingSettings(),
        sampler: Metropolis | None = None,
        laplacian: LaplacianBackend | None = None,
        terms: Mapping[str, Callable[[Molecule], Operator]] | None = None,
        pretraining: PretrainingSettings = PretrainingSettings(),
        burn_in: BurnInSettings = BurnInSettings(),
        evaluation: EvaluationSettings = EvaluationSettings(),
        logging: LoggingSettings = LoggingSettings(),
        checkpoints: CheckpointSettings = CheckpointSettings(),
        steps: int = 1000,
        accuracy: float | None = None,
        batch_size: int = 1024,
        seed: int = 0,
        init_from: str | Path | None = None,
        device: str | torch.device = "auto",
        compile: bool = False,
        observables: Sequence[str] = (),
        wall_time: float | None = None,
        resume: bool = True,
        overwrite: bool = False,
    ) -> None:
        """Assemble a run.

        Raises:
            ValueError: for a setting out of range.
        """
        check_parts(type(self), locals())
        check_scalars(steps, accuracy, batch_size, seed, wall_time, resume, overwrite)
        averaging.check_start(steps)
        evaluation.say_unreachable()
        self.device, self.molecule = choose_device(device), cast(Molecule, ansatz.molecule)
        self.ansatz, self.directory, self.averaging = ansatz.to(self.device), Path(directory), averaging
        self.sampler, self.laplacian = sampler or Metropolis(), laplacian or ForwardLaplacian(compile=compile)
        self.terms = {name: make(self.molecule) for name, make in (terms or {}).items()}
        self.objective, self.ensemble, self.burn_in = objective, objective.ensemble(ansatz), burn_in
        self.hamiltonian = MolecularHamiltonian(self.molecule, self.terms.values())
        self.optimizer, self.clipping, self.schedule = optimizer(self.ensemble), clipping, schedule
        self.pretraining, self.evaluation, self.logging = pretraining.with_basis(self.molecule), evaluation, logging
        self.steps, self.batch_size, self.seed, self.checkpoints = int(steps), int(batch_size), int(seed), checkpoints
        self.accuracy, self.wall_time, self.resume, self.overwrite = accuracy, wall_time, resume, overwrite
        self.init_from, self.observables = None if init_from is None else str(init_from), sorted(observables)
        check_observables(observables, self.ensemble, self.hamiltonian)
        how = (self.hamiltonian, self.laplacian, self.sampler)
        self.simulation = Simulation.start(self.ensemble, *how, self.batch_size, self.seed, self.device)
        self.compile = self.simulation.compile = compile

    report, _repr_html_ = report_of, html_of

    @property
    def n_states(self) -> int:
        """Number of states S."""
        return int(self.simulation.ensemble.n_states)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that builds this run again."""
        config: dict[str, Any] = {"system": describe(self.molecule), "ansatz": describe(self.ansatz, partial=True)}
        config |= {name: described(getattr(self, name), name == "optimizer") for name in settings_of(VMC)}
        dtype = str(next(self.ansatz.parameters()).dtype).removeprefix("torch.")
        config |= {"dtype": dtype, "device": self.device.type}
        return dict(json.loads(json.dumps(config)))

    def summary(self) -> str:
        """Say what is about to be computed: system, network, device and precision."""
        network = summary(self.ansatz, self.n_states, self.batch_size, self.device, self.directory)
        return f"{self.molecule.summary()}\n{network}"

    def train(self, on_claim: Callable[[], None] = lambda: None, follows: Sequence[Part] = ()) -> Result:
        """Run all stages, or what is left of them, and write `result.json`.

        Args:
            on_claim: called once it is clear that the directory may take this run.
            follows: stages that its result goes to, which the forecast is to tell of, too.

        Returns:
            The energy of the trained wavefunction with its error bar.
        """
        prepare_process()
        self.check_start()
        with team().alone(lambda: lock(self.directory)), Interruption(self.wall_time) as interruption:
            claim(self.directory, self.config, self.resume, self.overwrite, defaults_of(vars(self)))
            asked = (self.evaluation, self.observables, self.steps, self.accuracy, self.molecule)
            if result := finished(self.directory, *asked):
                logger.info("this run is finished: %d steps trained; its result:", result.trained_steps)
                try:
                    self.load_trained()
                except RunDirectoryError as error:
                    logger.warning("%s; its result alone is left", error)
                return result
            write_config(self.directory, self.config)
            on_claim()
            found = execute(self.parts(), driver := self.driver(self.directory, interruption), self._begin, follows)
            return conclude(found, driver, self.molecule, self.config)

    def evaluate(self, settings: EvaluationSettings, directory: Path | None = None, averaged: bool = True) -> Result:
        """Evaluate the trained wavefunction further, from the trained walkers, with frozen parameters.

        More steps or a smaller error continue it; another directory, or more training, means new random numbers.

        Args:
            settings: how long to evaluate.
            directory: where the evaluation keeps its state and result; by default inside the run directory.
            averaged: of a run that averages its parameters, evaluate the average and not the last ones.

        Returns:
            The energy with its error bar.

        Raises:
            RunDirectoryError: if the run has not been trained.
        """
        return evaluate_further(self, settings, directory, averaged)

    def diffuse(self, settings: DiffusionSettings, directory: Path | None = None, averaged: bool = True) -> Diffused:
        """Take the trained walkers through imaginary time, guided by the trained wavefunction.

        Args:
            settings: time steps, and how long to diffuse.
            directory: where state and result are kept; by default `dmc` in the run directory.
            averaged: of a run that averages its parameters, take the average and not the last ones.

        Returns:
            The energies at all time steps, and at none.

        Raises:
            ValueError: if the run is not trained, or has several states or complex orbitals.
        """
        return diffuse(self, settings, directory, averaged)

    def trial(self, evaluation: EvaluationSettings | None = None) -> Stage:
        """Make the optimisation, or an evaluation, to be timed, of a run that is used for nothing else."""
        return self._optimization() if evaluation is None else self.evaluating(evaluation, self.directory).make()

    def load_trained(self) -> "VMC":
        """Take over the newest checkpoint of the run directory without running anything.

        Returns:
            This run, with trained parameters and walkers.

        Raises:
            RunDirectoryError: if there is no usable checkpoint.
        """
        found = Checkpoints(self.directory / "checkpoints", 1).load_newest(like=self.simulation.state_dict())
        if found is None:
            raise RunDirectoryError(f"{self.directory} holds no usable checkpoint")
        self.adopt(found)
        return self

    def adopt(self, found: Checkpoint, averaged: bool = True) -> dict[str, Mapping[str, Any]]:
        """Take over wavefunction and walkers, averaged parameters if asked for; return what stages have found."""
        self.simulation.load_state_dict(found.state["simulation"])
        findings: dict[str, Mapping[str, Any]] = found.state.get("findings", {})
        if found.stage != Optimization.name:
            return findings
        stage = self._optimization()
        stage.load_state_dict(found.state["stage_state"])
        if averaged:
            stage.average.apply()
        return findings | {stage.name: stage.learned()}

    def parts(self) -> list[Part]:
        """Plan this run."""
        steps = steps_to_make(self.directory, self.steps, self.accuracy)
        parts = [
            Part(BurnIn, lambda: BurnIn(self.simulation, self.burn_in), self.directory / BurnIn.name),
            Part(Optimization, self._optimization, self.directory, steps),
            self.evaluating(self.evaluation, self.directory / Evaluation.name),
        ]
        if self._pretrains:
            make = partial(Pretraining.prepare, self.simulation, self.pretraining, self.seed)
            parts.insert(0, Part(Pretraining, make, self.directory / Pretraining.name))
        elif self.pretraining.steps and self.init_from is None:
            logger.info("%s starts from orbitals of its own: no pretraining", type(self.ansatz).__name__)
        return parts

    @property
    def _pretrains(self) -> bool:
        return self.init_from is None and self.pretraining.steps > 0 and hasattr(self.ansatz, "orbitals")

    def check_start(self) -> None:
        """Refuse what would end the run soon after its start."""
        basis, compiled_on = self.pretraining.basis if self._pretrains else None, self.device if self.compile else None
        check_start(self.directory, self.molecule, basis, compiled_on, self.simulation.limited, self.accuracy)
        if self.init_from is not None:
            check_source(self.init_from, self.directory, self.resume, self.simulation)

    def _begin(self, driver: Driver) -> None:
        """Take over what another run found, where this one is to start from it."""
        if self.init_from is not None:
            driver.findings = {"init_from": begin_from(self.init_from, self.simulation, self.seed)}

    def driver(self, directory: Path, interruption: Interruption) -> Driver:
        """Make what drives stages in a directory."""
        how = (Checkpoints(directory / "checkpoints", self.checkpoints.keep), interruption, self.logging)
        return Driver(directory, self.simulation, *how, self.checkpoints, self.seed)

    def _optimization(self) -> Optimization:
        how = (self.clipping, self.schedule, self.averaging, self.objective)
        measured = (make_operators(self.observables, self.molecule, self.device), self.logging.every)
        return Optimization(self.simulation, self.optimizer, self.steps, *how, *measured, self.accuracy)

    def evaluating(self, settings: EvaluationSettings, folder: Path) -> Part:
        """Plan an evaluation of the wavefunction as it will be then."""
        names = {*self.simulation.ensemble.spectrum, *self.observables}
        return Part(Evaluation, lambda: Evaluation(self.simulation, settings, names), folder)
