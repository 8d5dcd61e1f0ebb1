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
    separator: "|"                   # text between several labels of a cell

`image: {bytes: image}` names a column of a Parquet table that has the bytes of the images. The image id is then FILE/COLUMN/ROW.
Only image, patient and findings are required. Values are compared as text (1, 1.0 and "1" are equal). Patient ids are
never changed: 12, 12.0 and 012 are three patients. An age that is not a number from 0 to 120 is unknown.
Additional columns: those of `keep` ("" for no value), lung_mask (if the mapping has this key), and drop ("not selected" if `where` does not select the
row; "no split" if `split` does not list the row's value).
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harmonize.datasets import FAULT, UNKNOWN, Remark, native
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
from harmonize.images.shards import has_bytes
from harmonize.labels.findings import ABSENT, NO_FINDING, PRESENT, UNCERTAIN, UNMAPPED_CODE

# texts of a cell that mean "no value"; "*" in a mapping means any text except these
UNSTATED = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "None")
# words that say nothing, and words that say that a finding is absent (or that No Finding is present)
_NOTHING = (*UNSTATED, "#N/A", "-", "?", "unknown", "unk", "missing", "nil")
_OPEN = re.compile(r"(?i).*\?|to ?do|tbd|excluded|not +(?:available|stated|reported|done|known)")
_HEALTHY = ("no", "none", "negative", "neg", "absent", "0", "false", "normal", "healthy", "no finding")
_NEGATED = re.compile(rf"{_OPEN.pattern}|(?:no|not|without|kein\w*|ohne|sin|sans)\b.*|unremarkable|.*\bunlikely")
_PARTS = re.compile(r"[|;,/+]")  # between several labels of a cell
TABLE, MAPPING = "table.csv", "mapping.yaml"
Splits = tuple[tuple[str, str], ...]  # pairs (split, file)


def read(root: Path, table: str | Splits = TABLE, mapping: str | Path = MAPPING) -> pd.DataFrame:
    """Return one row per image: the base columns, `drop`, and for each mapped finding "native:<finding>" (1, 0 or null).

    `table` is a path relative to root, or a pattern with `*` for several files; or pairs (split, path or pattern).
    `mapping` is a path; if there is no such file, the path is relative to root.
    """
    require_folder(root)
    mapping_path = Path(mapping)
    meaning = read_mapping(mapping_path if mapping_path.is_file() else root / mapping_path)
    if meaning.split and not isinstance(table, str):
        fix = "remove `split` from the mapping, or name one table"
        raise ConfigError("both the data file and the mapping state the splits", f"{meaning.file}: split", fix)
    files = table_files(root, table)
    if missing := [path for _, path in files if not path.is_file()]:
        what = f"no {os.path.relpath(missing[0], root)}"
        raise DatasetError(what, str(root), "correct `table:`, which is relative to `root:`")
    parts = [_read(root, path, meaning, split) for split, path in files]
    whole = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    for column in {FAULT, *(name for name in whole if str(name).startswith(UNKNOWN))} & set(whole):
        whole[column] = whole[column].fillna("")
    whole.attrs["remarks"] = list(dict.fromkeys(remark for part in parts for remark in part.attrs["remarks"]))
    return whole


def table_files(root: Path, table: str | Splits) -> list[tuple[str, Path]]:
    """Return (split, path) of each file that the key `table` of the data file names; split "" if it names no splits.

    A pattern that no file matches is returned as a path.
    """
    found: list[tuple[str, Path]] = []
    for split, name in (("", table),) if isinstance(table, str) else table:
        paths = sorted(root.glob(name)) if "*" in name else []
        found += [(split, path) for path in paths or [root / name]]
    return found


def _read(root: Path, path: Path, meaning: TableMapping, split_of_file: str) -> pd.DataFrame:
    """Return the rows of one file. `split_of_file`: their split, "" if the mapping states it."""
    unchanged = _text(path, meaning)
    raw = _compared(unchanged)
    patient = unchanged[meaning.patient].str.strip()
    for column in dict.fromkeys([meaning.patient, *meaning.columns_of_path(meaning.image)]):
        refuse_rounded(unchanged[column], column, path)
    image = _cells(raw, root, path, meaning.image_bytes) if meaning.image_bytes else _paths(raw, meaning.image)
    selected = raw[[*meaning.where]].isin(meaning.where or []).all(axis=1)  # all rows without `where`
    split = pd.Series(split_of_file or "test", raw.index) if not meaning.split else _recode(raw, meaning.split, "")
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
        if meaning.separator:
            cells = cells.str.split(meaning.separator, regex=False).explode().str.strip()
        columns[native(finding)] = pd.Series(_states(cells, states), raw.index).where(usable)
        notes += _exchanged(finding, states)
        notes += _label_remarks(finding, states, cells[usable[cells.index]], counted, path)
    result = pd.DataFrame(columns)
    result.attrs["remarks"] = notes
    return result


def _label_remarks(
    finding: str, rule: FindingRule, cells: "pd.Series[str]", counted: "pd.Series[bool]", path: Path
) -> list[Remark]:
    """Return remarks about the cells that the rule of a finding does not list, in the rows of the mask `counted`.

    Raises ConfigError if no cell is listed, and the errors of `_taken`.
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


def _exchanged(finding: str, rule: FindingRule) -> list[Remark]:
    """Return a remark if a word that says that a finding is absent is listed as present; or, for No Finding, as absent."""
    key, listed = ("absent", _HEALTHY[-3:]) if finding == NO_FINDING else ("present", _HEALTHY)
    healthy = {look(word) for word in listed}
    words = [word for word in rule.words[key] or () if look(word) in healthy]
    if not words or look(rule.column) in healthy:  # no remark for {column: healthy, present: [0]}
        return []
    found = f"the mapping lists {', '.join(map(repr, words))} under {key}"
    return [Remark(f"labels of {finding}", found, "check that present and absent are not exchanged")]


def remarks(table: pd.DataFrame, _root: Path) -> list[Remark]:
    """Return the remarks of `read` on ages and labels."""
    of_table: list[Remark] = table.attrs.pop("remarks", [])
    return of_table


def _other_values(what: str, cells: "pd.Series[str]", fix: str) -> list[Remark]:
    """Return a remark that lists the most frequent values of `cells`, or [] if there are none."""
    return [Remark(what, f"{len(cells):,} cells have other values: {_shown(cells)}", fix)] if len(cells) else []


def _shown(cells: "pd.Series[str]") -> str:
    counts = cells.value_counts()
    listed = ", ".join(f"{value!r} ({count:,})" for value, count in counts.head(5).items())
    return f"{listed}, …" if len(counts) > 5 else listed


def _taken(finding: str, rule: FindingRule, star: str, cells: "pd.Series[str]", path: Path) -> list[Remark]:
    """Return a note with the values that "*" stands for.

    Raises ConfigError for a value that "*" would misread: a listed value in another spelling, a value that has a listed value as a
    part, one that denies or doubts a finding, or one that says nothing about it.
    """
    listed = {_stem(value) for value in rule.listed if not value.endswith("?")}
    nothing, misread = {look(word) for word in _NOTHING}, _OPEN
    if (star == "present") != (finding == NO_FINDING):
        nothing |= {look(word) for word in _HEALTHY}
        misread = _NEGATED
    doubtful = [
        value
        for value in cells.unique()
        if look(value) in nothing
        or misread.fullmatch(value)
        or listed & {_stem(part) for part in [value, *_PARTS.split(value)]}
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


def _compared(unchanged: pd.DataFrame) -> pd.DataFrame:
    """Return all columns except FAULT; cells get the form in which they are compared with the mapping (see `plain`)."""
    names = [name for name in unchanged if name != FAULT]
    return pd.DataFrame({name: unchanged[name].map(plain).astype(str) for name in names})


def _text(path: Path, meaning: TableMapping) -> pd.DataFrame:
    """Return the columns that the mapping uses, as unchanged text ("" for null), and the column FAULT."""
    if not is_parquet(path):
        if meaning.image_bytes:
            fix = "write `image:` with a column in braces, or give the table as Parquet"
            raise ConfigError("only a Parquet file has bytes of images", f"{meaning.file}: image", fix)
        meaning.check_columns(header(path), path)
        return read_text(path, list(dict.fromkeys(meaning.columns())))
    try:
        schema = pq.read_schema(path)
        meaning.check_columns(schema.names, path)
        names = list(dict.fromkeys(meaning.columns()))
        parquet = read_user_table(path, names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"not a readable Parquet file: {error}", str(path), "write the file again") from error
    column = meaning.image_bytes
    if column and not (column in schema.names and has_bytes(schema.field(column).type)):
        fix = "name a column of bytes, or of `bytes` and `path`"
        raise ConfigError(f"the column {column!r} has no bytes of images", f"{meaning.file}: image", fix)
    if parquet.empty:
        raise DatasetError("the table has no rows", str(path), "correct `table:`")
    cells = parquet.astype(object).where(parquet.notna(), "")
    text = {name: cells[name].map(lambda cell: _plain(cell, meaning.separator)) for name in names}
    return pd.DataFrame(text).astype(str).assign(**{FAULT: ""})


def _plain(cell: object, separator: str) -> str:
    """Return a cell of a Parquet table as text; the labels of a list are joined."""
    if isinstance(cell, np.ndarray | list):
        return (separator or "|").join(map(plain, cell))
    return cell if isinstance(cell, str) else plain(cell)


def _cells(raw: pd.DataFrame, root: Path, path: Path, column: str) -> "pd.Series[str]":
    """Return the path of the image in each row of a Parquet file."""
    file = os.path.relpath(path, root)
    return pd.Series([f"{file}/{column}/{i}" for i in range(len(raw))], raw.index)


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
    """Return 1, 0, -1 or null for each row. Cells of a row with several labels have the same index; absent applies last."""
    others = ~cells.isin(UNSTATED) & ~cells.isin(rule.listed)
    code = {"present": PRESENT, "uncertain": UNCERTAIN, "doubtful": UNMAPPED_CODE, "absent": ABSENT}
    masks = [others if words is None else cells.isin(words) for words in map(rule.words.get, code)]
    if not cells.index.is_unique:
        masks = [mask.groupby(level=0, sort=False).any() for mask in masks]
    state = np.select(masks, [*code.values()], UNMAPPED_CODE).astype(np.int8)
    return states_array(np.where(state == UNMAPPED_CODE, 0, state).astype(np.int8), state == UNMAPPED_CODE)
