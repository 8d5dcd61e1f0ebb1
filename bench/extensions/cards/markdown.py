"""Write tables in Markdown."""

import html
import re
from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown, see `escaped` for texts."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(value: object) -> str:
    r"""Escape a value for one line of a Markdown table.

    >>> print(escaped("AP | PA <b>"))
    AP \| PA &lt;b&gt;
    """
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", html.escape(" ".join(str(value).split()), quote=False))
