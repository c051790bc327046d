import dataclasses
import json
import shutil

import numpy as np
import pages
import pytest
import torch

from qmcnet import Molecule, Result
from qmcnet.operators.density import DensityGrid
from qmcnet.report.density_figure import Cube
from qmcnet.report.diffused import Diffused
from qmcnet.report.drawing import column
from qmcnet.report.plots import PLOTS, NotMeasured, plot
from qmcnet.run.record import read_record

BEGINNINGS = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}


@pytest.fixture(scope="module")
def excited(uninterrupted, tmp_path_factory):
    directory = shutil.copytree(uninterrupted, tmp_path_factory.mktemp("excited") / "run")
    pages.excited(directory)
    return directory


@pytest.mark.parametrize(("what", "kind"), list(zip(PLOTS, [*BEGINNINGS, ".svg"], strict=True)))
def test_what_was_measured_is_drawn(what, kind, excited, tmp_path):
    path = tmp_path / f"figure{kind}"
    plot([read_record(excited)], what, path)
    assert path.read_bytes().startswith(BEGINNINGS[kind])


def test_several_runs_are_told_apart_in_one_figure(uninterrupted, tmp_path):
    for seed in (1, 2):
        folder = shutil.copytree(uninterrupted, tmp_path / f"run{seed}")
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(f"- +system=He\n- seed={seed}\n- name=a$b{seed}_$\n")
    plot([read_record(tmp_path / f"run{seed}") for seed in (1, 2)], "energy", tmp_path / "energy.svg")
    text = (tmp_path / "energy.svg").read_text()
    assert "<!-- seed=1, name=a$b1_$ -->" in text.replace("\\$", "$")
    assert "seed=2" in text


def test_what_was_not_measured_is_said_in_one_line(uninterrupted, tmp_path):
    record = read_record(uninterrupted)
    for what, line in {
        "spectrum": "has no spectrum: states=3 asks for three states",
        "pair": r"has not measured it: qmcnet-evaluate run=.* observables=\[pair\] does",
        "density": r"has not measured it: qmcnet-evaluate run=.* observables=\[density\] does",
    }.items():
        with pytest.raises(NotMeasured, match=line):
            plot([record], what, tmp_path / "figure.svg")
    with pytest.raises(NotMeasured, match="is of a single run, and there are 2"):
        plot([record] * 2, "pair", tmp_path / "figure.svg")
    with pytest.raises(NotMeasured, match="has made no optimisation step"):
        plot([read_record(pages.GOLDEN / "kfac" / "pretraining")], "energy", tmp_path / "figure.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_column_is_averaged_in_stretches_of_equal_lengths():
    steps = np.arange(1.0, 8.0)
    table = {"step": steps, "energy": np.where(steps == 4, np.nan, 10 * steps)}
    places, values = column(table, "energy", 4)
    np.testing.assert_allclose(places, [1.5, 4, 6.5])
    np.testing.assert_allclose(values, 10 * places)
    places, values = column({"step": steps, "energy": steps}, "energy", 4)
    np.testing.assert_allclose(values, [1, 2.5, 4.5, 6.5])
    assert column({"step": steps, "energy": steps * np.nan}, "energy", 4)[1].size == 0


def test_a_cube_file_is_read_as_it_was_written(tmp_path):
    molecule = Molecule.diatomic("Li", "H", 3.0, "bohr")
    grid = DensityGrid.around(molecule, spacing=1.0, margin=2.0)
    density = torch.rand(grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid.write_cube(tmp_path / "a.cube", molecule, density, "counted")
    cube = Cube.read(tmp_path / "a.cube")
    np.testing.assert_allclose(cube.values, density.numpy(), rtol=1e-5)
    np.testing.assert_allclose(cube.origin, grid.origin, atol=1e-6)
    np.testing.assert_allclose(cube.nuclei, molecule.coordinates, atol=1e-6)
    np.testing.assert_allclose(cube.spacing, 1.0)


@pytest.mark.parametrize("text", ["", "a\nb\n1 0 0 0\n", "a\nb\n0 0 0 0\n99999999 1 0 0\n9 0 1 0\n9 0 0 1\n"])
def test_a_file_that_is_no_cube_is_named(text, tmp_path):
    (tmp_path / "a.cube").write_text(text)
    with pytest.raises(ValueError, match="is damaged: it is no cube file"):
        Cube.read(tmp_path / "a.cube")


def test_what_diffusion_measured_is_written_and_read(tmp_path):
    found, path = pages.diffused(tmp_path)
    assert json.loads(path.read_text())["observables"]["spin"]["s_squared"]["mixed"] == {"value": 0.5, "error": 0.1}
    again = Diffused.read(path)
    assert again.summary() == found.summary()
    assert "no estimate      the energy is not stationary at timesteps=0.02" in again.summary()
    assert "-2.900000" not in again.summary()  # what drifts extrapolates to nothing
    settled = dataclasses.replace(again, points=[{**point, "stationary": True} for point in again.points])
    assert "energy           -2.900000 +- 0.002000 hartree, by a line" in settled.summary()
    assert "spin s_squared   mixed 0.5000(1000)" in settled.summary()
    assert "warning: 2 time steps do not tell whether a line holds" in settled.summary()


def test_results_and_runs_are_small_tables_in_notebooks(excited, tmp_path, make_run):
    result = Result.read(excited / "result.json")
    result.warnings.append(pages.HOSTILE)
    shown = {"result": result, "spectrum": result.spectrum, "diffused": pages.diffused(tmp_path / "dmc")[0]}
    shown |= {"run": make_run(excited), "new": make_run(tmp_path / "new")}
    for name, each in shown.items():
        html = each._repr_html_()
        found = pages.Page(html)
        assert {*found.tags} <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}, name
        assert len(html) < 10_000
        assert len(found.text) > 30
    assert f"{result.energy:.6f}" in pages.Page(result._repr_html_()).text
    assert "<script>alert(1)</script>" in pages.Page(result._repr_html_()).text
    assert "triplet" in pages.Page(result.spectrum._repr_html_()).text
    assert str(result.spectrum) in result.summary()
    assert "missing" in pages.Page(shown["new"]._repr_html_()).text


def test_a_run_writes_its_report_from_python(finished, make_run):
    assert make_run(finished).report() == finished / "report.html"
    assert "Learning curve" in (finished / "report.html").read_text()
