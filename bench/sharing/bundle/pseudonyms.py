"""What leaves the house of a cohort: ordinals for its patients and images, and the columns that scoring reads.

No id, no date, no path, no free text: sex, view and split are words of a list, ages decades, labels numbers.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.planning.plan import states
from bench.results.read_predictions import mapped_states
from bench.scoring.patient_groups import SEXES
from bench.store.store import short_hash
from harmonize.datasets import VIEWS
from harmonize.labels.findings import UNMAPPED_CODE

ABOUT = ("split", "view", "sex", "device")  # text columns of a cohort in a bundle
OLDEST = 90  # from here on ages are one group


@dataclass(frozen=True, slots=True)
class Ordinals:
    """Numbers in place of ids, by id. `tag` begins the names made of them: equal tags mean equal numbers."""

    tag: str
    image: Mapping[str, int]
    patient: Mapping[str, int]


def number(table: pd.DataFrame, image_ids: Sequence[str], origin: str, keep_order: bool) -> Ordinals:
    """Return ordinals of a cohort table's images that are exported, and of their patients.

    By default a fresh random permutation: nothing is left of the ids, nor of their order. With `keep_order` the place of each
    id among all sorted ids of the table, on which the resampled patients rest: bounds then stay to the last bit.
    """
    patient_of = dict(zip(table["image_id"].astype(str), table["patient_id"].astype(str), strict=True))
    if keep_order:
        return Ordinals(origin, _places(sorted(patient_of)), _places(sorted(set(patient_of.values()))))
    images, patients = sorted(set(image_ids)), sorted({patient_of[i] for i in image_ids})
    dice = secrets.SystemRandom()
    for ids in (images, patients):
        dice.shuffle(ids)
    return Ordinals(secrets.token_hex(6), _places(images), _places(patients))


def _places(ids: Sequence[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(ids)}


def image_names(tag: str, ordinal: NDArray[np.int32]) -> list[str]:
    """Return what stands for image ids: sorted, they are in the order of the ordinals.

    >>> image_names("5f", np.array([12], np.int32))
    ['5f-i00000012']
    """
    return [f"{tag}-i{n:08d}" for n in ordinal.tolist()]


def patient_names(tag: str, ordinal: NDArray[np.int32]) -> list[str]:
    """Return what stands for patient ids."""
    return [f"{tag}-p{n:08d}" for n in ordinal.tolist()]


def decades(age: "pd.Series[float]") -> NDArray[np.float64]:
    """Return the middle of each age's decade, 95 from 90 on, NaN where unknown: scoring tells no more than decades apart.

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
    """Return the rows of a cohort table that `split` names (image id -> split), as they go into a bundle, by ordinal.

    Beside the states of the findings stand columns "mapping:finding", for each state that another admissible mapping changes
    anywhere in the table.
    """
    own = states(table, findings)
    other = mapped_states(table, layout, mapping, tuple(findings))
    ids = table["image_id"].astype(str)
    at = np.flatnonzero(ids.isin(split).to_numpy())
    chosen, image_id = table.iloc[at], ids.iloc[at]
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
    for k, finding in enumerate(findings):
        frame[finding] = _states(own[at, k])
        for name, state_NK in other.items():
            if (state_NK[:, k] != own[:, k]).any():
                frame[f"{name}:{finding}"] = _states(state_NK[at, k])
    return frame.sort_values("image", ignore_index=True)


def _states(code: NDArray[np.int8]) -> pd.Series:
    return pd.Series(code, dtype="Int8").where(code != UNMAPPED_CODE)


def kinds(frame_columns: Sequence[str]) -> dict[str, str]:
    """Return the kind of each column of a cohort in a bundle."""
    known = {"image": "ordinal", "patient": "ordinal", "age": "number", **dict.fromkeys(ABOUT, "text")}
    return {name: known.get(name, "state") for name in frame_columns}


def table_id(frame: pd.DataFrame) -> str:
    """Return 12 hex digits that change when any cell of a table of a bundle does."""
    return short_hash(
        b"\x1e".join(part for name in frame.columns for part in (str(name).encode(), _content(frame[name])))
    )


def _content(column: pd.Series) -> bytes:
    """Return the cells of a column, the same on every machine: numbers as they lie in a file, NaN in one way."""
    if isinstance(column.dtype, pd.Int8Dtype):
        return column.to_numpy(np.int8, na_value=UNMAPPED_CODE).tobytes()
    if not pd.api.types.is_numeric_dtype(column):
        return "\x1f".join(map(str, column.tolist())).encode()
    values = column.to_numpy()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
