import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def build(folder: Path) -> Path:
    """Compile the device that is not there for this version of torch, once."""
    library = folder / f"fake_device-{torch.__version__}-{sys.version_info.major}.{sys.version_info.minor}.so"
    source = HERE / "fake_device.cpp"
    if library.exists() and library.stat().st_mtime > source.stat().st_mtime:
        return library
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("a CUDA device that is not there needs a C++ compiler: g++, or CXX=")
    torch_folder = Path(torch.__file__).parent
    command = [compiler, "-O0", "-shared", "-fPIC", "-std=c++20", f"-I{torch_folder / 'include'}", str(source)]
    command += [f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torch_folder / 'lib'}"]
    partial = library.with_suffix(f".{os.getpid()}")  # workers of one session may build at the same time
    done = subprocess.run([*command, "-o", str(partial)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(
            f"the device that is not there does not compile for torch {torch.__version__}: {done.stderr[-500:]}"
        )
    partial.replace(library)
    return library


class OnFakeDevice:
    """A process that has a CUDA device without memory and kernels, and works off one case after the other."""

    def __init__(self, library, errors):
        paths = os.pathsep.join([str(ROOT), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        environment["LD_PRELOAD"] = str(library)  # before torch looks for devices
        self.errors = errors
        command, pipe = [sys.executable, str(HERE / "run_cases.py")], subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment)

    def __call__(self, case):
        with contextlib.suppress(BrokenPipeError):  # of one that has ended, and says why
            print(json.dumps(case), file=self.process.stdin, flush=True)
        if answer := self.process.stdout.readline():
            return json.loads(answer)
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read()
        if "symbol lookup error" in said or "cannot be preloaded" in said:
            pytest.skip(f"torch {torch.__version__} does not take the device that is not there: {said[-300:]}")
        raise RuntimeError(said[-3000:])

    def close(self):
        with self.process:  # which ends where there are no more cases
            self.process.stdin.close()


@pytest.fixture(scope="session")
def on_fake_device(request):
    """Hand cases to a process of its own that has a CUDA device without memory and kernels, and return its findings."""
    if torch.version.cuda is not None or torch.version.hip is not None:
        pytest.skip("this build of torch has devices of its own, which leave no room for one that is not there")
    if sys.platform != "linux":
        pytest.skip("a device that is not there is loaded as Linux does it")
    library = build(request.config.cache.mkdir("fake_device"))
    with tempfile.TemporaryFile("w+") as errors, contextlib.closing(OnFakeDevice(library, errors)) as device:
        yield device
