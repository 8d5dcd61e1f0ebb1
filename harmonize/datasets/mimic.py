"""MIMIC-CXR-JPG: 377,110 radiographs of 65,379 patients of Beth Israel Deaconess, 14 labels mined from reports.

Layout: files/p10/p10000032/s50414267/<dicom_id>.jpg, and beside files/ (plain or gzipped, any release number)
mimic-cxr-2.0.0-{chexpert or negbio, metadata, split}.csv.gz. Labels are per study: 1.0, 0.0, -1.0, blank.
Release 2.1.0 adds mimic-cxr-2.1.0-test-set-labeled.csv: 687 test studies relabelled by a radiologist. Where it is
there, the extra columns "expert:<label>" hold its states, null for every other study; with the label source `expert`
they are the labels themselves.
Sex and age are not in the release: they are read from MIMIC-IV's patients.csv.gz when it lies in the root (or in
hosp/). Images of a study without a row of labels have null states. Views: AP, PA; LATERAL and LL are LATERAL, others
UNKNOWN.
Source: Johnson et al. 2019, arXiv:1901.07042. Credentialed access: physionet.org/content/mimic-cxr-jpg.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, native
from harmonize.datasets.columns import base_columns, state_columns
from harmonize.datasets.csvfile import (
    cells,
    faults,
    find,
    first_of,
    numbers,
    read_text,
    recode,
    require,
    states_array,
)
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
_FILES = {  # label source -> the file of labels, or the second where the first is missing
    "default": ("mimic-cxr-*-chexpert.csv", "mimic-cxr-*-negbio.csv"),
    "chexpert": ("mimic-cxr-*-chexpert.csv",),
    "negbio": ("mimic-cxr-*-negbio.csv",),
    "expert": (EXPERT,),
}
_EXPERT_NAMES = {"Lung Opacity": "Airspace Opacity"}
_SPLITS = {"train": "train", "validate": "val", "test": "test"}
_VIEWS = {"AP": "AP", "PA": "PA", "LATERAL": "LATERAL", "LL": "LATERAL"}
_GZIP: dict[str, Any] = {"method": "gzip", "mtime": 0}  # without a time the same table gives the same bytes
_YEAR = 2180  # MIMIC shifts every date into the future


def read(root: Path, source: str = "default") -> pd.DataFrame:
    """Return one row per image: the base columns, "native:<label>" for 14 labels and perhaps "expert:<label>".

    `source` is default (chexpert, else negbio), chexpert, negbio, or expert: then the radiologists' states are the
    native ones, null for every study that they did not label.
    """
    labels = require(root, "mimic", *_FILES[source])
    metadata = require(root, "mimic", "mimic-cxr-*-metadata.csv")
    raw = read_text(metadata, ["dicom_id", "subject_id", "study_id", "ViewPosition"], optional=["StudyDate"])
    patient, study, image = raw["subject_id"], raw["study_id"], raw["dicom_id"]
    split, unknown_split = _splits(root, image)
    columns: dict[str, Any] = {
        "image_id": image,
        "patient_id": patient,
        "study_id": study,
        "split": split,
        "view": recode(raw["ViewPosition"], _VIEWS, "UNKNOWN"),
        **_people(root, raw),
        "device": "",
        "path": "files/p" + patient.str[:2] + "/p" + patient + "/s" + study + "/" + image + ".jpg",
    }
    expert = find(root, EXPERT)
    relabelled: dict[str, Any] = {}
    fault = unknown_split
    if expert is not None:
        relabelled, odd = _states_of(expert, _read_expert(expert), study, "expert")
        fault = first_of(fault, odd)
    if source == "expert":
        columns |= {name.replace("expert:", "native:"): states for name, states in relabelled.items()}
    else:
        states, odd = _states_of(labels, read_text(labels, ["study_id"], LABELS), study, "native")
        columns, fault = columns | states, first_of(fault, odd)
    return pd.DataFrame(columns | relabelled | ({FAULT: fault} if (fault != "").any() else {}))


def _read_expert(path: Path) -> pd.DataFrame:
    """Return study_id and the states of the 14 labels, under the names that the other files have."""
    names = [_EXPERT_NAMES.get(label, label) for label in LABELS]
    return read_text(path, ["study_id"], names).rename(columns=dict(zip(names, LABELS, strict=True)))


def _states_of(
    path: Path, rows: pd.DataFrame, study: "pd.Series[str]", prefix: str
) -> tuple[dict[str, Any], "pd.Series[str]"]:
    """Return the study's states for each image, null where the study has no row; and what is wrong with its row."""
    fault = rows[FAULT] if FAULT in rows else pd.Series("", index=rows.index, dtype=object)
    if rows["study_id"].duplicated().any():
        rows = rows[~rows.drop(columns=FAULT, errors="ignore").duplicated()]  # a row that is repeated says it once
        differing = rows["study_id"].duplicated(keep=False)
        fault = first_of(fault[rows.index], faults(differing, rows["study_id"], "study_id", "in one row", path))
        rows = rows[~rows["study_id"].duplicated()]
        fault = fault[rows.index]
    place = pd.Index(rows["study_id"]).get_indexer(pd.Index(study))
    null = place < 0
    states = {}
    for label in LABELS:
        values = rows[label].to_numpy(np.int8, na_value=0)[place]
        states[f"{prefix}:{label}"] = states_array(np.where(null, 0, values).astype(np.int8), null)
    if not (fault != "").any():
        return states, pd.Series("", index=study.index, dtype=object)
    return states, pd.Series(np.where(null, "", fault.to_numpy(object)[place]), index=study.index, dtype=object)


def _splits(root: Path, image: "pd.Series[str]") -> tuple["pd.Series[str]", "pd.Series[str]"]:
    """Return the official split of each image, "" where the release's file is missing or silent; and what is odd in it."""
    none = pd.Series("", index=image.index, dtype=object)
    path = find(root, "mimic-cxr-*-split.csv")
    if path is None:
        return none, none
    raw = read_text(path, ["dicom_id", "split"])
    odd = ~raw["split"].isin(list(_SPLITS))
    fault = faults(odd, raw["split"], "split", "train, validate or test", path)
    if raw["dicom_id"].equals(image):  # the release's order: nothing to join
        return recode(raw["split"], _SPLITS), fault
    first = ~raw["dicom_id"].duplicated()
    named = raw[first].assign(fault=fault[first]).set_index("dicom_id").reindex(image).fillna("").set_axis(image.index)
    return recode(named["split"], _SPLITS), named["fault"].astype(object)


def _people(root: Path, raw: pd.DataFrame) -> dict[str, Any]:
    """Return sex and age: the age at the anchor year moved to the year of the study (MIMIC-IV's rule)."""
    path = find(root, "patients.csv", "hosp/patients.csv")
    if path is None:
        return {"sex": "", "age": np.nan}
    people = read_text(path, ["subject_id", "gender", "anchor_age", "anchor_year"])
    people = people.drop_duplicates("subject_id").set_index("subject_id").reindex(raw["subject_id"]).set_axis(raw.index)
    year = numbers(raw["StudyDate"].str[:4]) if "StudyDate" in raw else pd.Series(np.nan, index=raw.index)
    age = numbers(people["anchor_age"]) + year - numbers(people["anchor_year"])
    return {"sex": recode(people["gender"].fillna(""), {"F": "F", "M": "M"}), "age": age.where(age >= 0)}


def write(table: pd.DataFrame, root: Path) -> None:
    """Write the gzipped label, metadata and split files; patients.csv.gz and the 2.1.0 relabels where there are any.

    Needs: ids of digits only (subject_id has 8), path as the layout has it, states that agree within a study, one sex
    per patient, whole years of age. Writes `rows` and `columns` (pixels) where the table has them.
    """
    root.mkdir(parents=True, exist_ok=True)
    ids = {"subject_id": table["patient_id"], "study_id": table["study_id"]}
    labels = pd.DataFrame(ids | {label: cells(table[native(label)]) for label in LABELS})
    known = table[native(LABELS[0])].notna()
    _save(labels[known].drop_duplicates("study_id"), root / "mimic-cxr-2.0.0-chexpert.csv.gz")

    youngest = table.groupby("patient_id")["age"].transform("min")
    year = _YEAR + (table["age"] - youngest)
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
        back = {ours: theirs for theirs, ours in _SPLITS.items()}
        split = pd.DataFrame(
            {"dicom_id": table["image_id"], "study_id": ids["study_id"], "subject_id": ids["subject_id"]}
        )
        split["split"] = recode(table["split"], back)
        _save(split[table["split"] != ""], root / "mimic-cxr-2.0.0-split.csv.gz")
    if (table["sex"] != "").any() or table["age"].notna().any():
        people = pd.DataFrame({"subject_id": table["patient_id"], "gender": table["sex"]})
        people["anchor_age"] = [f"{value:.0f}" if value == value else "" for value in youngest]
        people["anchor_year"] = _YEAR
        _save(people.drop_duplicates("subject_id"), root / "patients.csv.gz")
    if f"expert:{LABELS[0]}" in table:
        expert = pd.DataFrame({"study_id": table["study_id"]})
        for label in LABELS:
            expert[_EXPERT_NAMES.get(label, label)] = cells(table[f"expert:{label}"])
        relabelled = table[f"expert:{LABELS[0]}"].notna()
        expert[relabelled].drop_duplicates("study_id").to_csv(
            root / "mimic-cxr-2.1.0-test-set-labeled.csv", index=False
        )


def _save(frame: pd.DataFrame, path: Path) -> None:
    """Write a gzipped CSV whose bytes depend on the table only."""
    frame.to_csv(path, index=False, compression=_GZIP)


def gold(table: pd.DataFrame, root: Path) -> "pd.Series[bool]":
    """Return the rows of studies that a radiologist labeled again for release 2.1.0.

    Raises DatasetError if the file of these labels is missing.
    """
    labels = [name for name in table if str(name).startswith("expert:")]
    if not labels:
        fix = "put mimic-cxr-2.1.0-test-set-labeled.csv beside the other tables, or remove `gold`"
        raise DatasetError("no study was labeled by radiologists", str(root), fix)
    return table[labels].notna().any(axis=1)


def example() -> pd.DataFrame:
    """Return a small native table with every kind of row: three splits, a lateral image, missing sex and age."""
    images = [("10000001", "50000001", "aa"), ("10000001", "50000001", "ab"), ("10000002", "50000002", "ac")]
    images += [("10000002", "50000003", "ad"), ("11000003", "50000004", "ae")]
    states = [{"Edema": 1}, {"Edema": 1}, {"No Finding": 1, "Pneumonia": -1}, {"Fracture": 0}, {}]
    columns = base_columns(
        image_id=[image for _, _, image in images],
        patient_id=[patient for patient, _, _ in images],
        study_id=[study for _, study, _ in images],
        path=[f"files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg" for patient, study, image in images],
        split=["train", "train", "val", "val", "test"],
        view=["PA", "LATERAL", "AP", "UNKNOWN", "AP"],
        sex=["F", "F", "M", "M", ""],
        age=[60.0, 60.0, 41.0, 43.0, np.nan],
    )
    return pd.DataFrame(columns | state_columns(LABELS, states))
