"""Tables as CSV that a spreadsheet shows and does not run."""

from typing import Any

import pandas as pd

_RUN = ("=", "+", "-", "@", "\t")


def csv_text(frame: pd.DataFrame) -> str:
    r"""Return a table as CSV; a text that a spreadsheet would take for a formula gets an apostrophe in front, numbers stay.

    >>> csv_text(pd.DataFrame({"name": ["=1+1", "-0.5", "a"], "value": [-1.5, 2.0, 3.0]}))
    "name,value\n'=1+1,-1.5\n-0.5,2.0\na,3.0\n"
    """
    plain = frame.rename(columns=_defused)
    for name in plain.columns:
        if not pd.api.types.is_numeric_dtype(plain[name]):
            plain[name] = plain[name].map(_defused)
    text: str = plain.to_csv(index=False, lineterminator="\n")
    return text


def _defused(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", " ")  # some readers take it for the end of a row
    if not cell.lstrip(" ").startswith(_RUN):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
