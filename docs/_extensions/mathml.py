"""Formulas as MathML, made while the site is built: no script, no font and no request are needed to show them."""

from typing import Any

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


def setup(app: Sphinx) -> dict[str, Any]:
    """Make it the renderer of formulas.

    Args:
        app: the build.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
