import fcntl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from qmcnet.run import lock as module
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.lock import is_locked, lock

HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


def test_lock_refuses_while_another_process_holds_it(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunDirectoryError, match=f"another process is running in {tmp_path}"):
            lock(tmp_path)
        other.kill()
    lock(tmp_path).close()


def test_lock_is_exclusive_and_ends_when_closed(tmp_path):
    with lock(tmp_path), pytest.raises(RunDirectoryError):
        lock(tmp_path)
    lock(tmp_path).close()


def test_looking_sees_a_run_and_makes_nothing(tmp_path):
    folder = tmp_path / "run"
    assert not is_locked(folder)
    assert not folder.exists()
    with lock(folder):
        assert is_locked(folder)
    before = (folder / ".lock").stat()
    assert not is_locked(folder)
    assert (folder / ".lock").stat().st_mtime_ns == before.st_mtime_ns


def test_those_that_look_do_not_see_each_other_and_a_run_waits_for_them(tmp_path, monkeypatch):
    lock(tmp_path).close()
    with (tmp_path / ".lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_locked(tmp_path)
        threading.Timer(0.05, looking.close).start()
        lock(tmp_path).close()
    with (tmp_path / ".lock").open() as forgotten, pytest.raises(RunDirectoryError):
        fcntl.flock(forgotten, fcntl.LOCK_SH)
        monkeypatch.setattr(module, "ATTEMPTS", 3)
        lock(tmp_path)


def test_of_runs_that_begin_at_once_one_is_first(tmp_path):
    ready, won = threading.Barrier(8), []

    def begin():
        ready.wait()
        with suppress(RunDirectoryError):
            won.append(lock(tmp_path))

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(begin)
        (file,) = won
        file.close()
        won.clear()
