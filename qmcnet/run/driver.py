"""Drives a stage: steps, statistics, checkpoints, orderly stops, and recovery from bad numbers."""

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from qmcnet.compute.streams import stream
from qmcnet.report.progress import StageProgress
from qmcnet.report.writers import Writer
from qmcnet.run.checkpoint import Checkpoints, Milestone
from qmcnet.run.directory import unused
from qmcnet.run.forecast import TIMED_STEPS, Stopwatch, forecast, predicted_memory
from qmcnet.run.interruption import Interrupted, Interruption
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.run.postmortem import Diverged, is_bad, write_postmortem
from qmcnet.stages.fetch import fetch
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Row, Stage
from qmcnet.statistics.running import ExponentialMean

logger = logging.getLogger(__name__)


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
            seed: seed from which a run that is rolled back gets new random numbers.
        """
        self.directory, self.simulation, self.checkpoints = directory, simulation, checkpoints
        self.interruption, self.logging, self.saving, self.seed = (
            interruption,
            logging_settings,
            checkpoint_settings,
            seed,
        )
        self.earlier_seconds, self.start = 0.0, time.monotonic()
        self.average, self.trained, self.attempts = ExponentialMean(), 0, 0

    @property
    def wall_seconds(self) -> float:
        """Duration of the run so far, interruptions summed."""
        return self.earlier_seconds + time.monotonic() - self.start

    def draw_anew(self, purpose: str) -> None:
        """Go on with random numbers that have nothing to do with those before.

        Args:
            purpose: what they are for.
        """
        self.seed = stream(self.seed, purpose)
        self.simulation.generator.manual_seed(self.seed)

    def restore(self, state: dict[str, Any], stage: Stage | None) -> None:
        """Continue from a checkpoint.

        Args:
            state: content of the checkpoint.
            stage: the stage it was taken in; None to take over the simulation alone.
        """
        self.simulation.load_state_dict(state["simulation"])
        self.trained, self.average = state["trained"], ExponentialMean(**state["average"])
        # Roll-backs are counted for ever, so that none repeats the random numbers of another.
        self.attempts = max(self.attempts, state.get("attempts", 0))
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
            "attempts": self.attempts,
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
        self.failed_at, self.went_back_to = 0, stage.step
        self.stopwatch, self.status = Stopwatch(driver.simulation.walkers.positions.device), ""
        self.lifted, self.skipped = 0, 0
        self.save()

    def step(self) -> None:
        row = self.stage.advance()
        if self.stage.step > 0:  # An evaluation relaxes its walkers at negative steps, which are not recorded.
            self.rows.append((self.stage.step, row))
        self.stopwatch.tick()
        if isinstance(self.stage, Optimization) and self.stopwatch.steps == TIMED_STEPS:
            seconds, (done, total) = self.stopwatch.seconds_per_step, self.stage.progress()
            predicted = predicted_memory(self.driver.simulation, self.stage.optimizer)
            logger.info(forecast(seconds, total - done, self.stopwatch.device, predicted))

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
        # The last update may have spoiled parameters that only the next step would show; and where every update was
        # left out the state is as good as lost.
        if not self.driver.simulation.finite() or all(row.get("skipped") for row in rows):
            self._roll_back(steps[-1])
            return False
        self.driver.average = average
        if self.stage.name == "optimization":
            self.driver.trained = self.stage.step
        self.writer.write(list(zip(steps, rows, strict=True)))
        self._report_lifted_kernels(rows)
        self._report_skipped_updates(rows)
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
                "of rounding, or gave no step on a GPU. Further ones are counted as kernel_lifted; raise "
                "optimizer.damping if they are many",
                *(self.stage.name, self.stage.step, lifted),
            )
        self.lifted += lifted

    def _report_skipped_updates(self, rows: list[dict[str, float]]) -> None:
        skipped = sum(int(row.get("skipped", 0)) for row in rows)
        if skipped and not self.skipped:
            logger.warning(
                "%s up to step %d: %d updates were left out, since scores or the solution for a direction were not "
                "finite. Further ones are counted as skipped; raise optimizer.damping, or use dtype=float64",
                *(self.stage.name, self.stage.step, skipped),
            )
        self.skipped += skipped

    def _roll_back(self, step: int) -> None:
        report = write_postmortem(self.driver.directory, self.stage.name, step, self.driver.simulation)
        self.retries, self.failed_at = self.retries + 1, max(self.failed_at, step)
        self.driver.attempts += 1
        limit = self.driver.saving.max_retries
        if self.retries > limit:
            advice = "lower optimizer.learning_rate, or use dtype=float64"
            raise Diverged(f"{self.stage.name} step {step} is not finite after {limit} retries: {report}. {advice}.")
        logger.warning("%s step %d is not finite: %s", self.stage.name, step, report)
        good = self._further_back() if self.retries > 1 else self.good
        logger.warning("going back to %s with a new random seed (retry %d of %d)", good.name, self.retries, limit)
        self.driver.restore(torch.load(good, map_location="cpu", weights_only=True), self.stage)
        self.driver.simulation.generator.manual_seed(stream(self.driver.seed, "retry", self.driver.attempts))
        self.went_back_to = self.stage.step
        self.writer.close()
        self.writer = Writer(self.folder, self.stage.name, self.stage.step)
        self.save()  # A run that is killed now must not make the same attempt again.

    def _further_back(self) -> Path:
        """Find the checkpoint before the one that the last attempt started from, and set those after it aside."""
        own = [path for path in self.driver.checkpoints.paths() if Milestone.parse(path).order == self.stage.order]
        earlier = [path for path in own if Milestone.parse(path).step < self.went_back_to] or own[:1]
        for path in own[len(earlier) :]:
            path.rename(unused(self.driver.directory / "postmortem" / path.name))
        return earlier[-1]

    def save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.driver.saving.seconds

    def save(self) -> None:
        self.good = self.driver.save(self.stage)
        self.saved_at = time.monotonic()
        if self.stage.step >= self.failed_at:
            self.retries = 0

    def close(self) -> None:
        self.progress.close()
        self.writer.close()


def _status(row: dict[str, float]) -> str:
    if "ewmean" in row:
        bad = f"  non-finite {row['nonfinite']:.0f}" if row["nonfinite"] else ""
        return f"E {row['ewmean']:.5f}  variance {row['variance']:.4f}  pmove {row['pmove']:.2f}{bad}"
    name = next(key for key in ("mse", "energy", "log_prob") if key in row)
    return f"{name} {row[name]:.6g}  pmove {row['pmove']:.2f}"
