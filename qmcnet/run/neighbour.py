"""The run that one of a sweep starts from: the nearest that is done."""

import logging
from collections.abc import Iterable
from pathlib import Path

from qmcnet.compute.team import by_first
from qmcnet.run.directory import is_run, read_config
from qmcnet.run.identity import in_identity
from qmcnet.run.points import point, settings_of, typed_settings

logger = logging.getLogger(__name__)


@by_first
def neighbour(directory: Path, overrides: Iterable[str]) -> str | None:
    """Find the run that differs in a single number, and least in that, among those beside a run directory.

    Args:
        directory: the run directory; a run that is found there keeps what it started from.
        overrides: what was typed for the run.

    Returns:
        The other run directory; None where no such run has found an energy yet.
    """
    if is_run(directory):
        kept: str | None = read_config(directory).get("init_from")
        return kept
    own = _deciding(settings_of(overrides))
    distances = dict[Path, float]()
    for other in sorted(directory.parent.iterdir()) if directory.parent.is_dir() else []:
        settings = _deciding(typed_settings(other))
        differing = [key for key in {*own, *settings} if own.get(key) != settings.get(key)]
        if len(differing) != 1 or not is_run(other):
            continue
        here, there = own.get(differing[0]), settings.get(differing[0])
        if isinstance(here, float) and isinstance(there, float) and point(other, {}).succeeded:
            distances[other] = abs(here - there)
    if not distances:
        logger.info("init_from=neighbour: none has found an energy yet, so the run starts by itself")
        return None
    return str(min(distances, key=lambda other: distances[other]))


def _deciding(settings: dict[str, str | float]) -> dict[str, str | float]:
    """Leave out settings that say how long and where a run goes."""
    return {key: value for key, value in settings.items() if in_identity(key)}
