"""What a run directory says of its run, as plain numbers and text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.report.diffused import Diffused
from qmcnet.report.result import Result
from qmcnet.report.sweep import Point
from qmcnet.system.molecule import Molecule

Table = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Record:
    """A run, whole or not.

    Attributes:
        point: its directory, how far it is, and what it found.
        command: what was typed to start it; None of a run that was started from Python.
        config: the settings, as far as they can be read.
        molecule: the system, or None where that cannot be read.
        tables: statistics of the steps of each stage, by its name: columns by name.
        seconds: what each stage has taken, by its name, as far as it is known.
        evaluations: results of further evaluations, by the name of their folder.
        diffusions: results of diffusion Monte Carlo, by the name of their folder.
        densities: cube files by what they are of.
        warnings: what the log warns of.
        trouble: what was found when numbers went bad, a sentence each.
    """

    point: Point
    command: str | None
    config: Mapping[str, Any]
    molecule: Molecule | None
    tables: Mapping[str, Table]
    seconds: Mapping[str, float]
    evaluations: Mapping[str, Result]
    diffusions: Mapping[str, Diffused]
    densities: Mapping[str, Path]
    warnings: Sequence[str]
    trouble: Sequence[str]

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self.point.directory.resolve().name

    @property
    def result(self) -> Result | None:
        """What the run found."""
        return self.point.result

    @property
    def states(self) -> Sequence[Mapping[str, Any]]:
        """What was measured of each state: of the further evaluations what the run itself did not measure."""
        own = list(self.result.states) if self.result else []
        for other in self.evaluations.values():
            if len(other.states) == len(own):
                own = [{**more, **state} for more, state in zip(other.states, own, strict=True)]
        return own
