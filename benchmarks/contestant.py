"""The parent's side of a worker process of `peers.py`."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORKERS = Path(__file__).parent / "workers"


class Contestant:
    """A worker process that computes one work in one package."""

    def __init__(self, python: str, package: str, variant: str, spec: dict[str, Any]) -> None:
        """Start the process.

        Args:
            python: interpreter.
            package: package, which names the worker file.
            variant: way in which the package does it.
            spec: the order of the worker.
        """
        self.name, self.package, self.start = f"{package}/{variant}", package, time.perf_counter()
        self.folder = tempfile.TemporaryDirectory()
        self.errors = Path(self.folder.name) / "errors"
        command = [python, str(WORKERS / f"{package}_worker.py"), json.dumps(spec | {"variant": variant})]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.folder.name,
                env=environment(spec["work"]),
                text=True,
            )

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next message.

        Returns:
            The message, or None when the process has died, after showing its last words.
        """
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            message: dict[str, Any] = json.loads(line)
            return message
        last_words = self.errors.read_text().splitlines()[-4:]
        print(f"  {self.name} failed:", *last_words, sep="\n    ", file=sys.stderr)
        return None

    def measure(self) -> tuple[float, float]:
        """Ask for one timed evaluation.

        Returns:
            Seconds on the clock, and of processor time in all threads.

        Raises:
            RuntimeError: the process died or its result is not finite.
        """
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        answer = self.receive()
        if answer is None or not math.isfinite(answer["value"]):
            raise RuntimeError(f"{self.name} gave {answer}")
        return float(answer["seconds"]), float(answer["cpu_seconds"])

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()


def environment(work: str) -> dict[str, str]:
    """Compose the environment of a worker, without a compilation cache where a cold start is timed.

    Args:
        work: what the worker does.

    Returns:
        Environment variables.
    """
    variables = dict(os.environ)
    if work == "first_step":
        variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    return variables


def importable(python: str, package: str) -> bool:
    """Tell whether an interpreter can import a package; print why not.

    Args:
        python: interpreter.
        package: package.

    Returns:
        Whether it can.
    """
    try:
        probe = subprocess.run([python, "-c", f"import {package}"], capture_output=True, text=True, check=False)
    except OSError as error:
        print(f"{package} skipped: {python} does not run: {error}")
        return False
    if probe.returncode:
        print(f"{package} skipped: {python} cannot import it: {probe.stderr.strip().splitlines()[-1]}")
    return probe.returncode == 0
