"""Compare a dataset with facts about its release (`published.yaml`), and check rules that hold for all datasets.

Levels of a check:
    fault    results would be wrong, or images are missing
    warning  a difference from the release, or doubtful data
    note     information without a judgment
    ok       no problem was detected
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from harmonize.cohorts.cohort import ABSENT, UNKNOWN_LABEL, Cohort, load, other_files
from harmonize.cohorts.specs import GOLD, CohortSpec
from harmonize.cohorts.splits import refuse_two_splits
from harmonize.datasets import FAULT, LABELS, TABLE, adapter, native
from harmonize.datasets.csvfile import find, header, read_text, summary
from harmonize.errors import CxrError
from harmonize.images.shards import file_of
from harmonize.labels.findings import STATES
from harmonize.yaml_file import parse_yaml

LEVELS = ("fault", "warning", "note", "ok")
_DISPLAY_NAMES = {"tokens": "labels"}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check of one property (`what`): expected value, actual value (`found`), and fix."""

    dataset: str  # "" if the check is about more than one dataset
    what: str
    level: str  # one of LEVELS
    expected: str = ""
    found: str = ""
    fix: str = ""


@cache
def release_facts() -> dict[str, Any]:
    """Return the content of `harmonize/checks/published.yaml`."""
    text = (files("harmonize.checks") / "published.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text, "harmonize/checks/published.yaml")
    return content


def inspect(spec: CohortSpec, tables_alone: bool = False) -> tuple[Cohort | None, list[Check]]:
    """Check the tables of a dataset; return the cohort (None if it cannot be loaded) and the checks. Opens no image.

    `tables_alone`: that no image is on disk is a warning, and the tables are checked nevertheless.
    """
    name = spec.name
    cohort, table, problem = _read(spec, tables_alone)
    is_phantom = any((folder / "phantom.json").is_file() for folder in (spec.root, spec.root.parent))
    checks: list[Check] = []
    if is_phantom:
        checks.append(Check(name, "phantom", "note", "", "synthetic images: counts are not compared with the release"))
    release_files = release_facts()["datasets"].get(spec.layout, ())
    if spec.layout == TABLE:
        checks.append(Check(name, "own table", "note", "", "no published facts exist for a comparison"))
    elif not release_files:
        unknown = "counts are not compared, because no table of this release was at hand"
        checks.append(Check(name, "release", "note", "", unknown))
    elif spec.root.is_dir():
        is_small = is_phantom
        for facts in release_files:
            file_checks, is_subset = check_table(spec, facts, table, is_phantom, is_small)
            checks += file_checks
            is_small |= is_subset
    all_rows = cohort.table if table is None and cohort is not None else table
    leaks = [] if all_rows is None else [check_leakage(name, all_rows)]
    if problem is not None:  # the fault for which the dataset is refused may also put patients in two splits
        leaks = [check for check in leaks if check.found == problem.what]
    checks += leaks
    if cohort is not None and all_rows is not None:
        checks += [*check_cohort(cohort, all_rows), *check_images_are_there(cohort)]
    if problem is not None and not any(c.level == "fault" and c.found == problem.what for c in leaks):
        checks.append(Check(name, "refused", "fault", "", f"{problem.what} ({problem.where})", problem.fix))
    return cohort, checks


def _read(spec: CohortSpec, tables_alone: bool) -> tuple[Cohort | None, pd.DataFrame | None, CxrError | None]:
    """Return the cohort, the native table with default labels, and the error.

    The cohort is None if it cannot be loaded; if it is loaded, the error is None. The table is None if the adapter cannot
    read the dataset, and for a user's own table. Rows with a fault are not in the table.
    """
    table, problem = None, None
    try:
        if spec.layout != TABLE:
            table = adapter(spec.layout).read(spec.root)
            table = table[table[FAULT] == ""] if FAULT in table else table
    except CxrError as error:
        problem = error
    try:
        return load(spec, tables_alone=tables_alone), table, None
    except CxrError as error:
        return None, table, problem or error


def check_table(
    spec: CohortSpec, facts: Mapping[str, Any], table: pd.DataFrame | None, is_phantom: bool, is_small: bool
) -> tuple[list[Check], bool]:
    """Compare a table file with its published version; return checks, and whether the file has only a subset of the rows.

    `facts` describes the published file. `table` is the native table of the dataset. `is_small`: whether the dataset
    has fewer images than its release; then a missing file gives only a note.
    """
    path = find(spec.root, *facts["files"])
    if path is None:
        if facts["need"] in ("", "required") or is_phantom:
            # the file is missing: either another file replaces this file, or the adapter reports the error
            return [], False
        level = "note" if is_small else "warning"
        result = f"missing, so the dataset has {facts['need']}"
        fix = "add the published file"
        return [Check(spec.name, str(facts["files"][0]), level, "in the release", result, fix)], False
    name = path.name
    split_rows = table if table is None or "split" not in facts else table[table["split"] == facts["split"]]
    try:
        form_checks, raw = _column_checks(path, facts) if "columns" in facts else ([], None)
        if raw is not None:
            form_checks += _value_checks(raw, facts)
        if split_rows is not None and "states" in facts:
            form_checks += _state_checks(split_rows, facts["states"])
        subset, count_checks = ("", []) if is_phantom else _count_checks(raw, split_rows, facts)
    except CxrError as error:
        return [Check(spec.name, name, "fault", "", error.what, error.fix)], False
    checks = [
        Check(spec.name, f"{name}: {c.what}", c.level, c.expected, c.found, c.fix)
        for c in [*form_checks, *count_checks]
    ]
    if subset:
        checks.append(Check(spec.name, name, "note", "", subset))
    if not form_checks and not count_checks:
        counted = [] if subset or is_phantom else ["rows", "patients"]
        matches = [f"{facts[key]:,} {key}" for key in counted if key in facts]
        lists = ["columns"] if subset or is_phantom else ["columns", "labels", "tokens"]
        matches += [f"{len(facts[key])} {_DISPLAY_NAMES.get(key, key)}" for key in lists if key in facts]
        checks.append(Check(spec.name, name, "ok", "", f"as published: {', '.join(matches) or 'the file exists'}"))
    return checks, bool(subset)


def _column_checks(path: Path, facts: Mapping[str, Any]) -> tuple[list[Check], pd.DataFrame]:
    """Return checks for missing columns and bad rows, and a table of the usable rows.

    The table has, as text, the columns whose values are published.
    """
    present = header(path)
    spelling = {
        column: next((name for name in (column, *facts.get("same", {}).get(column, ())) if name in present), "")
        for column in facts["columns"]
    }
    missing = [column for column, name in spelling.items() if column and not name]
    columns_to_read = {column: spelling[column] for column in facts.get("values", {}) if spelling[column]}
    first = next(column for column in present if column)  # any one column is sufficient to count the rows
    raw = read_text(path, list(dict.fromkeys([first, *columns_to_read.values()])), may_be_empty=True)
    raw = raw.rename(columns={name: column for column, name in columns_to_read.items()})
    fix, checks = "use the file as published", []
    if missing:
        result = f"missing: {', '.join(map(repr, missing))}"
        checks.append(Check("", "columns", "warning", f"{len(facts['columns'])} columns", result, fix))
    fault = raw.loc[raw[FAULT] != "", FAULT]
    if len(fault):
        result = f"{len(fault):,} of {len(raw):,} rows: {summary(fault)}"
        checks.append(Check("", "rows", "fault", f"{len(present)} cells in each row", result, fix))
    return checks, raw[raw[FAULT] == ""]


def _value_checks(raw: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[Check]:
    """Yield a warning for each column with values that do not occur in the release."""
    for column, counts in facts.get("values", {}).items():
        if column in raw:
            text = raw[column].str.strip().replace({"nan": "", "None": ""})
            known = [*counts, *([""] if None in counts.values() else [])]  # without counts, some cells may be blank
            unpublished = text[~text.isin(known)].value_counts()
            if len(unpublished):
                shown = ", ".join(f"{value!r} ({number:,})" for value, number in unpublished.head(5).items())
                expected = ", ".join(repr(value) for value in counts)
                yield Check("", column, "warning", expected, shown, "correct these values: they count as not stated")


def _state_checks(table: pd.DataFrame, allowed: list[int]) -> Iterator[Check]:
    """Yield a check of level fault for each label whose state cannot occur in the original published file (see `allowed`)."""
    for column in table.columns:
        if str(column).startswith("native:"):
            is_invalid = table[column].isin([state for state in STATES if state not in allowed])
            if is_invalid.any():
                label = str(column).removeprefix("native:")
                result = f"{int(is_invalid.sum()):,} rows are uncertain or blank"
                yield Check("", f"label {label}", "fault", "1 or 0", result, "check that this is the published file")


def _count_checks(
    raw: pd.DataFrame | None, split_rows: pd.DataFrame | None, facts: Mapping[str, Any]
) -> tuple[str, list[Check]]:
    """Return the text of a note, and warnings, about counts of rows, images, patients and labels.

    If the file is only a subset of the release, the note says so, and there are no warnings. Otherwise the note is "",
    and each warning reports a count that differs from the release by more than the tolerance.
    """
    file_rows = raw if raw is not None else split_rows
    if file_rows is None:
        return "", []
    rows = len(file_rows)
    unit, published_rows = ("rows", facts["rows"]) if "rows" in facts else ("images", facts.get("images"))
    if published_rows is None:
        return "", []
    tolerance = release_facts()["tolerance"]
    if rows < tolerance["subset"] * published_rows:
        return f"a subset: {rows:,} of {published_rows:,} {unit}; counts and prevalences are not checked", []
    pairs: list[tuple[str, int, int]] = []
    if raw is not None and "rows" in facts:
        pairs.append(("rows", facts["rows"], rows))
        for column, counts in facts.get("values", {}).items():
            if column in raw:
                text = raw[column].str.strip().replace({"nan": "", "None": ""}).value_counts()
                pairs += [
                    (f"{column} {value or 'blank'}", number, int(text.get(value, 0)))
                    for value, number in counts.items()
                    if number is not None
                ]
    if split_rows is not None:
        pairs += _published_and_actual(split_rows, facts)
    fix = "compare with the published file: this may be another release or a damaged file"
    checks = [
        Check("", name, "warning", f"{number:,} within {tolerance['relative']:.0%}", f"{actual:,}", fix)
        for name, number, actual in pairs
        if abs(actual - number) > max(tolerance["rows"], tolerance["relative"] * number)
    ]
    return "", checks


def _published_and_actual(table: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield (name, published count, actual count) for images, patients, studies, labels and excluded rows."""
    for key, column in {"images": "image_id", "patients": "patient_id", "studies": "study_id"}.items():
        if key in facts:
            yield key, facts[key], int(table[column].nunique())
    for label, counts in facts.get("labels", {}).items():
        if native(label) in table:
            for state, name, number in zip(STATES, ("present", "absent", "uncertain", "blank"), counts, strict=True):
                yield f"label {label} {name}", number, int((table[native(label)] == state).sum())
    if "tokens" in facts and LABELS in table:
        cells = table[LABELS].value_counts()
        word_sets = cells.index.to_series().str.split("|").map(set)
        rows_with_word = (
            pd.Series(cells.to_numpy(), word_sets.to_numpy()).reset_index().explode("index").groupby("index")[0].sum()
        )
        for word, number in facts["tokens"].items():
            yield f"label {word}", number, int(rows_with_word.get(word, 0))
    for reason, number in facts.get("drop", {}).items():
        if "drop" in table:
            yield f"excluded: {reason}", number, int((table["drop"] == reason).sum())


def check_leakage(name: str, table: pd.DataFrame) -> Check:
    """Return a check of level fault if a patient is in two official splits, else ok; the texts contain no patient ids."""
    patients = table[table["split"] != ""].groupby("split")["patient_id"].nunique()
    patients_of_split = " / ".join(f"{split} {number:,}" for split, number in patients.items()) or "no official split"
    try:
        refuse_two_splits(table, table["split"])
    except CxrError as error:
        return Check(name, "leakage", "fault", "0 shared patients", error.what, error.fix)
    return Check(name, "leakage", "ok", "", f"0 shared patients ({patients_of_split})")


def check_cohort(cohort: Cohort, table: pd.DataFrame) -> list[Check]:
    """Return the checks that need no facts about the release.

    Subjects: sex, rows, studies that radiologists labeled, missing images, number of used images. `table`
    has all rows of the dataset, and `cohort` only the used rows.
    """
    name, checks = cohort.name, []
    sexes = table[table["sex"] != ""].groupby("patient_id")["sex"].nunique()
    if (sexes > 1).any():
        result = f"{int((sexes > 1).sum()):,} of {len(sexes):,} patients have both F and M"
        check = Check(name, "sex", "warning", "one sex per patient", result, "exclude these patients from subgroups")
        checks.append(check)
    checks += check_rows(cohort)
    expert_columns = [column for column in cohort.table if str(column).startswith("expert:")]
    if expert_columns and cohort.spec.label_source == "default":
        gold = cohort.table.loc[cohort.table[expert_columns].notna().any(axis=1), "study_id"]
        result = f"{gold.nunique():,} studies ({len(gold):,} images); to score them, add {name}{GOLD} to `evaluate_on` of a grid"
        checks.append(Check(name, "also labeled by radiologists", "note", "", result))
    missing = cohort.quarantine[cohort.quarantine["reason"] == ABSENT]
    absent = len(missing)
    if absent:
        cause = other_files(cohort.root, missing)
        result = f"{absent:,} are missing, e.g. {missing['image_id'].iloc[0]}{f': {cause}' if cause else ''}"
        level, fix = broken(cohort, absent, "complete the download, or remove their rows from the table")
        checks.append(Check(name, "absent images", level, "all listed images are on disk", result, fix))
    flow_text = ", ".join(f"{number:,} {step.replace('_', ' ')}" for step, number in cohort.flow.items())
    checks.append(Check(name, "images used", "ok", "", flow_text))
    return checks


def check_images_are_there(cohort: Cohort) -> list[Check]:
    """Return a check if no image of a cohort is on disk: a warning, or a fault if the files have another ending; [] otherwise."""
    listed = cohort.table[cohort.table["path"] != ""]
    if any((cohort.root / file_of(path)).is_file() for path in listed["path"]):
        return []
    cause = other_files(cohort.root, listed)
    found = f"none of {len(listed):,} is there{f': {cause}' if cause else ''}; only the tables were checked"
    fix = "give the files the names of the table" if cause else "download the images, or correct `root:`"
    level = "fault" if cause else "warning"
    return [Check(cohort.name, "absent images", level, "all listed images are on disk", found, fix)]


def check_rows(cohort: Cohort) -> list[Check]:
    """Return the checks of bad rows and repeated rows, the remarks, and labels that the dataset does not define."""
    name, flow = cohort.name, cohort.flow
    checks = []
    reasons = cohort.quarantine.loc[cohort.quarantine["reason"] != ABSENT, "reason"]
    if len(reasons):
        total = flow["found"]
        fix = "correct the table; a run excludes these rows and counts them"
        result = f"{len(reasons):,} of {total:,} rows cannot be used: {summary(reasons)}"
        checks.append(Check(name, "bad rows", "fault", "every row can be used", result, fix))
    if "repeated_row" in flow:
        result = f"{flow['repeated_row']:,} rows repeat another in every cell"
        checks.append(
            Check(name, "repeated rows", "warning", "one row per image", result, "no fix needed: each row is used once")
        )
    checks += [Check(name, remark.what, remark.level, "", remark.found, remark.fix) for remark in cohort.remarks]
    words = cohort.doubts.loc[cohort.doubts["reason"].str.startswith(UNKNOWN_LABEL), "reason"]
    if len(words):
        frequent = words.str.removeprefix(UNKNOWN_LABEL).value_counts().head(3)
        result = f"{len(words):,} rows have labels that the release does not have: " + ", ".join(
            f"{word} ({n:,})" for word, n in frequent.items()
        )
        fix = "correct the label if it means a finding; otherwise it is ignored"
        checks.append(Check(name, "labels", "warning", "labels of the release", result, fix))
    return checks


def broken(cohort: Cohort, number: int, fix: str) -> tuple[str, str]:
    """Return the level and the fix of the check that reports `number` unusable images.

    The level is warning if the release itself has at least this number of damaged images, else fault.
    """
    tables = [] if cohort.phantom else release_facts()["datasets"].get(cohort.layout, [])
    published_broken = max((facts.get("broken", 0) for facts in tables), default=0)
    if number <= published_broken:
        return "warning", f"no fix needed: {published_broken} files of the release itself are damaged or missing"
    return "fault", fix
