import inspect
import re

import pytest
import torch
from composing import by_hydra, composed
from hydra.utils import get_object
from omegaconf import OmegaConf

from qmcnet.config.build import PARTS, SCALARS, build, load
from qmcnet.config.naming import config_directory, run_name, systems
from qmcnet.config.schema import ConfigError, argument_types, check_arguments
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.identity import NOT_IDENTITY
from qmcnet.run.vmc import VMC

TINY = [
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "ansatz.n_determinants=1",
    "batch_size=8",
    "pretraining.steps=0",
    "device=cpu",
]
OPTIONS = [
    (folder.name, path.stem)
    for folder in sorted(config_directory().iterdir())
    if folder.is_dir() and folder.name not in ("system", "hydra", "relaxation", "__pycache__")
    for path in sorted(folder.glob("*.yaml"))
]


def built(directory, *overrides):
    return build(composed("+system=H2", *TINY, *overrides), directory)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "run"),
        (["+system=N2"], "N2"),
        (["+system=N2", "bond_length=2.4"], "N2_bond_length=2.4"),
        (["bond_length=2.4", "+system=N2"], "N2_bond_length=2.4"),
        (["seed=1", "+system=N2", "batch_size=64"], "N2_batch_size=64_seed=1"),
        (["+system=H2+"], "H2+"),
        (["+system=N2", "steps=5", "evaluation.steps=7", "logging.every=1", "device=cuda"], "N2"),
        (["+system=N2", "resume=false", "overwrite=true", "wall_time=9", "checkpoints.keep=1"], "N2"),
        (["+system=N2", "~optimizer.momentum"], "N2_optimizer.momentum="),
    ],
)
def test_a_run_is_named_after_what_decides_its_numbers(overrides, name):
    assert run_name(overrides) == name


def test_settings_outside_the_identity_take_no_part_in_the_name():
    assert run_name([f"{key}=1" for key in NOT_IDENTITY]) == "run"


def test_unsafe_and_long_names_stay_short_safe_and_distinct():
    overrides = [["+system=xyz", f"path={path}"] for path in ("a/b.xyz", "a b.xyz", "../a.xyz", "a:b.xyz")]
    overrides += [["+system=atoms", f"system.atoms=[[H,0,0,{z}]]", "x=" + "y" * 200] for z in range(4)]
    names = [run_name(one) for one in overrides]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.=+,-]{1,120}", name) for name in names)
    assert not any(name.startswith(".") for name in names)
    assert run_name(overrides[0]) == names[0]


def test_the_configuration_names_every_system():
    assert {"LiH", "atom", "atoms", "xyz", "H_chain", "benzene"} <= set(systems())


@pytest.mark.parametrize(
    "overrides",
    [
        ["+system=LiH", *TINY],
        ["+system=H_chain", "n_atoms=5", "preset=paper", "ansatz.n_layers=3"],
        ["+system=atom", "symbol=C", "optimizer=adam", "+optimizer.method.betas=[0,0]", "~steps"],
        ["equilibration@burn_in=default", "observables=[spin]", "~optimizer"],
    ],
)
def test_a_composition_of_the_tests_is_that_of_hydra(overrides):
    assert composed(*overrides) == by_hydra(*overrides)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_builds(group, option, tmp_path):
    # `burn_in` is a key of qmcnet-evaluate too, so the group that holds it has another name.
    key = {"equilibration": "equilibration@burn_in"}.get(group, group)
    run = build(composed("+system=H2", "batch_size=8", f"{key}={option}"), tmp_path)
    assert run.molecule.n_electrons == 2


@pytest.mark.parametrize("group", [*PARTS, "ansatz"])
def test_yaml_shows_every_setting_of_its_constructor(group):
    shown = composed("+system=H2")[group]
    parameters = set(argument_types(get_object(shown["_target_"]))[0])
    assert set(shown) - {"_target_", "_partial_"} == parameters - {"molecule", "ansatz", "dtype"}


def test_a_run_described_by_its_own_configuration_is_the_same_run(tmp_path):
    run = built(tmp_path, "optimizer=adam", "dtype=float64", "sampler=single_electron", "ansatz.jastrow=cusp")
    again = build(OmegaConf.create(run.config), tmp_path)
    assert again.config == run.config
    assert run.config["optimizer"]["method"] == {"_target_": "torch.optim.Adam", "_partial_": True}
    assert run.config["sampler"]["n_blocks"] is None
    for old, new in zip(run.ansatz.parameters(), again.ansatz.parameters(), strict=True):
        assert torch.equal(old, new)


def test_settings_arrive_where_they_belong(tmp_path):
    run = built(tmp_path, "steps=7", "seed=3", "sampler.steps=4", "dtype=float64", "bond_length=2", "preset=quick")
    assert (run.steps, run.seed, run.sampler.steps, run.batch_size) == (7, 3, 4, 8)
    assert next(run.ansatz.parameters()).dtype == torch.float64
    assert run.molecule.nearest_neighbour == pytest.approx(2)
    assert not torch.equal(run.simulation.ensemble.nuclei, built(tmp_path).simulation.ensemble.nuclei)


def test_building_writes_nothing(tmp_path):
    built(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steps=abc"], "steps='abc' must be a whole number"),
        (["steps=1.5"], "steps=1.5 must be a whole number"),
        (["steps=true"], "steps=True must be a whole number"),
        (["steps=null"], "steps=null must be a whole number"),
        (["steps=[1]"], r"steps=\[1\] must be a whole number"),
        (["steps=-1"], "steps=-1"),
        (["batch_size=2.5"], "batch_size=2.5 must be a whole number"),
        (["batch_size=1"], "batch_size=1"),
        (["seed=abc"], "seed='abc' must be a whole number"),
        (["wall_time=abc"], "wall_time='abc' must be a number or null"),
        (["resume=maybe"], "resume='maybe' must be true or false"),
        (["overwrite=1"], "overwrite=1 must be true or false"),
        (["dtype=float16"], r"dtype='float16' must be one of float32, float64"),
        (["device=tpu"], "device='tpu' must be auto, cpu, cuda or cuda:N"),
        (["device=cpu:x"], "device='cpu:x' must be auto"),
        (["device=cuda:99"], "device='cuda:99': torch .* sees .* CUDA device"),
        (["device=null"], "device=null must be text"),
        (["bond_length=abc"], "system.bond_length='abc' must be a number"),
        (["bond_length=-1"], "bond_length=-1 is not a length"),
        (["units=furlong"], "units='furlong' is not a length unit: choose one of bohr, angstrom"),
        (["system.spin=1"], "spin=1 is impossible with 2 electrons: n_up - n_down is one of 0, 2"),
        (["system.charge=2"], "charge=2 leaves 0 electrons"),
        (["system.spin=abc"], "system.spin='abc' must be a whole number"),
        (["+system.foo=1"], "unknown key system.foo: choose among first, second, bond_length"),
        (["+foo=1"], "unknown key foo: this run knows accuracy, ansatz"),
        (["+optimizer.foo=1"], "unknown key optimizer.foo: choose among .*learning_rate"),
        (["+path=a.xyz"], "unknown key path"),
        (["~optimizer"], "optimizer is missing: leave out ~optimizer"),
        (["~steps"], "steps is missing"),
        (["optimizer.learning_rate=abc"], "optimizer.learning_rate='abc' must be a number"),
        (["optimizer.chunk_size=0"], "optimizer.chunk_size=0 must be at least 1"),
        (["optimizer=adam", "optimizer.method=3"], "optimizer.method=3 must be"),
        (["optimizer=adam", "+optimizer.method.foo=3"], "unknown key optimizer.method.foo: choose among params, lr"),
        (["optimizer=adam", "+optimizer.method.betas=3"], "optimizer.method.betas=3 must be a list"),
        (["optimizer=adam", "+optimizer.method.lr=3"], "lr=3: give the rate as learning_rate"),
        (["optimizer=adam", "optimizer.method._target_=torch.optim.LBFGS"], "LBFGS must be a torch optimiser that"),
        (["optimizer=adam", "optimizer.method._target_=torch.optim.Nope"], "torch.optim.Nope' is not part of qmcnet"),
        (["clipping.width=0"], "width=0 must be positive"),
        (["clipping.shape=soft"], "shape='soft' must be one of hard, tanh"),
        (["schedule.decay=linear"], "decay='linear' must be one of annealed, constant, cosine, inverse"),
        (["averaging.weights=some"], "averaging.weights='some' must be one of none, exponential, equal"),
        (["ansatz.hidden_one=1.5"], "ansatz.hidden_one=1.5 must be a whole number"),
        (["ansatz.full_determinants=abc"], "ansatz.full_determinants='abc' must be true or false"),
        (["ansatz.envelope=nope"], "ansatz.envelope='nope' must be one of bottleneck, diagonal, full, isotropic"),
        (["ansatz.n_layers=0"], "n_layers=0 must be between 1 and 1000"),
        (["ansatz._target_=qmcnet.nothing.here"], "ansatz._target_='qmcnet.nothing.here' is not part of qmcnet"),
        (["~ansatz._target_"], "ansatz=.* is not a group with a _target_"),
        (["laplacian.chunk_size=abc"], "laplacian.chunk_size='abc' must be a whole number or null"),
        (["sampler.n_blocks=1.5"], "sampler.n_blocks=1.5 must be a whole number or null"),
        (["burn_in.max_sweeps=null"], "burn_in.max_sweeps=null must be a whole number"),
        (["evaluation.target_error=abc"], "evaluation.target_error='abc' must be a number, auto or null"),
        (["evaluation.target_error=-1"], "evaluation.target_error=-1 must be positive"),
        (["pretraining.method=dft"], "method='dft' must be one of"),
        (["pretraining.method=casscf"], "method='casscf' needs active_electrons and active_orbitals, got None and"),
        (["pretraining.active_orbitals=2.5"], "pretraining.active_orbitals=2.5 must be a whole number or null"),
        (["logging.seconds=abc"], "logging.seconds='abc' must be a number"),
        (["objective.spin_penalty=-1"], "objective.spin_penalty=-1 must be at least 0"),
        (["objective.spin_penalty=abc"], "objective.spin_penalty='abc' must be a number"),
        (["objective=penalty", "objective.strength=-1"], "objective.strength=-1 must be at least 0"),
        (
            ["objective=penalty", "objective.weights=[1]", "states=2"],
            r"weights=\[1\] must be one for each of the 2 sta",
        ),
        (["objective=penalty", "objective.weights=[1,0]", "states=2"], r"weights\[1\]=0 must be positive"),
        (["objective=penalty", "objective.weights=1"], "objective.weights=1 must be a list or null"),
        (["objective=penalty", "ansatz.complex=true"], "objective=penalty needs a real wavefunction"),
        (["states=0"], "states=0|n_states=0"),
        (["states=x"], "n_states='x' must be a whole number"),
        (
            ["observables=[dipole,foo]"],
            "observables='foo' must be one of density, dipole, forces, natural_orbitals, pair, radial",
        ),
        (["observables=dipole"], "observables='dipole' must be a list"),
        (["checkpoints.max_retries=abc"], "checkpoints.max_retries='abc' must be a whole number"),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        built(tmp_path, *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "no system: add .system=NAME with NAME one of .*LiH"),
        (["+system=atom"], "symbol has no value: add symbol=VALUE"),
        (["+system=atom", "symbol=Qq"], "symbol='Qq' is not a supported element"),
        (["+system=atoms"], "system.atoms has no value: add system.atoms=VALUE"),
        (["+system=atoms", "system.atoms=3"], "system.atoms=3 must be a list"),
        (["+system=atoms", "system.atoms=[[H,0,0]]"], r"write \[symbol, x, y, z\]"),
        (["+system=atoms", "system.atoms=[[H,0,0,0],[H,0,0,0]]"], "0 bohr apart.*move or remove one"),
        (["+system=xyz"], "path has no value: add path=VALUE"),
        (["+system=xyz", "path=missing.xyz"], "path='missing.xyz' cannot be read: No such file"),
        (["+system=xyz", "path=3"], "system.path=3 must be text or a path"),
    ],
)
def test_a_bad_system_is_refused_in_one_line_that_names_it(overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        build(composed(*TINY, *overrides), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_malformed_xyz_file_is_refused(tmp_path):
    path = tmp_path / "bad.xyz"
    path.write_text("3\n\nO 0 0 0\nH 0 0 1\n")
    with pytest.raises(ConfigError, match="line 1 says 3 atoms and 2 lines follow"):
        build(composed(*TINY, "+system=xyz", f"path={path}"), tmp_path)


def test_whole_numbers_pass_as_numbers_and_arguments_of_any_name_pass_where_they_may():
    def constructor(rate: float, size: int | None, rows: tuple[int, ...] = (), free=1, **rest: int):
        raise AssertionError

    check_arguments(constructor, {"rate": 1, "size": None, "rows": [1], "free": "a", "other": "b"})
    for bad in ({"rate": True}, {"size": "1"}, {"rows": "12"}, {"rate": None}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            check_arguments(constructor, bad)


def test_scalars_of_the_configuration_are_arguments_of_a_run():
    assert set(SCALARS) <= set(inspect.signature(VMC).parameters)


def test_a_trained_run_loads_with_its_wavefunction(tmp_path):
    run = built(
        tmp_path, "dtype=float64", "steps=2", "evaluation.steps=3", "burn_in.min_sweeps=2", "burn_in.max_sweeps=2"
    )
    start = [parameter.clone() for parameter in run.ansatz.parameters()]
    run.train()
    loaded = load(tmp_path, device="cpu")
    points = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.simulation.ensemble(points)[1], run.simulation.ensemble(points)[1])
    assert torch.equal(loaded.simulation.walkers.positions, run.simulation.walkers.positions)
    assert any(not torch.equal(a, b) for a, b in zip(start, loaded.ansatz.parameters(), strict=True))


def test_loading_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryError, match="holds no run"):
        load(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(built(tmp_path).config))
    with pytest.raises(RunDirectoryError, match="holds no usable checkpoint"):
        load(tmp_path)
