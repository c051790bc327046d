"""Whole runs on a CUDA device that is not there: tensors of two devices at once, and what the host waits for.

A step is queued while the device computes the one before it, so that nothing within a step may ask for a number.
"""

import itertools
import math
from pathlib import Path

import pytest
from pairwise import pairwise

from qmcnet.states.measurements import observables

CONF = Path(__file__).parents[2] / "conf"
SIZES = ("", "_medium")


def members(group):
    """Files of a config group; a small variant stands for all sizes of what it is a variant of."""
    names = {path.stem for path in (CONF / group).glob("*.yaml")}
    sizes = {f"{name.removesuffix('_small')}{size}" for name in names if name.endswith("_small") for size in SIZES}
    return sorted(names - sizes)


OPTIMIZERS = {"kfac": ["kfac"], "first order": ["adam", "lamb", "sgd"]}
OPTIMIZERS["scores"] = sorted({*members("optimizer")}.difference(*OPTIMIZERS.values()))
AXES = {
    "optimizer": list(OPTIMIZERS),
    "ansatz": members("ansatz"),
    "observables": [[], observables()],
    "objective": members("objective"),
    "spin_penalty": [0.0, 1.0],
    "states": [1, 2],
    "complex": [False, True],
    "n_blocks": [1, None],
    "ecp": [None, "ccecp"],
    "stopped": [True, False],
    "devices": [1, 3],
}
TURNS = {"clipping": members("clipping"), "averaging": members("averaging")}
"""Settings of one class each."""


def allowed(case):
    if case.get("ansatz", "").startswith("slater") and (case.get("states") == 2 or case.get("complex")):
        return False
    return not (case.get("objective") == "penalty" and case.get("complex"))


def label(case):
    states = f"{case['states']} {'complex' if case['complex'] else 'real'}"
    observed = "observed" if case["observables"] else "plain"
    return f"{case['optimizer']}, {case['ansatz']}, {case['objective']} {case['spin_penalty']}, {states}, {observed}"


def chosen():
    """Pairwise cases, in which the optimisers of a kind take turns, and so do settings of a class."""
    turns = {kind: itertools.cycle(names) for kind, names in (OPTIMIZERS | TURNS).items()}
    cases = [case | {"optimizer": next(turns[case["optimizer"]])} for case in pairwise(AXES, allowed)]
    return [case | {name: next(turns[name]) for name in TURNS} for case in cases]


CASES = {f"{number}: {label(case)}": case for number, case in enumerate(chosen())}
ONCE = "of one walker or a few, once a run: whether the derivatives are those of torch"
STATED = {
    ("fetch", "compute/transfer.py _to_copy"): (1, "statistics of all steps since the last fetch, in one transfer"),
    ("finite", "stages/simulation.py _local_scalar_dense"): (1, "whether there is anything to roll back"),
    ("observe", "compute/transfer.py _to_copy"): (1, "all observables during training, in one transfer"),
    ("loop", "compute/device.py synchronize"): (
        2,
        "the stopwatch, before the first step that it times and at the last",
    ),
    ("loop", "statistics/learning.py _to_copy"): (2, "the learning curve, in one transfer when statistics are fetched"),
    ("optimization step", "optimizers/spectra.py _linalg_eigh"): (
        math.inf,
        "KFAC: torch looks whether a decomposition converged; a tenth of the steps, after the first ten",
    ),
    ("dmc step", "stages/diffusion.py _local_scalar_dense"): (1, "the median energy of the first walkers"),
    ("dmc step", "stages/visit.py _to_copy"): (1, "generations so far, where the error is looked at"),
    ("dmc step", "operators/effective_core.py nonzero"): (3, "as below, after hops as well, and for the first walkers"),
    ("dmc step", "diffusion/t_moves.py nonzero"): (1, "which walkers hop"),
    **{
        (f"{stage} step", "operators/effective_core.py nonzero"): (
            2,
            "how many electrons core potentials reach; forces as well",
        )
        for stage in ("optimization", "evaluation")
    },
    **{
        (f"{stage} step", f"{room}/guard.py {operation}"): (math.inf, ONCE)
        for stage in ("optimization", "evaluation", "dmc")
        for room in ("laplacian", "optimizers")
        for operation in ("_to_copy", "_local_scalar_dense")
    },
}
"""All that the host waits for, how often in a call, and why; a start, a checkpoint and a result may wait besides."""

MAY_WAIT = ("start", "checkpoint", "restore", "conclude", "dmc conclude")
MOST_LAUNCHES = 600


def test_everything_that_takes_turns_has_a_case():
    for name, values in {**TURNS, "optimizer": itertools.chain(*OPTIMIZERS.values())}.items():
        assert {case[name] for case in CASES.values()} == {*values}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_trains_resumes_and_ends_with_all_tensors_on_one_device_and_no_wait_but_those_stated(
    case, on_fake_device
):
    found = on_fake_device(case)
    assert "error" not in found, found["error"]
    check_calls(case, found["calls"])
    assert any(phase == "observe" for phase, *_ in found["waits"]) == bool(case["observables"])
    for phase, place, count in found["waits"]:
        if phase not in MAY_WAIT:
            assert (phase, place) in STATED, f"{phase}: {place} waits {count} times"
            assert count <= STATED[phase, place][0] * found["calls"][phase], place


def check_calls(case, calls):
    steps = {"burn_in step": 2, "optimization step": 2, "evaluation step": 3, "conclude": 1}
    steps |= {} if case["ansatz"].startswith("slater") else {"pretraining step": 2}
    assert {phase: calls[phase] for phase in steps} == steps
    assert calls.get("restore", 0) == (sum(steps.values()) - len(steps) if case["stopped"] else 0)


def test_a_local_energy_is_few_launches(on_fake_device):
    found = on_fake_device({"system": "N2", "walkers": 1024})
    assert "error" not in found, found["error"]
    assert 0 < found["launches"] < MOST_LAUNCHES


def test_statistics_on_two_devices_are_fetched_with_one_wait(on_fake_device):
    found = on_fake_device({"rows": 10})
    assert "error" not in found, found["error"]
    assert [count for *_, count in found["waits"]] == [1]
    assert 0 < found["launches"] < 10
