import logging
import os
import stat
from pathlib import Path

import pytest
import torch

from qmcnet.compute.files import atomic_write
from qmcnet.run import first_format
from qmcnet.run.checkpoint import FORMAT, Checkpoints, stage_and_step
from qmcnet.run.intervals import CheckpointSettings


def save(checkpoints, stage, **made):
    return checkpoints.save(made, stage, {"value": torch.tensor(list(made.values()))})


def test_a_crash_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def crash(file):
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, crash)
    assert path.read_bytes() == b"old"
    atomic_write(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(tmp_path, monkeypatch):
    path, synchronized = tmp_path / "file", []

    def remember(descriptor):
        found = os.fstat(descriptor)
        synchronized.append((stat.S_ISDIR(found.st_mode) or found.st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", remember)
    atomic_write(path, lambda file: file.write(b"new"))
    assert synchronized == [(3, False), (True, True)]


def test_a_crash_while_saving_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    first = save(checkpoints, "optimization", optimization=1)

    def crash(state, file):
        file.write(b"PK half")
        raise OSError("disk full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr(torch, "save", crash)
        save(checkpoints, "optimization", optimization=2)
    assert checkpoints.paths() == [first]
    found = checkpoints.load_newest()
    assert found.path == first
    assert found.state["value"].tolist() == [1]


def test_stages_and_steps_survive_the_file_name_and_sort_as_runs_go(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=100)
    made, places = {}, [("pretraining", 12), ("burn_in", 0), ("burn_in", 3), ("optimization", 0), ("optimization", 9)]
    places += [("optimization", 123_456_789), ("evaluation", 0), ("evaluation", 5)]
    written = []
    for stage, step in places:
        made |= {stage: step}
        written.append(save(checkpoints, stage, **made))
    assert checkpoints.paths() == written
    assert [stage_and_step(path) for path in written] == places
    (tmp_path / "copy of 00000012-pretraining-00000012.pt").touch()
    (tmp_path / "damaged-00000012-pretraining-00000012.pt").touch()
    older = [tmp_path / f"{name}.pt" for name in FIRST_FORMAT]
    for path in reversed(older):
        path.touch()
    assert checkpoints.paths() == older + written
    assert [stage_and_step(path) for path in older] == FIRST_PLACES


def test_a_short_evaluation_after_more_training_is_newer_than_a_long_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    long = [save(checkpoints, "evaluation", optimization=100, evaluation=step) for step in (0, 900_000)]
    assert checkpoints.paths() == long
    short = [save(checkpoints, "evaluation", optimization=120, evaluation=step) for step in (0, 10)]
    assert checkpoints.paths() == short
    found = checkpoints.load_newest()
    assert found is not None and found.made == {"optimization": 120, "evaluation": 10}


FIRST_FORMAT = (
    "00000000-0-pretraining-00000012",
    "00000000-1-burn_in-00000003",
    "00000000-2-optimization-00000000",
    "00000009-2-optimization-00000009",
    "00000009-3-evaluation-00000000",
    "00000010-2-optimization-00000010",
)
FIRST_PLACES = [
    ("pretraining", 12),
    ("burn_in", 3),
    ("optimization", 0),
    ("optimization", 9),
    ("evaluation", 0),
    ("optimization", 10),
]


def test_rotation_keeps_the_newest_and_the_last_of_each_stage(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    made, kept = {}, []
    for stage, steps in {
        "pretraining": (1, 2),
        "burn_in": (1, 2),
        "optimization": (1, 2, 3, 4),
        "evaluation": (0, 5),
    }.items():
        for step in steps:
            made |= {stage: step}
            save(checkpoints, stage, **made)
        kept.append([stage_and_step(path) for path in checkpoints.paths()])
    ended = [("pretraining", 2), ("burn_in", 2)]
    assert kept[2] == [*ended, ("optimization", 3), ("optimization", 4)]
    assert kept[3] == [*ended, ("optimization", 4), ("evaluation", 0), ("evaluation", 5)]


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
def test_a_corrupt_newest_is_reported_and_the_one_before_is_used(tmp_path, caplog, damage):
    checkpoints = Checkpoints(tmp_path, keep=3)
    good, bad = save(checkpoints, "optimization", optimization=1), save(checkpoints, "optimization", optimization=2)
    content = bad.read_bytes()
    bad.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "garbage": b"\x80\x04nonsense"}[damage])
    with caplog.at_level(logging.WARNING):
        found = checkpoints.load_newest()
    assert found.path == good
    assert (found.stage, found.made) == ("optimization", {"optimization": 1})
    assert found.state["value"].tolist() == [1]
    assert bad.name in caplog.text
    assert bad.with_name(f"damaged-{bad.name}").exists()
    assert not bad.exists()


def test_nothing_usable_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path / "absent", keep=1)
    assert checkpoints.load_newest() is None
    save(checkpoints, "optimization", optimization=1).write_bytes(b"")
    assert checkpoints.load_newest() is None


def test_a_newer_format_is_refused_rather_than_passed_over(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, "optimization", optimization=1)
    torch.save({"format": FORMAT + 1}, tmp_path / "00000002-optimization-00000002.pt")
    with pytest.raises(ValueError, match=r"00000002-optimization-00000002\.pt was written by a newer qmcnet"):
        checkpoints.load_newest()


def test_arbitrary_objects_are_not_unpickled(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    good = save(checkpoints, "optimization", optimization=1)
    content = {"format": FORMAT, "value": Checkpoints(tmp_path, 1)}
    torch.save(content, tmp_path / "00000002-optimization-00000002.pt")
    assert checkpoints.load_newest().path == good


def test_other_stages_can_be_passed_over(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=5)
    trained = save(checkpoints, "optimization", optimization=4)
    save(checkpoints, "evaluation", optimization=4, evaluation=7)
    assert checkpoints.load_newest(["optimization"]).path == trained
    assert checkpoints.load_newest(["burn_in"]) is None


def test_the_checkpoints_of_a_stage_can_be_moved_away(tmp_path):
    checkpoints, aside = Checkpoints(tmp_path / "here", keep=5), tmp_path / "there"
    aside.mkdir()
    trained = save(checkpoints, "optimization", optimization=4)
    evaluated = save(checkpoints, "evaluation", optimization=4, evaluation=7)
    checkpoints.move("evaluation", aside)
    assert checkpoints.paths() == [trained]
    assert [path.name for path in aside.iterdir()] == [evaluated.name]


def test_at_least_one_checkpoint_is_kept():
    with pytest.raises(ValueError, match=r"^keep=0 must be at least 1"):
        CheckpointSettings(keep=0)


def test_points_of_an_evaluation_of_the_first_format_are_counted_from_its_first_recorded_step():
    empty = {"bins": [], "steps_per_bin": 1, "steps_in_last": 0, "origin": None}
    for step, counted in ((-3, 0), (0, 0), (7, 7)):
        own = {"step": step, "averages": empty, "density": {}, "points": [], "steps_per_point": 50}
        state = {"stage": "evaluation", "stage_state": own, "simulation": {"ansatz": {}}, "average": {}}
        found = first_format.translated(state, Path(f"00000007-3-evaluation-{max(step, 0):08d}.pt"))
        assert found["stage_state"]["step"] == step
        assert found["stage_state"]["measurements"]["points"]["step"] == counted
        assert found["made"] == {"optimization": 7, "evaluation": counted}
