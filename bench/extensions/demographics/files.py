"""Read race, ethnicity and insurance of each patient from the optional files of CheXpert and MIMIC-IV.

CheXpert  `CHEXPERT DEMO.xlsx` (or .csv), one row for each patient: PATIENT, PRIMARY_RACE, ETHNICITY, GENDER, AGE_AT_CXR
MIMIC-IV  `admissions.csv.gz`, one row for each admission: subject_id, race (before version 2.0: ethnicity), insurance

The words of a race differ between hospitals and releases, so they are joined to groups, as in published studies of these datasets
(Gichoya et al. 2022, doi:10.1016/S2589-7500(22)00063-2). Words for "unknown" are no group.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from harmonize.datasets.csvfile import find, header, read_text, require_whole
from harmonize.datasets.ids import require_match, whole_numbers
from harmonize.errors import DatasetError, SetupError

RACE, ETHNICITY, INSURANCE = "race", "ethnicity", "insurance"
NAMES = (RACE, ETHNICITY, INSURANCE)
WORKBOOK, ADMISSIONS = "CHEXPERT DEMO", "admissions.csv"
_UNKNOWN = ("?", "unknown", "unable", "declined", "refused", "not specified", "not provided")
_RACES = {"white": "White", "black": "Black", "asian": "Asian", "hispanic": "Hispanic", "portuguese": "White"}


def race(word: str) -> str:
    """Return the group of a race, "" for unknown.

    >>> [race(word) for word in ("White, non-Hispanic", "BLACK/CAPE VERDEAN", "MULTIPLE RACE/ETHNICITY", "UNABLE TO OBTAIN")]
    ['White', 'Black', 'Other', '']
    """
    lowered = word.strip().lower()
    if _is_unknown(lowered):
        return ""
    return next((group for start, group in _RACES.items() if lowered.startswith(start)), "Other")


def ethnicity(word: str) -> str:
    """Return "Hispanic", "Other" (not Hispanic), or "" for unknown.

    >>> [ethnicity(word) for word in ("Non-Hispanic/Non-Latino", "Hispanic/Latino", "Patient Refused")]
    ['Other', 'Hispanic', '']
    """
    lowered = word.strip().lower()
    if _is_unknown(lowered) or "hispanic" not in lowered:
        return ""
    return "Other" if lowered.startswith("no") else "Hispanic"


def _is_unknown(lowered: str) -> bool:
    return not lowered or any(part in lowered for part in _UNKNOWN)


def read_chexpert(root: Path) -> tuple[pd.DataFrame, Path] | None:
    """Return race and ethnicity by patient id, and the path of their file; None if there is no file."""
    forms = f"{WORKBOOK}.csv", f"{WORKBOOK}.xlsx"
    path = find(root, *forms) or find(root.parent, *forms)
    if path is None:
        return None
    names = {"PATIENT": "patient_id", "PRIMARY_RACE": RACE, "ETHNICITY": ETHNICITY}
    rows = read_workbook(path) if path.suffix == ".xlsx" else read_text(path, list(names))
    for column in names:
        if column not in rows:
            fix = f"use the file as published; {DatasetError.suggestion(column, list(rows))}"
            raise DatasetError(f"no column {column!r}", str(path), fix)
    table = rows[list(names)].rename(columns=names)
    table[RACE], table[ETHNICITY] = table[RACE].map(race), table[ETHNICITY].map(ethnicity)
    first = table.drop_duplicates("patient_id").set_index("patient_id")
    for column in (RACE, ETHNICITY):
        differs = table[column].to_numpy() != first[column].reindex(table["patient_id"]).to_numpy()
        if differs.any():
            row, (patient, value) = table.index[differs][0], table.loc[differs, ["patient_id", column]].iloc[0]
            what = f"row {row}: {patient} has {column} {value!r}, and {first.loc[patient, column]!r} in an earlier row"
            raise DatasetError(what, str(path), "keep one row of each patient")
    return first, path


def read_workbook(path: Path) -> pd.DataFrame:
    """Return the first sheet of an Excel workbook as text, "" for an empty cell; the index has the number of each row in the sheet.

    Raises SetupError without openpyxl, DatasetError for a file that cannot be read.
    """
    as_csv = "save its sheet as CSV with the same name"
    try:
        rows = pd.read_excel(path, engine="openpyxl", dtype=str, na_filter=False)
    except ImportError as error:
        fix = f"pip install 'unseen-cxr[excel]', or {as_csv}"
        raise SetupError("openpyxl is not installed", str(path), fix) from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, SyntaxError) as error:
        fix = f"use it as published, or {as_csv}"  # a ParseError is a SyntaxError
        raise DatasetError(f"not a readable workbook: {error}", str(path), fix) from error
    return rows.set_axis(rows.index + 2).rename(columns=lambda name: str(name).strip())


def read_mimic(root: Path) -> tuple[pd.DataFrame, Path] | None:
    """Return race and insurance by patient id, and the path of their file; None if there is no file.

    A patient has the value of most admissions with a known value; unknown if two values are equally frequent.
    """
    path = find(root, ADMISSIONS, f"hosp/{ADMISSIONS}")
    if path is None:
        return None
    of_race = RACE if RACE in header(path) else ETHNICITY
    rows = read_text(path, ["subject_id", of_race, INSURANCE])
    require_whole(rows, path)
    patient = whole_numbers(rows["subject_id"], "subject_id", path)
    values = {RACE: rows[of_race].map(race), INSURANCE: rows[INSURANCE].str.strip()}
    values[INSURANCE] = values[INSURANCE].where(~values[INSURANCE].str.lower().map(_is_unknown), "")
    table = pd.DataFrame({name: _most_frequent(patient, column) for name, column in values.items()})
    return table.rename_axis("patient_id").fillna(""), path


def _most_frequent(patient: "pd.Series[str]", value: "pd.Series[str]") -> "pd.Series[str]":
    known = pd.DataFrame({"patient": patient, "value": value})[value != ""]
    counts = known.groupby(["patient", "value"], sort=True).size().rename("num").reset_index()
    top = counts[counts["num"] == counts.groupby("patient")["num"].transform("max")]
    only = top[~top["patient"].duplicated(keep=False)].set_index("patient")["value"]
    return only.reindex(sorted(patient.unique())).fillna("")


READERS: Mapping[str, Callable[[Path], tuple[pd.DataFrame, Path] | None]] = {
    "chexpert": read_chexpert,
    "mimic": read_mimic,
}


def attributes_of(layout: str, root: Path, patients: "pd.Series[str]") -> tuple[pd.DataFrame, Path] | None:
    """Return the attributes of these patients by patient id, and the path of their file; None if there is no file.

    Raises DatasetError if the file has none of the patients, or two values of one patient.
    """
    found = READERS[layout](root) if layout in READERS else None
    if found is None:
        return None
    table, path = found
    require_match(patients, pd.Series(table.index), "patients", path, may_be_few=True)
    known = table[table.index.isin(set(patients))]
    return known.reindex(columns=list(NAMES), fill_value=""), path
