"""Make the columns that all adapters use."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harmonize.datasets import BASE, FAULT
from harmonize.datasets.csvfile import faults, first_fault, states_array, unmatched_faults
from harmonize.labels.findings import UNMAPPED_CODE


def base_columns(**columns: object) -> dict[str, object]:
    """Return the base columns, then the additional columns among `columns`.

    A base column that `columns` does not have gets its default: view PA; sex, age, device and split not stated. The
    other base columns have no default, so `columns` must have them.
    """
    table = {"split": "", "view": "PA", "sex": "", "age": np.nan, "device": ""} | columns
    return {column: table[column] for column in BASE} | table


def with_bad_rows(table: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """Return the table with one additional row for each of `texts`; the additional rows have no image.

    Each of `texts` is a fault: it states why a row of a file cannot be used. They come from rows of a second file that
    belong to no image of the table.
    """
    if not texts:
        return table
    blank = dict.fromkeys(("image_id", "patient_id", "study_id", "path"), "")
    columns = pd.DataFrame(base_columns(**blank, **{FAULT: list(texts)}))
    nulls = {
        str(name): pd.Series(pd.NA, columns.index, table[name].dtype) for name in table.columns if name not in columns
    }
    old = table if FAULT in table else table.assign(**{FAULT: ""})
    return pd.concat([old, columns.assign(**nulls)[list(old)]], ignore_index=True)


def contradictions(rows: pd.DataFrame, key: str, table: pd.DataFrame, path: Path) -> "pd.Series[str]":
    """Return the fault text of each row of the file `path` whose other ids differ from `table` for the same `key`.

    All columns that both tables have are compared, except FAULT. A key without a row in `table` has no fault.
    """
    fault = pd.Series("", rows.index, dtype=object)
    for column in (name for name in rows if name in table and name not in (key, FAULT)):
        expected = rows[key].map(table.drop_duplicates(key).set_index(key)[column])
        differs = expected.notna() & (rows[column] != expected)
        fault = first_fault(
            fault, faults(differs, rows[column], str(column), f"that of the same {key} in the metadata", path)
        )
    return fault


def joined_states(
    path: Path, rows: pd.DataFrame, key: str, labels: Sequence[str], ids: "pd.Series[str]", prefix: str
) -> tuple[dict[str, object], "pd.Series[str]", list[str]]:
    """Return the label states of each image, the fault text of each image, and the faults of rows without an image.

    `rows` is the table of the file `path`: the column `key` has ids, the columns `labels` have states, and FAULT has
    fault texts. `ids` has the id of each image. If an id has no row, its states are null. If an id has rows with different
    states, its images have a fault. The names of the columns of states begin with `prefix` and a colon.
    """
    fault, strays = rows[FAULT], unmatched_faults(rows, key, ids)
    if rows[key].duplicated().any():
        rows = rows[~rows.drop(columns=FAULT).duplicated()]  # drop repeated rows
        differing = rows[key].duplicated(keep=False)
        fault = first_fault(fault[rows.index], faults(differing, rows[key], key, "in one row", path))
        rows = rows[~rows[key].duplicated()]
        fault = fault[rows.index]
    row_of_image = pd.Index(rows[key]).get_indexer(pd.Index(ids))
    has_no_row = row_of_image < 0
    states: dict[str, object] = {}
    for label in labels:
        values = rows[label].to_numpy(np.int8, na_value=UNMAPPED_CODE)[row_of_image]
        null = has_no_row | (values == UNMAPPED_CODE)
        states[f"{prefix}:{label}"] = states_array(np.where(null, 0, values).astype(np.int8), null)
    if not (fault != "").any():
        return states, pd.Series("", index=ids.index, dtype=object), strays
    fault_of_image = np.where(has_no_row, "", fault.to_numpy(object)[row_of_image])
    return states, pd.Series(fault_of_image, index=ids.index, dtype=object), strays
