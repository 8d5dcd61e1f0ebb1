"""Groups of the training images, which an algorithm compares: the values of one column of the internal cohort's table.

Legend: N images, G groups.
"""

from collections import Counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.patient_groups import ATTRIBUTES, UNKNOWN, PatientGroups
from harmonize.cohorts.pooled import HOSPITAL
from harmonize.errors import ConfigError, DatasetError

SMALLEST = 2  # images of each group in a batch: a covariance of features needs two


def group_indices(table: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Return the index of the group of each image [N], -1 for an unknown value.

    The groups are the distinct values of the column, as sorted text. `age` stands for bands of the age.
    """
    values = _values(table, column)
    index = {name: i for i, name in enumerate(sorted(set(values) - {UNKNOWN}))}
    return np.array([index.get(value, -1) for value in values], np.int64)


def check_groups(table: pd.DataFrame, is_training_N: NDArray[np.bool_], column: str, batch: int, where: str) -> None:
    """Raise DatasetError if the training images do not have the groups that an algorithm needs.

    `table`: all images of the hospitals on which the run trains. `batch`: images of a batch. An algorithm needs two groups, two training images
    of each group, and batches with two images of each group.
    """
    place = f"{where}: groups: {column}"
    if column not in ATTRIBUTES and column not in table:
        raise _no_column(table, column, place)
    values = _values(table, column)
    groups = sorted(set(values) - {UNKNOWN})
    if len(groups) < 2:
        named = f"only the group {groups[0]}" if groups else "no known values of this column"
        fix = "set `groups` to a column with two or more values, such as sex, age or view, or use `algorithm: erm`"
        raise DatasetError(f"an algorithm compares groups, and the images have {named}", place, fix)
    counts = Counter(values[is_training_N])
    small = [f"{group} ({counts[group]})" for group in groups if counts[group] < SMALLEST]
    if small:
        fix = "join small groups in a column of your own, or set `groups` to another column"
        what = f"a group needs {SMALLEST} training images, and these groups have fewer: {', '.join(small[:5])}"
        raise DatasetError(what, place, fix)
    if batch < SMALLEST * len(groups):
        fix = f"set schedule.batch_size to {SMALLEST * len(groups)} or more, or choose a column with fewer values"
        what = f"a batch of {batch} images cannot have {SMALLEST} images of each of {len(groups)} groups"
        raise DatasetError(what, place, fix)


def _values(table: pd.DataFrame, column: str) -> NDArray[np.object_]:
    """Return the values of a column as text [N], "" where unknown."""
    if column in ATTRIBUTES:
        return PatientGroups.of(table).attributes[column]
    return table[column].astype(object).map(str).where(table[column].notna(), UNKNOWN).to_numpy(object)


def _no_column(table: pd.DataFrame, column: str, place: str) -> DatasetError:
    """Return the error for a column that the table does not have."""
    if column == HOSPITAL:
        fix = "name several hospitals in `train_on`, or set `groups` to sex, age, view or another column of the table"
        return DatasetError("an algorithm compares groups, and all training images are of one hospital", place, fix)
    names = [*ATTRIBUTES, *(str(name) for name in table)]
    return DatasetError(f"the cohort has no column {column!r}", place, ConfigError.suggestion(column, names))
