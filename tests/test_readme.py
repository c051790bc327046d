import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from qmcnet.cli.arguments import prepare
from qmcnet.config.build import build
from qmcnet.config.naming import config_directory
from qmcnet.run.identity import NOT_IDENTITY
from qmcnet.stages.burn_in import BurnIn, BurnInSettings
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import TAGS, Optimization
from qmcnet.stages.pretraining import Pretraining

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMAND = r"^qmcnet-(?:train|evaluate|dmc|relax) .+$|(?<=`)qmcnet-(?:train|evaluate|dmc|relax) [^`]+(?=`)"
WITH_GAPS = re.compile(r"\$|\\$|\.\.\.|\b(?:NAME|DIR|FILE|SECONDS)\b| > | \| |hydra\.run\.dir|target_error=E")
"""What no one types as it stands, and what pages execute by themselves."""
COMMANDS = sorted(
    {
        line.split("  #")[0].strip()
        for text in (README, *PAGES.values())
        for line in re.findall(COMMAND, text, re.MULTILINE)
        if "=" in line and not WITH_GAPS.search(line)
    }
)
MOL = """water
  by hand

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 O   0  0
    0.0000    0.7570    0.5860 H   0  0
    0.0000   -0.7570    0.5860 H   0  0
  1  2  1  0
  1  3  1  0
M  END
"""
XYZ = "3\nwater\nO 0 0 0\nH 0 0.757 0.586\nH 0 -0.757 0.586\n"


def examples(language):
    return [text for name, text in BLOCKS if name == language]


def test_there_are_commands_to_check():
    assert len(COMMANDS) >= 16


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_and_builds(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "water.xyz").write_text(XYZ)
    (tmp_path / "geometry.mol").write_text(MOL)
    program, *arguments = shlex.split(command)
    sweep = "-m" in arguments
    arguments = [argument for argument in arguments if argument != "-m" and not argument.startswith("hydra/")]
    if sweep:
        arguments = [re.sub(r"^((?:bond_length|optimizer)=[^,]+),.*", r"\1", argument) for argument in arguments]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        if program != "qmcnet-train":
            cfg = compose(program.removeprefix("qmcnet-"), overrides=prepare(arguments))
            assert f"run={cfg.run}" in arguments or (program == "qmcnet-relax" and "system" in cfg)
        else:
            cfg = compose("config", overrides=[*arguments, "device=cpu"])
            assert build(cfg, tmp_path / "run").molecule.n_electrons > 0


def run_example(position):
    """Run an example with less of everything."""
    names, text = {"BurnInSettings": BurnInSettings}, examples("python")[position]
    for long, short in (
        (r"(EvaluationSettings\(steps=)\d+", r"\g<1>5, burn_in=5"),
        (r"(PretrainingSettings\(steps=)\d+", r"\g<1>5"),
        (r"(    steps=\d+),", r"\1, sampler=qmcnet.Metropolis(steps=2), burn_in=BurnInSettings(5, 5),"),
    ):
        text, count = re.subn(long, short, text)
        assert count
    exec(compile(text, "README.md", "exec"), names)
    return names


def test_the_example_of_a_run_runs(tmp_path, monkeypatch, second_derivatives):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)  # near a node float32 is further from finite differences than the tolerances allow
    names = run_example(0)
    run, again, positions = names["run"], names["again"], names["positions"]
    assert names["result"].trained_steps == 20
    assert (tmp_path / "runs/LiH/result.json").exists()
    states, nuclei = names["states"], again.ensemble.nuclei
    sign, log_abs_psi = again.ansatz(positions, nuclei)
    assert log_abs_psi.isfinite().all()
    assert torch.equal(log_abs_psi, run.ansatz(positions, nuclei)[1])
    assert torch.equal(states.psi, sign.double())
    swapped = again.ansatz(positions[:, [1, 0, 2, 3]], nuclei)
    torch.testing.assert_close(swapped[1], log_abs_psi, rtol=1e-4, atol=1e-4)
    assert torch.equal(swapped[0], -sign)
    expected = second_derivatives(lambda r: again.ansatz(r, nuclei)[1][:, 0], positions)
    torch.testing.assert_close(states.log_gradient[:, 0].float(), expected.gradient, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(states.log_laplacian[:, 0].float(), expected.laplacian, rtol=1e-3, atol=1e-2)
    assert again.hamiltonian(states).total.shape == (5,)


def test_scripts_and_files_that_are_named_exist():
    names = set(re.findall(r"scripts/\w+\.sh|[A-Z]+\.(?:md|cff)|(?<=\]\()[\w/-]+\.\w+(?=\))", README))
    assert {f"docs/{page}" for page in ("first-run.md", "troubleshooting.md", "helium.ipynb")} <= names
    for name in names:
        assert (ROOT / name).exists(), name


def test_groups_of_statistics_and_what_leaves_the_directory_alone_are_those_of_the_code():
    columns = [*TAGS, "state_0", "learning_rate"]
    tags = {kind.tag(kind, name) for kind in (Pretraining, BurnIn, Optimization, Evaluation) for name in columns}
    groups = {tag.split("/")[0] for tag in tags}
    assert groups > {"energy", "opt", "sampling", "evaluation"}
    assert groups <= {group.rstrip("/") for group in re.findall(r"`(\w+/)`", PAGES["commands.md"])}
    assert "steps" in NOT_IDENTITY


def test_the_readme_leaves_the_details_to_the_pages():
    assert len(README.splitlines()) < 160


def test_the_version_of_the_changelog_is_that_of_the_package():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    assert re.search(rf"^## .*{re.escape(version)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
