"""Compare a dataset with the facts about its release (`published.yaml`) and with rules for all datasets.

Levels: fault (wrong results or missing images), warning (differs from the release), note, ok.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from harmonize.cohorts.cohort import ABSENT, UNKNOWN_LABEL, Cohort, load
from harmonize.cohorts.specs import GOLD, CohortSpec
from harmonize.cohorts.splits import shared_patients
from harmonize.datasets import LABELS, TABLE, adapter, native
from harmonize.datasets.csvfile import find, header, numbers, read_text
from harmonize.errors import CxrError
from harmonize.labels.findings import STATES
from harmonize.yaml_file import parse_yaml

LEVELS = ("fault", "warning", "note", "ok")
_CALLED = {"tokens": "labels"}


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check: expected value, found value, and how to fix a difference."""

    dataset: str  # "" for a check of no or several datasets
    what: str
    level: str
    expected: str = ""
    found: str = ""
    fix: str = ""


@cache
def published() -> dict[str, Any]:
    """Return `harmonize/checks/published.yaml`."""
    text = (files("harmonize.checks") / "published.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text, "harmonize/checks/published.yaml")
    return content


def inspect(spec: CohortSpec) -> tuple[Cohort | None, list[Check]]:
    """Return the cohort (None if it cannot be loaded) and all checks of its tables; no image is opened."""
    name = spec.name
    cohort, table, problem = _read(spec)
    is_phantom = any((folder / "phantom.json").is_file() for folder in (spec.root, spec.root.parent))
    checks: list[Check] = []
    if is_phantom:
        checks.append(Check(name, "phantom", "note", "", "synthetic images: numbers are not compared with the release"))
    release_files = published()["datasets"].get(spec.layout, ())
    if spec.layout == TABLE:
        checks.append(Check(name, "own table", "note", "", "nothing is published to compare it with"))
    elif not release_files:
        unknown = "published.yaml has no facts about the release to compare with"
        checks.append(Check(name, "release", "note", "", unknown))
    elif spec.root.is_dir():
        is_small = is_phantom
        for facts in release_files:
            of_file, is_subset = check_table(spec, facts, table, is_phantom, is_small)
            checks += of_file
            is_small |= is_subset
    whole = table if table is not None else cohort.table if cohort is not None else None
    leaks = [] if whole is None else [check_leakage(name, whole)]
    checks += leaks
    if cohort is not None and whole is not None:
        checks += check_cohort(cohort, whole)
    if problem is not None and not any(c.level == "fault" and c.found == problem.what for c in leaks):
        checks.append(Check(name, "refused", "fault", "", f"{problem.what} ({problem.where})", problem.fix))
    return cohort, checks


def _read(spec: CohortSpec) -> tuple[Cohort | None, pd.DataFrame | None, CxrError | None]:
    """Return the cohort, the native table with default labels, and the error if one of them cannot be read."""
    table, problem = None, None
    try:
        if spec.layout != TABLE:
            table = adapter(spec.layout).read(spec.root)
    except CxrError as error:
        problem = error
    try:
        return load(spec), table, None
    except CxrError as error:
        return None, table, problem or error


def check_table(
    spec: CohortSpec, facts: Mapping[str, Any], table: pd.DataFrame | None, is_phantom: bool, is_small: bool
) -> tuple[list[Check], bool]:
    """Return the differences between one file and its release, and whether the file is a subset of the release."""
    path = find(spec.root, *facts["files"])
    if path is None:
        if facts["need"] in ("", "required") or is_phantom:
            return [], False  # an alternative form; or the reader says so
        what, level = str(facts["files"][0]), "note" if is_small else "warning"
        lack = f"absent: {facts['need']}"
        return [Check(spec.name, what, level, "in the release", lack, "add it as published")], False
    name = path.name
    part = table if table is None or "split" not in facts else table[table["split"] == facts["split"]]
    try:
        found, raw = _columns(path, facts) if "columns" in facts else ([], None)
        if raw is not None:
            found += _values(raw, facts)
        if part is not None and "states" in facts:
            found += _states(part, facts["states"])
        subset, differing = ("", []) if is_phantom else _numbers(raw, part, facts)
    except CxrError as error:
        return [Check(spec.name, name, "fault", "", error.what, error.fix)], False
    checks = [Check(spec.name, f"{name}: {c.what}", c.level, c.expected, c.found, c.fix) for c in [*found, *differing]]
    if subset:
        checks.append(Check(spec.name, name, "note", "", subset))
    if not found and not differing:
        counted = [] if subset or is_phantom else ["rows", "patients"]
        parts = [f"{facts[key]:,} {key}" for key in counted if key in facts]
        lists = ["columns"] if subset or is_phantom else ["columns", "labels", "tokens"]
        parts += [f"{len(facts[key])} {_CALLED.get(key, key)}" for key in lists if key in facts]
        checks.append(Check(spec.name, name, "ok", "", f"as published: {', '.join(parts) or 'it is there'}"))
    return checks, bool(subset)


def _columns(path: Path, facts: Mapping[str, Any]) -> tuple[list[Check], pd.DataFrame]:
    """Return a check of missing columns, and the columns with published values as text."""
    present = ["" if column.startswith("Unnamed: ") else column for column in header(path)]
    spelt = {
        column: next((other for other in (column, *facts.get("same", {}).get(column, ())) if other in present), "")
        for column in facts["columns"]
    }
    missing = [column for column, other in spelt.items() if column and not other]
    wanted = {column: spelt[column] for key in ("values", "ranges") for column in facts.get(key, {}) if spelt[column]}
    first = next(column for column in present if column)  # to count rows by
    raw = read_text(path, list(dict.fromkeys([first, *wanted.values()])), may_be_empty=True)
    raw = raw.rename(columns={other: column for column, other in wanted.items()})
    if not missing:
        return [], raw
    found = f"without {', '.join(map(repr, missing))}"
    fix = "use the file as published"
    return [Check("", "columns", "warning", f"{len(facts['columns'])} columns", found, fix)], raw


def _values(raw: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[Check]:
    """Yield a check for each column with values that do not occur in the release."""
    for column, counts in facts.get("values", {}).items():
        if column in raw:
            text = raw[column].str.strip().replace({"nan": "", "None": ""})
            odd = text[~text.isin([*counts, ""])].value_counts()
            if len(odd):
                shown = ", ".join(f"{value!r} ({number:,})" for value, number in odd.head(5).items())
                expected = ", ".join(repr(value) for value in counts)
                yield Check("", column, "warning", expected, shown, "these rows count as not stated")
    for column, (low, high) in facts.get("ranges", {}).items():
        if column in raw:
            value = numbers(raw[column].str.strip().str.rstrip("Y"))
            outside = raw.loc[(value < low) | (value > high), column]
            if len(outside):
                shown = f"{len(outside):,} outside, e.g. {outside.iloc[0]}"
                yield Check("", column, "warning", f"{low} to {high}", shown, "look at these rows")


def _states(part: pd.DataFrame, allowed: list[int]) -> Iterator[Check]:
    """Yield a check for each label of an expert set with states that radiologists do not use."""
    for column in part.columns:
        if str(column).startswith("native:"):
            odd = part[column].isin([state for state in STATES if state not in allowed])
            if odd.any():
                label = str(column).removeprefix("native:")
                found = f"{int(odd.sum()):,} rows uncertain or blank"
                yield Check("", f"label {label}", "fault", "1 or 0", found, "is this another file under this name?")


def _numbers(raw: pd.DataFrame | None, part: pd.DataFrame | None, facts: Mapping[str, Any]) -> tuple[str, list[Check]]:
    """Return a note if the file is a subset ("" if complete), and checks of the counts that differ."""
    listed = raw if raw is not None else part
    if listed is None:
        return "", []
    rows = len(listed)
    unit, whole = ("rows", facts["rows"]) if "rows" in facts else ("images", facts.get("images"))
    if whole is None:
        return "", []
    if rows < published()["tolerance"]["subset"] * whole:
        return f"a subset: {rows:,} of {whole:,} {unit}; numbers and prevalences are not judged", []
    pairs: list[tuple[str, int, int]] = []
    if raw is not None and "rows" in facts:
        pairs.append(("rows", facts["rows"], rows))
        for column, counts in facts.get("values", {}).items():
            if column in raw:
                text = raw[column].str.strip().replace({"nan": "", "None": ""}).value_counts()
                pairs += [
                    (f"{column} {v or 'blank'}", n, int(text.get(v, 0))) for v, n in counts.items() if n is not None
                ]
    if part is not None:
        pairs += _counts(part, facts)
    tolerance = published()["tolerance"]
    fix = "another release, or a damaged file: compare with the publisher's"
    checks = [
        Check("", what, "warning", f"{n:,} within {tolerance['relative']:.0%}", f"{found:,}", fix)
        for what, n, found in pairs
        if abs(found - n) > max(tolerance["rows"], tolerance["relative"] * n)
    ]
    return "", checks


def _counts(part: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield (what, published, found) for images, patients, studies, labels and words."""
    for key, column in {"images": "image_id", "patients": "patient_id", "studies": "study_id"}.items():
        if key in facts:
            yield key, facts[key], int(part[column].nunique())
    for label, counts in facts.get("labels", {}).items():
        if native(label) in part:
            for state, name, number in zip(STATES, ("present", "absent", "uncertain", "blank"), counts, strict=True):
                yield f"label {label} {name}", number, int((part[native(label)] == state).sum())
    if "tokens" in facts and LABELS in part:
        found = part[LABELS].value_counts()
        words = found.index.to_series().str.split("|").map(set)
        count = pd.Series(found.to_numpy(), words.to_numpy()).reset_index().explode("index").groupby("index")[0].sum()
        for word, number in facts["tokens"].items():
            yield f"label {word}", number, int(count.get(word, 0))
    for reason, number in facts.get("drop", {}).items():
        if "drop" in part:
            yield f"left out: {reason}", number, int((part["drop"] == reason).sum())


def check_leakage(name: str, table: pd.DataFrame) -> Check:
    """Return the check that no patient is in two official splits; it shows counts, never ids."""
    patients = table[table["split"] != ""].groupby("split")["patient_id"].nunique()
    parts = " / ".join(f"{split} {number:,}" for split, number in patients.items()) or "no official split"
    try:
        shared_patients(table, table["split"])
    except CxrError as error:
        return Check(name, "leakage", "fault", "0 shared patients", error.what, error.fix)
    return Check(name, "leakage", "ok", "", f"0 shared patients ({parts})")


def check_cohort(cohort: Cohort, table: pd.DataFrame) -> list[Check]:
    """Return the checks that need no published facts: contradictions, missing images, images used."""
    name, checks = cohort.name, []
    sexes = table[table["sex"] != ""].groupby("patient_id")["sex"].nunique()
    if (sexes > 1).any():
        found = f"{int((sexes > 1).sum()):,} of {len(sexes):,} patients have both"
        checks.append(Check(name, "sex", "warning", "one sex per patient", found, "leave these out of subgroups"))
    checks += check_rows(cohort)
    relabelled = [column for column in cohort.table if str(column).startswith("expert:")]
    if relabelled and cohort.spec.label_source == "default":
        gold = cohort.table.loc[cohort.table[relabelled].notna().any(axis=1), "study_id"]
        found = (
            f"{gold.nunique():,} studies ({len(gold):,} images): {name}{GOLD} under `evaluate_on` of a grid scores them"
        )
        checks.append(Check(name, "labelled by radiologists, too", "note", "", found))
    gone = cohort.quarantine[cohort.quarantine["reason"] == ABSENT]
    absent = len(gone)
    if absent:
        found = f"{absent:,} are not, e.g. {gone['image_id'].iloc[0]}"
        level, fix = broken(cohort, absent, "complete the download, or take their rows out of the table")
        checks.append(Check(name, "absent images", level, "all listed images are on disk", found, fix))
    flow = ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in cohort.flow.items())
    checks.append(Check(name, "images used", "ok", "", flow))
    return checks


def check_rows(cohort: Cohort) -> list[Check]:
    """Return the checks of rows: excluded rows, repeated rows, and labels that the dataset does not define."""
    name, flow = cohort.name, cohort.flow
    checks = []
    left_out = cohort.quarantine.loc[cohort.quarantine["reason"] != ABSENT, "reason"]
    if len(left_out):
        of = flow["found"]
        shown = "; ".join(f"{reason} ({number:,})" for reason, number in left_out.value_counts().head(3).items())
        fix = "correct the table; a run leaves these rows out and counts them"
        found = f"{len(left_out):,} of {of:,} cannot: {shown}"
        checks.append(Check(name, "rows left out", "fault", "every row can be used", found, fix))
    if "repeated_row" in flow:
        found = f"{flow['repeated_row']:,} rows repeat another in every cell"
        checks.append(Check(name, "repeated rows", "warning", "one row per image", found, "each is read once"))
    words = cohort.doubts.loc[cohort.doubts["reason"].str.startswith(UNKNOWN_LABEL), "reason"]
    if len(words):
        common = words.str.removeprefix(UNKNOWN_LABEL).value_counts().head(3)
        found = f"{len(words):,} rows have others: " + ", ".join(f"{word} ({n:,})" for word, n in common.items())
        fix = "such a word counts as none of the findings: correct it if it is one"
        checks.append(Check(name, "words", "warning", "words of the release", found, fix))
    return checks


def broken(cohort: Cohort, number: int, fix: str) -> tuple[str, str]:
    """Return level and fix for this number of unusable images; images that the release lacks are only a warning."""
    tables = [] if cohort.phantom else published()["datasets"].get(cohort.layout, [])
    known = max((facts.get("broken", 0) for facts in tables), default=0)
    if number <= known:
        return "warning", f"the release is known to have {known} broken or missing files"
    return "fault", fix
