"""BRAX: 40,967 radiographs of about 19,350 patients of Hospital Israelita Albert Einstein, 14 labels.

Layout: master_spreadsheet_update.csv (release 1.1.0; earlier: master_spreadsheet.csv) and
images/id_<PatientID>/Study_<UID>/Series_<UID>/image-<UID>.png. Columns are read by name, in any order.
Labels: 1 present, 0 absent, -1 uncertain, blank not mentioned; from a Portuguese adaptation of the CheXpert labeler.
Ages are in bins of five years; the last bin "85 or more" is read as 85. The device is the code in the column
Manufacturer.
Views: AP and PA; L, LL, RL are LATERAL. Decubitus, oblique and missing views (a quarter of the images) are UNKNOWN.
Additional column: drop ("strip" for 12 images whose long side is more than ten times their short side).
Source: Reis et al. 2022, doi:10.1038/s41597-022-01608-8. Credentialed access: physionet.org/content/brax.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, native
from harmonize.datasets.csvfile import cells, numbers, person, read_text, recode, require, unknown_words

SIGNATURE = ("master_spreadsheet*",)
FILES = ("master_spreadsheet_update.csv", "master_spreadsheet.csv")
LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
_VIEWS = {"AP": "AP", "PA": "PA", "L": "LATERAL", "LL": "LATERAL", "RL": "LATERAL"}
_OTHER_VIEWS = ("AP LLD", "LT-DECUB", "RLO")  # the other words of the release
_OLDEST = "85 or more"
_STRIP = 10  # an image is a strip if its long side is more than this many times its short side


def read(root: Path) -> pd.DataFrame:
    """Return one row per image: the base columns, drop and "native:<label>" for 14 labels."""
    path = require(root, "brax", *FILES)
    columns = ["PngPath", "PatientID", "PatientSex", "PatientAge", "AccessionNumber", "ViewPosition"]
    raw = read_text(path, columns, LABELS, optional=["Rows", "Columns", "Manufacturer"])
    image_path = raw["PngPath"].str.replace("\\", "/").str.lstrip("/")
    base = {
        "image_id": image_path.str.removeprefix("images/").str.replace(r"\.\w+$", "", regex=True),
        "patient_id": raw["PatientID"],
        "study_id": raw["AccessionNumber"],
        "split": "",
        "view": recode(raw["ViewPosition"].str.strip(), _VIEWS, "UNKNOWN"),
        **person(raw["PatientSex"], raw["PatientAge"].str.strip().replace(_OLDEST, "85")),
        "device": raw.get("Manufacturer", ""),
        "path": image_path,
        "drop": np.where(_is_strip(raw), "strip", ""),
    }
    base |= unknown_words(raw["ViewPosition"].str.strip(), (*_VIEWS, *_OTHER_VIEWS), "view")
    faults = {FAULT: raw[FAULT]} if (raw[FAULT] != "").any() else {}
    return pd.DataFrame(base | {native(label): raw[label] for label in LABELS} | faults)


def _is_strip(raw: pd.DataFrame) -> pd.Series:
    """Return the mask of images that are too long for a radiograph, by the size that the table states."""
    if "Rows" not in raw or "Columns" not in raw:
        return pd.Series(False, index=raw.index)
    sides = pd.DataFrame({"rows": numbers(raw["Rows"]), "columns": numbers(raw["Columns"])})
    return sides.max(axis=1) > _STRIP * sides.min(axis=1)


def write(table: pd.DataFrame, root: Path) -> None:
    """Write master_spreadsheet_update.csv.

    The table must have: path = images/id_<patient_id>/Study_.../Series_.../image-....png; image_id = path without
    images/ and suffix; ages in whole years up to 85. `drop` may be missing. If the table has the columns `rows` and
    `columns` (height and width of the image in pixels), they are written, too.
    """
    root.mkdir(parents=True, exist_ok=True)
    dicom = (
        table["path"]
        .str.replace("images/", "Anonymized_DICOMs/", n=1, regex=False)
        .str.replace(".png", ".dcm", regex=False)
    )
    raw = pd.DataFrame({"DicomPath": dicom, "PngPath": table["path"], "PatientID": table["patient_id"]})
    raw["PatientSex"] = table["sex"]
    age = table["age"].map("{:.0f}".format).where(table["age"] < 85, _OLDEST)
    raw["PatientAge"] = age.where(table["age"].notna(), "")
    raw["AccessionNumber"] = table["study_id"]
    raw["StudyDate"] = "20150115"
    for label in LABELS:
        raw[label] = cells(table[native(label)])
    raw["ViewPosition"] = recode(table["view"], {"AP": "AP", "PA": "PA", "LATERAL": "L"})
    strip = table["drop"] == "strip" if "drop" in table else pd.Series(False, index=table.index)
    raw["Rows"] = np.where(strip, 4000, table.get("rows", 1024))
    raw["Columns"] = np.where(strip, 100, table.get("columns", 1024))
    raw["Manufacturer"] = table["device"]
    raw.to_csv(root / FILES[0], index=False, lineterminator="\n")
