"""Remove the images that are listed in the files under `exclude:` of a cohort in the data file.

A list is a CSV file with the column image_id or patient_id. A run that finds copies or shared patients writes such
lists.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harmonize.datasets import Remark
from harmonize.datasets.ids import examples, occurs_in
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError

STEP = "listed_in_exclude"  # name of this filter in the flow, which counts the removed images by filter
_COLUMNS = ("image_id", "patient_id")  # if a list has both columns, only the first is used


def as_written(listed: str) -> str:
    """Return an id without the apostrophes that this program puts before what a spreadsheet would run as a formula.

    >>> as_written("'=1;'=2")
    '=1;=2'
    """
    return re.sub(r"(^|;\s*)'", r"\1", listed)


def remove_listed(
    table: pd.DataFrame, lists: Sequence[Path], flow: dict[str, int]
) -> tuple[pd.DataFrame, list[Remark]]:
    """Return the rows that are in no list, and a remark if the table does not have some of the listed ids.

    If there is a list, `flow` gets the number of removed rows. Raises ConfigError for a list that is missing,
    unreadable or without a column of ids.
    """
    if not lists:
        return table, []
    is_listed, num, unknown = pd.Series(False, table.index), 0, set[str]()
    for path in lists:
        column, ids = _read_list(path)
        present = set(table[column])
        ids = {listed if listed in present else as_written(listed) for listed in ids}
        is_listed |= occurs_in(table[column], ids)
        num += len(ids)
        unknown |= ids - present
    flow[STEP] = int(is_listed.sum())
    if not unknown:
        return table[~is_listed], []
    share = f"{len(unknown):,} of {num:,} ids of `exclude` ({100 * len(unknown) / num:.0f} %)"
    shown = examples(sorted(unknown), [*table["image_id"], *table["patient_id"]])
    found = f"{share} are not in the table and are ignored: {shown}"
    return table[~is_listed], [Remark("exclude", found, "check that this list is of this cohort")]


def _read_list(path: Path) -> tuple[str, set[str]]:
    """Return the name of the column of ids in a list, and its ids without blank cells."""
    try:
        rows = read_user_table(path, dtype=str, keep_default_na=False)
    except (
        OSError,
        ValueError,
    ) as error:  # pandas and text encodings raise subclasses of ValueError for an unreadable file
        fix = "name an existing CSV file with the column image_id or patient_id"
        raise ConfigError(f"the list of `exclude` cannot be read: {error}", str(path), fix) from error
    for column in _COLUMNS:
        if column in rows:
            return column, set(rows[column]) - {""}
    present = ", ".join(map(str, rows.columns[:10]))
    fix = f"add a first line with the name of the column; the file has: {present}"
    raise ConfigError("the list of `exclude` has no column image_id or patient_id", str(path), fix)
