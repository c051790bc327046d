import hashlib
import json
import re
import shutil
from importlib.resources import files

import pages
import pytest
import yaml

from qmcnet.report.page.render import page
from qmcnet.run import report
from qmcnet.run.record import read_record
from qmcnet.run.report import report_at_end

LARGEST = 0.7e6
PUBLISHED = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"  # build/3Dmol-min.js of 3dmol 2.5.5
TITLES = ("Energy", "System", "Expectation values", "Diffusion Monte Carlo", "Learning curve", "Diagnostics", "Time")
TITLES += ("Settings", "Made by", "How to cite")
LOADING = ("src", "srcset", "href", "xlink:href", "action", "data", "poster", "formaction", "background")


def page_of(*directories):
    return page([read_record(directory) for directory in directories])


@pytest.fixture(scope="module")
def molecule(uninterrupted, tmp_path_factory):
    directory = pages.molecular(tmp_path_factory.mktemp("molecule") / "H2O", uninterrupted)
    for name in ("timesteps=0.02,0.01", "timesteps=0.02-0.01"):
        pages.diffused(directory, name)
    return directory


@pytest.fixture(scope="module")
def written(molecule):
    return page_of(molecule)


def test_a_page_says_all_that_is_known_of_a_run(written, molecule):
    text = pages.Page(written).text
    assert [title for title in TITLES if title not in text] == []
    content = json.loads((molecule / "result.json").read_text())
    assert f"{content['energy']:.6f} +- {content['standard_error']:.6f} hartree" in text
    assert "H2O: charge 0, spin 0, 10 electrons" in text
    assert "1.430000" in text  # bohr
    assert "0.756723" in text  # angstrom
    assert "the energy is not stationary at timesteps=0.02" in text
    assert "timestep 0.02: it drifts" in text
    assert content["versions"]["torch"] in text
    assert "doi:10.1103/PhysRevResearch.2.033429" in text


def test_a_page_is_whole_in_itself(written):
    assert len(written.encode()) < LARGEST
    found = pages.Page(written)
    inside = [value for value in found.values(*LOADING) if not value.startswith("#") and value != "data:,"]
    assert inside == []
    assert not {"iframe", "object", "embed", "base", "form"} & {*found.tags}
    assert [url for url in re.findall(r"url\(([^)]*)\)", written) if not url.startswith("#")] == []
    assert "@import" not in written
    (policy,) = [value for value in found.values("content") if value.startswith("default-src")]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline'; script" not in policy.partition("script-src")[2]


def test_what_draws_molecules_is_as_it_was_published():
    content = files("qmcnet.report.page").joinpath("templates", "3Dmol-min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == PUBLISHED


def test_figures_have_names_and_do_not_share_the_names_of_their_parts(written):
    figures = re.findall(r"<svg.*?</svg>", written, re.DOTALL)
    assert len(figures) >= 3
    names = [re.search(r"<title id=\"[^\"]+\">([^<]+)</title>", figure)[1] for figure in figures]
    assert all('role="img"' in figure for figure in figures)
    assert len({*names}) == len(figures)
    ids = pages.Page(written).values("id")
    assert len({*ids}) == len(ids)
    assert "#010203" not in written


def test_nothing_of_a_directory_becomes_code(uninterrupted, tmp_path):
    directory = tmp_path / pages.HOSTILE.replace("/", "_")
    pages.molecular(directory, uninterrupted)
    config = yaml.safe_load((directory / "config.yaml").read_text())
    config["ansatz"] |= {"_target_": pages.HOSTILE, pages.HOSTILE: pages.HOSTILE}
    config["init_from"] = pages.HOSTILE
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    (directory / ".hydra").mkdir()
    (directory / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"+system={pages.HOSTILE}"]))
    (directory / "train.log").write_text(f"[now] WARNING {pages.HOSTILE}\n[now] ERROR error: {pages.HOSTILE}\n")
    content = json.loads((directory / "result.json").read_text())
    content |= {"warnings": [pages.HOSTILE], "formula": pages.HOSTILE, "processor": pages.HOSTILE}
    content["versions"] = {pages.HOSTILE: pages.HOSTILE}
    content["reference"] |= {"source": pages.HOSTILE, "kind": pages.HOSTILE}
    content["states"] = [{**content["states"][0], "multiplicity": pages.HOSTILE} for _ in range(2)]
    content["states"][1]["radial"] = content["states"][0]["radial"] = {
        f"{pages.HOSTILE} {place}": {"value": 1.0, "error": 0.1} for place in (0.1, 0.2)
    }
    (directory / "result.json").write_text(json.dumps(content))
    other = shutil.copytree(directory, tmp_path / (directory.name + "2"))
    (other / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"+system={pages.HOSTILE}", "seed=1"]))
    for text, scripts in ((page_of(directory), 2), (page_of(directory, other), 2)):
        found = pages.Page(text)
        assert found.tags.count("script") == scripts
        assert [name for _, name, _ in found.attributes if name.startswith("on")] == []
        assert "img" not in found.tags
        assert "<script>alert(1)</script>" in found.text
        assert not any("alert" in script for script in found.scripts)
        assert "49" not in re.findall(r"\$x_\{\$ (\S+)", found.text)
        assert "cannot be read" not in found.text


@pytest.mark.parametrize("kind", ["two_states/finished", "complex/optimization", "kfac/pretraining", "penalty/burn_in"])
def test_runs_of_all_ages_have_a_page(kind):
    text = pages.Page(page_of(pages.GOLDEN / kind)).text
    assert "cannot be read" not in text
    assert ("no estimate: too short" if kind.endswith("finished") else "status interrupted") in text
    assert ("Level diagram" in text) == ("Energies of the states" in text)
    assert ("Learning curve" in text) == kind.endswith(("finished", "optimization"))


def test_a_run_that_failed_says_why(finished):
    (finished / "result.json").unlink()
    (finished / "train.log").write_text("[now] WARNING step 3 is not finite\n[now] ERROR error: the energy is lost\n")
    text = pages.Page(page_of(finished)).text
    assert "failed: the energy is lost" in text
    assert "step 3 is not finite" in text


@pytest.mark.parametrize("junk", [b"", b"\0\xff\n", b"[1, 2]", b"{}", b"step,energy,variance\n1,x,nan\n2,nan,-1\n"])
def test_damaged_files_leave_the_rest_of_a_page(finished, junk):
    paths = [path for path in finished.rglob("*") if path.suffix in (".json", ".csv", ".pt", ".log")]
    for path in [*paths, finished / ".hydra" / "overrides.yaml", finished / "density.cube"]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(junk)
    text = pages.Page(page_of(finished)).text
    assert "He: charge 0, spin 0" in text
    assert ("Distributions" in text) == ("What the run directory holds of this cannot be read (ValueError)" in text)


@pytest.mark.parametrize("value", ["1", None, [], {}, 1e400, True])
def test_a_result_of_other_types_leaves_the_rest_of_a_page(finished, value):
    content = json.loads((finished / "result.json").read_text())
    kept = ("geometry", "trained_steps", "evaluation_steps")
    strange = {name: value for name in content if name not in kept}
    (finished / "result.json").write_text(json.dumps(content | strange))
    assert "He: charge 0, spin 0" in pages.Page(page_of(finished)).text


def test_runs_side_by_side(finished, molecule, tmp_path):
    failed = shutil.copytree(finished, tmp_path / "failed")
    (failed / "result.json").unlink()
    (failed / "train.log").write_text("[now] ERROR error: the energy is lost\n")
    found = pages.Page(page_of(finished, molecule, failed))
    assert "3 runs" in found.text
    assert found.text.count("failed: the energy is lost") == 2
    assert found.tags.count("details") == 3
    assert found.values("data-xyz") == []  # they are not of one molecule


def test_a_report_that_fails_is_one_line_and_no_error(finished, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a\nb")

    before = sorted(finished.rglob("*"))
    monkeypatch.setattr(report, "read_record", fail)
    report_at_end([finished], finished)
    assert [record.getMessage() for record in caplog.records] == ["no report: RuntimeError a b"]
    assert sorted(finished.rglob("*")) == before


def test_reading_changes_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}
    page_of(finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"} == before
