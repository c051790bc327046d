"""The commands that write reports and figures, and the reports that others end with."""

import pytest


@pytest.fixture(scope="module")
def reporting(command_line):
    """The command line, with the reports that it ends with."""
    return type(command_line)(command_line.folder, command_line.fork, reports=True)


@pytest.fixture(scope="module")
def trained(reporting):
    status, output, errors = reporting.train("steps=2", "hydra.run.dir=run")
    assert status == 0, output + errors
    assert output.splitlines()[-1].endswith("run/report.html")
    return reporting.folder / "run"


def test_a_run_ends_with_its_report_which_is_renewed_by_what_is_done_with_it(reporting, trained):
    text = (trained / "report.html").read_text()
    assert "qmcnet-train +system=H2 ansatz.n_layers=1" in text
    assert "H2: charge 0, spin 0" in text
    assert "Diffusion Monte Carlo" not in text
    (trained / "report.html").unlink()
    typed = ["dmc", "run=run", "timesteps=[0.03]", "target_error=null", "steps=40", "device=cpu"]
    status, output, errors = reporting.run(*typed)
    assert status == 0, output + errors
    assert "Diffusion Monte Carlo" in (trained / "report.html").read_text()


def test_a_report_that_cannot_be_written_spoils_nothing(reporting):
    (reporting.folder / "spoilt" / "report.html" / "taken").mkdir(parents=True)
    status, output, errors = reporting.train("steps=1", "hydra.run.dir=spoilt")
    assert status == 0, output + errors
    (line,) = [line for line in output.splitlines() if "no report" in line]
    assert "Is a directory" in line
    assert "Traceback" not in output + errors


def test_a_run_that_fails_ends_with_a_report_that_says_why(reporting):
    failing = ["optimizer=adam", "optimizer.learning_rate=1e30", "checkpoints.max_retries=0"]
    status, output, errors = reporting.train("steps=20", "hydra.run.dir=lost", *failing)
    assert status == 1, output + errors
    text = (reporting.folder / "lost" / "report.html").read_text()
    assert "failed: optimization step" in text
    assert "bad numbers at optimization step" in text
    (reporting.folder / "lost" / "report.html").unlink()
    assert reporting.run("report", "lost")[0] == 0
    assert "failed: optimization step" in (reporting.folder / "lost" / "report.html").read_text()


def test_a_sweep_ends_with_a_report_of_all_points(reporting):
    status, output, errors = reporting.train("steps=1", "bond_length=1.3,-1", "hydra.sweep.dir=swept", "-m")
    assert status == 1, output + errors
    (path,) = (reporting.folder / "swept").glob("sweep_*/report.html")
    assert "failed: bond_length=-1 is not a length" in path.read_text()


def test_a_relaxation_ends_with_a_report_of_its_structure_and_of_its_points(reporting):
    small = [setting for setting in reporting.settings if not setting.startswith(("ansatz.", "evaluation.steps"))]
    short = ["ansatz=slater_jastrow", "steps=2", "relaxation.evaluation_steps=30", "relaxation.force_error=9"]
    status, output, errors = reporting.run(
        "relax", *small, *short, "max_force=0.9", "geometries=1", "hydra.run.dir=relaxed"
    )
    assert status == 0, output + errors
    folder = reporting.folder / "relaxed"
    made = (folder / "report.html").read_text()
    for text in ("Relaxation: relaxed", "bond H1-H2", "Side by side", ">000<"):
        assert text in made
    (folder / "relaxation.json").write_text("{}")
    assert reporting.run("report", "relaxed")[0] == 0
    damaged = (folder / "report.html").read_text()
    assert "cannot be read" in damaged
    assert ">000<" in damaged
    assert "bond H1-H2" not in damaged


def test_pages_and_figures_are_made_from_run_directories_alone(reporting, trained):
    status, output, errors = reporting.run("report", "run", "run", "--output", "page.html")
    assert (status, output.strip()) == (0, "page.html"), errors
    assert "Learning curve" in (reporting.folder / "page.html").read_text()
    status, output, errors = reporting.run("plot", "run")
    assert (status, output.strip()) == (0, "run/energy.svg"), errors
    assert (trained / "energy.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["report", "nowhere"], "error: nowhere is no directory"),
        (["report", "run/checkpoints"], "error: there is no run in run/checkpoints"),
        (["report", "run", "--output", "nowhere/page.html"], "error: nowhere is no directory"),
        (["plot", "run", "--what", "spectrum"], "error: run has no spectrum: states=3 asks for three states"),
        (["plot", "run", "--output", "page.html"], "error: --output page.html must end in one of .svg, .png, .pdf"),
        (["plot", "run", "--what", "orbitals"], "invalid choice: 'orbitals'"),
    ],
)
def test_what_cannot_be_made_is_one_clear_line(reporting, trained, typed, message):
    status, output, errors = reporting.run(*typed)
    assert status in (1, 2)
    assert message in output + errors
    assert "Traceback" not in output + errors
