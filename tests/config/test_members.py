"""Every file of every group makes a run, and every preset a step, at tiny size."""

import members
import pytest
import torch
from composing import composed

from qmcnet.config.build import PARTS, build

SMALL = ["ansatz.n_layers=1", "batch_size=4", "steps=1", "device=cpu", "pretraining.steps=0"]
GROUPS = [(group, name) for group in ("ansatz", *PARTS) for name in members.names(group)]


def tiny(preset, states=1):
    """A run of a preset, of which all sizes of the network are made small, whatever they are called."""
    cfg = composed("+system=He", f"preset={preset}", f"states={states}", "batch_size=4", "device=cpu", "steps=1")
    for name, value in cfg.ansatz.items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 4 and name != "seed":
            cfg.ansatz[name] = 4
    return cfg


@pytest.mark.parametrize("preset", members.names("preset"))
def test_every_preset_makes_a_step(preset, tmp_path):
    run = build(tiny(preset), tmp_path / "run")
    stage = run._optimization()
    before = torch.nn.utils.parameters_to_vector(run.ansatz.parameters()).clone()
    row = stage.advance()
    assert torch.as_tensor(row["energy"]).isfinite()
    assert stage.finished()
    assert not torch.equal(before, torch.nn.utils.parameters_to_vector(run.ansatz.parameters()))


@pytest.mark.parametrize(("group", "name"), GROUPS)
def test_every_file_of_a_group_is_built_and_described_as_what_builds_it_again(group, name, tmp_path):
    choice = f"equilibration@burn_in={name}" if group == "burn_in" else f"{group}={name}"
    sizes = [] if "slater" in name else ["ansatz.n_layers=1"]
    cfg = composed("+system=He", choice, *sizes, "batch_size=4", "device=cpu")
    config = build(cfg, tmp_path / "run").config
    assert build(config, tmp_path / "again").config == config
