"""The result of diffusion Monte Carlo: energies at several time steps, and at none."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from qmcnet.compute.files import atomic_write
from qmcnet.report.notebook import facts_html, table_html
from qmcnet.report.reference import Reference
from qmcnet.report.table import plus_minus, with_error

HEADER = ("timestep", "energy / Ha", "variance", "accepted", "crossed", "generations", "tau / Ha^-1", "")
"""Columns of a table of time steps."""

Figures: TypeAlias = Mapping[str, Mapping[str, float]]
"""Averages of one quantity by kind, each with value and error."""


def extrapolated(mixed: Mapping[str, Mapping[str, float]], state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Extrapolate mixed averages by those of the wavefunction itself, 2 mixed - VMC.

    Args:
        mixed: averages with value and error, by "observable.component".
        state: what was measured of the wavefunction, by observable and component.

    Returns:
        By observable and component, the mixed average and, where the other is known, the extrapolated one.
    """
    found = dict[str, dict[str, Any]]()
    for label, figure in mixed.items():
        name, component = label.split(".", 1)
        own = found.setdefault(name, {})[component] = {"mixed": figure}
        known = state.get(name, {}).get(component, {"value": None})
        if known["value"] is not None:
            error = None if known["error"] is None else math.hypot(2 * figure["error"], known["error"])
            own["extrapolated"] = {"value": 2 * figure["value"] - known["value"], "error": error}
    return found


@dataclass(frozen=True)
class Diffused:
    """What diffusion Monte Carlo found; energies in hartree, times in 1/hartree.

    Attributes:
        energy: at time step zero; of a single time step the energy there.
        standard_error: of the energy, one standard deviation.
        order: degree of the polynomial that was extrapolated by, 0 of a single time step.
        chi2: sum of its squared deviations in standard errors.
        freedom: points less coefficients.
        walkers: their number.
        points: at each time step, the energy and its error, the share of accepted moves and what else was measured.
        observables: by name and component, the `mixed` average at time step zero and, where the wavefunction itself was
            evaluated for it, the `extrapolated` one, each with value and error. Mixed averages are those of the product
            of the wavefunction and the fixed-node one and off by the first order of their difference; 2 mixed - VMC is
            off by the second (Ceperley and Kalos, in: Monte Carlo Methods in Statistical Physics, Springer 1979).
        variational: energy, error and variance of the wavefunction itself, where it was evaluated.
        reference: reference energy for this geometry, with its source, or None.
        wall_seconds: duration with the training before, interruptions summed.
        metadata: geometry, seed, versions, device, precision and configuration hash.
    """

    energy: float
    standard_error: float
    order: int
    chi2: float
    freedom: int
    walkers: int
    points: Sequence[Mapping[str, Any]]
    observables: Mapping[str, Mapping[str, Figures]]
    variational: Mapping[str, float | None]
    reference: Mapping[str, Any] | None
    wall_seconds: float
    metadata: Mapping[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether the energies at all time steps are averages of something that does not drift."""
        return all(point["stationary"] for point in self.points)

    def store(self, folder: Path) -> None:
        """Write `result.json`.

        Args:
            folder: where it goes.
        """
        content = asdict(self)
        content = content.pop("metadata") | content  # which also names what was to be observed
        text = json.dumps(_known(content), indent=2, allow_nan=False) + "\n"
        atomic_write(folder / "result.json", lambda file: file.write(text.encode()))

    def summary(self) -> str:
        """Print the energies in a table, and what they extrapolate to."""
        lines = [_line(*HEADER), *(_line(*row) for row in self.rows())]
        lines += [f"{name:<16} {text}" for name, text in self.facts()]
        return "\n".join(lines + [f"warning: {caveat}" for caveat in self.caveats()])

    def rows(self) -> list[list[str]]:
        """Write the figures at each time step, and those of the wavefunction itself, by HEADER."""
        rows = []
        if self.variational["energy"] is not None:
            energy = {"value": self.variational["energy"], "error": self.variational["standard_error"]}
            rows.append(["VMC", with_error(energy, 6), f"{self.variational['variance']:.3g}", "", "", "", "", ""])
        for point in self.points:
            energy = {"value": point["energy"], "error": point["standard_error"]}
            shares = f"{point['accepted']:.3f}", f"{point['crossed']:.2g}"
            time, drifts = f"{point['correlation_time']:.2g}", "" if point["stationary"] else "not stationary"
            cells = (with_error(energy, 6), f"{point['variance']:.3g}", *shares, str(point["generations"]), time)
            rows.append([f"{point['timestep']:g}", *cells, drifts])
        return rows

    def facts(self) -> list[tuple[str, str]]:
        """Say what the time steps extrapolate to, in lines that each have a name; nothing where one of them drifts."""
        if not self.succeeded:
            drifting = ", ".join(f"{point['timestep']:g}" for point in self.points if not point["stationary"])
            return [("no estimate", f"the energy is not stationary at timesteps={drifting}; more steps continue it")]
        lines = [("energy", f"{plus_minus(self.energy, self.standard_error)} hartree, {self._how()}")]
        if self.reference:
            known = Reference(**self.reference)
            lines.append(("above reference", f"{1e3 * (self.energy - known.energy):+.2f} mHa ({known.description})"))
        for name, parts in self.observables.items():
            lines += [
                (f"{name} {component}", ", ".join(f"{kind} {with_error(each, 4)}" for kind, each in kinds.items()))
                for component, kinds in parts.items()
            ]
        return lines

    def caveats(self) -> list[str]:
        """Say at which time steps something drifts, and whether there are enough of them."""
        drifting = [f"timestep {point['timestep']:g}: {point['reason']}" for point in self.points if point["reason"]]
        unchecked = (
            f"{len(self.points)} time steps do not tell whether {self._form()} holds, which the error leaves out"
        )
        return drifting + [f"{unchecked}: take one more"] * (self.succeeded and self.order > 0 and self.freedom == 0)

    @classmethod
    def read(cls, path: Path) -> "Diffused":
        """Read a result written by `store`.

        Args:
            path: the JSON file.

        Returns:
            The result.
        """
        content = json.loads(path.read_text(encoding="utf-8"))
        own = {name: content.pop(name) for name in cls.__dataclass_fields__ if name != "metadata"}
        own["observables"] = own["observables"] or {}  # of version 0.1, which kept their names alone
        own["points"] = [
            {name: math.nan if value is None else value for name, value in point.items()} for point in own["points"]
        ]
        return cls(**own, metadata=content)

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        facts = self.facts() + [("warning", caveat) for caveat in self.caveats()]
        return facts_html(str(self.metadata.get("formula", "")), facts) + table_html(HEADER, self.rows())

    def _form(self) -> str:
        return "a line" if self.order == 1 else "a parabola"

    def _how(self) -> str:
        if self.order == 0:
            return f"at this time step, with {self.walkers} walkers"
        fit = f"(chi^2 {self.chi2:.1f} of {self.freedom})"
        return f"by {self._form()} to time step zero {fit}, with {self.walkers} walkers"


def _line(*cells: str) -> str:
    widths = (8, 16, 9, 9, 8, 12, 11)
    return "  ".join([*(cell.rjust(width) for cell, width in zip(cells, widths, strict=False)), *cells[7:]]).rstrip()


def _known(value: Any) -> Any:
    """Put null where a figure is not known."""
    if isinstance(value, Mapping):
        return {key: _known(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_known(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
