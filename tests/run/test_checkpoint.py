import logging

import pytest
import torch

from qmcnet.compute.files import atomic_write
from qmcnet.run.checkpoint import FORMAT, Checkpoints, Milestone
from qmcnet.run.intervals import CheckpointSettings


def save(checkpoints, trained, order, step):
    stage = ("pretraining", "burn_in", "optimization", "evaluation")[order]
    return checkpoints.save(Milestone(trained, order, step), stage, {"value": torch.tensor([trained, order, step])})


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


def test_a_crash_while_saving_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    first = save(checkpoints, 1, 2, 1)

    def crash(state, file):
        file.write(b"PK half")
        raise OSError("disk full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr(torch, "save", crash)
        save(checkpoints, 2, 2, 2)
    assert checkpoints.paths() == [first]
    path, state = checkpoints.load_newest()
    assert path == first
    assert state["value"].tolist() == [1, 2, 1]


def test_positions_survive_the_file_name_and_sort_as_runs_go(tmp_path):
    positions = [Milestone(0, 0, 12), Milestone(0, 1, 3), Milestone(0, 2, 0), Milestone(9, 2, 9), Milestone(9, 3, 0)]
    positions += [Milestone(10, 2, 10), Milestone(123_456_789, 2, 123_456_789)]
    names = [position.filename("stage") for position in positions]
    assert [Milestone.parse(tmp_path / name) for name in names] == positions == sorted(positions)


def test_rotation_keeps_the_newest_and_the_last_of_each_stage(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for trained, order, step in [
        (0, 0, 1),
        (0, 0, 2),
        (0, 1, 1),
        (0, 1, 2),
        (1, 2, 1),
        (2, 2, 2),
        (3, 2, 3),
        (4, 2, 4),
    ]:
        save(checkpoints, trained, order, step)
    kept = [Milestone.parse(path) for path in checkpoints.paths()]
    assert kept == [Milestone(0, 0, 2), Milestone(0, 1, 2), Milestone(3, 2, 3), Milestone(4, 2, 4)]
    save(checkpoints, 4, 3, 0)
    save(checkpoints, 4, 3, 5)
    kept = [Milestone.parse(path) for path in checkpoints.paths()]
    assert kept == [Milestone(0, 0, 2), Milestone(0, 1, 2), Milestone(4, 2, 4), Milestone(4, 3, 0), Milestone(4, 3, 5)]


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage"])
def test_a_corrupt_newest_is_reported_and_the_one_before_is_used(tmp_path, caplog, damage):
    checkpoints = Checkpoints(tmp_path, keep=3)
    good, bad = save(checkpoints, 1, 2, 1), save(checkpoints, 2, 2, 2)
    content = bad.read_bytes()
    bad.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "garbage": b"\x80\x04nonsense"}[damage])
    with caplog.at_level(logging.WARNING):
        path, state = checkpoints.load_newest()
    assert path == good
    assert state["value"].tolist() == [1, 2, 1]
    assert bad.name in caplog.text
    assert bad.with_name(f"damaged-{bad.name}").exists()
    assert not bad.exists()


def test_nothing_usable_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path / "absent", keep=1)
    assert checkpoints.load_newest() is None
    save(checkpoints, 1, 2, 1).write_bytes(b"")
    assert checkpoints.load_newest() is None


def test_a_newer_format_is_refused_rather_than_passed_over(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1, 2, 1)
    torch.save({"format": FORMAT + 1}, tmp_path / Milestone(2, 2, 2).filename("optimization"))
    with pytest.raises(ValueError, match=r"00000002-2-optimization-00000002\.pt was written by a newer qmcnet"):
        checkpoints.load_newest()


def test_arbitrary_objects_are_not_unpickled(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    good = save(checkpoints, 1, 2, 1)
    torch.save(
        {"format": FORMAT, "value": Checkpoints(tmp_path, 1)}, tmp_path / Milestone(2, 2, 2).filename("optimization")
    )
    assert checkpoints.load_newest()[0] == good


def test_later_stages_can_be_passed_over(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=5)
    trained = save(checkpoints, 4, 2, 4)
    save(checkpoints, 4, 3, 7)
    assert checkpoints.load_newest(before_order=3)[0] == trained
    assert checkpoints.load_newest(before_order=2) is None


def test_at_least_one_checkpoint_is_kept():
    with pytest.raises(ValueError, match=r"checkpoints.keep=0"):
        CheckpointSettings(keep=0)
