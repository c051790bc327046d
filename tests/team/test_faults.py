import csv
import json
import math
import time

import pytest
import ranks

from qmcnet.compute.launch import launch


def test_a_killed_process_ends_all_and_the_same_run_continues(tmp_path, capfd):
    start = time.monotonic()
    result, reason = launch(ranks.work_with_fault, (tmp_path / "run", "killed"), 2)
    assert (result, reason) == (None, "rank 1 was killed by SIGKILL")
    assert time.monotonic() - start < 30
    assert "error" not in capfd.readouterr().err
    ranks.make("adam", tmp_path / "run", steps=8).train()
    ranks.make("adam", tmp_path / "alone", steps=8).train()
    energies = [json.loads((tmp_path / name / "result.json").read_text())["variance"] for name in ("run", "alone")]
    assert energies[0] == pytest.approx(energies[1], rel=1e-10)


def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path, capfd):
    result, reason = launch(ranks.work_with_fault, (tmp_path / "run", "stopped"), 2)
    assert (result, reason) == (75, None)
    lines = [line for line in capfd.readouterr().err.splitlines() if "SIGTERM" in line]
    assert len(lines) == 1
    assert "optimization saved after step 3" in lines[0]


def test_an_error_of_one_process_is_one_line_that_names_it(tmp_path, capfd):
    start = time.monotonic()
    result, reason = launch(ranks.work_with_fault, (tmp_path / "run", "memory"), 2)
    assert (result, reason) == (None, None)
    assert time.monotonic() - start < 30
    lines = [text for text in capfd.readouterr().err.splitlines() if "error" in text]
    assert len(lines) == 1
    assert lines[0].startswith("error: rank 1: out of memory: lower batch_size")


def test_bad_numbers_of_one_process_take_all_back(tmp_path, capfd):
    folder = tmp_path / "run"
    _, reason = launch(ranks.work_with_fault, (folder, "nan"), 2)
    assert reason is None
    lines = [line for line in capfd.readouterr().err.splitlines() if "going back to" in line]
    assert len(lines) == 1
    assert len(list((folder / "postmortem").glob("*.json"))) == 1
    with open(folder / "train_stats.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert all(math.isfinite(float(row["energy"])) for row in rows)
