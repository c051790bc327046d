"""A run directory from a stranger executes nothing, not even the import of a module that it names."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from qmcnet import Molecule
from qmcnet.chemistry.scf import check_basis
from qmcnet.cli.evaluate import evaluate
from qmcnet.compute.files import atomic_write
from qmcnet.config.build import load
from qmcnet.config.schema import ConfigError
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.lock import lock

RUN = Path(__file__).parents[1] / "golden" / "0.1" / "one_state" / "finished"
PLANTED = """
import pathlib
pathlib.Path(__file__).with_name("executed").touch()
from qmcnet import Metropolis as Mine
"""
TARGETS = {
    "sampler": {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
    "clipping": {"_target_": "torch.save", "obj": 1, "f": "executed"},
    "optimizer": {"_target_": "os.mkdir", "path": "executed"},
    "schedule": {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": ["executed"]}},
    "ansatz": {"_target_": "planted.Mine", "_partial_": True},
    "system": {"_target_": "planted.Mine"},
    "laplacian": {"_target_": "qmcnet.compute.files.os.mkdir", "path": "executed"},
    "averaging": {"_target_": "builtins.exec", "source": "import planted"},
    "objective": {"_target_": "hydra.utils.instantiate", "config": {"_target_": "planted.Mine"}},
    "optimizer.method": {"_target_": "planted.Mine", "_partial_": True},
    "optimizer.method ": {"_target_": "torch.optim.planted.Mine", "_partial_": True},
    "pretraining.steps": {"_target_": "planted.Mine"},
    "evaluation": {"_target_": "qmcnet.EvaluationSettings", "steps": {"_target_": "planted.Mine"}},
    "observables": [{"_target_": "planted.Mine"}],
    "logging": "${planted:x}",
}


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Change a run directory, beside which a module lies that leaves a trace when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted.py").write_text(PLANTED)

    def make(key, value):
        directory = shutil.copytree(RUN, tmp_path / "run")
        config = yaml.safe_load((directory / "config.yaml").read_text())
        *groups, name = key.strip().split(".")
        place = config
        for group in groups:
            place = place[group]
        place[name] = value
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
        return directory

    yield make
    sys.modules.pop("planted", None)


@pytest.mark.parametrize("key", TARGETS)
def test_no_door_runs_or_imports_what_a_directory_names(hostile, key, tmp_path):
    directory = hostile(key, TARGETS[key])
    doors = (lambda: load(directory, "cpu"), lambda: evaluate(evaluation_of(directory)))
    for door in doors:
        with pytest.raises(ConfigError) as caught:
            door()
        assert "\n" not in str(caught.value)
    assert "planted" not in sys.modules
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("text", ["!!python/object/apply:os.mkdir [executed]", "a: [", "\0\1", "- 1", "", "a: b: c"])
def test_a_file_that_is_no_configuration_is_named(hostile, tmp_path, text):
    directory = hostile("seed", 0)
    (directory / "config.yaml").write_text(text)
    with pytest.raises(RunDirectoryError, match=r"config\.yaml (is damaged|cannot be read)") as caught:
        load(directory, "cpu")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_trust_runs_the_code_of_the_user(hostile, tmp_path):
    directory = hostile("sampler", {"_target_": "planted.Mine"})
    with pytest.raises(ConfigError, match=r"sampler\._target_='planted\.Mine' is not part of qmcnet.*trust=true"):
        load(directory, "cpu")
    load(directory, "cpu", trust=True)
    assert (tmp_path / "executed").exists()


def evaluation_of(directory):
    settings = {"run": str(directory), "steps": 2, "target_error": None, "min_steps": 1, "burn_in": 0, "averaged": True}
    return OmegaConf.create({**settings, "observables": None, "device": "cpu", "wall_time": None, "trust": False})


def test_a_basis_that_is_a_program_is_no_name(tmp_path):
    witness = tmp_path / "witness"
    basis = f"He S\n [open({str(witness)!r}, 'w'), 1.0][1] 1.0\n"
    with pytest.raises(ValueError, match="is not the name of a basis set"):
        check_basis(Molecule.atom("He"), basis)
    assert not witness.exists()


@pytest.mark.skipif(
    not hasattr(os, "O_NOFOLLOW"), reason="a system whose files cannot be opened without following links"
)
def test_links_in_a_directory_lead_to_no_file_elsewhere(tmp_path):
    precious, folder = tmp_path / "precious", tmp_path / "run"
    precious.write_text("mine")
    folder.mkdir()
    for name in (".lock", ".result.json.partial"):
        (folder / name).symlink_to(precious)
    with pytest.raises(OSError, match=r"\.lock"):
        lock(folder)
    atomic_write(folder / "result.json", lambda file: file.write(b"{}"))
    assert (precious.read_text(), (folder / "result.json").read_text()) == ("mine", "{}")
    assert not (folder / "result.json").is_symlink()
