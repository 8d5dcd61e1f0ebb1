"""Escape texts for Markdown."""

import html
import re


def escaped(value: object) -> str:
    r"""Escape a value for one line of a Markdown table.

    >>> print(escaped("AP | PA <b>"))
    AP \| PA &lt;b&gt;
    """
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", html.escape(" ".join(str(value).split()), quote=False))
