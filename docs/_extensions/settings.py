"""What there is to say of every setting: read from conf/, and from the constructors that its files name."""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Unpack, get_args, get_origin

import yaml
from hydra.utils import get_object

from qmcnet.config.meanings import COMMENTED
from qmcnet.config.names import PARTIAL, TARGET
from qmcnet.config.naming import FOLDERS, config_directory
from qmcnet.config.schema import WORDS, argument_types
from qmcnet.run.vmc import VMC

LIMITS: dict[str, Callable[[list[str]], str]] = {
    "positive": lambda given: "positive",
    "at_least": lambda given: f"at least {given[0]}",
    "between": lambda given: f"from {given[0]} to {given[1]}",
    "one_of": lambda given: ", ".join(given),
    "check_sizes": lambda given: "at least 1",
}
"""How the checks of settings are said, by their arguments."""
UNIT = re.compile(r"\b(?:in|of) (hartree\^2|hartree|1/hartree|bohr|degrees)\b|^(seconds|hartree|bohr|minutes)\b")
WITHOUT_A_KEY = {"ansatz", "molecule", "dtype"}
"""Arguments that a run fills in by itself."""


@dataclass(frozen=True)
class Setting:
    """One key.

    Attributes:
        key: as it is typed.
        default: as YAML has it; empty where none is.
        allowed: values that are accepted, in words.
        unit: of a number, or empty.
        meaning: a sentence.
    """

    key: str
    default: str
    allowed: str
    unit: str
    meaning: str


def groups() -> list[str]:
    """Folders of choices whose files name a constructor."""
    folders = sorted(path for path in config_directory().iterdir() if path.is_dir())
    return [path.name for path in folders if path.name not in ("hydra", "preset", "system")]


def key_of(folder: str) -> str:
    """Key of a group in a configuration, which may be called other than its folder."""
    return {name: key for key, name in FOLDERS.items()}.get(folder, folder)


def files(folder: str) -> list[Path]:
    """Choices of a group."""
    return sorted((config_directory() / folder).glob("*.yaml"))


def own(path: Path) -> dict[str, Any]:
    """Read a file as it stands."""
    found: dict[str, Any] = yaml.safe_load(path.read_text()) or {}
    return found


@cache
def content(path: Path) -> dict[str, Any]:
    """Read a file on top of those of its folder that it builds on."""
    itself, found = own(path), dict[str, Any]()
    for base in itself.pop("defaults", []):
        if isinstance(base, str) and base != "_self_" and (path.parent / f"{base}.yaml").exists():
            found |= content(path.parent / f"{base}.yaml")
    return found | itself


def heading(path: Path) -> str:
    """Say what a file is for: the comment that it begins with."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    ends = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[:ends])


def comments(path: Path) -> dict[str, str]:
    """Comments behind the values of a file, and above them."""
    found, above = dict[str, str](), list[str]()
    for line in path.read_text().splitlines():
        if line.startswith("# "):
            above.append(line[2:])
            continue
        if match := re.match(r"(\w+):", line):
            behind = COMMENTED.match(line)
            found[match[1]] = behind[2] if behind else " ".join(above)
        above = []
    return {key: text for key, text in found.items() if text}


def documented(constructor: Callable[..., Any]) -> dict[str, str]:
    """Meaning of each argument, from `Attributes` and `Args` of docstrings, those of an unpacked TypedDict included."""
    texts = [inspect.getdoc(constructor) or "", inspect.getdoc(getattr(constructor, "__init__", None)) or ""]
    found: dict[str, str] = {}
    for parameter in inspect.signature(constructor, eval_str=True).parameters.values():
        if get_origin(parameter.annotation) is Unpack:
            texts.append(inspect.getdoc(get_args(parameter.annotation)[0]) or "")
    for text in texts:
        for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", text, re.MULTILINE):
            entries = re.findall(r"^    (\w+): ((?:.*\n?)(?:^     +.*\n?)*)", section, re.MULTILINE)
            found |= {name: " ".join(sentence.split()) for name, sentence in entries}
    return found


def limits(constructor: Callable[..., Any]) -> dict[str, str]:
    """What the checks in the code of a constructor let pass, by argument."""
    found: dict[str, str] = {}
    names = vars(importlib.import_module(constructor.__module__))
    for node in _calls(constructor):
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        given = [_said(argument, names) for argument in node.args]
        if name in LIMITS:
            for keyword in node.keywords:
                if keyword.arg == "below":
                    given[0] += f" and less than {_said(keyword.value, names)}"
            found |= {word.arg: LIMITS[name](given) for word in node.keywords if word.arg not in (None, "below")}
    return found


def _calls(constructor: Callable[..., Any]) -> Iterator[ast.Call]:
    methods = [getattr(constructor, name, None) for name in ("__init__", "__post_init__")]
    for code in [constructor] if inspect.isfunction(constructor) else [m for m in methods if inspect.isfunction(m)]:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
        except OSError:  # made by dataclass
            continue
        yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _said(node: ast.expr, names: Mapping[str, Any]) -> str:
    """Give the values of an argument of a check: a literal, or a name of the module."""
    value = names.get(node.id, node.id) if isinstance(node, ast.Name) else None
    if value is None:
        try:
            value = ast.literal_eval(node)
        except ValueError:
            value = ast.unparse(node)
    is_list = isinstance(value, Iterable) and not isinstance(value, str | type)
    return ", ".join(map(str, value)) if is_list else str(value)


def words(hint: Any) -> str:
    """Say what a type lets pass."""
    union = get_args(hint) if type(hint).__name__ in ("UnionType", "Union", "_UnionGenericAlias") else (hint,)
    said = (WORDS.get(get_origin(kind) or kind, "") for kind in union)
    return " or ".join(word for word in said if word) or "anything"


def shown(value: Any) -> str:
    """Write a value as YAML does in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()


def setting(key: str, name: str, default: Any, constructor: Callable[..., Any], comment: str = "") -> Setting:
    """Say what there is to say of an argument of a constructor.

    Args:
        key: as it is typed.
        name: of the argument.
        default: its value in the file.
        constructor: that takes it.
        comment: what the file says of it.

    Returns:
        The setting.
    """
    meaning = python_to_yaml(documented(constructor).get(name) or comment)
    unit = UNIT.search(meaning) or UNIT.search(comment)
    allowed = limits(constructor).get(name, "")
    kinds = words(argument_types(constructor)[0].get(name, Any)).split(" or ")
    quoted = re.findall(r"'(\w+)'", meaning)
    if "text" in kinds and (allowed or quoted):
        place = kinds.index("text")
        is_word = kinds == ["text"] or kinds == ["text", "null"]
        kinds[place] = allowed if allowed and is_word else ", ".join(dict.fromkeys(quoted))
        allowed = "" if is_word else allowed
    kinds[0] += f", {allowed}" if allowed else ""
    return Setting(key, shown(default), " or ".join(filter(None, kinds)), (unit[1] or unit[2]) if unit else "", meaning)


def python_to_yaml(text: str) -> str:
    """Say None, True and False as they are typed."""
    return re.sub(r"\b(None|True|False)\b", lambda word: {"None": "null"}.get(word[0], word[0].lower()), text)


def settings_of(folder: str, path: Path) -> list[Setting]:
    """List the settings of a choice that has a constructor, and of what it makes inside.

    Args:
        folder: of the group.
        path: file of the choice.

    Returns:
        The settings; none of a choice without a constructor.
    """
    group = content(path)
    return list(_settings(key_of(folder), group, comments(path))) if TARGET in group else []


def _settings(prefix: str, group: Mapping[str, Any], said: Mapping[str, str]) -> Iterator[Setting]:
    constructor = get_object(group[TARGET])
    parameters = inspect.signature(constructor).parameters
    left = [
        name
        for name, found in parameters.items()
        if found.kind is found.KEYWORD_ONLY or found.default is not found.empty
    ]
    names = [*(key for key in group if key not in (TARGET, PARTIAL)), *(name for name in left if name not in group)]
    for name in names:
        if isinstance(group.get(name), Mapping) and TARGET in group[name]:
            yield Setting(f"{prefix}.{name}._target_", group[name][TARGET], "a class", "", said.get(name, ""))
        elif name not in WITHOUT_A_KEY:
            default = group[name] if name in group else parameters[name].default
            yield setting(f"{prefix}.{name}", name, default, constructor, said.get(name, ""))


def plain(path: Path, constructor: Callable[..., Any], more: Iterable[str] = ()) -> list[Setting]:
    """List the keys at the top of a file of defaults.

    Args:
        path: such as conf/config.yaml.
        constructor: that takes most of them.
        more: keys that only presets set.

    Returns:
        Settings.
    """
    values, said, known = content(path), comments(path), argument_types(constructor)[0]
    found = []
    for key in [*more, *(key for key in values if key != "hydra")]:
        comment, default = said.get(key, ""), values.get(key)
        if key in known or key in argument_types(VMC)[0]:
            one = setting(key, key, default, constructor if key in known else VMC, comment)
        else:
            one = Setting(key, shown(default), KINDS.get(type(default), ""), "", comment)
        if comment.startswith("or "):  # what else there is; what it means
            others, _, meaning = comment.removeprefix("or ").partition("; ")
            one = replace(one, allowed=f"{one.default}, {others}", meaning=meaning or one.meaning)
        elif comment and not comment.startswith("in "):
            one = replace(one, meaning=comment)
        if re.search(r"\bauto takes\b", comment):
            one = replace(one, allowed=f"{one.allowed} or auto")
        if default is None and key not in more and "null" not in one.allowed:
            one = replace(one, allowed=f"{one.allowed} or null")
        if key in more:
            one = replace(one, default="of the preset")
        found.append(one)
    return found


KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "text or null"}
"""What a default without a constructor lets expect."""
