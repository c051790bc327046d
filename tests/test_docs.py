"""The site, without building it: pages made of the code leave nothing out, and the written ones are all reached."""

import re
import sys
from pathlib import Path

import pytest

import qmcnet
from qmcnet.config.naming import config_directory, systems

DOCS = Path(__file__).parents[1] / "docs"
PACKAGE = Path(qmcnet.__file__).parent


@pytest.fixture(scope="module")
def pages():
    """The pages that are made of the code, by name."""
    sys.path.insert(0, str(DOCS / "_extensions"))
    try:
        import generated
    finally:
        sys.path.remove(str(DOCS / "_extensions"))
    return {name: make() for name, make in generated.PAGES.items()}


def rows(text):
    """Cells of the rows of all tables, by what the first is."""
    return {
        first: [cell.strip() for cell in rest.split(" | ")]
        for first, rest in re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    }


def choices(group):
    return sorted((config_directory() / group).glob("*.yaml"))


def keys(path):
    """Keys of a file as it stands, those of a mapping inside included."""
    found, inside = [], ""
    for indent, key in re.findall(r"^(  )?(\w+):", path.read_text(), re.MULTILINE):
        inside = inside if indent else key
        found.append(f"{inside}.{key}" if indent else key)
    return [key for key in found if not re.match(r"defaults|hydra|_\w+_$|.*_partial_$", key)]


def test_every_public_name_is_documented(pages):
    documented = set(re.findall(r"^\.\. auto(?:class|function):: qmcnet\.(\w+)$", pages["python"], re.MULTILINE))
    assert documented == set(qmcnet.__all__)


def test_every_key_is_documented_with_a_meaning_or_the_allowed_values(pages):
    known = rows(pages["settings"])
    expected = {
        key for name in ("config", "evaluate", "dmc", "relax") for key in keys(config_directory() / f"{name}.yaml")
    }
    for folder in sorted(config_directory().iterdir()):
        if folder.is_dir() and folder.name not in ("hydra", "preset", "system"):
            prefix = {"equilibration": "burn_in"}.get(folder.name, folder.name)
            expected |= {f"{prefix}.{key}" for path in choices(folder.name) for key in keys(path)}
    expected -= {"optimizer.method", "optimizer.method.adam_debias"}  # what a class of torch takes is told by torch
    assert len(expected) > 90
    assert sorted(expected - known.keys()) == []
    assert [key for key in expected if not known[key][-1] and ", " not in known[key][1]] == []


def test_every_choice_is_documented(pages):
    groups = [folder.name for folder in config_directory().iterdir() if folder.is_dir() and folder.name != "hydra"]
    named = {path.stem for group in [*groups, "hydra/launcher"] for path in choices(group)}
    assert named > {*systems(), "quick", "slurm"}
    assert sorted(named - rows(pages["settings"]).keys()) == []


def test_allowed_values_and_units_are_those_of_the_code(pages):
    known = rows(pages["settings"])
    assert known["averaging.weights"][1] == "none, exponential, equal"
    assert known["ansatz.envelope"][1] == "isotropic, diagonal, full, bottleneck, sto, null"
    assert known["optimizer.momentum"][1] == "a number, at least 0 and less than 1 or null"
    assert known["objective.strength"][2] == "hartree"


def test_the_messages_are_those_of_the_code(pages):
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    raised = [text for source in sources for text in re.findall(r'raise \w*Error\("([^"]{20,})"\)', source)]
    plain = pages["messages"].replace("\\", "")
    assert len(raised) > 10
    assert [text for text in raised if text not in plain] == []


def test_every_page_is_in_the_contents():
    contents = re.findall(r"^(?:reference/)?([\w-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    written = {path.stem for path in DOCS.glob("*.md")} | {path.stem for path in DOCS.glob("*.ipynb")}
    assert written - {"index"} <= set(contents)


def test_pages_with_cells_assert_what_they_find():
    executed = [path for path in DOCS.glob("*.md") if "{code-cell}" in path.read_text() and path.stem != "choosing"]
    assert len(executed) >= 6
    for path in (*executed, DOCS / "helium.ipynb"):
        assert "assert " in path.read_text(), path.name
