"""Pages that are made of the code, so that nothing is left out: settings, public names and messages."""

import importlib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import settings as known
from messages import messages

import qmcnet
from qmcnet.config.naming import config_directory
from qmcnet.geometry.relax import relax
from qmcnet.run.identity import flatten
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.evaluation_settings import EvaluationSettings

if TYPE_CHECKING:
    from sphinx.application import Sphinx  # which tests of the pages do without

ROOMS = {
    "run": "Runs and results",
    "config": "Runs and results",
    "report": "Runs and results",
    "compute": "Runs and results",
    "system": "Molecules",
    "ansatz": "Wavefunctions",
    "states": "States",
    "operators": "Operators",
    "optimizers": "Optimisation",
    "stages": "Stages",
    "sampling": "Walkers",
    "laplacian": "Derivatives",
    "protocols": "Derivatives",
    "chemistry": "Molecules",
    "statistics": "Statistics",
    "diffusion": "Stages",
    "geometry": "Runs and results",
    "ase": "Runs and results",
}
"""Headings under which public names stand, by the room of the package that they live in."""
MORE = [
    "qmcnet.ase.QMCNetCalculator",
    "qmcnet.geometry.relax.relax",
    "qmcnet.geometry.settings.RelaxationSettings",
    "qmcnet.geometry.surface.Surface",
    "qmcnet.report.relaxation.Relaxation",
    "qmcnet.ansatz.head.HeadOptions",
    "qmcnet.laplacian.laplacian",
    "qmcnet.laplacian.rule",
    "qmcnet.operators.operator.Observable",
    "qmcnet.operators.operator.observable",
    "qmcnet.protocols.LaplacianBackend",
    "qmcnet.report.diffused.Diffused",
    "qmcnet.report.distance.Distance",
    "qmcnet.stages.diffusion_settings.DiffusionSettings",
    "qmcnet.stages.optimization.Optimizer",
    "qmcnet.stages.stage.Stage",
    "qmcnet.statistics.estimate.Estimate",
    "qmcnet.statistics.estimate.estimate",
    "qmcnet.states.ensemble.Objective",
]
"""What is documented besides the public names of the package."""


OF_PRESETS = ("batch_size", "steps")
"""Keys of qmcnet-train that presets alone set."""


def table(rows: Iterable[Iterable[str]], *header: str) -> list[str]:
    """Write a table in Markdown."""
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines] + [""]


def escaped(sentence: str) -> str:
    """Keep what Markdown would take for emphasis or a tag, outside of code."""
    parts = re.split(r"(`[^`]*`)", sentence)
    return "".join(part if part.startswith("`") else re.sub(r"([*_<])", r"\\\1", part) for part in parts)


def settings_table(found: Iterable[known.Setting]) -> list[str]:
    """Write settings, a row each."""
    rows = [(f"`{s.key}`", f"`{s.default}`", s.allowed, s.unit, escaped(s.meaning)) for s in found]
    return table(rows, "key", "default", "allowed", "unit", "meaning")


def configuration() -> str:
    """Describe every key of the commands, and every choice of a group."""
    folder = config_directory()
    lines = ["# Settings", ""]
    commands = {"config": qmcnet.VMC, "evaluate": EvaluationSettings, "dmc": DiffusionSettings}
    for name, kind in (commands | {"relax": relax}).items():
        command = "qmcnet-train" if name == "config" else f"qmcnet-{name}"
        lines += [f"## {command}", "", heading(folder / f"{name}.yaml"), ""]
        found = known.plain(folder / f"{name}.yaml", kind, OF_PRESETS if name == "config" else ())
        lines += settings_table(one for one in found if one.key in {*known.own(folder / f"{name}.yaml"), *OF_PRESETS})
    lines += ["## preset=", "", "What each sets; any of it can be overridden.", ""]
    rows = [(f"`{path.stem}`", changes(path), heading(path)) for path in known.files("preset")]
    lines += table(rows, "preset", "sets", "for")
    for group in known.groups():
        lines += described(group)
    return "\n".join([*lines, *systems(), *launchers()])


def heading(path: Path) -> str:
    """Say what a file is for."""
    return escaped(known.heading(path))


def described(group: str) -> list[str]:
    """Describe the choices of a group and the keys of their constructors."""
    key, paths = known.key_of(group), known.files(group)
    lines = [f"## {key}=", ""]
    rows = [(f"`{path.stem}`", changes(path), heading(path)) for path in paths]
    lines += table(rows, "choice", "sets", "what it is")
    seen = set[str]()
    for path in paths:
        target = known.content(path).get(known.TARGET)
        if target and target not in seen and known.TARGET in known.own(path):
            seen.add(target)
            lines += [f"Keys of `{key}={path.stem}`:", "", *settings_table(known.settings_of(group, path))]
    return lines


def changes(path: Path) -> str:
    """Say what a file sets on top of what it builds on; what has a constructor itself has a table of its own."""
    own = known.own(path)
    said = []
    for base in own.pop("defaults", []):
        if isinstance(base, dict):
            said += [f"{key.removeprefix('override /')}={value}" for key, value in base.items()]
        elif base != "_self_":
            said.append(base)
    if known.TARGET not in own:
        flat = {key: value for key, value in flatten(own).items() if known.TARGET not in key}
        said += [f"{key}={known.shown(value)}" for key, value in flat.items()]
    return ", ".join(f"`{one}`" for one in said)


def systems() -> list[str]:
    """Describe the systems."""
    rows = [(f"`{path.stem}`", keys_of_system(path), heading(path)) for path in known.files("system")]
    text = "Every system has `system.charge` and `system.spin`, which is n_up - n_down; lengths are in `units`."
    return ["## +system=", "", text, "", *table(rows, "system", "keys", "geometry")]


def keys_of_system(path: Path) -> str:
    """Say by which keys a system can be changed."""
    found = {key: value for key, value in known.content(path).items() if key not in ("system", "hydra")}
    inner = {f"system.{key}": "???" for key, value in known.content(path)["system"].items() if value == "???"}
    return ", ".join(f"`{key}={known.shown(value)}`" for key, value in (found | inner).items())


def launchers() -> list[str]:
    """Describe the launchers of sweeps."""
    paths = sorted((config_directory() / "hydra" / "launcher").glob("*.yaml"))
    rows = [(f"`{path.stem}`", changes(path), heading(path)) for path in paths]
    return ["## hydra/launcher=", "", *table(rows, "launcher", "sets", "what it is")]


def public_names() -> dict[str, list[str]]:
    """Names to document, by heading, each by its shortest address."""
    names = [f"qmcnet.{name}" for name in qmcnet.__all__] + MORE
    found: dict[str, list[str]] = {title: [] for title in ROOMS.values()}
    for name in names:
        module, _, own = name.rpartition(".")
        room = getattr(importlib.import_module(module), own).__module__.split(".")[1]
        found[ROOMS[room]].append(name)
    return found


def python() -> str:
    """List the public names with their docstrings."""
    lines = ["# Python", "", "All of `qmcnet.*`, and a few more that code of your own may want.", ""]
    for title, names in public_names().items():
        lines += [f"## {title}", ""] if names else []
        for name in names:
            module, _, own = name.rpartition(".")
            thing = getattr(importlib.import_module(module), own)
            kind = "class" if inspect.isclass(thing) else "function"
            lines += ["```{eval-rst}", f".. auto{kind}:: {name}", "   :members:" if kind == "class" else "", "```", ""]
    return "\n".join(lines)


def complaints() -> str:
    """List every warning and error in the code."""
    lines = [
        "# Messages",
        "",
        "Every error and warning of qmcnet, by the room of the package that says it; `…` stands for a value.",
        "",
    ]
    for room, said in messages().items():
        lines += [f"## {room}", "", *(f"* {kind}: {text}" for kind, text in said), ""]
    return "\n".join(lines)


PAGES = {"settings": configuration, "python": python, "messages": complaints}


def write(app: "Sphinx") -> None:
    """Write the pages into the sources, where git ignores them.

    Args:
        app: the build.
    """
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        path, text = folder / f"{name}.md", make() + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: "Sphinx") -> dict[str, Any]:
    """Write the pages before any is read.

    Args:
        app: the build.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
