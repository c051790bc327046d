"""A variational Monte Carlo run: pretraining, burn-in, optimisation and evaluation in one directory."""

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from qmcnet.compute.device import choose_device
from qmcnet.compute.process import prepare_process
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.operators.registry import SPECTRUM, check_observables, make_grid, make_observables
from qmcnet.optimizers import Clipping, Schedule, Spring
from qmcnet.optimizers.averaging import AveragingSettings
from qmcnet.protocols import LaplacianBackend
from qmcnet.report.binding import say_unbound_electron
from qmcnet.report.csv_table import mend
from qmcnet.report.hparams import write_hparams
from qmcnet.report.origin import origin
from qmcnet.report.result import Result, make_result
from qmcnet.report.summary import facts, summary
from qmcnet.run.checkpoint import Checkpoints, DamagedCheckpoint, Milestone
from qmcnet.run.continuation import finished, newest
from qmcnet.run.description import PARTS, SCALARS, describe
from qmcnet.run.directory import RunDirectoryError, claim, lock, typed, write_config
from qmcnet.run.driver import Driver
from qmcnet.run.identity import config_hash, identity
from qmcnet.run.interruption import Interruption
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.run.start import check_parts, check_scalars, check_start
from qmcnet.sampling import Metropolis
from qmcnet.stages.burn_in import BurnIn, BurnInSettings
from qmcnet.stages.ensemble import ensemble
from qmcnet.stages.evaluation import Evaluation, EvaluationSettings
from qmcnet.stages.objective import Natural, Objective
from qmcnet.stages.optimization import Optimization, Optimizer
from qmcnet.stages.pretraining import Pretraining, PretrainingSettings
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Stage
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)


class VMC:
    """A run that can be trained, interrupted, continued and evaluated; making it computes and writes nothing.

    Attributes:
        ansatz: the wavefunction, with a `molecule` and `settings`; its precision is that of the run.
        directory: run directory; a directory that holds this run continues it.
        objective: what is minimised; of several states, also what is sampled.
        optimizer: changes the parameters; given as what makes the optimiser of an ansatz.
        clipping: of the local energies that the optimiser sees.
        schedule: share of its learning rate at each step.
        averaging: which average of the parameters is evaluated.
        sampler: moves the walkers.
        laplacian: back end that differentiates log|psi|.
        pretraining: how to pretrain.
        burn_in: how to relax the walkers.
        evaluation: how to evaluate.
        logging: how often statistics are fetched.
        checkpoints: when checkpoints are written.
        steps: optimisation steps.
        batch_size: number of walkers.
        seed: seed of the random numbers.
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
        pretraining: PretrainingSettings = PretrainingSettings(),
        burn_in: BurnInSettings = BurnInSettings(),
        evaluation: EvaluationSettings = EvaluationSettings(),
        logging: LoggingSettings = LoggingSettings(),
        checkpoints: CheckpointSettings = CheckpointSettings(),
        steps: int = 1000,
        batch_size: int = 1024,
        seed: int = 0,
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
        check_parts(locals())
        check_scalars(steps, batch_size, seed, wall_time, resume, overwrite)
        averaging.check_start(steps)
        evaluation.say_unreachable()
        self.device, self.molecule = choose_device(device), cast(Molecule, ansatz.molecule)
        self.ansatz, self.directory = ansatz.to(self.device), Path(directory)
        self.sampler, self.laplacian = sampler or Metropolis(), laplacian or ForwardLaplacian(compile=compile)
        total, hamiltonian = ensemble(self.ansatz, self.laplacian, objective)
        self.objective, self.clipping, self.schedule, self.optimizer = objective, clipping, schedule, optimizer(total)
        self.averaging, self.pretraining, self.burn_in = averaging, pretraining.with_basis(self.molecule), burn_in
        self.evaluation, self.logging, self.checkpoints = evaluation, logging, checkpoints
        self.steps, self.batch_size, self.seed, self.wall_time = int(steps), int(batch_size), int(seed), wall_time
        self.resume, self.overwrite, self.observables = resume, overwrite, sorted(observables)
        check_observables(observables)
        self.simulation = Simulation.start(total, hamiltonian, self.sampler, self.batch_size, self.seed, self.device)
        self.compile = self.simulation.compile = compile

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that builds this run again."""
        config: dict[str, Any] = {"system": describe(self.molecule), "ansatz": describe(self.ansatz, partial=True)}
        config |= {name: describe(getattr(self, name), partial=name == "optimizer") for name in PARTS}
        config |= {name: getattr(self, name) for name in SCALARS}
        dtype = str(next(self.ansatz.parameters()).dtype).removeprefix("torch.")
        config |= {"dtype": dtype, "device": self.device.type}
        return dict(json.loads(json.dumps(config)))

    def summary(self) -> str:
        """Say what is about to be computed: system, network, device and precision."""
        return self.molecule.summary() + "\n" + summary(self.ansatz, self.batch_size, self.device, self.directory)

    def train(self, on_claim: Callable[[], None] = lambda: None) -> Result:
        """Run all stages, or what is left of them, and write `result.json`.

        Args:
            on_claim: called once it is clear that the directory may take this run.

        Returns:
            The energy of the trained wavefunction with its error bar.
        """
        prepare_process()
        self.check_start()
        with lock(self.directory), Interruption(self.wall_time) as interruption:
            claim(self.directory, self.config, self.resume, self.overwrite)
            result = finished(self.directory, self.evaluation, self.observables, self.steps)
            if result is not None:
                logger.info("this run is finished: %d steps trained; its result:", result.trained_steps)
                try:
                    self.load_trained()
                except RunDirectoryError as error:
                    logger.warning("%s; its result alone is left", error)
                return result
            write_config(self.directory, self.config)
            on_claim()
            driver = self._driver(self.directory, interruption)
            while True:
                found = newest(driver, self.steps, lambda state: self._make_evaluation(self.evaluation).measured(state))
                try:
                    return self._run_stages(driver, found)
                except DamagedCheckpoint as damage:
                    assert found
                    driver.checkpoints.set_aside(found[0], damage)

    def _run_stages(self, driver: Driver, found: tuple[Path, dict[str, Any]] | None) -> Result:
        """Run what comes after a checkpoint."""
        for order, make, folder in self._stages():
            if found and order < Milestone.parse(found[0]).order:
                if order == Optimization.order:
                    mend(folder / "train_stats.csv", Milestone.parse(found[0]).trained)
                continue
            stage = make()
            if found and order == Milestone.parse(found[0]).order:
                try:
                    driver.restore(found[1], stage)
                except (LookupError, TypeError, AttributeError, RuntimeError) as error:
                    raise DamagedCheckpoint(f"its state of {stage.name} is not whole ({error!r})") from error
                logger.info("continuing %s after step %d (%s)", stage.name, stage.step, found[0].name)
            driver.run(stage, folder)
            if isinstance(stage, Optimization) and stage.average.count:
                logger.info("evaluating the average of the parameters after %d steps", stage.average.count)
                stage.average.apply()
            if isinstance(stage, BurnIn) and not stage.equilibrated:
                logger.warning("burn-in stopped after %d sweeps without reaching equilibrium", stage.step)
        assert isinstance(stage, Evaluation)
        return self._conclude(stage, driver, self.directory)

    def evaluate(self, settings: EvaluationSettings, directory: Path | None = None, averaged: bool = True) -> Result:
        """Evaluate the trained wavefunction further, from the trained walkers, with frozen parameters.

        More steps or a smaller error continue the evaluation of a directory; one in another directory, such as of other
        observables, or after more training is independent of it and has random numbers of its own.

        Args:
            settings: how long to evaluate.
            directory: where the evaluation keeps its state and result; by default inside the run directory.
            averaged: of a run that averages its parameters, evaluate the average and not the last ones.

        Returns:
            The energy with its error bar.

        Raises:
            RunDirectoryError: if the run has not been trained.
        """
        prepare_process()
        before = None if averaged else Evaluation.order
        trained = Checkpoints(self.directory / "checkpoints", 1).load_newest(before, self.simulation.state_dict())
        if trained is None or Milestone.parse(trained[0]).order < Optimization.order:
            raise RunDirectoryError(f"{self.directory} holds no trained wavefunction yet; finish qmcnet-train first")
        folder = directory or self.directory / "evaluation" / settings.label(averaged, self.observables)
        with lock(folder), Interruption(self.wall_time) as interruption:
            driver = self._driver(folder, interruption)
            driver.restore(trained[1], None)
            self._adopt(*trained, averaged)
            driver.earlier_seconds = trained[1]["wall_seconds"]
            if driver.trained < self.steps:
                logger.warning("training stopped after %d of %d steps: no more is made", driver.trained, self.steps)
            driver.draw_anew(f"evaluation in {os.path.relpath(folder, self.directory)} after {driver.trained} steps")
            stage = self._make_evaluation(settings)
            earlier = driver.checkpoints.load_newest()
            if earlier and Milestone.parse(earlier[0]).trained == driver.trained:
                driver.restore(earlier[1], stage)
                driver.earlier_seconds = earlier[1]["wall_seconds"]
            driver.run(stage, folder)
            return self._conclude(stage, driver, folder)

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
        self._adopt(*found)
        return self

    def _adopt(self, path: Path, state: dict[str, Any], averaged: bool = True) -> None:
        """Take over wavefunction and walkers of a checkpoint; of an optimisation, with averaged parameters."""
        self.simulation.load_state_dict(state["simulation"])
        if averaged and Milestone.parse(path).order == Optimization.order:
            stage = self._make_optimization()
            stage.load_state_dict(state["stage_state"])
            stage.average.apply()

    def _stages(self) -> list[tuple[int, Callable[[], Stage], Path]]:
        """Order, maker and folder of each stage; a stage is made when its turn comes."""
        stages: list[tuple[int, Callable[[], Stage], Path]] = [
            (BurnIn.order, lambda: BurnIn(self.simulation, self.burn_in), self.directory / "burn_in"),
            (Optimization.order, self._make_optimization, self.directory),
            (Evaluation.order, lambda: self._make_evaluation(self.evaluation), self.directory / "evaluation"),
        ]
        if self.pretraining.steps and not hasattr(self.ansatz, "orbitals"):
            logger.info("%s starts from orbitals of its own: no pretraining", type(self.ansatz).__name__)
        elif self.pretraining.steps:
            stages.insert(0, (Pretraining.order, self._make_pretraining, self.directory / "pretraining"))
        return stages

    def check_start(self) -> None:
        """Refuse what would end the run soon after its start."""
        pretrained = self.pretraining.steps and hasattr(self.ansatz, "orbitals")
        basis, compiled_on = self.pretraining.basis if pretrained else None, self.device if self.compile else None
        check_start(self.directory, self.molecule, basis, compiled_on)

    def _driver(self, directory: Path, interruption: Interruption) -> Driver:
        checkpoints = Checkpoints(directory / "checkpoints", self.checkpoints.keep)
        return Driver(directory, self.simulation, checkpoints, interruption, self.logging, self.checkpoints, self.seed)

    def _make_pretraining(self) -> Pretraining:
        return Pretraining.prepare(self.simulation, self.pretraining, self.seed)

    def _make_optimization(self) -> Optimization:
        how = (self.clipping, self.schedule, self.averaging, self.objective)
        measured = make_observables(self.observables, self.molecule, self.device)
        return Optimization(self.simulation, self.optimizer, self.steps, *how, measured)

    def _make_evaluation(self, settings: EvaluationSettings) -> Evaluation:
        names = self.observables if self.simulation.ansatz is self.ansatz else {*SPECTRUM, *self.observables}
        observables = make_observables(names, self.molecule, self.device)
        return Evaluation(self.simulation, settings, observables, make_grid(names, self.molecule))

    def _conclude(self, stage: Evaluation, driver: Driver, folder: Path) -> Result:
        config = self.config
        where = origin(self.molecule, config, config_hash(config))
        result = make_result(stage, self.molecule, driver.trained, driver.wall_seconds, where)
        say_unbound_electron(self.molecule, result.energy, result.standard_error)
        result.store(folder)
        stage.write_cubes(folder, stage.window())
        if folder == self.directory:
            metrics = {name: getattr(result, name) for name in ("energy", "standard_error")}
            write_hparams(folder, typed(folder) | facts(self.molecule) | identity(config), metrics)
        return result
