"""Every warning and error that the source can raise, read from its syntax tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import qmcnet

PACKAGE = Path(qmcnet.__file__).parent
INTERNAL = {"AttributeError", "IndexError", "KeyError", "StopIteration", "SystemExit", "AssertionError"}
"""Raised for Python itself, not for people."""


def messages() -> dict[str, list[tuple[str, str]]]:
    """Find the messages.

    Returns:
        By room, pairs of 'error' or 'warning' and the text, in Markdown.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text())
        said = [(kind, text) for kind, node in _said(tree) if (text := _text(node)) and len(text.split()) > 2]
        known = found.setdefault(room, [])
        known += [one for one in dict.fromkeys(said) if one not in known]
    return {room: said for room, said in found.items() if said}


def _said(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            if ast.unparse(node.exc.func) not in INTERNAL:
                yield "error", node.exc.args[0]
        elif isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func)
            if name in ("logger.warning", "warnings.warn"):
                yield "warning", node.args[0]
            elif name == "logger.error":
                yield "error", node.args[0]


def _text(node: ast.expr) -> str:
    """Write a literal in Markdown, with … for what is filled in; empty for what is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"%[-+.\d]*[sdfgr]", "…", node.value).replace("%%", "%")
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        text = "".join(map(str, parts))
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        text = (_text(node.left) or "…") + (_text(node.right) or "…")
        return "" if not re.search(r"\w", text) else text
    else:
        return ""
    return re.sub(r"([\\*_`<>\[\]$|#])", r"\\\1", " ".join(text.split()))
