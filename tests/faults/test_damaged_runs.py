"""Run directories to which something happened: named, and mended from what is left where that is possible."""

import csv
import errno
import fcntl
import io
import os
import shutil

import pytest

from qmcnet.compute import files
from qmcnet.compute.files import atomic_write, naming
from qmcnet.config.build import load
from qmcnet.report.result import Result
from qmcnet.run import checkpoint
from qmcnet.run import lock as locks
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.lock import lock


def replaced(content):
    def damage(path):
        path.write_bytes(content)

    return damage


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def as_directory(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": replaced(b""),
    "binary": replaced(bytes(range(256))),
    "cut": cut,
    "a list": replaced(b"[1, 2]"),
    "a number": replaced(b"7"),
    "other keys": replaced(b'{"a": 1}'),
    "a directory": as_directory,
}


def numbers(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_result_is_made_again_from_the_newest_checkpoint(damage, finished, hydrogen, caplog):
    before = Result.read(finished / "result.json")
    DAMAGES[damage](finished / "result.json")
    again = hydrogen(finished).train()
    assert (again.energy, again.trained_steps) == (before.energy, 6)
    assert again.states == before.states
    assert ("result.json is damaged" in caplog.text) == (damage != "missing")
    assert (finished / "damaged-result.json").exists() == (damage != "missing")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_configuration_that_is_not_one_is_named(damage, finished, hydrogen):
    DAMAGES[damage](finished / "config.yaml")
    for attempt in (lambda: hydrogen(finished).train(), lambda: load(finished, "cpu")):
        with pytest.raises(RunDirectoryError, match=r"config.yaml"):
            attempt()
    assert (finished / "result.json").exists()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("extended", [False, True])
def test_a_table_has_no_silent_hole(damage, extended, trained, finished, hydrogen, caplog):
    table = finished / "train_stats.csv"
    whole = numbers(trained / "train_stats.csv")
    DAMAGES[damage](table)
    (finished / "result.json").unlink()
    hydrogen(finished, steps=8 if extended else 6).train()
    assert "train_stats.csv lacks" in caplog.text
    lost = damage not in ("cut", "empty", "missing")
    assert (finished / "damaged-train_stats.csv").exists() == lost
    if extended or damage == "cut":
        found = numbers(table)
        assert [row[0] for row in found] == ["step", *map(str, range(1, 9 if extended else 7))]
        for row, expected in zip(found[1:7], whole[1:], strict=True):
            assert row == expected or set(row[1:]) == {"nan"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_newest_checkpoint_that_is_none_leads_to_the_one_before(damage, trained, finished, hydrogen):
    newest = checkpoint.Checkpoints(finished / "checkpoints", 1).paths()[-1]
    DAMAGES[damage](newest)
    (finished / "result.json").unlink()
    again = hydrogen(finished).train()
    assert again.energy == Result.read(trained / "result.json").energy
    if damage != "missing":
        assert (finished / "checkpoints" / f"damaged-{newest.name}").exists()


def test_a_run_loads_however_it_was_started(finished):
    path = finished / "config.yaml"
    path.write_text(path.read_text().replace("overwrite: false", "overwrite: true"))
    assert load(finished, "cpu").steps == 6


def test_copies_of_checkpoints_are_ignored(finished, hydrogen):
    newest = checkpoint.Checkpoints(finished / "checkpoints", 1).paths()[-1]
    for name in (f"{newest.stem} (1).pt", f"copy of {newest.name}", f"{newest.name}.bak", "notes.txt"):
        (finished / "checkpoints" / name).write_bytes(b"nothing")
    assert hydrogen(finished).train().trained_steps == 6
    assert hydrogen(finished, steps=7).train().trained_steps == 7


def test_a_finished_run_without_checkpoints_still_has_its_result(finished, hydrogen, caplog):
    before = Result.read(finished / "result.json")
    shutil.rmtree(finished / "checkpoints")
    assert hydrogen(finished).train() == before
    assert "holds no usable checkpoint; its result alone is left" in caplog.text


@pytest.mark.parametrize("name", ["checkpoints", "evaluation", "burn_in", "pretraining"])
def test_a_file_in_place_of_a_folder_is_named(name, finished, hydrogen, tmp_path):
    shutil.rmtree(finished / name)
    (finished / name).touch()
    (finished / "result.json").unlink()
    if name in ("burn_in", "pretraining"):  # nothing is written there any more
        hydrogen(finished).train()
        return
    with pytest.raises(OSError, match=rf"run/{name}"):
        hydrogen(finished, steps=7).train()


def test_a_folder_of_somebody_is_not_used(tmp_path, hydrogen):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(
        RunDirectoryError, match=r"holds other files, such as thesis.tex, and no run; use a directory of"
    ):
        hydrogen(tmp_path).train()
    (tmp_path / "thesis.tex").unlink()
    for content in ("a: 1", "- 1", "%", ""):
        (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(RunDirectoryError, match=r"holds a config.yaml that belongs to no run"):
            hydrogen(tmp_path).train()
        assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
        assert (tmp_path / "config.yaml").read_text() == content
    with pytest.raises(RunDirectoryError, match="is a file"):
        hydrogen(tmp_path / "config.yaml").train()


def test_notes_beside_a_run_are_no_reason_to_refuse_it(finished, hydrogen):
    (finished / "notes.txt").touch()
    assert hydrogen(finished).train().trained_steps == 6


def test_what_a_start_left_that_failed_is_used_again(tmp_path, hydrogen):
    for name in (".lock", "train.log", ".config.yaml.partial", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / ".hydra").mkdir()
    assert hydrogen(tmp_path).train().trained_steps == 6


def remove(path):
    while path.exists():  # TensorBoard writes there, too
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("vanish", [remove, lambda path: path.rename(path.with_name("elsewhere"))])
@pytest.mark.parametrize("where", ["burn_in", "optimization", "evaluation"])
def test_a_directory_that_vanishes_is_named(vanish, where, tmp_path, hydrogen, monkeypatch):
    save = checkpoint.Checkpoints.save

    def vanishing(self, made, stage, state):
        if stage == where and made[stage] and (tmp_path / "run").exists():
            vanish(tmp_path / "run")
        return save(self, made, stage, state)

    monkeypatch.setattr(checkpoint.Checkpoints, "save", vanishing)
    with pytest.raises(FileNotFoundError, match=f"No such file or directory: .*{tmp_path}/run/"):
        hydrogen(tmp_path / "run").train()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_locks_are_used_with_a_warning(number, tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    lock(tmp_path).close()
    assert f"nothing guards {tmp_path} against a second process: {os.strerror(number)}" in caplog.text


def test_systems_without_locks_are_used_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "fcntl", None)
    lock(tmp_path).close()
    assert "against a second process: Windows has no flock" in caplog.text


def test_a_second_process_is_refused(tmp_path):
    with lock(tmp_path), pytest.raises(RunDirectoryError, match="another process is running in"):
        lock(tmp_path)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_finished_run_on_a_disk_that_cannot_be_written_shows_its_result(
    number, finished, hydrogen, monkeypatch, caplog
):
    def refusing(path, mode="r", **options):
        if mode != "r" and str(path) != os.devnull:
            raise OSError(number, os.strerror(number), str(path))
        return open(path, mode, **options)

    monkeypatch.setattr(locks, "open", refusing, raising=False)
    assert hydrogen(finished).train().trained_steps == 6
    assert f"nothing can be written to {finished}: {os.strerror(number)}" in caplog.text


@pytest.mark.parametrize(
    ("number", "count"),
    [(errno.ENOSPC, 1), (errno.EDQUOT, 3), (errno.EFBIG, 5), (errno.EROFS, 9), (errno.EIO, 20)],
)
def test_a_full_disk_names_its_file_and_the_same_run_continues(number, count, trained, hydrogen, tmp_path, monkeypatch):
    writes = iter(range(1, 10**6))

    class Full(io.FileIO):
        def write(self, data):
            if next(writes) >= count:
                raise OSError(number, os.strerror(number))
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "open", Full, raising=False)
        with pytest.raises(OSError, match=f"{os.strerror(number)}: .*{tmp_path}/run/"):
            hydrogen(tmp_path / "run").train()
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert hydrogen(tmp_path / "run").train().energy == Result.read(trained / "result.json").energy


def test_errors_keep_the_name_that_they_have(tmp_path):
    with pytest.raises(OSError, match="other") as error, naming(tmp_path):
        raise OSError(errno.EIO, "bad", "other")
    assert error.value.filename == "other"
    with pytest.raises(RuntimeError, match="not of the disk"):
        atomic_write(tmp_path / "file", lambda _: (_ for _ in ()).throw(RuntimeError("not of the disk")))
