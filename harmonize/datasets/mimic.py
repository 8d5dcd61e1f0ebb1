"""MIMIC-CXR-JPG: 377,110 radiographs of 65,379 patients of Beth Israel Deaconess, 14 labels mined from reports.

Layout: files/p10/p10000032/s50414267/<dicom_id>.jpg, and in the root (plain or gzipped, any release number)
mimic-cxr-2.0.0-{chexpert or negbio, metadata, split}.csv.gz. Each study has one row of labels: 1.0 present, 0.0 absent,
-1.0 uncertain, blank not mentioned.
Release 2.1.0 adds mimic-cxr-2.1.0-test-set-labeled.csv: a radiologist labeled 687 test studies again. If this file
exists, the additional columns "expert:<label>" contain the radiologist's states, null for all other studies. With the
label source `expert`, the radiologist's states are the labels, and "report:<label>" has the states of `default`.
The release has no sex and age; both come from the file patients.csv.gz of MIMIC-IV, if it is in the root or in hosp/.
Images of a study without labels have null states. An id with a decimal point, such as 50000001.0, is read as the number.
Views: AP, PA; LATERAL and LL are LATERAL, all others UNKNOWN.
Source: Johnson et al. 2019, arXiv:1901.07042. Credentialed access: physionet.org/content/mimic-cxr-jpg.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, native
from harmonize.datasets.columns import contradictions, joined_states, with_bad_rows
from harmonize.datasets.csvfile import (
    cells,
    faults,
    find,
    first_fault,
    numbers,
    person,
    read_text,
    recode,
    require,
    unknown_words,
    unmatched_faults,
)
from harmonize.datasets.ids import require_match, whole_numbers
from harmonize.errors import DatasetError

SIGNATURE = ("mimic-cxr-*",)
LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
GOLD_LABEL_SOURCE = "expert"
EXPERT = "mimic-cxr-*-test-set-labeled.csv"
_FILES = {  # label source -> label files; if the first file is missing, the second is used
    "default": ("mimic-cxr-*-chexpert.csv", "mimic-cxr-*-negbio.csv"),
    "chexpert": ("mimic-cxr-*-chexpert.csv",),
    "negbio": ("mimic-cxr-*-negbio.csv",),
}
_IDS = ["dicom_id", "subject_id", "study_id"]
_EXPERT_NAMES = {"Lung Opacity": "Airspace Opacity"}
_SPLITS = {"train": "train", "validate": "val", "test": "test"}
_VIEWS = {"AP": "AP", "PA": "PA", "LATERAL": "LATERAL", "LL": "LATERAL"}
# the other words of the release; these images are not frontal radiographs in the usual position
_OTHER_VIEWS = ("AP AXIAL", "AP LLD", "AP RLD", "LAO", "LPO", "PA LLD", "PA RLD", "RAO", "SWIMMERS", "XTABLE LATERAL")
# Without a time stamp in the gzip header, the same table always gives the same bytes.
_GZIP: dict[str, Any] = {"method": "gzip", "mtime": 0}
_YEAR = 2180  # year of all studies that `write` writes; MIMIC itself shifts every date into the future


def read(root: Path, source: str = "default") -> pd.DataFrame:
    """Return one row per image: the base columns, "native:<label>" for 14 labels, and "expert:<label>" if available.

    `source` is default (chexpert, else negbio), chexpert, negbio or expert. With expert, the native labels are the
    radiologist's states, null for studies that the radiologist did not label; the columns "report:<label>" have those of default.
    """
    by_expert = source == "expert"
    labels = find(root, *_FILES["default"]) if by_expert else require(root, "mimic", *_FILES[source])
    metadata = require(root, "mimic", "mimic-cxr-*-metadata.csv")
    raw = read_text(metadata, ["dicom_id", "subject_id", "study_id", "ViewPosition"], optional=["StudyDate"])
    raw = _with_whole_ids(raw, metadata)
    patient, study, image = raw["subject_id"], raw["study_id"], raw["dicom_id"]
    ids = raw[_IDS]
    split, split_fault, strays = _splits(root, ids)
    people, people_fault, stray_people = _people(root, raw)
    columns: dict[str, Any] = {
        "image_id": image,
        "patient_id": patient,
        "study_id": study,
        "split": split,
        "view": recode(raw["ViewPosition"], _VIEWS, "UNKNOWN"),
        **people,
        "device": "",
        **unknown_words(raw["ViewPosition"], (*_VIEWS, *_OTHER_VIEWS), "view"),
        "path": "files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/" + image + ".jpg",
    }
    expert = require(root, "mimic", EXPERT) if by_expert else find(root, EXPERT)
    expert_columns: dict[str, Any] = {}
    fault = first_fault(raw[FAULT], split_fault, people_fault)
    strays += stray_people
    if expert is not None:
        expert_columns, row_fault, stray_rows = _states_of(expert, _read_expert(expert), ids, "expert")
        fault = first_fault(fault, row_fault)
        strays += stray_rows
    if by_expert:
        columns |= {name.replace("expert:", "native:"): states for name, states in expert_columns.items()}
    if labels is not None:
        rows = read_text(labels, ["study_id"], LABELS, optional=["subject_id"])
        prefix = "report" if by_expert else "native"
        states, row_fault, stray_rows = _states_of(labels, rows, ids, prefix, every_study=not by_expert)
        columns, fault = columns | states, first_fault(fault, row_fault)
        strays += stray_rows
    table = pd.DataFrame(columns | expert_columns | ({FAULT: fault} if (fault != "").any() else {}))
    return with_bad_rows(table, strays)


def _read_expert(path: Path) -> pd.DataFrame:
    """Return study_id and the states of the 14 labels, with the label names of the other label files."""
    names = [_EXPERT_NAMES.get(label, label) for label in LABELS]
    return read_text(path, ["study_id"], names).rename(columns=dict(zip(names, LABELS, strict=True)))


def _states_of(
    path: Path, rows: pd.DataFrame, ids: pd.DataFrame, prefix: str, every_study: bool = False
) -> tuple[dict[str, Any], "pd.Series[str]", list[str]]:
    """Return the states of each image as `joined_states`, by study. `ids`: the columns _IDS of the metadata.

    A row with another patient than its study has in the metadata has a fault. With `every_study`, raises DatasetError if too
    many images have no row.
    """
    rows = _with_whole_ids(rows, path)
    rows[FAULT] = first_fault(rows[FAULT], contradictions(rows, "study_id", ids, path))
    if every_study:
        require_match(ids["study_id"], rows["study_id"], "labels", path)
    return joined_states(
        path, rows.drop(columns="subject_id", errors="ignore"), "study_id", LABELS, ids["study_id"], prefix
    )


def _with_whole_ids(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the rows with ids of patients and studies without a decimal point."""
    return rows.assign(**{name: whole_numbers(rows[name], name, path) for name in _IDS[1:] if name in rows})


def _splits(root: Path, ids: pd.DataFrame) -> tuple["pd.Series[str]", "pd.Series[str]", list[str]]:
    """Return each image's official split ("" if not stated) and fault text, and the faults of rows without an image."""
    image = ids["dicom_id"]
    empty = pd.Series("", index=image.index, dtype=object)
    path = find(root, "mimic-cxr-*-split.csv")
    if path is None:
        return empty, empty, []
    raw = _with_whole_ids(read_text(path, ["dicom_id", "split"], optional=_IDS[1:]), path)
    is_invalid = ~raw["split"].isin(list(_SPLITS))
    invalid = faults(is_invalid, raw["split"], "split", "train, validate or test", path)
    fault = first_fault(raw[FAULT], invalid, contradictions(raw, "dicom_id", ids, path))
    require_match(image, raw["dicom_id"], "splits", path)
    strays = unmatched_faults(raw, "dicom_id", image)
    if raw["dicom_id"].equals(image):  # the split file has the images in the order of `image`, so no join is needed
        return recode(raw["split"], _SPLITS), fault, strays
    is_first = ~raw["dicom_id"].duplicated()
    row_of_image = (
        raw[is_first]
        .assign(fault=fault[is_first])
        .set_index("dicom_id")
        .reindex(image)
        .fillna("")
        .set_axis(image.index)
    )
    return recode(row_of_image["split"], _SPLITS), row_of_image["fault"].astype(object), strays


def _people(root: Path, raw: pd.DataFrame) -> tuple[dict[str, Any], "pd.Series[str]", list[str]]:
    """Return each image's sex and age, the fault text of its patient's row, and the faults of rows without an image.

    The age is the anchor age plus study year minus anchor year (MIMIC-IV's rule).
    """
    path = find(root, "patients.csv", "hosp/patients.csv")
    if path is None:
        return {"sex": "", "age": np.nan}, pd.Series("", index=raw.index, dtype=object), []
    people = read_text(path, ["subject_id", "gender", "anchor_age", "anchor_year"])
    people["subject_id"] = whole_numbers(people["subject_id"], "subject_id", path)
    require_match(raw["subject_id"], people["subject_id"], "sexes and ages", path, may_be_few=True)
    strays = unmatched_faults(people, "subject_id", raw["subject_id"])
    people = people.drop_duplicates("subject_id").set_index("subject_id").reindex(raw["subject_id"]).set_axis(raw.index)
    people = people.fillna("")
    year = numbers(raw["StudyDate"].str[:4]) if "StudyDate" in raw else pd.Series(np.nan, index=raw.index)
    columns = person(people["gender"], people["anchor_age"])
    columns["age"] += year - numbers(people["anchor_year"])
    return columns, people[FAULT].astype(object), strays


def write(table: pd.DataFrame, root: Path) -> None:
    """Write the gzipped label, metadata and split files.

    If the table has sex or age, also write patients.csv.gz; if it has expert labels, also write the file of release 2.1.0.

    The table must have: ids of digits only (subject_id has 8), paths of the layout, equal states within a study, one
    sex per patient, ages in whole years. If the table has the columns `rows` and `columns` (height and width of the
    image in pixels), they are written, too.
    """
    root.mkdir(parents=True, exist_ok=True)
    ids = {"subject_id": table["patient_id"], "study_id": table["study_id"]}
    labels = pd.DataFrame(ids | {label: cells(table[native(label)]) for label in LABELS})
    is_labeled = table[native(LABELS[0])].notna()
    _save(labels[is_labeled].drop_duplicates("study_id"), root / "mimic-cxr-2.0.0-chexpert.csv.gz")

    youngest_age = table.groupby("patient_id")["age"].transform("min")
    year = _YEAR + (table["age"] - youngest_age)
    view = table["view"].where(table["view"] != "UNKNOWN", "")
    procedure = np.where(table["view"].isin(["PA", "LATERAL"]), "CHEST (PA AND LAT)", "CHEST (PORTABLE AP)")
    metadata = pd.DataFrame({"dicom_id": table["image_id"], **ids, "PerformedProcedureStepDescription": procedure})
    metadata["ViewPosition"] = view
    metadata["Rows"] = table.get("rows", 3056)
    metadata["Columns"] = table.get("columns", 2544)
    metadata["StudyDate"] = [f"{value:.0f}0115" if value == value else "" for value in year]
    metadata["StudyTime"] = "120000.000"
    metadata["ProcedureCodeSequence_CodeMeaning"] = procedure
    codes = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "lateral"}
    metadata["ViewCodeSequence_CodeMeaning"] = recode(table["view"], codes)
    metadata["PatientOrientationCodeSequence_CodeMeaning"] = "Erect"
    _save(metadata, root / "mimic-cxr-2.0.0-metadata.csv.gz")

    if (table["split"] != "").any():
        native_split = {split_name: native_name for native_name, split_name in _SPLITS.items()}
        split = pd.DataFrame(
            {"dicom_id": table["image_id"], "study_id": ids["study_id"], "subject_id": ids["subject_id"]}
        )
        split["split"] = recode(table["split"], native_split)
        _save(split[table["split"] != ""], root / "mimic-cxr-2.0.0-split.csv.gz")
    if (table["sex"] != "").any() or table["age"].notna().any():
        people = pd.DataFrame({"subject_id": table["patient_id"], "gender": table["sex"]})
        people["anchor_age"] = [f"{value:.0f}" if value == value else "" for value in youngest_age]
        people["anchor_year"] = _YEAR
        _save(people.drop_duplicates("subject_id"), root / "patients.csv.gz")
    if f"expert:{LABELS[0]}" in table:
        expert = pd.DataFrame({"study_id": table["study_id"]})
        for label in LABELS:
            expert[_EXPERT_NAMES.get(label, label)] = cells(table[f"expert:{label}"])
        is_relabeled = table[f"expert:{LABELS[0]}"].notna()
        expert[is_relabeled].drop_duplicates("study_id").to_csv(
            root / "mimic-cxr-2.1.0-test-set-labeled.csv", index=False
        )


def _save(frame: pd.DataFrame, path: Path) -> None:
    """Write a gzipped CSV file; the same table gives the same bytes."""
    frame.to_csv(path, index=False, compression=_GZIP)


def gold(table: pd.DataFrame, root: Path) -> "pd.Series[bool]":
    """Return the mask of rows of studies that a radiologist labeled again for release 2.1.0.

    Raises DatasetError if the file with these labels is missing.
    """
    labels = [name for name in table if str(name).startswith("expert:")]
    if not labels:
        fix = "put mimic-cxr-2.1.0-test-set-labeled.csv into the folder of the other tables, or remove `gold`"
        raise DatasetError("no study was labeled by radiologists", str(root), fix)
    return table[labels].notna().any(axis=1)


def portable(table: pd.DataFrame, root: Path) -> "pd.Series[bool]":
    """Return the mask of the images whose procedure is a portable radiograph, such as CHEST (PORTABLE AP)."""
    column = "PerformedProcedureStepDescription"
    raw = read_text(require(root, "mimic", "mimic-cxr-*-metadata.csv"), ["dicom_id", column])
    return table["image_id"].isin(raw.loc[raw[column].str.contains("PORTABLE"), "dicom_id"])
