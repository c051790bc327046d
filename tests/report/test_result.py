import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from qmcnet import EvaluationSettings, Molecule, Result
from qmcnet.report.origin import geometry, versions
from qmcnet.run.conclusion import conclude
from qmcnet.run.interruption import Interruption
from qmcnet.stages.evaluation import Evaluation
from qmcnet.system.units import BOHR_PER_ANGSTROM

PROMISED = {"energy", "standard_error", "tau", "r_hat", "n_effective", "variance", "outlier_share", "wall_seconds"}
PROMISED |= {"geometry", "seed", "versions", "device", "precision", "config_hash"}


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def same(first, second):
    """Equality with NaN equal to NaN."""
    return repr(first) == repr(second)


def test_a_finished_run_has_every_promised_figure(uninterrupted):
    content = strict(uninterrupted / "result.json")
    assert content.keys() >= PROMISED
    assert all(content[name] is not None for name in PROMISED)
    assert content["geometry"].keys() == {"symbols", "bohr", "angstrom"}
    assert (content["device"], content["precision"], content["seed"]) == ("cpu", "float64", 0)
    assert torch.__version__.startswith(content["versions"]["torch"])  # wheels of an index may lack the local part
    assert content["wall_seconds"] > 0
    assert content["stationary"] is True
    assert content["reference"]["energy"] == pytest.approx(-2.9037243770)


def test_what_is_written_is_read(uninterrupted, tmp_path):
    result = Result.read(uninterrupted / "result.json")
    result.write(tmp_path / "copy.json")
    assert Result.read(tmp_path / "copy.json") == result
    assert (tmp_path / "copy.json").read_text() == (uninterrupted / "result.json").read_text()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_unknown_figures_are_null_and_come_back_as_nan(uninterrupted, tmp_path, value):
    path = tmp_path / "result.json"
    names = ("tau", "r_hat", "n_effective", "variance", "outlier_share")
    result = dataclasses.replace(
        Result.read(uninterrupted / "result.json"), energy=None, standard_error=None, **dict.fromkeys(names, value)
    )
    result.write(path)
    content = strict(path)
    assert all(content[name] is None for name in ("energy", "standard_error", *names))
    read = Result.read(path)
    assert (read.energy, read.standard_error) == (None, None)
    assert all(math.isnan(getattr(read, name)) for name in names)


def test_a_series_too_short_for_r_hat_is_still_strict_json(tmp_path, make_run):
    result = make_run(tmp_path, evaluation=EvaluationSettings(steps=2, min_steps=1, burn_in=0)).train()
    assert result.energy is None
    assert math.isnan(result.r_hat)
    assert strict(tmp_path / "result.json")["r_hat"] is None
    assert same(Result.read(tmp_path / "result.json"), result)


def test_geometry_is_given_in_both_units():
    molecule = Molecule.from_atoms([["H", 0, 0, 0], ["H", 0, 0, 0.74]], units="angstrom")
    found = geometry(molecule)
    assert found["symbols"] == ["H", "H"]
    assert found["angstrom"][1] == pytest.approx([0, 0, 0.74])
    assert found["bohr"][1] == pytest.approx([0, 0, 0.74 * BOHR_PER_ANGSTROM])


def test_versions_name_what_the_numbers_depend_on():
    assert versions().keys() == {"python", "qmcnet", "torch", "numpy", "pyscf"}
    assert versions()["numpy"] == np.__version__


@pytest.fixture
def result_of(tmp_path, make_run):
    """The result of a run whose evaluation has local energies (T, B)."""

    def concluded(series):
        run = make_run(tmp_path, seed=4)
        evaluation, driver = (
            Evaluation(run.simulation, EvaluationSettings(steps=200)),
            run.driver(tmp_path, Interruption(None)),
        )
        for energies in series:
            local = {"energy": energies, "kinetic": energies, "overlap": torch.ones_like(energies)}
            evaluation.averages.add({name: values[:, None, None, None] for name, values in local.items()})
        driver.made = {"burn_in": 3, "optimization": 11}
        findings = {"burn_in": {}, "optimization": {"a": 1}, "evaluation": evaluation.conclude(tmp_path)}
        return conclude(findings, driver, run.molecule, run.config)

    return concluded


def test_figures_of_a_known_series(result_of):
    noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = (noise - noise.mean()) / noise.std()
    noise[7, 3] = 400.0
    result = result_of(-2.9 + 0.1 * noise)
    expected = -2.9 + 0.1 * noise.mean().item()
    assert result.energy == pytest.approx(expected)
    assert result.error_from_reference == pytest.approx(expected - -2.9037243770341195)
    assert result.outlier_share == pytest.approx(1 / 3200)
    assert (result.evaluation_steps, result.discarded_steps, result.trained_steps) == (200, 0, 11)
    assert (result.metadata["seed"], result.metadata["optimization"]) == (4, {"a": 1})
    assert "burn_in" not in result.metadata
    assert f"energy           {expected:.6f} +-" in result.summary()
    assert "mHa (exact; Schwartz" in result.summary()


def test_a_drifting_series_is_no_estimate(result_of):
    drift = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None]
    noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = result_of(drift + 0.1 * noise)
    assert (result.energy, result.standard_error, result.stationary) == (None, None, False)
    assert "drift" in result.reason
    assert result.error_from_reference is None
    assert result.summary().startswith("no estimate: the evaluation is not stationary (")


def test_non_finite_energies_are_reported(result_of):
    noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise[5:8, 2] = math.nan
    noise[9, 4] = math.inf
    result = result_of(noise)
    assert result.nonfinite == 4
    assert result.energy == pytest.approx(noise[noise.isfinite()].mean().item())
    assert "4 local energies were not finite" in result.summary()


@pytest.fixture
def several(uninterrupted):
    """A result of two states."""
    plain = Result.read(uninterrupted / "result.json")
    state = plain.states[0]
    upper = state | {
        "energy": {"value": -2.1, "error": 1e-3},
        "excitation_ev": {"value": 20.0, "error": 0.1},
        "excitation_wavenumber": {"value": 161311.0, "error": 800.0},
        "wavelength_nm": {"value": 62.0, "error": 0.3},
        "multiplicity": "triplet",
    }
    return dataclasses.replace(
        plain, states=[state, upper], warnings=["two states are close"], overlaps=[[1.0, 0.25], [0.25, 1.0]]
    )


def test_several_states_are_a_table_with_overlaps_and_warnings(several):
    lines = several.summary().splitlines()
    (header,) = [i for i, line in enumerate(lines) if line.startswith("state ")]
    assert lines[header + 2].split()[:3] == ["1", "-2.10000(100)", "20.000(100)"]
    assert lines[header + 3 :] == [
        "overlaps         1.000  0.250",
        "                 0.250  1.000",
        "warning: two states are close",
    ]


def test_storing_several_states_draws_their_levels(several, uninterrupted, tmp_path):
    several.store(tmp_path)
    assert Result.read(tmp_path / "result.json") == several
    assert (tmp_path / "spectrum.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "single").mkdir()
    Result.read(uninterrupted / "result.json").store(tmp_path / "single")
    assert [path.name for path in (tmp_path / "single").iterdir()] == ["result.json"]


def test_the_result_of_a_shorter_run_gets_a_name_of_its_own(several, tmp_path):
    several.store(tmp_path)
    dataclasses.replace(several, trained_steps=9).store(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["result-00000005-000016.json", "result.json"]
    assert Result.read(tmp_path / "result.json").trained_steps == 9
