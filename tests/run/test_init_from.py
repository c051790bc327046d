"""Runs that start from another one: what they take over, what they refuse, and that they need it but once."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from qmcnet import (
    VMC,
    AveragingSettings,
    BurnInSettings,
    EvaluationSettings,
    FermiNet,
    FirstOrder,
    Kfac,
    Metropolis,
    Molecule,
    Natural,
    Penalty,
    PretrainingSettings,
    Psiformer,
    Schedule,
    load,
)
from qmcnet.report.result import Result
from qmcnet.run import carried
from qmcnet.run.checkpoint import Checkpoints
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.identity import config_hash
from qmcnet.run.interruption import Interrupted
from qmcnet.sampling.space_warp import space_warp
from qmcnet.stages.burn_in import BurnIn
from qmcnet.stages.optimization import Optimization

DOUBLE = torch.float64
HYDROGEN = Molecule.diatomic("H", "H", 1.4, "bohr")
STRETCHED = Molecule.diatomic("H", "H", 2.0, "bohr")
TRANSLATED = Molecule(("H", "H"), ((3.0, -1.0, 2.0), (3.0, -1.0, 3.4)))
SIZES = {"n_layers": 1, "hidden_one": 6, "hidden_two": 3, "n_determinants": 2, "dtype": DOUBLE}
AT_ONCE = {"burn_in": BurnInSettings(0, 0), "steps": 0, "evaluation": EvaluationSettings(steps=0)}
"""Settings of a run that ends where it starts."""


def make(directory, molecule=HYDROGEN, network=None, kind=FermiNet, **settings):
    defaults = {
        "sampler": Metropolis(steps=2),
        "pretraining": PretrainingSettings(steps=0),
        "burn_in": BurnInSettings(2, 2),
        "evaluation": EvaluationSettings(steps=3, min_steps=3, burn_in=0),
        "steps": 4,
        "batch_size": 6,
        "device": "cpu",
    }
    sizes = SIZES if kind is FermiNet else {"dtype": DOUBLE}
    return VMC(kind(molecule, **(sizes | (network or {}))), directory, **(defaults | settings))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Directory of a finished run, not to be changed."""
    directory = tmp_path_factory.mktemp("source")
    make(directory).train()
    return directory


def started(directory, source, *what, **settings):
    """A run that has just taken over another one."""
    run = make(directory, *what, init_from=source, **(AT_ONCE | settings))
    run.train()
    return run


def local_energies(run):
    return run.simulation.local_energy(run.simulation.states()).total


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def parameters(run):
    return torch.nn.utils.parameters_to_vector(run.ansatz.parameters())


def test_a_run_starts_with_the_local_energies_of_the_other(tmp_path, source):
    run, other = started(tmp_path, source), load(source, "cpu")
    assert torch.equal(parameters(run), parameters(other))
    assert torch.equal(run.simulation.walkers.positions, other.simulation.walkers.positions)
    assert torch.equal(local_energies(run), local_energies(other))
    assert not torch.equal(run.simulation.generator.get_state(), other.simulation.generator.get_state())


def test_a_larger_network_starts_with_the_same_local_energies(tmp_path, source):
    run = started(tmp_path, source, HYDROGEN, {"n_layers": 3, "n_determinants": 5, "seed": 3})
    torch.testing.assert_close(local_energies(run), local_energies(load(source, "cpu")), rtol=1e-9, atol=1e-9)
    assert len(parameters(run)) > 2 * len(parameters(load(source, "cpu")))


def test_walkers_follow_the_nuclei(tmp_path, source):
    run, other = started(tmp_path, source, STRETCHED), load(source, "cpu")
    before, after = other.simulation.walkers.positions, run.simulation.walkers.positions
    assert torch.equal(parameters(run), parameters(other))
    assert torch.equal(after, space_warp(before, HYDROGEN.nuclei, STRETCHED.nuclei, HYDROGEN.charges))
    assert not torch.equal(after, before)


def test_a_translated_molecule_has_the_same_local_energies(tmp_path, source):
    run, other = started(tmp_path, source, TRANSLATED), load(source, "cpu")
    torch.testing.assert_close(local_energies(run), local_energies(other), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_size", [4, 15])
def test_walkers_are_left_out_or_taken_again(tmp_path, source, batch_size):
    run, other = started(tmp_path, source, batch_size=batch_size), load(source, "cpu")
    found, before = run.simulation.walkers.positions, other.simulation.walkers.positions
    assert len(found) == batch_size
    assert torch.equal(found, before.repeat(3, 1, 1)[:batch_size])


def test_precision_optimiser_and_all_the_rest_may_change(tmp_path, source):
    changes = {"optimizer": FirstOrder, "schedule": Schedule("cosine", 9), "averaging": AveragingSettings("equal")}
    run = make(tmp_path / "single", STRETCHED, {"dtype": torch.float32}, init_from=source, **changes)
    run.train()
    again = make(tmp_path / "double", init_from=tmp_path / "single", optimizer=Kfac, objective=Penalty())
    assert again.train().trained_steps == 4
    assert again.simulation.walkers.positions.dtype == DOUBLE
    taken = started(tmp_path / "taken", tmp_path / "single")
    assert torch.equal(parameters(taken), parameters(load(tmp_path / "single", "cpu")).double())


def test_several_states_go_on_as_several(tmp_path):
    make(tmp_path / "two", network={"n_states": 2}).train()
    more = {"n_states": 2, "n_determinants": 3}
    run, other = started(tmp_path / "run", tmp_path / "two", STRETCHED, more), load(tmp_path / "two", "cpu")
    before = other.simulation.walkers.positions
    assert before.shape == (6, 4, 3)
    assert torch.equal(
        run.simulation.walkers.positions, space_warp(before, HYDROGEN.nuclei, STRETCHED.nuclei, HYDROGEN.charges)
    )
    points = torch.randn(5, 4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    other.ensemble.nuclei.copy_(STRETCHED.nuclei)
    other.ansatz.frame.nuclei = run.ansatz.frame.nuclei
    difference = run.ensemble(points)[1] - other.ensemble(points)[1]
    torch.testing.assert_close(difference, difference[:1].expand(5), rtol=0, atol=1e-10)


def test_a_network_goes_on_as_its_local_energies_scatter_less(tmp_path, source, monkeypatch):
    found, measure = {}, carried.spread

    def measured(simulation):
        as_it_is = simulation.ensemble.network.frame.nuclei is None
        return found.setdefault(as_it_is, measure(simulation))

    monkeypatch.setattr(carried, "spread", measured)
    run = started(tmp_path, source, Molecule.diatomic("H", "H", 1.5, "bohr"))
    assert found.keys() == {True, False}
    assert found[True] != found[False]
    assert (run.ansatz.frame.nuclei is None) == (found[True] < found[False])
    before, after = (one.simulation.walkers.positions for one in (load(source, "cpu"), run))
    assert torch.equal(after, space_warp(before, HYDROGEN.nuclei, run.molecule.nuclei, HYDROGEN.charges))


def test_nothing_is_compiled_before_it_is_known_where_electrons_are_seen(tmp_path, source, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: 1 / 0)
    simulation = make(tmp_path, STRETCHED, init_from=source).simulation
    simulation.compile = True
    carried.carry(simulation.ensemble.network.frame, simulation, HYDROGEN.nuclei, HYDROGEN.nuclei)
    with pytest.raises(ZeroDivisionError):
        simulation.sweep()


@pytest.mark.parametrize("nearer", [True, False], ids=["carried", "as it is"])
def test_along_a_chain_of_runs_a_network_goes_on_to_see_what_it_was_trained_with(tmp_path, source, nearer, monkeypatch):
    numbers = iter(range(100, 0, -1) if nearer else range(100))
    monkeypatch.setattr(carried, "spread", lambda _: next(numbers))
    previous = source
    for number, length in enumerate((1.5, 1.6)):
        nearby = Molecule.diatomic("H", "H", length, "bohr")
        run = make(tmp_path / str(number), nearby, init_from=previous)
        run.train()
        assert (run.ansatz.frame.nuclei is not None) == nearer
        assert Result.read(tmp_path / str(number) / "result.json").metadata["init_from"]["carried"] == nearer
        if nearer:
            torch.testing.assert_close(run.ansatz.frame.nuclei, HYDROGEN.nuclei)
        again = load(tmp_path / str(number), "cpu").load_trained()
        assert torch.equal(local_energies(again), local_energies(run))
        previous = tmp_path / str(number)
    back = started(tmp_path / "back", previous)
    assert back.ansatz.frame.nuclei is None


def test_averaged_parameters_are_taken_over_as_they_are_evaluated(tmp_path, stop_at):
    stop_at(Optimization, 3)
    with pytest.raises(Interrupted):
        make(tmp_path / "source", averaging=AveragingSettings("equal")).train()
    run, other = started(tmp_path / "run", tmp_path / "source"), load(tmp_path / "source", "cpu")
    assert torch.equal(parameters(run), parameters(other))
    last = Checkpoints(tmp_path / "source/checkpoints", 1).load_newest().state["simulation"]["ansatz"]
    assert not torch.equal(parameters(run), torch.cat([value.flatten() for value in last.values()]))


def test_a_run_is_continued_without_the_other_and_bit_for_bit(tmp_path, source, stop_at, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(source, "other")
    settings = {"network": {"n_determinants": 3}, "molecule": STRETCHED, "init_from": "other"}
    make("whole", **settings).train()
    for kind, count in ((BurnIn, 1), (Optimization, 2)):
        with pytest.raises(Interrupted):
            stop_at(kind, count)
            make("stopped", **settings).train()
        shutil.rmtree("other", ignore_errors=True)
    run = make("stopped", **settings)
    result = run.train()
    for table in ("burn_in/burn_in_stats.csv", "train_stats.csv", "evaluation/evaluation_stats.csv"):
        assert Path("stopped", table).read_text() == Path("whole", table).read_text()
    assert torch.equal(parameters(run), parameters(load("whole", "cpu")))
    assert not Path("whole/pretraining").exists()
    monkeypatch.setattr(Optimization, "advance", lambda _: pytest.fail("computed something"))
    assert make("stopped", **settings).train().energy == result.energy
    assert load("stopped", "cpu").init_from == "other"


def test_the_result_says_where_a_run_started(tmp_path, source):
    make(tmp_path / "run", STRETCHED, init_from=source, pretraining=PretrainingSettings(steps=4)).train()
    assert not (tmp_path / "run/pretraining").exists()
    found = json.loads((tmp_path / "run/result.json").read_text())
    start = found["init_from"]
    assert (start["directory"], start["formula"], start["trained_steps"]) == (str(source), "H2", 4)
    assert start["geometry"]["bohr"] == [[0, 0, 0], [0, 0, 1.4]]
    assert start["config_hash"] == json.loads((source / "result.json").read_text())["config_hash"]
    assert found["trained_steps"] == 4
    assert "init_from" not in json.loads((source / "result.json").read_text())


def test_the_start_is_part_of_what_a_run_is(tmp_path, source):
    make(tmp_path, init_from=source, steps=1).train()
    with pytest.raises(RunDirectoryError, match=rf"  init_from: {source} -> \(absent\)"):
        make(tmp_path, steps=1).train()
    config = make(tmp_path).config
    assert config["init_from"] is None
    older = {name: value for name, value in config.items() if name != "init_from"}
    assert config_hash(older) == config_hash(config) != config_hash(config | {"init_from": "a"})


def test_the_other_directory_is_only_read(tmp_path, source, caplog):
    other = shutil.copytree(source, tmp_path / "other")
    *_, path = Checkpoints(other / "checkpoints", 1).paths()
    path.write_bytes(path.read_bytes()[:1000])
    before = contents(other)
    started(tmp_path / "run", other, STRETCHED)
    assert contents(other) == before
    assert f"checkpoint {path} is damaged" in caplog.text


def test_random_numbers_are_those_of_the_own_seed(tmp_path, source):
    more = {"n_determinants": 3}
    first, again, other = (
        started(tmp_path / f"{number}", source, HYDROGEN, more, seed=seed) for number, seed in enumerate((1, 1, 2))
    )
    assert torch.equal(parameters(first), parameters(again))
    assert not torch.equal(parameters(first), parameters(other))


def refusal(run):
    with pytest.raises(RunDirectoryError) as caught:
        run.train()
    assert not run.directory.exists()
    text = str(caught.value)
    assert "\n" not in text
    return text


LITHIUM_HYDRIDE = Molecule.diatomic("Li", "H", 3.0, "bohr")
TRIPLET = Molecule.diatomic("H", "H", 1.4, "bohr", spin=2)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"molecule": LITHIUM_HYDRIDE},
            "its system is H-H (charge 0, spin 0) and that of this run Li-H (charge 0, spin 0)",
        ),
        ({"molecule": TRIPLET}, "that of this run H-H (charge 0, spin 2): only the geometry may differ"),
        ({"kind": Psiformer}, "its ansatz is FermiNet and that of this run Psiformer: the same is needed"),
        ({"network": {"n_states": 3}, "objective": Natural()}, "states=3 in this run and 1 there: the same is needed"),
        ({"network": {"hidden_two": 4}}, "ansatz.hidden_two is 3 there and 4 here: hidden_two may grow, but neither"),
        ({"network": {"n_determinants": 1}}, "ansatz.n_determinants is 2 there and 1 here: n_determinants may grow"),
    ],
)
def test_another_system_or_network_is_refused(tmp_path, source, changes, text):
    line = refusal(make(tmp_path / "run", **changes, init_from=source))
    assert line.startswith(f"init_from={source} cannot start this run: ")
    assert text in line


def test_what_is_no_trained_run_is_refused(tmp_path, source, stop_at):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    stop_at(BurnIn, 1)
    with pytest.raises(Interrupted):
        make(tmp_path / "untrained").train()
    for name, text in {
        "missing": "missing does not exist: name the directory of a trained run",
        "file": "file is a file: name the directory of a trained run",
        "empty": "empty holds no run: there is no config.yaml in it",
        "untrained": "untrained holds no trained wavefunction: train it first",
    }.items():
        assert text in refusal(make(tmp_path / "run", init_from=tmp_path / name))


def test_a_run_does_not_start_from_itself(tmp_path, source, monkeypatch):
    copy = shutil.copytree(source, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    before = contents(copy)
    for directory in (copy, tmp_path / "new"):
        with pytest.raises(RunDirectoryError, match=r"is the directory of this run itself: name that of another run"):
            make(directory, init_from=f"../{tmp_path.name}/{directory.name}").train()
    assert contents(copy) == before


@pytest.mark.parametrize(
    ("group", "value", "text"),
    [
        ("ansatz", {"_target_": "planted.Mine"}, "its ansatz is planted.Mine and that of this run FermiNet"),
        ("ansatz", ["FermiNet"], "is damaged"),
        ("system", {"symbols": "planted"}, "is damaged"),
        ("system", 3, "is damaged"),
    ],
)
def test_a_directory_from_a_stranger_executes_nothing(tmp_path, source, group, value, text):
    other = shutil.copytree(source, tmp_path / "other")
    config = yaml.safe_load((other / "config.yaml").read_text())
    (other / "config.yaml").write_text(yaml.safe_dump(config | {group: value}))
    assert text in refusal(make(tmp_path / "run", init_from=other))


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("simulation"),
        lambda state: state.update(simulation=[3]),
        lambda state: state["simulation"].pop("ansatz"),
        lambda state: state["simulation"].update(walkers={"positions": 3}),
        lambda state: state["simulation"]["walkers"]["positions"].fill_(torch.nan),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_no_start(tmp_path, source, change):
    other = shutil.copytree(source, tmp_path / "other")
    for path in (other / "checkpoints").glob("*.pt"):
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)
    assert "holds no trained wavefunction" in refusal(make(tmp_path / "run", init_from=other))
