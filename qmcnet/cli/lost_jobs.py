"""Sweeps outlive jobs that are lost, such as one that was killed: launchers would leave the others at the first."""

import re
from collections.abc import Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

OTHERS = ("submitit", "ray")
"""Packages by which jobs are started elsewhere."""

lost: dict[tuple[str, ...], str] = {}
"""Why jobs of this sweep were lost, by their overrides."""


def outlive_lost_jobs(launcher: str) -> None:
    """Let a launcher wait for all jobs of a sweep, and note which of them were lost.

    Args:
        launcher: the path of its class.
    """
    lost.clear()
    with suppress(ImportError):  # of which more is said where the launcher is made
        if "submitit" in launcher:
            _outlive_jobs_of_submitit()
        elif "ray" in launcher:
            _outlive_tasks_of_ray()


def _outlive_jobs_of_submitit() -> None:
    """Wait for jobs of Slurm or of this machine."""
    from submitit.core.core import Job

    kind: Any = Job
    wait = kind.results
    if wait.__module__ == __name__:  # as of an earlier sweep
        return

    def results(job: Any) -> list[Any]:
        """Wait for a job."""
        try:
            return wait(job)
        except Exception as error:
            return [_left_of(job.submission().args[0], error)]

    kind.results = results


def _outlive_tasks_of_ray() -> None:
    """Wait for tasks of Ray, and remember whose they are."""
    import ray
    from hydra_plugins.hydra_ray_launcher import _core

    start, overrides = _core.launch_job_on_ray, dict[Any, Sequence[str]]()
    if start.__module__ == __name__:  # as of an earlier sweep
        return

    def begin(context: Any, remote: Any, config: Any, *others: Any) -> Any:
        """Start a task."""
        task = start(context, remote, config, *others)
        overrides[task] = list(config.hydra.overrides.task)
        return task

    def get(task: Any) -> Any:
        """Wait for a task."""
        try:
            return ray.get(task)
        except Exception as error:
            return _left_of(overrides[task], error)

    _core.launch_job_on_ray, _core.ray = begin, SimpleNamespace(get=get)


def _left_of(overrides: Sequence[str], error: Exception) -> JobReturn:
    """Note why a job was lost, and give what stands for its result."""
    if origin(error) not in OTHERS:
        raise error
    lost[tuple(overrides)] = f"its job was lost: {_reason(error)}"
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED)


def _reason(error: Exception) -> str:
    """Say in a few words why a job was lost: what it has raised, if it did, or the state it is in."""
    lines = [line for line in str(error).splitlines() if line.strip("- ")] or [type(error).__name__]
    if any(line.startswith("Traceback") for line in lines):
        return [line for line in lines if not line.startswith((" ", "Traceback", "You can", "or at"))][-1]
    state = re.search(r"\(state: (\w+)\)", str(error))
    return f"the scheduler calls it {state[1]}" if state else lines[0]


def origin(error: BaseException) -> str:
    """Tell which package has raised an error.

    Args:
        error: as it was caught.

    Returns:
        Its name.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return str(module).partition(".")[0]
