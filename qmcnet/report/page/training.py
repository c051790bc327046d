"""How a run went: learning curve, diagnostics of its stages, where the time went."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from qmcnet.report.page.blocks import Bars, Block, Facts, Grid, Section, picture
from qmcnet.report.record import Record
from qmcnet.report.training_figure import EVALUATED, TRAINED, draw_evaluation, draw_learning
from qmcnet.words import duration

LATE = 0.5
"""Share of a stage, at the end, that its diagnostics are of."""
SHOWN = {
    "pmove": "accepted moves",
    "width": "move width / bohr",
    "step_length": "step length / bohr",
    "stuck_share": "share stuck",
    "outliers": "outliers a step",
}
"""Columns of the tables of steps that say how a stage went."""


def learning(record: Record) -> Section | None:
    """Show how energy and variance fell.

    Args:
        record: of the run.

    Returns:
        The section; None where there was no step.
    """
    blocks: list[Block] = []
    found = record.result
    energies = [state["energy"]["value"] for state in found.states] if found else []
    reference = found.reference["energy"] if found and found.reference else None
    if (table := record.tables.get(TRAINED)) and {"energy", "variance"} <= table.keys():
        last = f"{table['step'][-1]:.0f} steps, ending near {_late(table, 'energy', 0.9)} hartree"
        drawing = draw_learning({"mean of some steps": table}, energies, reference)
        caption = "Energy and variance of the local energy by optimisation step."
        blocks.append(picture(drawing, "learning", f"Learning curve: {last}", caption))
    if (table := record.tables.get(EVALUATED)) and "energy" in table:
        total = len(found.states) > 1 if found else "state_1" in table
        energy, error = (found.energy, found.standard_error) if found and not total else (None, None)
        drawing = draw_evaluation(table, energy, error)
        what = "the sum of the energies of all states" if total else "the energy"
        caption = f"With frozen parameters: {what} by evaluation step."
        blocks.append(picture(drawing, "evaluation", f"Evaluation: {what} by step, and its mean so far", caption))
    return Section("Learning curve and evaluation", blocks) if blocks else None


def diagnostics(record: Record) -> Section | None:
    """Say how well the stages went.

    Args:
        record: of the run.

    Returns:
        The section; None where there was no step.
    """
    if not record.tables:
        return None
    present = [name for name in SHOWN if any(name in table for table in record.tables.values())]
    rows = [
        [_words(stage), f"{table['step'][-1]:.0f}", *(_late(table, name) for name in present), _lost(table)]
        for stage, table in record.tables.items()
    ]
    header = ["stage", "steps", *(SHOWN[name] for name in present), "not finite"]
    blocks: list[Block] = [Grid("Diagnostics of the stages, means of their later halves", header, rows)]
    if (found := record.result) and found.evaluation_steps:
        blocks.append(
            Facts(
                [
                    ("tau", f"{found.tau:.2f} evaluation steps until samples are independent"),
                    ("R-hat", f"{found.r_hat:.4f}; 1.00 where all walkers agree"),
                    ("effective samples", f"{found.n_effective:.0f} in {found.evaluation_steps} steps"),
                    ("left out", f"{found.discarded_steps} steps at the start of the evaluation"),
                    ("outliers", f"{100 * found.outlier_share:.2f} % of the local energies far from the median"),
                    ("typical variance", f"{found.typical_variance:.3g} hartree²"),
                ]
            )
        )
    return Section("Diagnostics", blocks)


def _words(stage: str) -> str:
    return stage.replace("_", "-")


def _late(table: Mapping[str, NDArray[np.float64]], name: str, start: float = LATE) -> str:
    values = table.get(name, np.array([]))
    late = values[int(start * len(values)) :]
    late = late[np.isfinite(late)]
    return f"{late.mean():.{3 if start == LATE else 6}g}" if len(late) else "-"


def _lost(table: Mapping[str, NDArray[np.float64]]) -> str:
    return f"{np.nansum(table['nonfinite']):.0f}" if "nonfinite" in table else "-"


def time(record: Record) -> Section | None:
    """Say where the time went.

    Args:
        record: of the run.

    Returns:
        The section; None where that is not known.
    """
    return Section("Time", list(_time(record))) if sum(record.seconds.values()) > 0 else None


def _time(record: Record) -> Iterator[Block]:
    total = sum(record.seconds.values())
    rows = [(_words(stage), duration(spent), spent / total) for stage, spent in record.seconds.items()]
    yield Bars(f"{duration(total)} in all, interruptions left out", rows)
    if record.result and record.result.seconds_per_step:
        pace = f"{record.result.seconds_per_step:.3g} s"
        yield Facts([("optimisation step", pace)])
