"""Drives a stage: steps, statistics, checkpoints, orderly stops, and recovery from bad numbers."""

import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from qmcnet.statistics.running import ExponentialMean
from qmcnet.training.checkpoint import Checkpoints, Milestone
from qmcnet.training.forecast import TIMED_STEPS, Stopwatch, forecast, predicted_memory
from qmcnet.training.interruption import Interrupted, Interruption
from qmcnet.training.optimization import Optimization
from qmcnet.training.postmortem import Diverged, is_bad, write_postmortem
from qmcnet.training.progress import StageProgress
from qmcnet.training.simulation import Simulation
from qmcnet.training.stages import Row, Stage
from qmcnet.training.writers import Writer, fetch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggingSettings:
    """How often statistics are fetched and shown.

    Attributes:
        every: steps between fetches; every step is recorded whatever this is.
        seconds: seconds between progress lines where the output is not a terminal.
    """

    every: int = 10
    seconds: float = 30.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: if the interval is not positive.
        """
        if self.every < 1:
            raise ValueError(f"logging.every={self.every} must be at least 1")


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written.

    Attributes:
        seconds: seconds between checkpoints; 0 writes one at every fetch of the statistics.
        keep: newest checkpoints kept; the last of each stage stays besides.
        max_retries: times a run is rolled back after bad numbers before it gives up.
    """

    seconds: float = 60.0
    keep: int = 3
    max_retries: int = 3


class Driver:
    """Runs stages in a directory."""

    def __init__(
        self,
        directory: Path,
        simulation: Simulation,
        checkpoints: Checkpoints,
        interruption: Interruption,
        logging_settings: LoggingSettings,
        checkpoint_settings: CheckpointSettings,
        seed: int,
    ) -> None:
        """Collect what all stages need.

        Args:
            directory: where post-mortems go.
            simulation: wavefunction and walkers.
            checkpoints: where states are saved.
            interruption: says when to stop.
            logging_settings: how often statistics are fetched.
            checkpoint_settings: when checkpoints are written.
            seed: seed of the run, from which a rolled-back run draws a new one.
        """
        self.directory, self.simulation, self.checkpoints = directory, simulation, checkpoints
        self.interruption, self.logging, self.saving, self.seed = (
            interruption,
            logging_settings,
            checkpoint_settings,
            seed,
        )
        self.earlier_seconds, self.start = 0.0, time.monotonic()
        self.average, self.trained = ExponentialMean(), 0

    @property
    def wall_seconds(self) -> float:
        """Duration of the run so far, interruptions summed."""
        return self.earlier_seconds + time.monotonic() - self.start

    def restore(self, state: dict[str, Any], stage: Stage | None) -> None:
        """Continue from a checkpoint.

        Args:
            state: content of the checkpoint.
            stage: the stage it was taken in; None to take over the simulation alone.
        """
        self.simulation.load_state_dict(state["simulation"])
        self.trained, self.average = state["trained"], ExponentialMean(**state["average"])
        if stage is not None:
            stage.load_state_dict(state["stage_state"])

    def save(self, stage: Stage) -> Path:
        """Write a checkpoint.

        Args:
            stage: the stage being run.

        Returns:
            The file written.
        """
        state = {
            "simulation": self.simulation.state_dict(),
            "stage_state": stage.state_dict(),
            "average": asdict(self.average),
            "trained": self.trained,
            "wall_seconds": self.wall_seconds,
        }
        return self.checkpoints.save(Milestone(self.trained, stage.order, max(stage.step, 0)), stage.name, state)

    def run(self, stage: Stage, folder: Path) -> None:
        """Run a stage to its end.

        Args:
            stage: the stage, fresh or restored.
            folder: where its statistics go.

        Raises:
            Interrupted: after an orderly stop, with the state saved.
        """
        if stage.finished():
            return
        session = _Session(self, stage, folder)
        try:
            while not stage.finished():
                session.step()
                stop = self.interruption.requested()
                if len(session.rows) < self.logging.every and not stop and not stage.finished():
                    continue
                if session.flush() and (stop or stage.finished() or session.save_is_due()):
                    session.save()
                    if stage.finished():
                        logger.info("%s done after %d steps  %s", stage.name, stage.step, session.status)
                    if stop and not stage.finished():
                        raise Interrupted(f"{self.interruption.reason}: {stage.name} saved after step {stage.step}")
        finally:
            session.close()


class _Session:
    """One stage being driven: its files, its buffered rows, and the last good checkpoint."""

    def __init__(self, driver: Driver, stage: Stage, folder: Path) -> None:
        self.driver, self.stage = driver, stage
        self.writer = Writer(folder, stage.name, stage.step)
        self.progress = StageProgress(stage.name, driver.logging.seconds)
        self.folder, self.rows, self.retries = folder, list[tuple[int, Row]](), 0
        self.stopwatch, self.status, self.lifted = Stopwatch(), "", 0
        self.save()

    def step(self) -> None:
        row = self.stage.advance()
        if self.stage.step > 0:  # An evaluation relaxes its walkers at negative steps, which are not recorded.
            self.rows.append((self.stage.step, row))
        self.stopwatch.tick()
        if self.stage.name == "optimization" and self.stopwatch.steps == TIMED_STEPS:
            done, total = self.stage.progress()
            device = self.driver.simulation.walkers.positions.device
            predicted = predicted_memory(self.driver.simulation)
            logger.info(forecast(self.stopwatch.seconds_per_step, total - done, device, predicted))

    def flush(self) -> bool:
        """Write the buffered rows; on bad numbers roll back and return False."""
        if not self.rows:
            return True
        steps = [step for step, _ in self.rows]
        rows = fetch(row for _, row in self.rows)
        self.rows = []
        average = self.driver.average
        for index, row in enumerate(rows):
            if is_bad(row):
                self._roll_back(steps[index])
                return False
            if self.stage.name == "optimization":
                average = average.update(row["energy"])
                row |= {"ewmean": average.mean, "ewvar": average.variance}
        # The last update may have spoiled parameters that only the next step would show.
        if not self.driver.simulation.finite():
            self._roll_back(steps[-1])
            return False
        self.driver.average = average
        if self.stage.name == "optimization":
            self.driver.trained = self.stage.step
        self.writer.write(list(zip(steps, rows, strict=True)))
        self._report_lifted_kernels(rows)
        self.writer.scalar("timing/seconds_per_step", self.stopwatch.seconds_per_step, steps[-1])
        if isinstance(self.stage, Optimization):
            for tag, value in self.stage.observe().items():
                self.writer.scalar(tag, value, steps[-1])
        done, total = self.stage.progress()
        self.status = _status(rows[-1])
        self.progress.show(done, total, self.status)
        return True

    def _report_lifted_kernels(self, rows: list[dict[str, float]]) -> None:
        lifted = sum(int(row.get("kernel_lifted", 0)) for row in rows)
        if lifted and not self.lifted:
            logger.warning(
                "%s up to step %d: rounding made %d kernels of the optimiser indefinite; they were damped at the level "
                "of rounding. Further ones are counted as kernel_lifted; raise optimizer.damping if they are many",
                *(self.stage.name, self.stage.step, lifted),
            )
        self.lifted += lifted

    def _roll_back(self, step: int) -> None:
        report = write_postmortem(self.driver.directory, self.stage.name, step, self.driver.simulation)
        self.retries += 1
        limit = self.driver.saving.max_retries
        if self.retries > limit:
            advice = "lower optimizer.learning_rate, or use dtype=float64"
            raise Diverged(f"{self.stage.name} step {step} is not finite after {limit} retries: {report}. {advice}.")
        logger.warning("%s step %d is not finite: %s", self.stage.name, step, report)
        logger.warning("going back to %s with a new random seed (retry %d of %d)", self.good.name, self.retries, limit)
        self.driver.restore(torch.load(self.good, map_location="cpu", weights_only=True), self.stage)
        self.driver.simulation.generator.manual_seed(self.driver.seed + 1_000_003 * self.retries)
        self.writer.close()
        self.writer = Writer(self.folder, self.stage.name, self.stage.step)

    def save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.driver.saving.seconds

    def save(self) -> None:
        self.good = self.driver.save(self.stage)
        self.saved_at, self.retries = time.monotonic(), 0

    def close(self) -> None:
        self.progress.close()
        self.writer.close()


def _status(row: dict[str, float]) -> str:
    if "ewmean" in row:
        bad = f"  non-finite {row['nonfinite']:.0f}" if row["nonfinite"] else ""
        return f"E {row['ewmean']:.5f}  variance {row['variance']:.4f}  pmove {row['pmove']:.2f}{bad}"
    name = next(key for key in ("mse", "energy", "log_prob") if key in row)
    return f"{name} {row[name]:.6g}  pmove {row['pmove']:.2f}"
