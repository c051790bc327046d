"""The result of a run: one file with the energy, its error bar, and all that is needed to quote it."""

import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qmcnet.compute.files import atomic_write, set_aside
from qmcnet.report.distance import Distance
from qmcnet.report.forces import caveats as force_caveats
from qmcnet.report.levels import draw_levels
from qmcnet.report.notebook import facts_html
from qmcnet.report.reference import Reference
from qmcnet.report.table import SpectrumTable, forces, observed, plus_minus, table
from qmcnet.states.spectrum import State

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run found. Energies in hartree; None where the evaluation is not stationary.

    Attributes:
        energy: mean local energy; of several states, that of the lowest.
        standard_error: of the energy, one standard deviation, autocorrelation included.
        tau: integrated autocorrelation time, in evaluation steps; 1 for independent samples. Of several states this and
            the figures that follow are those of the sum of their energies.
        r_hat: rank-normalised split R-hat across walkers; 1 when all walkers agree.
        n_effective: independent samples the series is worth.
        variance: of the local energy, in hartree^2; 0 for an exact state.
        typical_variance: geometric mean over steps of the variance among walkers, which rare ones do not carry away.
        outlier_share: share of local energies further than five mean absolute deviations from the median of their step.
        nonfinite: local energies that were not finite and are left out, with all that was measured there.
        nonfinite_observables: samples of others that were not finite where the energy was, by name, where there are
            any; they are left out of their own average, and all of it from a share of 1 % on.
        stationary: whether the series may be called an estimate.
        reason: why not, or an empty string.
        evaluation_steps: steps recorded.
        discarded_steps: steps left out at the start.
        trained_steps: optimisation steps made.
        states: by ascending energy, what was measured of each: figures as `value` and `error`, energies in hartree;
            none where the evaluation is not stationary. The energy of the first is `energy`.
        warnings: sentences on what makes the states hard to read.
        overlaps: moduli of the overlaps of several states, or None.
        distance: how far the energy may be above that of the state, or None where nothing is known.
        reference: reference energy for this geometry, with its source, or None.
        wall_seconds: duration of the whole run, interruptions summed.
        seconds_per_step: of an optimisation step, where some were made since the last start, or None.
        metadata: geometry, seed, versions, device, precision and configuration hash.
    """

    energy: float | None
    standard_error: float | None
    tau: float
    r_hat: float
    n_effective: float
    variance: float
    typical_variance: float
    outlier_share: float
    nonfinite: int
    nonfinite_observables: dict[str, int]
    stationary: bool
    reason: str
    evaluation_steps: int
    discarded_steps: int
    trained_steps: int
    states: list[State]
    warnings: list[str]
    overlaps: list[list[float]] | None
    distance: Distance | None
    reference: dict[str, Any] | None
    wall_seconds: float
    seconds_per_step: float | None
    metadata: dict[str, Any]

    @property
    def error_from_reference(self) -> float | None:
        """Energy minus reference energy, in hartree."""
        if self.energy is None or self.reference is None:
            return None
        return float(self.energy - self.reference["energy"])

    @property
    def largest_error(self) -> float | None:
        """Largest standard error of the energies of all states, in hartree; None without an estimate."""
        return max((state["energy"]["error"] for state in self.states), default=self.standard_error)

    @property
    def succeeded(self) -> bool:
        """Whether the energy is known, where it was asked for."""
        return self.stationary or self.evaluation_steps == 0

    def write(self, path: Path) -> None:
        """Write the result as JSON, metadata at the top level and null for figures that are unknown.

        Args:
            path: file to create or replace.
        """
        content = asdict(self)
        content |= content.pop("metadata")
        unknown = [name for name, value in content.items() if isinstance(value, float) and not math.isfinite(value)]
        text = json.dumps(content | dict.fromkeys(unknown), indent=2, allow_nan=False) + "\n"
        atomic_write(path, lambda file: file.write(text.encode()))

    def store(self, folder: Path) -> None:
        """Write `result.json`, and `spectrum.png` of several states.

        The result of a shorter run found there gets a name of its own.

        Args:
            folder: where the result goes.
        """
        path = folder / "result.json"
        previous = Result.found(path) or self
        if (previous.trained_steps, previous.evaluation_steps) != (self.trained_steps, self.evaluation_steps):
            path.rename(folder / f"result-{previous.trained_steps:08d}-{previous.evaluation_steps:06d}.json")
        self.write(path)
        if len(self.states) > 1:
            draw_levels(
                self.states, f"{self.metadata['formula']}, spin {self.metadata['spin']}", folder / "spectrum.png"
            )

    @classmethod
    def found(cls, path: Path) -> "Result | None":
        """Read a result if there is one; what is damaged gets a name that says so.

        Args:
            path: the JSON file.

        Returns:
            The result, or None where there is none that can be read.
        """
        if not path.exists():
            return None
        try:
            return cls.read(path)
        except (IsADirectoryError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is damaged (%s), %s", path.name, type(error).__name__, set_aside(path))
            return None

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Read a result written by `write`.

        Args:
            path: the JSON file.

        Returns:
            The result.
        """
        content = json.loads(path.read_text())
        later: dict[str, Any] = {
            "nonfinite_observables": {},
            "typical_variance": None,
            "distance": None,
            "seconds_per_step": None,
        }  # than version 0.1.0
        content = later | content
        own = {name: content.pop(name) for name in cls.__dataclass_fields__ if name != "metadata"}
        for name in ("tau", "r_hat", "n_effective", "variance", "typical_variance", "outlier_share"):
            own[name] = math.nan if own[name] is None else own[name]
        own["distance"] = own["distance"] and Distance(**own["distance"])
        return cls(**own, metadata=content)

    def facts(self) -> list[tuple[str, str]]:
        """Say what was found, in lines that each have a name; figures of states and observables are not among them."""
        if self.evaluation_steps == 0:
            return [("not evaluated", self.reason)]
        if math.isnan(self.variance):
            return [("no estimate", self.reason)]
        if self.energy is None or self.standard_error is None:
            more = f"evaluation.steps={2 * self.evaluation_steps} continues it"
            return [("no estimate", f"the evaluation is not stationary ({self.reason}); {more}")]
        quality = f"{self.variance:.3g} hartree^2, tau {self.tau:.2f}, R-hat {self.r_hat:.4f}"
        lines = [
            ("energy", f"{plus_minus(self.energy, self.standard_error)} hartree"),
            ("variance", f"{quality}, {self.n_effective:.0f} effective samples"),
        ]
        if self.reference and self.error_from_reference is not None:
            known = Reference(**self.reference).description
            lines.insert(1, ("above reference", f"{1e3 * self.error_from_reference:+.2f} mHa ({known})"))
        if self.distance:
            lines.append(self.distance.verdict(len(self.states) > 1, self.seconds_per_step))
        return lines

    def caveats(self) -> list[str]:
        """Say what makes the figures hard to read."""
        lost = f"{self.nonfinite} local energies were not finite and are left out"
        return [lost] * (self.nonfinite > 0) + self.warnings + force_caveats(self.states, self.distance)

    def summary(self) -> str:
        """Say what was found in a few lines."""
        facts = self.facts()
        if self.energy is None or self.standard_error is None:
            return ": ".join(facts[0])
        lines = [f"{name:<16} {text}" for name, text in facts]
        if len(self.states) > 1:
            rows = ["  ".join(f"{overlap:.3f}" for overlap in row) for row in self.overlaps or ()]
            lines += [table(self.states), *(["overlaps         " + f"\n{'':17}".join(rows)] if rows else [])]
            of_states = (
                (f"state {number}: {name}", text)
                for number, state in enumerate(self.states)
                for name, text in forces(state)
            )
            lines += [f"{name:<26} {text}" for name, text in of_states]
        elif self.states:
            lines += [f"{name:<16} {text}" for name, text in observed(self.states[0])]
        return "\n".join(lines + [f"warning: {caveat}" for caveat in self.caveats()])

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        facts = self.facts() + [("warning", caveat) for caveat in self.caveats()]
        html = facts_html(str(self.metadata.get("formula", "")), facts)
        return html + self.spectrum._repr_html_() * (len(self.states) > 1)

    @property
    def spectrum(self) -> SpectrumTable:
        """The states as a table, as text and in notebooks."""
        return SpectrumTable(self.states)
