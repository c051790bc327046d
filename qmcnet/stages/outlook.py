"""What is said of the time that a run takes: of all stages at its start, and of one that turns out otherwise."""

import logging
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from qmcnet.compute.team import Solo, standing_in
from qmcnet.stages.advice import LONG_RUN, advice
from qmcnet.stages.forecast import Expected, forecast, left, memory
from qmcnet.stages.scaling import alternative, gain_of_one_thread
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Stage
from qmcnet.stages.trial import copied, seconds_of_step, seconds_of_sweep
from qmcnet.words import duration

logger = logging.getLogger(__name__)

SHORT_RUN = 5.0
"""Seconds that the moves of a run have to take for a trial of its stages to be worth its time."""
LONG_STAGE = 60.0
"""Seconds that a stage takes, from which on it is worth to know what another number of processes would make of it."""
CROWDED = 2.0
"""How many times as fast a single thread is, from which on it is advised."""
TOLERANCE = 1.3
"""Ratio of two durations from which on the second is said."""


@contextmanager
def in_silence() -> Generator[None]:
    """Leave out of the log what the run itself will say.

    Yields:
        Nothing.
    """
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


class Outlook:
    """Foresees the stages of a run, and sees whether they keep to it.

    Attributes:
        said: seconds per step as last said, by the name of the stage.
        looked_at: stages whose whole time was known when they were looked at.
        gain: how many times as fast a single thread was.
    """

    def __init__(self, simulation: Simulation, wall_time: float | None) -> None:
        """Say nothing yet.

        Args:
            simulation: wavefunction and walkers of the run.
            wall_time: seconds after which the run stops; None for no limit.
        """
        self.simulation, self.wall_time = simulation, wall_time
        self.said, self.looked_at, self.advised, self.gain = dict[str, float](), set[str](), False, 1.0

    def foresee(self, stage: Stage, later: Sequence[Callable[[], Stage]]) -> None:
        """Time a little of all stages that are left, on a copy of the run, and say how long they will take.

        Nothing is said of a run that is short, or of which no copy can be made. Nothing is sent to other processes,
        which wait for this one meanwhile.

        Args:
            stage: about to begin.
            later: make those after it.
        """
        try:
            with in_silence():
                expected, predicted = self._trials(stage, later)
        except Exception:  # whatever a copy of a run can meet: a forecast is no reason to end one
            return
        if any(part.seconds is not None for part in expected):
            self._say(expected, predicted, stage.of_trained)

    def _trials(self, stage: Stage, later: Sequence[Callable[[], Stage]]) -> tuple[list[Expected], float | None]:
        """Time the stages; gives the largest memory of a step, too."""
        with standing_in(Solo()):
            stages = [one for one in (stage, *(make() for make in later)) if left(one)]
        twin, expected, predicted = copied(self.simulation), list[Expected](), list[float]()
        if sum(map(left, stages)) * seconds_of_sweep(twin) < SHORT_RUN:
            return [], None
        self.gain = gain_of_one_thread(twin)
        for one in stages:
            seconds = None
            try:
                trial = one.trial(twin)
                seconds = seconds_of_step(trial, twin)
                predicted.append(trial.memory() or 0.0)
            except Exception:  # such as of an optimiser of the user's own that cannot be copied
                twin = copied(self.simulation)
            expected.append(Expected.of(one, seconds))
        return expected, max(predicted, default=0.0) or None

    def _say(self, expected: Sequence[Expected], predicted: float | None, of_trained: bool) -> None:
        self.said |= {part.name: part.seconds for part in expected if part.seconds is not None}
        total = sum(part.total for part in expected)
        bound = "about" if all(part.known for part in expected) else "more than"
        parts = ", ".join(map(str, expected))
        needed = memory(self.simulation.generator.device, predicted, ahead=True)
        compiled = ", timed before compiling" * self.simulation.compile
        in_all = f"; {bound} {duration(total)} in all" * any(part.known for part in expected)
        logger.info(f"forecast: {parts}{in_all}{compiled}, {needed}")
        if self.gain > CROWDED:
            logger.info(
                "advice: threads wait for each other on busy cores: OMP_NUM_THREADS=1 before the command makes "
                f"evaluations about {self.gain:.2g} times as fast"
            )
        self._advise(total, of_trained)

    def _advise(self, total: float, of_trained: bool) -> None:
        """Say once what a user can do about a run that is long, and that a limited one can be continued."""
        if self.advised or total < min(LONG_RUN, self.wall_time or math.inf):
            return
        self.advised = True
        for line in advice(self.simulation, total, self.wall_time, of_trained):
            logger.info(line)

    def look(self, stage: Stage, seconds: float, sent: str) -> None:
        """Say how long a stage takes where this is news, or it is the first look at one that is long.

        Args:
            stage: at work.
            seconds: measured duration of a step.
            sent: what this process sends to others, in words.
        """
        expected, before = Expected.of(stage, seconds), self.said.get(stage.name)
        is_off = before is None or not 1 / TOLERANCE < seconds / before < TOLERANCE
        is_long = expected.total > LONG_STAGE and stage.name not in self.looked_at
        self.looked_at |= {stage.name} if expected.known else set()
        if not is_off and not is_long:
            return
        self.said[stage.name] = seconds
        line = forecast(expected, before if is_off else None, self.simulation.generator.device, stage.memory())
        with in_silence():
            otherwise = alternative(stage, self.simulation, seconds) if is_long else ""
        logger.info(line + sent + otherwise)
        self._advise(expected.total, stage.of_trained)
