"""Drives a stage: steps, statistics, checkpoints, orderly stops, and recovery from bad numbers."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qmcnet.compute.streams import stream
from qmcnet.compute.team import by_first, team
from qmcnet.report.progress import StageProgress
from qmcnet.report.writers import Writer
from qmcnet.run.checkpoint import Checkpoint, Checkpoints, DamagedCheckpoint, read, stage_and_step
from qmcnet.run.directory import unused
from qmcnet.run.interruption import Interrupted, Interruption
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.run.postmortem import Diverged, is_bad, write_postmortem
from qmcnet.stages.fetch import fetch
from qmcnet.stages.forecast import Stopwatch
from qmcnet.stages.outlook import Outlook
from qmcnet.stages.scaling import traffic
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Row, Stage

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
        self.made, self.attempts = dict[str, int](), 0
        self.findings: dict[str, Mapping[str, Any]] = {}  # of the stages that are done
        self.seconds_per_step: dict[str, float] = {}  # of the stages that this process has seen
        self.outlook = team().alone(lambda: Outlook(simulation, interruption.wall_time))

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

    def begin(self, start: Checkpoint) -> None:
        """Begin where another run ended.

        Args:
            start: its checkpoint.
        """
        self.simulation.load_state_dict(start.state["simulation"])
        self.made, self.earlier_seconds = start.made, start.state["wall_seconds"]

    def restore(self, found: Checkpoint, stage: Stage) -> None:
        """Continue from a checkpoint.

        Args:
            found: the checkpoint.
            stage: the stage it was taken in.

        Raises:
            DamagedCheckpoint: if it lacks something.
        """
        try:
            stage.load_state_dict(found.state["stage_state"])
            self.simulation.load_state_dict(found.state["simulation"])
        except (LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise DamagedCheckpoint(f"its state of {stage.name} is not whole ({error!r})") from error
        self.made, self.findings = found.made, found.state.get("findings", {})
        # Roll-backs are counted for ever, so that none repeats the random numbers of another.
        self.attempts = max(self.attempts, found.state.get("attempts", 0))

    def save(self, stage: Stage) -> Path:
        """Write a checkpoint.

        Args:
            stage: the stage being run.

        Returns:
            The file written.
        """
        self.made = self.made | {stage.name: max(stage.step, 0)}
        state = {
            "simulation": self.simulation.state_dict(),
            "stage_state": stage.state_dict(),
            "findings": self.findings,
            "attempts": self.attempts,
            "wall_seconds": self.wall_seconds,
        }
        return self.checkpoints.save(self.made, stage.name, state)

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
            finished = False
            while not finished:
                session.step()
                stop, finished = self._news(stage)
                if len(session.rows) < self.logging.every and not stop and not finished:
                    continue
                if not session.flush():
                    finished = False
                elif stop or finished or session.save_is_due():
                    session.save()
                    if finished:
                        logger.info("%s done after %d steps  %s", stage.name, stage.step, session.status)
                    elif stop:
                        raise Interrupted(f"{stop}: {stage.name} saved after step {stage.step}")
        finally:
            if session.stopwatch.steps > 0:
                self.seconds_per_step[stage.name] = session.stopwatch.seconds_per_step
            session.close()

    def _news(self, stage: Stage) -> tuple[str | None, bool]:
        """Agree on why to stop, if at all, and whether the stage is finished, which the first process says."""
        reason, finished = self.interruption.requested(), team().rank == 0 and stage.finished()
        return team().agree((reason, finished) if reason or finished else None) or (None, False)


class _Session:
    """One stage being driven: its files, its buffered rows, and the last good checkpoint."""

    def __init__(self, driver: Driver, stage: Stage, folder: Path) -> None:
        self.driver, self.stage = driver, stage
        self.writer = self._writer(folder)
        self.progress = team().alone(lambda: StageProgress(stage.name, driver.logging.seconds))
        self.folder, self.rows, self.retries = folder, list[tuple[int, Row]](), 0
        self.failed_at, self.went_back_to = 0, stage.step
        self.stopwatch, self.status = Stopwatch(driver.simulation.walkers.positions.device), ""
        self.sent = team().messages, team().bytes
        self.save()

    def _writer(self, folder: Path) -> Writer:
        return team().alone(lambda: Writer(folder, self.stage.table, self.stage.tag, self.stage.step))

    def step(self) -> None:
        """Make a step and note its row; look at the durations now and then."""
        row = self.stage.advance()
        if not row:
            return
        self.rows.append((self.stage.step, row))
        is_due = self.stopwatch.tick()
        if self.stopwatch.steps == 0:
            self.sent = team().messages, team().bytes
        if is_due:
            with self.stopwatch.paused():
                self._look()

    def _look(self) -> None:
        """Say how long the stage takes, where that is news."""
        steps, seconds = self.stopwatch.steps, self.stopwatch.seconds_per_step
        self.driver.outlook.look(self.stage, seconds, traffic(self.sent, steps))

    def flush(self) -> bool:
        """Write the buffered rows; on bad numbers roll back and return False."""
        if not self.rows:
            return True
        rows = list(zip([step for step, _ in self.rows], fetch(row for _, row in self.rows), strict=True))
        self.rows = []
        bad = next((step for step, row in rows if is_bad(row)), None)
        # The last update may have spoiled parameters that only the next step would show.
        record = self.stage.record(rows) if bad is None and self._finite() else None
        if record is None or record.lost:
            self._roll_back(rows[-1][0] if bad is None else bad)
            return False
        self.writer.write(record.rows)
        scalars = {"timing/seconds_per_step": self.stopwatch.seconds_per_step, **record.scalars}
        for tag, value in scalars.items():
            self.writer.scalar(tag, value, rows[-1][0])
        done, total = self.stage.progress()
        self.status = self.stage.status(record.rows[-1][1])
        self.progress.show(done, total, self.status)
        return True

    def _finite(self) -> bool:
        return team().agree(None if self.driver.simulation.finite() else True) is None

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
        self.driver.restore(Checkpoint(good, self.stage.name, team().first(lambda: read(good))), self.stage)
        self.driver.simulation.generator.manual_seed(stream(self.driver.seed, "retry", self.driver.attempts))
        self.went_back_to = self.stage.step
        self.writer.close()
        self.writer = self._writer(self.folder)
        self.save()  # A run that is killed now must not make the same attempt again.

    @by_first
    def _further_back(self) -> Path:
        """Find the checkpoint before the one that the last attempt started from, and set those after it aside."""
        places = {path: stage_and_step(path) for path in self.driver.checkpoints.paths()}
        own = [path for path, (stage, _) in places.items() if stage == self.stage.name]
        earlier = [path for path in own if places[path][1] < self.went_back_to] or own[:1]
        for path in own[len(earlier) :]:
            path.rename(unused(self.driver.directory / "postmortem" / path.name))
        return earlier[-1]

    def save_is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        due = time.monotonic() - self.saved_at >= self.driver.saving.seconds
        return bool(team().agree(due or None))

    def save(self) -> None:
        """Write a checkpoint, which a run goes back to."""
        self.good = self.driver.save(self.stage)
        self.saved_at = time.monotonic()
        if self.stage.step >= self.failed_at:
            self.retries = 0

    def close(self) -> None:
        """Close the files."""
        self.progress.close()
        self.writer.close()
