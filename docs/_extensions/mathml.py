"""Formulas as MathML, made while the site is built: no script and no request are needed to show them.

Browsers stretch brackets and roots by a font with a table for it, which few machines have: the site brings one.
"""

import shutil
from pathlib import Path
from typing import Any

import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def inline(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula that stands in a line.

    Args:
        translator: writes the page.
        node: the formula.

    Raises:
        SkipNode: always, as there is nothing inside.
    """
    translator.body.append(f'<span class="math">{convert(node.astext())}</span>')
    raise nodes.SkipNode


def displayed(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula that stands by itself.

    Args:
        translator: writes the page.
        node: the formula.

    Raises:
        SkipNode: always, as there is nothing inside.
    """
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>\n')
    raise nodes.SkipNode


def copy_font(app: Sphinx, error: Exception | None) -> None:
    """Put the font beside the style sheet that names it.

    Args:
        app: the build.
        error: why it ended, if it failed.
    """
    if error is None and app.builder.format == "html":
        shutil.copy(Path(ziamath.__file__).parent / "fonts" / FONT, Path(app.outdir) / "_static" / FONT)


FONT = "STIXTwoMath-Regular.ttf"


def setup(app: Sphinx) -> dict[str, Any]:
    """Make it the renderer of formulas.

    Args:
        app: the build.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    app.connect("build-finished", copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
