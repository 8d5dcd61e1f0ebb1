"""Read any CSV or Parquet table with a mapping file that defines the meaning of its columns.

    image: "images/{filename}"       # path relative to the root; columns in braces
    patient: patientid
    view: {column: view, PA: [PA], AP: [AP, AP Supine]}      # or {constant: PA}; default: FRONTAL
    sex: {column: sex, M: [M], F: [F]}
    age: {column: age}
    where: {modality: [X-ray]}       # keep rows with these values
    findings:
      Pneumonia:  {column: finding, present: "*", absent: [No Finding]}     # "*": every other stated value
      No Finding: {column: finding, present: [No Finding], absent: "*"}     # values in no list are null
      # a finding may also have `uncertain: [...]` (state -1) and `doubtful: [...]` (null, as for a value in no list)
    split: {column: split, train: [train], test: [test]}     # default: all rows are `test`
    lung_mask: "lung_masks/{filename}"                       # masks of the lungs, 0 or 255; files may be missing
    keep: [scanner]                  # further columns that the cohort gets, such as groups of training images

Only image, patient and findings are required. Values are compared as text (1, 1.0 and "1" are equal). Patient ids are
never changed: 12, 12.0 and 012 are three patients. An age that is not a number from 0 to 120 is unknown.
Additional columns: those of `keep` ("" for no value), lung_mask (if the mapping has this key), and drop ("not selected" if `where` does not select the
row; "no split" if `split` does not list the row's value).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, Remark, native
from harmonize.datasets.csvfile import (
    MAX_AGE_YEARS,
    faults,
    first_fault,
    header,
    numbers,
    read_text,
    require_folder,
    states_array,
    unknown_words,
)
from harmonize.datasets.ids import look, refuse_rounded
from harmonize.datasets.mapping import STATE_KEYS, FindingRule, TableMapping, plain, read_mapping
from harmonize.datasets.user_table import is_parquet, read_user_table
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import ABSENT, NO_FINDING, PRESENT, UNCERTAIN, UNMAPPED_CODE

# texts of a cell that mean "no value"; "*" in a mapping means any text except these
UNSTATED = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "None")
# words that say nothing, and words that say that a finding is absent (or that No Finding is present)
_NOTHING = (
    *UNSTATED,
    "#N/A",
    "-",
    "?",
    "unknown",
    "unk",
    "missing",
    "not available",
    "not stated",
    "not reported",
    "nil",
)
_HEALTHY = ("no", "none", "negative", "neg", "normal", "healthy", "absent", "no finding", "0", "false")
_PARTS = re.compile(r"[|;,/+]")  # between several labels of a cell
TABLE, MAPPING = "table.csv", "mapping.yaml"


def read(root: Path, table: str = TABLE, mapping: str | Path = MAPPING) -> pd.DataFrame:
    """Return one row per image: the base columns, `drop`, and for each mapped finding "native:<finding>" (1, 0 or null).

    `table` is a path relative to root. `mapping` is a path; if there is no such file, the path is relative to root.
    """
    path, meaning = _files(root, table, mapping)
    unchanged = _text(path, meaning)
    raw = _compared(unchanged)
    patient = unchanged[meaning.patient].str.strip()
    for column in dict.fromkeys([meaning.patient, *meaning.columns_of_path(meaning.image)]):
        refuse_rounded(unchanged[column], column, path)
    image = _paths(raw, meaning.image)
    selected = _selected(raw, meaning)
    split = _recode(raw, meaning.split, "") if meaning.split else pd.Series("test", index=raw.index)
    age = numbers(raw[meaning.age]) if meaning.age else pd.Series(np.nan, raw.index)
    drop = np.select([~selected, split == ""], ["not selected", "no split"], "")
    columns: dict[str, Any] = {
        "image_id": image,
        "patient_id": patient,
        "study_id": image,
        "split": split,
        "view": _recode(raw, meaning.view, "UNKNOWN"),
        "sex": _recode(raw, meaning.sex, ""),
        "age": age.where(age.between(0, MAX_AGE_YEARS)),
        "device": "",
        "path": image,
        "drop": drop,
    }
    for key, rule in (("view", meaning.view), ("sex", meaning.sex), ("split", meaning.split)):
        if "column" in rule:
            known = [word for name, words in rule.items() if name != "column" for word in words]
            columns |= unknown_words(raw[rule["column"]], (*known, *UNSTATED), key)
    for name in meaning.keep:
        columns[name] = raw[name].mask(raw[name].isin(UNSTATED), "")
    if meaning.lung_mask:
        columns["lung_mask"] = _paths(raw, meaning.lung_mask)
    # rows without a patient id must not all become one patient with the id ""
    no_patient = patient.isin(UNSTATED[1:]) & selected
    fault = first_fault(unchanged[FAULT], faults(no_patient, patient, meaning.patient, "a patient", path))
    if (fault != "").any():
        columns[FAULT] = fault
    usable = unchanged[FAULT] == ""
    counted = usable & selected
    notes = list[Remark]()
    if meaning.age:
        stated = raw.loc[counted & ~raw[meaning.age].isin(UNSTATED), meaning.age]
        fix = f"write 0 to {MAX_AGE_YEARS} years; other cells count as unknown"
        notes += _other_values("ages", stated[~numbers(stated).between(0, MAX_AGE_YEARS)], fix)
    for finding, states in meaning.findings.items():
        cells = raw[states.column]
        columns[native(finding)] = pd.Series(_states(cells, states), raw.index).where(usable)
        notes += _label_remarks(finding, states, cells[usable], counted, path)
    result = pd.DataFrame(columns)
    result.attrs["remarks"] = notes
    return result


def _label_remarks(
    finding: str, rule: FindingRule, cells: "pd.Series[str]", counted: "pd.Series[bool]", path: Path
) -> list[Remark]:
    """Return remarks about the cells that the rule of a finding does not list, in the rows of the mask `counted`.

    Raises ConfigError if no cell is listed, and as `_taken`.
    """
    stated = cells[~cells.isin(UNSTATED)]
    known = stated.isin(rule.listed)
    others = stated[~known & counted[stated.index]]
    star = next((key for key, words in rule.words.items() if words is None), "")
    if star:
        return _taken(finding, rule, star, others, path)
    if len(stated) and not known.any():
        frequent_values = ", ".join(map(repr, stated.value_counts().index[:5]))
        fix = f"correct the mapping; the most frequent values are {frequent_values}"
        raise ConfigError(f"the mapping of {finding} lists no value of column {rule.column!r}", str(path), fix)
    fix = (
        f"add the values to one of {', '.join(STATE_KEYS)} of {finding} in the mapping; without this, the label is null"
    )
    return _other_values(f"labels of {finding}", others, fix)


def remarks(table: pd.DataFrame, _root: Path) -> list[Remark]:
    """Return the remarks of `read` on ages and labels."""
    of_table: list[Remark] = table.attrs.pop("remarks", [])
    return of_table


def _other_values(what: str, cells: "pd.Series[str]", fix: str) -> list[Remark]:
    """Return a remark that lists the most frequent values of `cells`, or [] if there are none."""
    return [Remark(what, f"{len(cells):,} cells have other values: {_shown(cells)}", fix)] if len(cells) else []


def _shown(cells: "pd.Series[str]") -> str:
    values = cells.value_counts()
    return ", ".join(f"{value!r} ({number:,})" for value, number in values.head(5).items()) + ", …" * (len(values) > 5)


def _taken(finding: str, rule: FindingRule, star: str, cells: "pd.Series[str]", path: Path) -> list[Remark]:
    """Return a note with the values that "*" stands for.

    Raises ConfigError if one of them is a listed value in another spelling, has a listed value as a part, or says nothing: then "*"
    would count it as the opposite.
    """
    listed = {_stem(value) for value in rule.listed}
    nothing = {look(word) for word in _NOTHING}
    if (star == "present") != (finding == NO_FINDING):
        nothing |= {look(word) for word in _HEALTHY}
    doubtful = [
        value
        for value in cells.unique()
        if look(value) in nothing or listed & {_stem(part) for part in [value, *_PARTS.split(value)]}
    ]
    if doubtful:
        what = f'"*" of {finding} would count as {star}: {_shown(cells[cells.isin(doubtful)])}'
        fix = f"correct the cells, or list the values under one of {', '.join(STATE_KEYS)} of {finding} in the mapping"
        raise ConfigError(what, str(path), fix)
    if cells.empty or (star == "absent") != (finding == NO_FINDING):
        return []
    fix = "list the values that mean something else"
    return [Remark(f"labels of {finding}", f'"*" counts as {star}: {_shown(cells)}', fix, "note")]


def _stem(value: str) -> str:
    """Return how a value looks, without the s of a plural."""
    return look(value).removesuffix("s")


def _files(root: Path, table: str, mapping: str | Path) -> tuple[Path, TableMapping]:
    """Return the path of the table and the content of the mapping file."""
    require_folder(root)
    mapping_path = Path(mapping)
    meaning = read_mapping(mapping_path if mapping_path.is_file() else root / mapping_path)
    path = root / table
    if not path.is_file():
        raise DatasetError(f"no {table}", str(root), "correct `table:`, which is relative to `root:`")
    return path, meaning


def _selected(raw: pd.DataFrame, meaning: TableMapping) -> "pd.Series[bool]":
    """Return the mask of rows that `where` selects."""
    selected = pd.Series(True, index=raw.index)
    for column, values in meaning.where.items():
        selected &= raw[column].isin(values)
    return selected


def _compared(unchanged: pd.DataFrame) -> pd.DataFrame:
    """Return all columns except FAULT; cells get the form in which they are compared with the mapping (see `plain`)."""
    names = [name for name in unchanged if name != FAULT]
    return pd.DataFrame({name: unchanged[name].map(plain).astype(str) for name in names})


def _text(path: Path, meaning: TableMapping) -> pd.DataFrame:
    """Return the columns that the mapping uses, as unchanged text ("" for null), and the column FAULT."""
    try:
        parquet = read_user_table(path) if is_parquet(path) else None
    except (OSError, ValueError) as error:  # the errors of pyarrow
        raise DatasetError(f"not a readable Parquet file: {error}", str(path), "write the file again") from error
    present = [str(name) for name in parquet.columns] if parquet is not None else header(path)
    meaning.check_columns(present, path)
    names = list(dict.fromkeys(meaning.columns()))
    if parquet is None:
        return read_text(path, names)
    if parquet.empty:
        raise DatasetError("the table has no rows", str(path), "correct `table:`")
    cells = parquet[names].astype(object).where(parquet[names].notna(), "")
    text = {name: cells[name].map(lambda cell: cell if isinstance(cell, str) else plain(cell)) for name in names}
    return pd.DataFrame(text).astype(str).assign(**{FAULT: ""})


def _paths(raw: pd.DataFrame, pattern: str) -> "pd.Series[str]":
    """Return a path for each row: the pattern, in which the row's cells replace the column names in braces."""
    result = pd.Series("", index=raw.index)
    for number, fragment in enumerate(re.split(r"\{([^{}]*)\}", pattern)):
        result = result + (raw[fragment] if number % 2 else fragment)
    return result.astype(str)


def _recode(raw: pd.DataFrame, rule: Mapping[str, Any], default: str) -> Any:
    """Return the name that a rule of the mapping gives to each row, or `default` if the rule gives no name.

    A rule is {column: ..., name: [values]} or {constant: name}.
    """
    if "constant" in rule:
        return pd.Series(rule["constant"], index=raw.index)
    result = pd.Series(default, index=raw.index)
    for name, values in rule.items():
        if name != "column":
            result = result.where(~raw[rule["column"]].isin(values), name)
    return result


def _states(cells: pd.Series, rule: FindingRule) -> Any:
    """Return 1, 0, -1 or null for each cell."""
    others = ~cells.isin(UNSTATED) & ~cells.isin(rule.listed)
    masks = [others if values is None else cells.isin(values) for values in rule.words.values()]
    state = np.select(masks, [PRESENT, ABSENT, UNCERTAIN, UNMAPPED_CODE], UNMAPPED_CODE).astype(np.int8)
    return states_array(np.where(state == UNMAPPED_CODE, 0, state).astype(np.int8), state == UNMAPPED_CODE)
