"""Refuses a site that would load anything from elsewhere when it is looked at."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|embed|object|audio|video)\b[^>]*?\b(?:src|data|srcset)=["']((?:https?:)?//[^"']+)"""
    r"""|<link\b(?![^>]*rel=["'](?:canonical|next|prev|search)["'])[^>]*href=["']((?:https?:)?//[^"']+)"""
    r"""|(?:@import\s*["']?|url\(\s*["']?)((?:https?:)?//[^"')]+)"""
)
"""What a browser fetches by itself, in a page or a style sheet; links that a reader follows are none of it."""


def outside(folder: Path) -> list[str]:
    """Find what pages and style sheets would fetch from elsewhere.

    Args:
        folder: of the site.

    Returns:
        File and address of each.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".html", ".css"))
    return [
        f"{path.relative_to(folder)}: {next(filter(None, match.groups()))}"
        for path in paths
        for match in LOADED.finditer(path.read_text())
    ]


def check(app: Sphinx, error: Exception | None) -> None:
    """Look at the site when it is built.

    Args:
        app: the build.
        error: why it ended, if it failed.

    Raises:
        ExtensionError: if a page would fetch anything.
    """
    if error is None and app.builder.format == "html" and (found := outside(Path(app.outdir))):
        raise ExtensionError("the site would fetch " + "; ".join(found))


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at the end of a build.

    Args:
        app: the build.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
