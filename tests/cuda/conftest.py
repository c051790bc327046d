import json
import os
import shutil
import subprocess
import sys
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


@pytest.fixture(scope="session")
def on_fake_device(request):
    """Hand cases to a process of its own that has a CUDA device without memory and kernels, and return its findings."""
    if torch.version.cuda is not None or torch.version.hip is not None:
        pytest.skip("this build of torch has devices of its own, which leave no room for one that is not there")
    if sys.platform != "linux":
        pytest.skip("a device that is not there is loaded as Linux does it")
    library = build(request.config.cache.mkdir("fake_device"))

    def run(cases):
        paths = os.pathsep.join([str(ROOT), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        environment["LD_PRELOAD"] = str(library)  # before torch looks for devices
        command = [sys.executable, str(HERE / "run_cases.py")]
        done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, env=environment)
        if "symbol lookup error" in done.stderr or "cannot be preloaded" in done.stderr:
            pytest.skip(f"torch {torch.__version__} does not take the device that is not there: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run
