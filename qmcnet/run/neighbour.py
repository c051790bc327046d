"""The run that one of a sweep starts from: the nearest that is done."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qmcnet.compute.team import by_first
from qmcnet.run.directory import is_run, read_config, typed_overrides
from qmcnet.run.init_from import check_source
from qmcnet.run.points import deciding, point

if TYPE_CHECKING:
    from qmcnet.run.vmc import VMC

logger = logging.getLogger(__name__)

NO_PLACE = ("seed", "states")
"""Numbers that are no place between others."""


@by_first
def neighbour(run: "VMC", overrides: Iterable[str]) -> str | None:
    """Find the run that differs in a single number, and least in that, among those beside a run directory.

    Args:
        run: the run; one that is found in its directory keeps what it started from.
        overrides: what was typed for it.

    Returns:
        The other run directory; None where no such run has found an energy yet.
    """
    directory = run.directory
    if is_run(directory):
        kept: str | None = read_config(directory).get("init_from")
        return kept
    own, distances = deciding(overrides), dict[Path, float]()
    for other in sorted(directory.parent.iterdir()) if directory.parent.is_dir() else []:
        settings = deciding(typed_overrides(other))
        differing = [key for key in {*own, *settings} if own.get(key) != settings.get(key)]
        if len(differing) != 1 or differing[0] in NO_PLACE or "." in differing[0]:
            continue
        here, there = own.get(differing[0]), settings.get(differing[0])
        if isinstance(here, float) and isinstance(there, float) and point(other, {}).succeeded:
            distances[other] = abs(here - there)
    for other in sorted(distances, key=lambda each: distances[each]):
        try:
            check_source(str(other), directory, resume=True, simulation=run.simulation)
        except ValueError:  # such as one of other electrons
            continue
        return str(other)
    logger.info("init_from=neighbour: none has found an energy yet, so the run starts by itself")
    return None
