"""`qmcnet-sweep DIR`: a table, files and a curve of several runs, which every sweep of qmcnet-train ends with, too."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from qmcnet.cli.lost_jobs import lost, outlive_lost_jobs
from qmcnet.cli.status import answer
from qmcnet.compute.files import atomic_write
from qmcnet.compute.team import team
from qmcnet.config.naming import run_name
from qmcnet.report.sweep import Point, Sweep
from qmcnet.run.interruption import EXIT_STATUS
from qmcnet.run.points import deciding, found_in, point
from qmcnet.run.report import report_at_end

FAILURES = ".failures"
"""Folder beside the run directories of a sweep, with the reasons why some failed, maybe before they started."""

WAIT = 2.0
"""Seconds that the first process of several is given to come to the end of a sweep, before another leaves."""

logger = logging.getLogger(__name__)
statuses: list[int] = []
"""Exit statuses of the jobs of this process, in whose place the one status of a sweep comes at its end."""
begun: list[DictConfig] = []
"""The configuration of the sweep that this process has begun."""


class EndOfSweep(Callback):
    """Says what a sweep has found, whatever launcher ran its jobs."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Wait for all jobs, also where one is lost.

        Args:
            config: the configuration, without the settings that vary.
        """
        begun[:], launcher = [config], str(config.hydra.launcher._target_)
        if launcher.endswith(".LocalLauncher"):  # whose jobs share the cores of this machine
            os.environ.setdefault("OMP_NUM_THREADS", "1")
        outlive_lost_jobs(launcher)

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Read the run directories of all jobs.

        Args:
            config: the configuration, without the settings that vary.
        """
        found = team().first(lambda: conclude(config))
        statuses[:] = [EXIT_STATUS if EXIT_STATUS in statuses else max([*statuses, found])]


def end_early() -> None:
    """Show what there is of a sweep that several processes make together, and that a failure ends.

    What has started them, such as torchrun, stops all of them as soon as one leaves.
    """
    if team().size == 1 or not begun or 1 not in statuses:
        return
    if team().rank:
        time.sleep(WAIT)
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logger.error("the sweep ends here: its processes may have lost each other. With devices=N it would go on")
    conclude(begun[0])


def conclude(config: DictConfig) -> int:
    """Show what a sweep has found.

    Args:
        config: the configuration, without the settings that vary.

    Returns:
        Exit status of the sweep; 0 where its runs are not known, as of a sweeper that chooses the settings itself.
    """
    typed: list[str] = OmegaConf.to_container(config.hydra.overrides.task)  # type: ignore[assignment]
    try:
        points = points_of(config, typed)
        return 0 if points is None else show(points, Path(config.hydra.sweep.dir) / f"sweep_{run_name(typed)}")
    except (OmegaConfBaseException, HydraException, OSError, ValueError) as error:
        logger.warning("no table of this sweep: %s", str(error).splitlines()[0])
        return 0


def points_of(config: DictConfig, typed: Sequence[str]) -> list[Point] | None:
    """Find out which runs a sweep consists of.

    Args:
        config: the configuration, without the settings that vary.
        typed: overrides of the command line, with all values of the settings that vary.

    Returns:
        The runs; None where a sweeper other than Hydra's own chose them.
    """
    if not str(config.hydra.sweeper._target_).endswith("BasicSweeper"):
        return None
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(typed))
    found = []
    for number, job in enumerate(BasicSweeper.split_arguments(overrides, None)[0]):
        whole = loader.load_sweep_config(config, list(job)).hydra
        with open_dict(whole.job):
            whole.job.num, whole.job.id = number, str(number)
        found.append(point_of(Path(whole.sweep.dir) / whole.sweep.subdir, job))
    return found


def point_of(directory: Path, overrides: Sequence[str]) -> Point:
    """Read how far a run of a sweep is.

    Args:
        directory: its run directory.
        overrides: of the command line.

    Returns:
        The run.
    """
    kept = directory.parent / FAILURES / directory.name
    failure = kept.read_text(encoding="utf-8") if kept.exists() else lost.get(tuple(overrides), "")
    return point(directory, deciding(overrides), failure)


def keep_failure(directory: Path, reason: str) -> None:
    """Keep why a run of a sweep failed, or forget why it did before.

    Args:
        directory: its run directory.
        reason: one line; empty of one that did not fail.
    """
    path = directory.parent / FAILURES / directory.name
    if reason:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, lambda file: file.write(reason.encode()))
    else:
        path.unlink(missing_ok=True)


def show(points: Sequence[Point], folder: Path) -> int:
    """Print a table of runs, and write the files of their sweep.

    Args:
        points: the runs.
        folder: where the files go.

    Returns:
        Exit status: 0 if all runs are done, 75 if some were only interrupted, 1 if one failed.
    """
    sweep = Sweep(points)
    sweep.store(folder)
    report_at_end(points, folder)
    print(f"{sweep.summary()}\nfiles            {folder}", flush=True)
    if sweep.succeeded:
        return 0
    failed = [each for each in points if each.status.startswith(("failed", "no estimate"))]
    return 1 if failed else EXIT_STATUS


def main() -> None:
    """Run `qmcnet-sweep`."""
    parser = argparse.ArgumentParser(prog="qmcnet-sweep", description="Put runs side by side, also while they work.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="a run directory, or a folder of several")
    parser.add_argument("--output", type=Path, default=Path(), help="where sweep.csv, sweep.json and the curve go")
    arguments = parser.parse_args()
    if absent := [folder for folder in arguments.runs if not folder.is_dir()]:
        sys.exit(f"error: {absent[0]} is no directory")
    try:
        points = found_in(arguments.runs)
        if not points:
            sys.exit(f"error: there is no run in {arguments.runs[0]}")
        sys.exit(show(points, arguments.output))
    except OSError as error:
        sys.exit(f"error: {answer(error)}")
