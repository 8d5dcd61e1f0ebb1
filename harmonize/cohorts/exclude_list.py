"""Apply lists of ids of the data file: images to remove (`exclude:`), and splits of your own (`split:`).

A list is a CSV file with the column image_id or patient_id. A run that finds copies or shared patients writes lists for
`exclude`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harmonize.cohorts.splits import assign
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
    return re.sub(r"^'|(;\s*)'(?=[=+@])", r"\1", listed)


def remove_listed(
    table: pd.DataFrame, lists: Sequence[Path], flow: dict[str, int]
) -> tuple[pd.DataFrame, list[Remark]]:
    """Return the rows that are in no list, and a remark if the table does not have some of the listed ids.

    If there is a list, `flow` gets the number of removed rows. Raises ConfigError for a list that is missing,
    unreadable or without a column of ids.
    """
    if not lists:
        return table, []
    masks, remarks = _listed(table, lists, "exclude")
    is_listed = np.logical_or.reduce(masks)
    flow[STEP] = int(is_listed.sum())
    return table[~is_listed], remarks


def with_own_splits(
    table: pd.DataFrame, split: Sequence[tuple[str, Path | float]], flow: dict[str, int]
) -> tuple[pd.DataFrame, list[Remark]]:
    """Return the rows with the splits of the key `split`, pairs of a split and its list or its share of the patients.

    Shares apply to all rows but those of expert_valid and expert_test. With lists, the other rows are left out; `flow` gets
    their number. Raises ConfigError for an image in two lists, and for a list as `remove_listed`.
    """
    shares = {name: value for name, value in split if isinstance(value, float)}
    if shares:
        of_experts = table["split"].str.startswith("expert_")
        drawn = assign(table[~of_experts].assign(split=""), shares)
        return table.assign(split=table["split"].where(of_experts, drawn.reindex(table.index))), []
    if not split:
        return table, []
    masks, remarks = _listed(table, [value for _, value in split if isinstance(value, Path)], "split")
    if repeated := int((np.sum(masks, axis=0) > 1).sum()):
        raise ConfigError(f"{repeated} images are in two lists", "split", "put each image into one list")
    split_of_image = np.select(masks, [name for name, _ in split], "")
    flow["in_no_split"] = int((split_of_image == "").sum())
    return table.assign(split=split_of_image)[split_of_image != ""], remarks


def _listed(table: pd.DataFrame, lists: Sequence[Path], key: str) -> tuple[list["pd.Series[bool]"], list[Remark]]:
    """Return the mask of the rows in each list, and a remark if the table does not have some of the listed ids."""
    masks, num, unknown = [], 0, set[str]()
    for path in lists:
        column, ids = _read_list(path, key)
        present = set(table[column])
        # an apostrophe after a semicolon may be the id's own
        ids = {
            next((own for own in (listed, listed.removeprefix("'")) if own in present), as_written(listed))
            for listed in ids
        }
        masks.append(occurs_in(table[column], ids))
        num += len(ids)
        unknown |= ids - present
    if not unknown:
        return masks, []
    share = f"{len(unknown):,} of {num:,} ids of `{key}` ({100 * len(unknown) / num:.0f} %)"
    shown = examples(sorted(unknown), [*table["image_id"], *table["patient_id"]])
    found = f"{share} are not in the table and are ignored: {shown}"
    return masks, [Remark(key, found, "check that this list is of this cohort")]


def _read_list(path: Path, key: str) -> tuple[str, set[str]]:
    """Return the name of the column of ids in a list, and its ids without blank cells."""
    try:
        rows = read_user_table(path, dtype=str, keep_default_na=False)
    except (
        OSError,
        ValueError,
    ) as error:  # pandas and text encodings raise subclasses of ValueError for an unreadable file
        fix = "name an existing CSV file with the column image_id or patient_id"
        raise ConfigError(f"the list of `{key}` cannot be read: {error}", str(path), fix) from error
    for column in _COLUMNS:
        if column in rows:
            return column, set(rows[column]) - {""}
    present = ", ".join(map(str, rows.columns[:10]))
    fix = f"add a first line with the name of the column; the file has: {present}"
    raise ConfigError(f"the list of `{key}` has no column image_id or patient_id", str(path), fix)
