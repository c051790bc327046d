"""How results and runs look in a notebook: small tables, without scripts."""

from collections.abc import Iterable, Sequence
from html import escape

CELL = "text-align:left; vertical-align:top; padding:2px 12px 2px 0"


def facts_html(title: str, facts: Iterable[tuple[str, str]]) -> str:
    """Write lines that each have a name.

    Args:
        title: said above.
        facts: names and texts.

    Returns:
        HTML.
    """
    rows = "".join(
        f'<tr><th scope="row" style="{CELL}">{escape(name)}</th><td style="{CELL}">{escape(text)}</td></tr>'
        for name, text in facts
    )
    return f'<table><caption style="{CELL}">{escape(title)}</caption><tbody>{rows}</tbody></table>'


def table_html(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table.

    Args:
        header: names of its columns.
        rows: its cells.

    Returns:
        HTML.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
