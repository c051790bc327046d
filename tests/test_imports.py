"""Which part of the package may import which, and how long its files and functions may be."""

import ast
import re
from pathlib import Path

import pytest

import qmcnet

PACKAGE = Path(qmcnet.__file__).parent
CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
FLOORS = {room: int(floor) for floor, room in re.findall(r"^\| (\d) \| `(\w+)` \|", CONTRIBUTING, re.MULTILINE)}
FLOORS |= {"__init__": 9, "__main__": 9}
STRANGERS = {"ansatz", "operators", "sampling", "statistics"}
ONLY_IN = {
    "pyscf": {"chemistry", "system"},  # of system the reader of core potentials
    "ase": {"system", "ase"},
    "hydra": {"config", "cli"},
    "omegaconf": {"config", "cli"},
}
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAXIMUM_FILE, MAXIMUM_FUNCTION = 300, 60


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree):
    """Return the full names of all modules imported anywhere in a file."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = "." * node.level + (node.module or "")
            names += [f"{parent}.{alias.name}" for alias in node.names] if parent == "qmcnet" else [parent]
    return names


def forbidden(here, name):
    """Say why a room may not import a module; None if it may."""
    top, *rest = name.split(".")
    if not top:
        return "relative import"
    if here not in ONLY_IN.get(top, {here}):
        return f"{top} belongs to {sorted(ONLY_IN[top])}"
    if top != "qmcnet":
        return None
    there = rest[0] if rest else "__init__"
    if there == here:
        return None
    if there not in FLOORS:
        return "imports from the root of the package"
    if {here, there} <= STRANGERS:
        return "strangers"
    return "points up" if FLOORS[there] > FLOORS[here] else None


def at_once(node):
    """Return what is imported as soon as a file is: nothing of functions, nor for types alone."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return []
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return [name for other in node.orelse for name in at_once(other)]
    here = imported(node) if isinstance(node, ast.Import | ast.ImportFrom) else []
    return here + [name for child in ast.iter_child_nodes(node) for name in at_once(child)]


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse(path.read_text()) for path in SOURCES}


def test_imports_point_down(trees):
    reasons = {(path, name): forbidden(room(path), name) for path, tree in trees.items() for name in imported(tree)}
    assert {place: reason for place, reason in reasons.items() if reason} == {}


def test_no_two_rooms_import_one_another(trees):
    edges = {
        (room(path), name.split(".")[1]) for path, tree in trees.items() for name in imported(tree) if "qmcnet." in name
    }
    assert [(a, b) for a, b in edges if a < b and (b, a) in edges] == []


def test_pyscf_is_left_for_later(trees):
    early = [(path, name) for path, tree in trees.items() for name in at_once(tree)]
    assert [(path, name) for path, name in early if name.split(".")[0] == "pyscf"] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pyscf.gto", ["pyscf.gto"]),
        ("if True:\n    from pyscf import gto", ["pyscf"]),
        ("class A:\n    import pyscf", ["pyscf"]),
        ("if TYPE_CHECKING:\n    import pyscf\nelse:\n    import ase", ["ase"]),
        ("def f():\n    from pyscf import gto", []),
    ],
)
def test_the_check_tells_imports_that_are_left_for_later(text, found):
    assert at_once(ast.parse(text)) == found


def test_files_and_functions_are_short(trees):
    files = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in files.items() if length > MAXIMUM_FILE} == {}
    nodes = [(path, node) for path, tree in trees.items() for node in functions(tree)]
    lengths = {(path, node.name): node.end_lineno - node.lineno + 1 for path, node in nodes}
    assert {place: length for place, length in lengths.items() if length > MAXIMUM_FUNCTION} == {}


def test_every_room_has_a_floor():
    assert {room(path) for path in SOURCES} == set(FLOORS)


def test_no_module_is_called_utils():
    assert not [path for path in SOURCES if "util" in path.stem or "helper" in path.stem]


@pytest.mark.parametrize(
    ("here", "statement", "allowed"),
    [
        ("ansatz", "from qmcnet.laplacian import track", True),
        ("ansatz", "from qmcnet.ansatz.features import features", True),
        ("ansatz", "import torch", True),
        ("chemistry", "import pyscf.gto", True),
        ("chemistry", "from qmcnet.system.molecule import Molecule", True),
        ("states", "from qmcnet.optimizers import Clipping", True),
        ("cli", "def f():\n    from omegaconf import OmegaConf", True),
        ("stages", "from qmcnet.sampling.walkers import Walkers", True),
        ("ansatz", "from qmcnet.sampling.walkers import Walkers", False),
        ("operators", "import qmcnet.ansatz.ferminet", False),
        ("operators", "from qmcnet import ansatz", False),
        ("sampling", "def f():\n    from qmcnet.operators import LocalEnergy", False),
        ("optimizers", "from qmcnet.run.vmc import VMC", False),
        ("report", "from qmcnet.run import directory", False),
        ("laplacian", "from qmcnet.ansatz import FermiNet", False),
        ("system", "import qmcnet", False),
        ("system", "from qmcnet import Molecule", False),
        ("report", "from pyscf import gto", False),
        ("run", "from hydra.utils import instantiate", False),
        ("run", "import omegaconf", False),
        ("ansatz", "from . import features", False),
        ("ansatz", "from .features import features", False),
    ],
)
def test_the_check_tells_good_imports_from_bad(here, statement, allowed):
    assert (not any(forbidden(here, name) for name in imported(ast.parse(statement)))) == allowed
