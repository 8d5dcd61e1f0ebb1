"""Write tables as CSV without cells that a spreadsheet program would run as formulas."""

import re
from typing import Any

import pandas as pd

# the start of a cell that a spreadsheet program may run: spaces of any kind and marks without width, then the sign, also full-width
_FORMULA = re.compile("[\\s\\ufeff\\u200b-\\u200f\\u2060]*[=+@\\-\\uff1d\\uff0b\\uff20\\uff0d]|\\s*\\t")
_AFTER_SEPARATOR = re.compile(r"(;\s*)(?=[=+@])")  # many spreadsheets split cells at semicolons


def csv_text(frame: pd.DataFrame) -> str:
    r"""Return a table as CSV text. A text that begins like a formula gets an apostrophe in front; a number does not.

    >>> csv_text(pd.DataFrame({"name": ["=1+1", "-0.5", "a"], "value": [-1.5, 2.0, 3.0]}))
    "name,value\n'=1+1,-1.5\n-0.5,2.0\na,3.0\n"
    >>> csv_text(pd.DataFrame({"name": ["a;=1"]}))
    "name\na;'=1\n"
    """
    escaped = frame.rename(columns=_escape)
    for name in escaped.columns:
        if not pd.api.types.is_numeric_dtype(escaped[name]):
            escaped[name] = escaped[name].map(_escape)
    text: str = escaped.to_csv(index=False, lineterminator="\n")
    return text


def _escape(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", " ")  # some readers treat \r as the end of a row
    cell = _AFTER_SEPARATOR.sub(r"\1'", cell)
    if not _FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
