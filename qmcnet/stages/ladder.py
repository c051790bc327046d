"""Series of generations at several time steps, and what they say."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from qmcnet.diffusion import Generation
from qmcnet.stages.diffusion_settings import FEWEST, DiffusionSettings
from qmcnet.stages.visit import KEPT, Part, Visit
from qmcnet.statistics.estimate import Estimate
from qmcnet.statistics.extrapolation import amplification, to_zero
from qmcnet.statistics.mixed import pooled

logger = logging.getLogger(__name__)

FIRST_LOOK, GROWTH = 200, 1.25
"""Generations at which the error is looked at first, and the ratio of those at which it is looked at again."""
LOOKED_AT, LEFT_OUT = (3.0, 2.0), (1.0, 0.2)
"""Windows of imaginary time that pass before the error is looked at, and that are left out at the start: at the first
time step, from walkers of another distribution, and at later ones. Short series hide slow changes: 2048 walkers of H2
seemed to be done after 10 and 5 per hartree, four of their errors off, and 512 of LiH after 4, where generations are
correlated over 0.43 and seemed to be over 0.02."""
LOWEST_ACCEPTANCE = 0.9
MOST_STEPS = 20000
"""Generations at each time step, unless an energy takes more: of argon the smallest has 1.6e-4 per hartree."""


class Ladder:
    """Goes from the largest time step to the smallest, and back to those whose error is to be smaller.

    Attributes:
        timesteps: the largest first.
        steps: most generations at each.
        visits: what was found, in the order of time.
        known: a few words on the energy when its error was looked at last.
    """

    def __init__(self, settings: DiffusionSettings) -> None:
        """Begin with the largest time step.

        Args:
            settings: time steps, and when each of them is done.
        """
        assert not isinstance(settings.timesteps, str)
        self.settings, self.timesteps, self.visits = settings, settings.timesteps, [Visit(0, [])]
        self.steps = settings.steps or max(MOST_STEPS, *map(self._least, range(len(self.timesteps))))
        self.needed, self.known = self.steps, "energy not known yet"

    @property
    def open_ended(self) -> bool:
        """Whether it is not known yet how many generations the error takes."""
        return self.settings.target_error is not None and len(self.visits) == 1 and self._made(0) < self._first_look(0)

    def place(self) -> int | None:
        """Which time step is being visited; None where all are done."""
        return self.visits[-1].place if self.visits[-1].open else None

    def progress(self) -> tuple[int, int]:
        """Generations made, and those that will be, if every time step takes as much imaginary time as this one."""
        made, place = sum(len(visit.rows) for visit in self.visits), self.place()
        if place is None:
            return made, made
        timesteps, here = self.timesteps, self._made(place)
        whole = max(self.needed, here)
        seen = {visit.place for visit in self.visits}
        later = [
            min(math.ceil(whole * timesteps[place] / timestep), self.steps)
            for other, timestep in enumerate(timesteps)
            if other not in seen
        ]
        return made, made + whole - here + sum(later)

    def add(self, generation: Generation) -> Estimate | None:
        """Take in a generation.

        Args:
            generation: made at the time step that is being visited.

        Returns:
            The energy at this time step where it is done.
        """
        visit = self.visits[-1]
        figures = torch.stack([getattr(generation, name) for name in KEPT])
        visit.rows.append(torch.cat([figures, generation.measured]).detach())
        if not self._looked_at(len(visit.rows)) or not self._done(visit.place):
            return None
        visit.open = False
        found = self.energy(visit.place)
        self.proceed()
        return found

    def proceed(self) -> None:
        """Go to the first time step that is not done, as all may be but for settings that have changed."""
        if self.visits[-1].open:
            return
        seen = {visit.place for visit in self.visits}
        left = [place for place in range(len(self.timesteps)) if place not in seen or not self._done(place)]
        if left and left[0] == self.visits[-1].place:
            self.visits[-1].open = True
        elif left:
            self.visits.append(Visit(left[0], []))
        self.needed = self.steps if left else self.needed

    def _made(self, place: int) -> int:
        return sum(len(visit.rows) for visit in self.visits if visit.place == place)

    def _looked_at(self, made: int) -> bool:
        place = self.visits[-1].place
        due = FIRST_LOOK if self._made(place) > made else self._first_look(place)
        while due < made:
            due = math.ceil(GROWTH * due)
        return made == due or (made >= FEWEST and self._made(self.visits[-1].place) >= self.steps)

    def _done(self, place: int) -> bool:
        """Look at the error."""
        found, made = self.energy(place), self._made(place)
        self.known = f"energy {found.mean:.6f} +- {found.standard_error:.6f}"
        if made >= self.steps:
            return True
        if self.settings.target_error is None or not found.stationary or made < self._first_look(place):
            return False
        target = self.settings.target_error / amplification(self.timesteps)
        self.needed = min(math.ceil(made * (found.standard_error / target) ** 2), self.steps)
        return self.needed <= made

    def energy(self, place: int) -> Estimate:
        """Estimate the energy at a time step.

        Args:
            place: which one.

        Returns:
            Its energy, in hartree.
        """
        return pooled([part.energy for part in self._parts(place)])

    def point(self, place: int, names: Sequence[str]) -> dict[str, Any]:
        """Say all that was found at a time step.

        Args:
            place: which one.
            names: of what was measured besides the energy.

        Returns:
            Plain values.
        """
        parts, found = self._parts(place), self.energy(place)
        means = np.concatenate([part.columns[part.discarded :] for part in parts]).mean(0)
        measured = [pooled([part.mean(number) for part in parts]) for number in range(len(KEPT), len(means))]
        return {
            "timestep": self.timesteps[place],
            "energy": found.mean,
            "standard_error": found.standard_error,
            "stationary": found.stationary,
            "reason": found.reason or self._short(place),
            "generations": self._made(place),
            "discarded": sum(part.discarded for part in parts),
            "correlation_time": found.tau * self.timesteps[place],
            "energy_without_window": pooled([replace(part, window=0).mean(0) for part in parts]).mean,
            **dict(zip(KEPT[2:], map(float, means[2:]), strict=False)),
            "measured": {
                name: {"value": each.mean, "error": each.standard_error}
                for name, each in zip(names, measured, strict=True)
            },
        }

    def _parts(self, place: int) -> list[Part]:
        window = self._window(place)
        visits = [(visit, LEFT_OUT[number > 0]) for number, visit in enumerate(self.visits) if visit.place == place]
        return [visit.part(window, math.ceil(windows * window)) for visit, windows in visits]

    def _window(self, place: int) -> int:
        """Generations that past weights count over at a time step."""
        return math.ceil(self.settings.window / self.timesteps[place])

    def _first_look(self, place: int) -> int:
        """Generations at a time step after which its error is looked at first."""
        return max(FIRST_LOOK, self._least(place))

    def _least(self, place: int) -> int:
        """Generations that an energy takes at a time step: fewer end before walkers have settled."""
        return math.ceil(LOOKED_AT[place > 0] * self._window(place))

    def _short(self, place: int) -> str:
        """Say that there are too few generations at a time step, if there are."""
        made, least, timestep = self._made(place), self._least(place), self.timesteps[place]
        if made >= least:
            return ""
        times = f"{made * timestep:.2g} per hartree of imaginary time, of {least * timestep:.2g} that an energy takes"
        return f"{made} generations are {times}: choose steps={least}"

    def findings(self, names: Sequence[str]) -> dict[str, Any]:
        """Extrapolate the energies.

        Args:
            names: of what was measured besides the energy.

        Returns:
            The energy at time step zero, or at the only one, and what was found at each, as plain values.
        """
        points = [self.point(place, names) for place in range(len(self.timesteps))]
        for point in points:
            if point["accepted"] < LOWEST_ACCEPTANCE:
                logger.warning(
                    "timestep %g: only %.0f %% of the moves are accepted, and 90 should be: choose smaller timesteps",
                    point["timestep"],
                    100 * point["accepted"],
                )
        energies, errors = ([point[key] for point in points] for key in ("energy", "standard_error"))
        figures = asdict(to_zero(self.timesteps, energies, errors))
        mixed = {name: self._at_zero([point["measured"][name] for point in points]) for name in names if "." in name}
        own = {"energy": figures.pop("value"), "standard_error": figures.pop("error"), **figures}
        return {**own, "points": points, "mixed": mixed}

    def _at_zero(self, averages: Sequence[Mapping[str, float]]) -> dict[str, float]:
        values, errors = ([each[key] for each in averages] for key in ("value", "error"))
        found = to_zero(self.timesteps, values, errors)
        return {"value": found.value, "error": found.error}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        visits = [(visit.place, torch.stack(visit.rows) if visit.rows else None, visit.open) for visit in self.visits]
        return {"visits": visits, "needed": self.needed}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a saved state, maybe to a smaller error.

        Args:
            state: what `state_dict` returned.
            device: where generations are made.
        """
        self.needed, places = state["needed"], range(len(self.timesteps))
        series = state.get("series", [])
        older = [(place, rows, place == len(series) - 1) for place, rows in enumerate(series)]
        self.visits = [
            Visit(place, [] if rows is None else list(rows.to(device)), opened)
            for place, rows, opened in state.get("visits", older)
            if place in places  # the first version left an empty series behind the last
        ]
        self.proceed()
