"""Whole runs on a CUDA device that is not there: tensors of two devices at once, and what the host waits for.

A step is queued while the device computes the one before it, so that nothing within a step may ask for a number.
"""

import itertools
import math
from pathlib import Path

import pytest

from qmcnet.observables.registry import DENSITY, OBSERVABLES

CONF = Path(__file__).parents[2] / "conf"


def members(group):
    """Files of a config group; a small variant stands for the member that it is a variant of."""
    names = {path.stem for path in (CONF / group).glob("*.yaml")}
    return sorted(name for name in names if f"{name}_small" not in names)


AXES = {
    "optimizer": [*members("optimizer"), "sgd"],
    "ansatz": members("ansatz"),
    "observables": [[], sorted({*OBSERVABLES, DENSITY})],
    "objective": members("objective"),
    "spin_penalty": [0.0, 1.0],
    "states": [1, 2],
    "complex": [False, True],
    "n_blocks": [1, None],
    "clipping": members("clipping"),
    "averaging": members("averaging"),
}


def allowed(case):
    if case.get("ansatz", "").startswith("slater") and (case.get("states") == 2 or case.get("complex")):
        return False
    return not (case.get("objective") == "penalty" and case.get("complex"))


def pairwise(axes):
    """Choose few cases in which any value of one axis meets any of another that goes with it."""
    values = [(name, i) for name, choices in axes.items() for i in range(len(choices))]

    def case(row):
        return {name: axes[name][i] for name, i in row}

    missing = {frozenset(pair) for pair in itertools.combinations(values, 2) if pair[0][0] != pair[1][0]}
    missing = {pair for pair in missing if allowed(case(pair))}
    rows = []
    while missing:
        row = set(min(missing, key=sorted))
        for name, choices in axes.items():
            if name not in dict(row):
                fitting = [(name, i) for i in range(len(choices)) if allowed(case(row | {(name, i)}))]
                row.add(max(fitting, key=lambda v: sum(frozenset({v, other}) in missing for other in row)))
        missing -= {frozenset(pair) for pair in itertools.combinations(row, 2)}
        rows.append(case(row))
    return rows


def label(case):
    states = f"{case['states']} {'complex' if case['complex'] else 'real'}"
    observed = "observed" if case["observables"] else "plain"
    return f"{case['optimizer']}, {case['ansatz']}, {case['objective']} {case['spin_penalty']}, {states}, {observed}"


CASES = {f"{number}: {label(case)}": case for number, case in enumerate(pairwise(AXES))}
LAUNCHES = {"N2": {"system": "N2", "walkers": 1024}}

ONCE = "of one walker or a few, once a run: whether the derivatives are those of torch"
STATED = {
    ("fetch", "compute/transfer.py _to_copy"): (1, "statistics of all steps since the last fetch, in one transfer"),
    ("finite", "training/simulation.py _local_scalar_dense"): (1, "whether there is anything to roll back"),
    ("observe", "compute/transfer.py _to_copy"): (1, "all observables during training, in one transfer"),
    ("loop", "compute/device.py synchronize"): (
        2,
        "the stopwatch, before the first step that it times and at the last",
    ),
    ("optimization step", "optimizers/curvature.py _linalg_eigh"): (
        math.inf,
        "KFAC: torch looks whether a decomposition converged; a tenth of the steps, after the first ten",
    ),
    **{
        (f"{stage} step", f"{room}/guard.py {operation}"): (math.inf, ONCE)
        for stage in ("optimization", "evaluation")
        for room in ("laplacian", "optimizers")
        for operation in ("_to_copy", "_local_scalar_dense")
    },
}
"""All that the host waits for, how often in a call, and why; a start, a checkpoint and a result may wait besides."""

NOT_YET = {
    ("optimization step", "optimizers/clipping.py nanmedian"): "its kernel fetches the number of energies",
    ("optimization step", "optimizers/prime_sr.py _local_scalar_dense"): "how many eigenvectors to follow",
    ("optimization step", "optimizers/kfac.py _to_copy"): "the weight of the averages starts on the CPU",
    ("burn_in step", "training/burn_in.py _local_scalar_dense"): "the mean that is watched",
    ("evaluation step", "training/evaluation.py _to_copy"): "the whole series at every check of the error",
    ("local energy", "N2"): "derivatives of determinants in groups for the cache of a CPU",
}
"""What is being mended, by phase and place: a test fails for each that no longer happens, to be taken out here."""

MAY_WAIT = ("start", "checkpoint", "restore", "conclude")
MOST_LAUNCHES = 600


@pytest.fixture(scope="session")
def findings(on_fake_device):
    return on_fake_device(CASES | LAUNCHES | {"fetch": {"rows": 10}})


@pytest.mark.parametrize("name", CASES)
def test_a_run_trains_resumes_and_ends_with_all_tensors_on_one_device(name, findings):
    assert "error" not in findings[name], findings[name]["error"]
    calls = findings[name]["calls"]
    steps = {"burn_in step": 2, "optimization step": 2, "evaluation step": 3, "conclude": 1}
    steps |= {} if CASES[name]["ansatz"].startswith("slater") else {"pretraining step": 2}
    assert {phase: calls[phase] for phase in steps} == steps
    assert calls["restore"] == sum(steps.values()) - len(steps)


@pytest.mark.parametrize("name", CASES)
def test_the_host_waits_for_nothing_but_what_is_stated(name, findings):
    for phase, place, count in findings[name].get("waits", []):
        if phase not in MAY_WAIT and (phase, place) not in NOT_YET:
            assert (phase, place) in STATED, f"{phase}: {place} waits {count} times"
            assert count <= STATED[phase, place][0] * findings[name]["calls"][phase]


def test_what_is_to_be_mended_still_happens(findings):
    seen = {(phase, place) for name in CASES for phase, place, _ in findings[name].get("waits", [])}
    seen |= {("local energy", name) for name in LAUNCHES if findings[name]["launches"] >= MOST_LAUNCHES}
    assert not NOT_YET.keys() - seen


def test_statistics_on_two_devices_are_fetched_with_one_wait(findings):
    assert "error" not in findings["fetch"], findings["fetch"]["error"]
    assert [count for *_, count in findings["fetch"]["waits"]] == [1]
    assert findings["fetch"]["launches"] < 10


def test_a_local_energy_is_few_launches(findings):
    assert findings["N2"]["launches"] < MOST_LAUNCHES or ("local energy", "N2") in NOT_YET
