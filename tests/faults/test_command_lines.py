"""What people type: what is meant is understood, and the rest is answered in one line that says what to type."""

import os
import re
import shlex

import pytest
from composing import composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from hypothesis import given, settings
from hypothesis import strategies as st

from qmcnet import __main__ as module
from qmcnet.cli import evaluate, train
from qmcnet.cli.arguments import explain, prepare
from qmcnet.config.build import build
from qmcnet.config.naming import run_name
from qmcnet.config.nearest import nearest
from qmcnet.config.schema import ConfigError

PATHS = [
    "water.xyz",
    "my file (1).xyz",
    "outputs/He_preset=quick",
    "a,b.xyz",
    "#1.xyz",
    "it's.xyz",
    'the "best".xyz',
    "H₂O/größe.xyz",
    "a=b=c",
    "123",
    "1e5",
    "true",
    "x{y}[z]",
    "back\\slash",
    "end\\",
    "a:b",
    "${HOME}",
]


def understood(text):
    return OverridesParser.create().parse_override(text).value()


@pytest.mark.parametrize("key", ["path", "run", "output", "init_from", "hydra.run.dir", "hydra.sweep.dir"])
@pytest.mark.parametrize("name", PATHS)
def test_names_of_files_are_taken_as_they_are(key, name):
    (text,) = prepare([f"{key}={name}"])
    assert understood(text) == name
    (quoted,) = prepare([f"{key}='plain'"])
    assert understood(quoted) == "plain"


@pytest.mark.parametrize(
    ("name", "directory"), [("water.xyz", "xyz_path=water.xyz"), ("a=1,2.xyz", "xyz_path=a=1,2.xyz")]
)
def test_a_run_is_named_after_what_was_typed_and_not_after_its_quotes(name, directory):
    assert run_name(prepare(["+system=xyz", f"path={name}"])) == directory
    assert run_name(prepare(["+system=xyz", "path=it's.xyz"])) == run_name(["+system=xyz", "path=it's.xyz"])


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(lambda text: text[0] not in "'\""))
def test_any_name_is_taken_as_it_is(name):
    (text,) = prepare([f"path={name}"])
    assert name == "null" or understood(text) == os.path.expanduser(name)


@pytest.mark.parametrize(("system", "name"), [("atoms", "units"), ("N2", "bond_length"), ("H_chain", "n_atoms")])
def test_a_setting_of_a_system_goes_by_its_short_name_too(system, name):
    assert prepare([f"system.{name}=1", f"+system={system}", "system.charge=0"]) == [
        f"{name}=1",
        f"+system={system}",
        "system.charge=0",
    ]
    assert prepare([f"system.{name}=1", "+system=H2O"]) == [f"system.{name}=1", "+system=H2O"]


def test_the_folder_of_the_user_is_meant_by_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert prepare(["path=~/x.xyz", "run=a~b"]) == ["path='/home/me/x.xyz'", "run='a~b'"]


def test_a_sweep_takes_names_apart():
    assert prepare(["-m", "path=a.xyz,b=c.xyz"]) == ["-m", "path='a.xyz','b=c.xyz'"]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["system=LiH"], ["+system=LiH"]),
        (["+System=LiH"], ["+system=LiH"]),
        (["+system=LiH"], ["+system=LiH"]),
        (["+observables=[spin]"], ["++observables=[spin]"]),
        (["observables=[spin]"], ["observables=[spin]"]),
        (["-m", "--config-name", "other", "~pretraining", "steps=1,2"],) * 2,
        (["--cfg", "job", "steps=1"],) * 2,
        (["path=null"],) * 2,
    ],
)
def test_arguments_as_hydra_reads_them(typed, read):
    assert prepare(typed) == read


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["steps"], "steps is no setting: type steps=VALUE"),
        (["path="], "path= names nothing: add a file or directory"),
        (["hydra.run.dir="], "hydra.run.dir= names nothing"),
        (["hydra.run.dir=  "], "names nothing"),
        (["bond_length=[1,2"], r"bond_length=\[1,2 cannot be read .*put in quotes: bond_length='\[1,2'"),
        (["symbol=He'"], "symbol=He' cannot be read"),
        (["symbol=(a"], r"symbol=\(a cannot be read .*symbol='\(a'"),
        (["ansatz={a:"], "ansatz={a: cannot be read"),
        (["=3"], "=3 is no setting: type KEY=3"),
        (["two words=3"], "two words=3 cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(arguments, line):
    with pytest.raises(ConfigError, match=line):
        prepare(arguments)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["steps=1", "seed=3", "steps=2"], ["steps=2", "seed=3"]),
        (["system=LiH", "+system=N2"], ["+system=N2"]),
        (["++seed=1", "seed=2"], ["seed=2"]),
    ],
)
def test_of_a_key_that_is_given_twice_the_last_value_counts_with_a_warning(typed, read, caplog):
    assert prepare(typed) == read
    assert f"is given twice: the last value counts, {typed[-1]}" in caplog.text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=3))
def test_no_command_line_is_a_traceback(arguments):
    try:
        prepared = prepare(arguments)
    except ConfigError as error:
        assert str(error)
    else:
        assert len(prepared) <= len(arguments)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("spin=2", "(did you mean system.spin?): type qmcnet-train +system=LiH preset=quick system.spin=2"),
        ("charge=-1", "type qmcnet-train +system=LiH preset=quick system.charge=-1"),
        ("multiplicity=3", "type qmcnet-train +system=LiH preset=quick system.spin=2"),
        ("lr=0.1", "(did you mean optimizer.learning_rate or pretraining.learning_rate?): type"),
        ("stpes=4", "type qmcnet-train +system=LiH preset=quick steps=4"),
        ("optimiser=adam", "(did you mean optimizer?): type"),
        ("optimiser.lr=3", "quick optimizer.learning_rate=3"),
        ("bondlength=3", "(did you mean bond_length?): type"),
        ("walkers=64", "quick batch_size=64"),
        ("basis=sto-3g", "quick pretraining.basis=sto-3g"),
        ("ansatz.nlayers=2", "quick ansatz.n_layers=2"),
        ("observable=[spin]", "quick 'observables=[spin]'"),
        ("qwxyz=1", "qmcnet-train --cfg job shows the keys and their values"),
        ("ansatz.qwxyz=1", "unknown key ansatz.qwxyz: choose among ansatz.complex, ansatz.envelope, "),
        ("ansatz.hidden_one=1", "(did you mean ansatz.hidden_two?)"),  # is a key where another ansatz is not chosen
    ],
)
def test_a_key_that_is_not_there_is_answered_with_the_nearest_one(typed, line):
    error = ConfigCompositionException(
        f"Could not override '{typed.partition('=')[0]}'.\nTo append to your config use +"
    )
    answer = explain(error, ["+system=LiH", "preset=quick", typed], "qmcnet-train", "config")
    assert answer.startswith(f"unknown key {typed.partition('=')[0]}")
    assert line in answer
    if "type " in line:
        prepare(shlex.split(answer.partition("type qmcnet-train ")[2]))


def test_a_choice_that_is_not_there_is_answered_with_the_nearest_ones():
    error = HydraException(
        "In 'config': Could not find 'system/lih'\n\nAvailable options in 'system':\n\tH2\n\tLi2\n\tLiH\n"
        "Config search path:\n\tprovider=hydra"
    )
    expected = "system=lih (did you mean LiH or Li2?): system is one of H2, Li2, LiH"
    assert explain(error, [], "qmcnet-train", "config") == expected


@pytest.mark.parametrize(
    ("key", "known", "found"),
    [
        ("target", ["target_error", "steps"], ["target_error"]),
        ("charge", ["system.charge", "charge_x"], ["system.charge"]),
        ("basis", ["ansatz.basis", "pretraining.basis"], ["pretraining.basis", "ansatz.basis"]),
        ("_target_", ["system._target_"], []),
        ("zzz", ["steps"], []),
    ],
)
def test_the_nearest_keys(key, known, found):
    assert nearest(key, known) == found


H2 = ["+system=H2", "device=cpu"]
TYPED = {
    "sampler.steps=0": "sampler.steps=0 must be at least 1",
    "ansatz.n_layers=0": "ansatz.n_layers=0 must be between 1 and 1000",
    "ansatz.n_layers=1000000": "ansatz.n_layers=1000000 must be between 1 and 1000$",
    "ansatz.n_determinants=1000000": "ansatz.n_determinants=1000000 must be between 1 and 100000$",
    "ansatz.envelope=foo": r"ansatz.envelope='foo' must be one of bottleneck, diagonal",
    "+ansatz.n_layer=2": r"unknown key ansatz.n_layer \(did you mean ansatz.n_layers\?\): choose among",
    "bond_length=-1": "^bond_length=-1 is not a length",
    "bond_length=0": "^bond_length=0 is not a length",
    "bond_length=1e9": r"^bond_length=1000000000\.0 bohr is too far",
    "bond_length=nan": "^bond_length=nan is not a length",
    "bond_length=1.4 bohr": "bond_length='1.4 bohr'",
    "units=metre": "^units='metre'",
    "system.charge=5": "system.charge=5 leaves -3 electrons",
    "system.spin=1": "system.spin=1 is impossible with 2 electrons",
    "optimizer.damping=-1": "optimizer.damping=-1 must be positive",
    "optimizer.damping=nan": "optimizer.damping=nan must be",
    "optimizer.learning_rate=0": "optimizer.learning_rate=0 must be",
    "clipping.width=-3": "clipping.width=-3 must be positive",
    "schedule.decay_steps=0": "schedule.decay_steps=0 must be positive",
    "averaging.weights=foo": "averaging.weights='foo' must be one of none, exponential, equal",
    "evaluation.target_error=-1": "evaluation.target_error=-1 must be positive",
    "evaluation.steps=-1": "evaluation.steps=-1 must be at least 0",
    "evaluation.burn_in=-1": "evaluation.burn_in=-1 must be at least 0",
    "burn_in.min_sweeps=-5": "burn_in.min_sweeps=-5 must be at least 0",
    "logging.every=0": "logging.every=0 must be at least 1",
    "checkpoints.keep=0": "checkpoints.keep=0 must be at least 1",
    "checkpoints.seconds=-1": "checkpoints.seconds=-1 must be at least 0",
    "checkpoints.max_retries=-1": "checkpoints.max_retries=-1 must be at least 0",
    "laplacian.chunk_size=0": "laplacian.chunk_size=0 must be at least 1",
    "pretraining.method=dft": r"pretraining.method='dft' must be one of",
    "pretraining.steps=-1": "pretraining.steps=-1",
    "observables=[spn]": "observables='spn' must be one of density, dipole",
    "observables=spin": "observables='spin' must be a list",
    "objective.spin_penalty=-1": "objective.spin_penalty=-1",
    "steps=null": "steps=null must be a whole number",
    "steps=1.5": "steps=1.5 must be a whole number",
    "steps=-1": "steps=-1 must be at least 0",
    "steps=many": "steps='many' must be a whole number",
    "seed=-1": "seed=-1 must be at least 0",
    "seed=true": "seed=True must be a whole number",
    "batch_size=1": "batch_size=1 must be between 2 and 1000000",
    "batch_size=2000000": "batch_size=2000000 must be between 2 and 1000000",
    "batch_size=99999999999": "batch_size=99999999999 must be between 2 and",
    "states=0": "states=0 must be at least 1",
    "ansatz.n_states=3": "states=1: FermiNet has 3 here; leave out states, or ansatz.n_states",
    "wall_time=-3": "wall_time=-3 must be positive",
    "dtype=float16": "dtype='float16' must be one of",
    "device=gpu": "device='gpu' must be auto, cpu, cuda or cuda:N",
    "compile=maybe": "compile='maybe' must be true or false",
    "overwrite=true": "overwrite=true moves an earlier run aside only with resume=false",
    "trust=perhaps": "trust='perhaps' must be true or false",
    "+charge=-1": r"unknown key charge \(did you mean system\.charge\?\)",
    "+optimizer.lr=1": r"unknown key optimizer\.lr \(did you mean optimizer\.learning_rate\?\)",
    "averaging=equal averaging.start=100 steps=4": "averaging.start=100 leaves none of the 4 steps to average",
    "states=2 objective=penalty objective.weights=[0.1,0.5]": r"objective.weights=\[0.1, 0.5\] must not rise",
    "states=2 objective=penalty objective.strength=-1": "objective.strength=-1",
    "optimizer=adam optimizer.method._target_=torch.optim.Foo": "optimizer.method._target_='torch.optim.Foo' is not",
    "states=2 ansatz=slater_jastrow": "states=2: SlaterJastrow has 1 here; leave out states",
}


@pytest.mark.parametrize("typed", TYPED)
def test_a_value_that_cannot_be_meant_is_named_as_it_was_typed(typed, tmp_path):
    extra = typed.split(" ") if " " in typed and typed.count("=") > 1 else [typed]
    overrides = [f"{key}='{value}'" if " " in value else f"{key}={value}" for key, _, value in map(partition, extra)]
    with pytest.raises(ConfigError, match=TYPED[typed]) as refusal:
        build(composed(*H2, *overrides), tmp_path / "run")
    assert "\n" not in str(refusal.value)
    assert "None" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def partition(argument):
    return argument.partition("=")


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("states=1 objective=penalty", "objective=penalty has no effect on a single state"),
        (
            "evaluation.target_error=1e-3 evaluation.steps=50",
            "evaluation.min_steps=100 is more than evaluation.steps=50: target_error is never looked at",
        ),
    ],
)
def test_a_setting_without_effect_is_said(typed, line, tmp_path, caplog):
    build(composed(*H2, *typed.split(" ")), tmp_path)
    assert line in caplog.text


def test_a_missing_compiler_is_said_before_anything_is_written(tmp_path, monkeypatch):
    run = build(composed(*H2, "compile=true"), tmp_path / "run")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"compile=true needs a C\+\+ compiler on a CPU: install g\+\+ or clang"):
        run.train()
    assert not (tmp_path / "run").exists()


def test_the_basis_is_checked_before_anything_is_written(tmp_path):
    run = build(composed(*H2, "pretraining.basis=K"), tmp_path / "run")
    with pytest.raises(ValueError, match=r"pretraining.basis='K' is not known to PySCF for element H: try cc-pvdz"):
        run.train()
    assert not (tmp_path / "run").exists()


def command_of(command, arguments):
    import sys

    sys.argv = [f"qmcnet-{command}", *arguments]
    {"train": train, "evaluate": evaluate, "module": module}[command].main()


SYSTEM = "# @package _global_\nsystem:\n  _target_: Molecule.atom\n  symbol: He\n  charge: 0\n  spin: 0\n"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (SYSTEM + "  symbol: Li\n", "mine/system/own.yaml, line 7: found duplicate key symbol"),
        (SYSTEM + "\tx: 1\n", r"mine/system/own.yaml, line 7: found character '\\t' that cannot start any token"),
        (SYSTEM + "---\n" + SYSTEM, "mine/system/own.yaml, line 7: but found another document"),
        (SYSTEM.replace("He", "NO"), "system.symbol=False must be text; in a file, words that YAML reads as true or"),
        (SYSTEM.partition("\n")[2], "system.system: the file of this system lacks its first line, # @package _global_"),
        ("", r"system={} is not a group with a _target_"),
    ],
)
def test_a_system_of_the_users_own_is_answered_with_its_file(content, line, fork, tmp_path):
    (tmp_path / "mine" / "system").mkdir(parents=True)
    (tmp_path / "mine" / "system" / "own.yaml").write_text(content)
    status, out, errors = fork(command_of, "train", ["--config-dir", "mine", "+system=own"], folder=tmp_path).wait()
    (answer,) = (out + errors).splitlines()
    assert status == 1
    assert answer.startswith("error: ")
    assert re.search(line, answer)


@pytest.mark.parametrize(
    ("command", "typed", "status", "line"),
    [
        ("train", "+system=LiH spin=2", 1, r"error: unknown key spin \(did you mean system.spin"),
        ("train", "preset=quick", 1, r"error: no system: add \+system=NAME"),
        ("train", "+system=xyz path=no(1).xyz", 1, r"error: path='no\(1\).xyz' cannot be read: No such file"),
        ("train", "+system=H2 hydra.run.dir=. seed=1", 1, "error: .* holds other files, such as thesis.tex"),
        ("train", "+system=H2 hydra.run.dir=thesis.tex", 1, "error: File exists: thesis.tex"),
        ("train", "--version", 0, r"qmcnet \d"),
        ("train", "--cfg job", 0, "states: 1"),
        ("evaluate", "", 1, "error: no run: add run=DIR"),
        ("evaluate", "run=a=b(c)", 1, r"error: a=b\(c\) holds no run: there is no config.yaml in it"),
        ("evaluate", "run=x ~averaged", 1, "error: averaged is missing: leave out ~averaged"),
        ("evaluate", "run=x target=1", 1, r"error: unknown key target \(did you mean target_error"),
        ("module", "evaluate run=x", 1, "error: x holds no run"),
    ],
)
def test_a_command_answers_in_one_line_and_leaves_nothing(command, typed, status, line, fork, tmp_path):
    (tmp_path / "thesis.tex").touch()
    found, out, errors = fork(command_of, command, shlex.split(typed), folder=tmp_path).wait()
    lines = [text for text in (out + errors).splitlines() if text]
    assert found == status, out + errors
    assert re.match(line, lines[0])
    assert status == 0 or len(lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
