import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS = [
    "+system=H2",
    "steps=1",
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "batch_size=4",
    "sampler.steps=1",
    "pretraining.steps=0",
    "burn_in.min_sweeps=1",
    "burn_in.max_sweeps=1",
    "evaluation.burn_in=0",
    "evaluation.steps=0",
    "device=cpu",
]


def run(*arguments, cwd, **environment):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        list(map(str, arguments)),
        cwd=cwd,
        env=clean | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Built from links to the sources, so that the build directory is not made in the repository.
    source = folder / "source"
    source.mkdir()
    for name in ("qmcnet", "conf", "pyproject.toml", "setup.cfg", "README.md", "LICENSE", "CITATION.cff"):
        (source / name).symlink_to(ROOT / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    built = run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("qmcnet-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The commands of the wheel in an environment of its own, which borrows the dependencies but not qmcnet."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": folder}, scheme="venv"))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
    done = run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    # A line of a .pth file adds a folder to sys.path without reading the .pth files in it, such as that of an
    # editable installation.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_everything_that_is_not_code(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"qmcnet/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert {"qmcnet/conf/config.yaml", "qmcnet/conf/evaluate.yaml", "qmcnet/conf/system/LiH.yaml"} <= shipped <= names
    assert {"qmcnet/py.typed", "qmcnet/report/reference_energies.csv"} <= names
    page = ROOT / "qmcnet/report/page"
    parts = {str(path.relative_to(ROOT)) for path in [page / "CITATION.cff", *(page / "templates").rglob("*.*")]}
    assert {f"qmcnet/report/page/templates/{name}" for name in ("report.html", "3Dmol-LICENSE.txt")} <= parts <= names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "qmcnet").rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if not name.startswith(("qmcnet/", "qmcnet-"))]


def test_the_installed_package_is_that_of_the_wheel(installed, tmp_path):
    code = (
        "import qmcnet; from qmcnet.config.naming import config_directory, systems; "
        "print(qmcnet.__file__, config_directory(), *systems())"
    )
    done = run(installed / "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    package, conf, *systems = done.stdout.split()
    assert installed.parent in Path(package).parents
    assert Path(conf) == Path(package).parent / "conf"
    assert sorted(systems) == sorted(path.stem for path in (ROOT / "conf/system").glob("*.yaml"))


def test_the_installed_commands_run_from_any_directory(installed, tmp_path):
    done = run(installed / "qmcnet-train", *SETTINGS, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run/result.json").exists()
    assert "Pfau et al." in (tmp_path / "run/report.html").read_text()
    done = run(installed / "qmcnet-evaluate", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "qmcnet-evaluate run=DIR" in done.stdout
