"""Prepare the table of a cohort for a bundle, so that the table can leave the hospital.

The table has only the columns that scoring reads. Ordinals (numbers) replace ids. The table has no id, date, path or free text.
Values of sex, view and split come from fixed lists, ages are decades, and labels are numbers.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.results.read_predictions import mapped_states
from bench.scoring.patient_groups import SEXES
from harmonize.datasets import VIEWS
from harmonize.labels.findings import UNMAPPED_CODE
from harmonize.labels.states import states

ABOUT = ("split", "view", "sex", "device")  # text columns of a cohort's table in a bundle
OLDEST = 90  # years; all ages from 90 years on are one group
COLUMN_SEPARATOR = b"\x1e"  # in the bytes that `table_id` hashes
TEXT_SEPARATOR = "\x1f"  # between the cells of a column of texts


@dataclass(frozen=True, slots=True)
class Ordinals:
    """Numbers that replace the ids of a cohort: image id -> number, patient id -> number.

    `tag`: prefix of the new ids that are made from the numbers. Two tables of a cohort with equal tags have equal ordinals.
    """

    tag: str
    image: Mapping[str, int]
    patient: Mapping[str, int]


def assign_ordinals(table: pd.DataFrame, image_ids: Sequence[str]) -> Ordinals:
    """Return ordinals for the images `image_ids` of a cohort table and for their patients.

    They are a new random permutation, so ids and their order cannot be recovered.
    """
    patient_of = dict(zip(table["image_id"].astype(str), table["patient_id"].astype(str), strict=True))
    images, patients = sorted(set(image_ids)), sorted({patient_of[i] for i in image_ids})
    random = secrets.SystemRandom()
    for ids in (images, patients):
        random.shuffle(ids)
    of_image, of_patient = ({name: index for index, name in enumerate(ids)} for ids in (images, patients))
    return Ordinals(secrets.token_hex(6), of_image, of_patient)


def image_names(tag: str, ordinal: NDArray[np.int32]) -> list[str]:
    """Return a new image id for each ordinal. The ids, sorted as texts, have the order of the ordinals.

    >>> image_names("5f", np.array([12], np.int32))
    ['5f-i00000012']
    """
    return [f"{tag}-i{n:08d}" for n in ordinal.tolist()]


def patient_names(tag: str, ordinal: NDArray[np.int32]) -> list[str]:
    """Return a new patient id such as "5f-p00000012" for each ordinal. The ids, sorted as texts, have the order of the ordinals."""
    return [f"{tag}-p{n:08d}" for n in ordinal.tolist()]


def decades(age: "pd.Series[float]") -> NDArray[np.float64]:
    """Return the middle of each age's decade in years: 95 for all ages from 90 on, NaN for an unknown age.

    >>> decades(pd.Series([40.0, 49.9, 103.0])).tolist()
    [45.0, 45.0, 95.0]
    """
    years = age.to_numpy(np.float64)
    return np.where(np.isfinite(years), np.clip(np.nan_to_num(years) // 10 * 10, 0, OLDEST) + 5, np.nan)


def columns_of(
    table: pd.DataFrame,
    split: Mapping[str, str],
    ordinals: Ordinals,
    layout: str,
    mapping: str,
    findings: Sequence[str],
) -> pd.DataFrame:
    """Return a cohort's table for a bundle: the images in `split`, sorted by ordinal, with the columns that scoring reads.

    `split`: id of an exported image -> its split. `layout`: dataset layout. Each finding has a column of label states under the
    label mapping `mapping`. If another label mapping changes a state of the finding, a column "<that mapping>:<finding>" is added.
    """
    state = states(table, findings)
    other_mappings = mapped_states(table, layout, mapping, tuple(findings))
    ids = table["image_id"].astype(str)
    rows = np.flatnonzero(ids.isin(split).to_numpy())
    chosen, image_id = table.iloc[rows], ids.iloc[rows]
    frame = pd.DataFrame(
        {
            "image": image_id.map(ordinals.image).to_numpy(np.int32),
            "patient": chosen["patient_id"].astype(str).map(ordinals.patient).to_numpy(np.int32),
            "split": image_id.map(split).to_numpy(object),
            "view": chosen["view"].where(chosen["view"].isin(VIEWS), "UNKNOWN").to_numpy(object),
            "sex": chosen["sex"].where(chosen["sex"].isin(SEXES), "").to_numpy(object),
            "device": chosen["device"].fillna("").astype(str).to_numpy(object),
            "age": decades(chosen["age"]),
        }
    )
    for column, finding in enumerate(findings):
        frame[finding] = _states(state[rows, column])
        for name, state_NK in other_mappings.items():
            if (state_NK[:, column] != state[:, column]).any():
                frame[f"{name}:{finding}"] = _states(state_NK[rows, column])
    return frame.sort_values("image", ignore_index=True)


def _states(code: NDArray[np.int8]) -> pd.Series:
    return pd.Series(code, dtype="Int8").where(code != UNMAPPED_CODE)  # null for an unmapped finding


def kinds(frame_columns: Sequence[str]) -> dict[str, str]:
    """Return {column: kind} for the columns of a cohort's table in a bundle. A kind is a key of `tables.KINDS`."""
    kind_of = {"image": "ordinal", "patient": "ordinal", "age": "number", **dict.fromkeys(ABOUT, "text")}
    return {name: kind_of.get(name, "state") for name in frame_columns}


def table_id(frame: pd.DataFrame) -> str:
    """Return a hash of a table in a bundle, 12 hex digits. The hash depends on every cell and column name."""
    parts = [part for name in frame.columns for part in (str(name).encode(), _content(frame[name]))]
    return hashlib.sha256(COLUMN_SEPARATOR.join(parts)).hexdigest()[:12]


def _content(column: pd.Series) -> bytes:
    """Return the cells of a column as bytes that are the same on every machine.

    Numbers are little-endian, and all NaN have the same bytes.
    """
    if isinstance(column.dtype, pd.Int8Dtype):
        return column.to_numpy(np.int8, na_value=UNMAPPED_CODE).tobytes()
    if not pd.api.types.is_numeric_dtype(column):
        return TEXT_SEPARATOR.join(map(str, column)).encode()
    values = column.to_numpy()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
