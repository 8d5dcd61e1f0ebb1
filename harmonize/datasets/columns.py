"""Make the columns that all adapters use: base columns with defaults, and native labels as states."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harmonize.datasets import BASE, FAULT, native
from harmonize.labels.findings import NOT_MENTIONED


def base_columns(**columns: object) -> dict[str, object]:
    """Return the base columns, then the additional columns among `columns`.

    A base column that `columns` does not have gets its default: view PA; sex, age, device and split not stated. The
    other base columns have no default, so `columns` must have them.
    """
    table = {"split": "", "view": "PA", "sex": "", "age": np.nan, "device": ""} | columns
    return {column: table[column] for column in BASE} | table


def with_bad_rows(table: pd.DataFrame, faults: Sequence[str]) -> pd.DataFrame:
    """Return the table with one additional row for each fault; the additional rows have no image.

    A fault is a text that states why a row of a file cannot be used. `faults` come from rows of a second file that
    belong to no image of the table.
    """
    if not faults:
        return table
    blank = dict.fromkeys(("image_id", "patient_id", "study_id", "path"), "")
    columns = pd.DataFrame(base_columns(**blank, **{FAULT: list(faults)}))
    nulls = {
        str(name): pd.Series(pd.NA, columns.index, table[name].dtype) for name in table.columns if name not in columns
    }
    old = table if FAULT in table else table.assign(**{FAULT: ""})
    return pd.concat([old, columns.assign(**nulls)[list(old)]], ignore_index=True)


def state_columns(
    labels: Sequence[str], states: Sequence[Mapping[str, int]], default: int = NOT_MENTIONED
) -> dict[str, "pd.Series[int]"]:
    """Return one native column of states per label.

    `states` has a dict {label: state} for each row; a label that is not in the dict gets the state `default`.

    >>> state_columns(["Edema", "Fracture"], [{"Edema": 1}])["native:Fracture"].tolist()
    [-2]
    """
    return {native(label): pd.Series([row.get(label, default) for row in states], dtype="Int8") for label in labels}
