"""PadChest: 160,861 radiographs of 67,625 patients of Hospital San Juan in Alicante, 174 labels from reports.

Layout: PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv[.gz]; images/<ImageDir>/<ImageID>, <ImageDir>/<ImageID>
or all images in one folder, 16-bit PNG. Labels: a Python list of English words, often with leading spaces; the words
are stripped and lower-cased. Physicians labeled a quarter of the reports, a network labeled the rest.
Views: PA; AP and AP_horizontal are AP; L is LATERAL; COSTAL, EXCLUDE and UNK are UNKNOWN. No label is uncertain.
Label sources: physician and rnn (the network); each keeps only the rows with labels from this source.
Additional columns: label_source (Physician or RNN_model); drop ("no labels" for a null cell, 103 published rows;
"pediatric" for children). Rows with an empty list ([''], 777 rows) are kept, with a null "No Finding".
Boxes: with grounded_reports_20240819.json of PadChest-GR (4,555 images) beside the table, those of both its readers: the keys
boxes and extra_boxes, corners in shares of the sides. Rows_DICOM and Columns_DICOM state the size of an image.
About 20 published images are damaged; they get into the quarantine when the images are decoded.
Source: Bustos et al. 2019, arXiv:1901.07441. On request: bimcv.cipf.es/bimcv-projects/padchest.
"""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, LABELS
from harmonize.datasets.csvfile import (
    faults,
    find,
    first_fault,
    numbers,
    person,
    read_text,
    recode,
    require,
    unknown_words,
)
from harmonize.datasets.ids import refuse_rounded
from harmonize.errors import DatasetError
from harmonize.labels.findings import labels_yaml

SIGNATURE = ("PADCHEST_*",)
FILE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
NATIVE = {
    "image_id": "ImageID",
    "folder": "ImageDir",
    "date": "StudyDate_DICOM",
    "study_id": "StudyID",
    "patient_id": "PatientID",
    "birth": "PatientBirth",
    "sex": "PatientSex_DICOM",
    "view": "Projection",
    "pediatric": "Pediatric",
    "device": "Manufacturer_DICOM",
    "label_source": "MethodLabel",
    "labels": "Labels",
}
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,PhotometricInterpretation_DICOM,"
    "PixelRepresentation_DICOM,PixelAspectRatio_DICOM,SpatialResolution_DICOM,BitsStored_DICOM,WindowCenter_DICOM,"
    "WindowWidth_DICOM,Rows_DICOM,Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,LabelsLocalizationsBySentence,"
    "labelCUIS,LocalizationsCUIS"
)
METHODS = {"physician": "Physician", "rnn": "RNN_model"}  # label source -> value in the column MethodLabel
_VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "LATERAL"}
_OTHER_VIEWS = ("COSTAL", "EXCLUDE", "UNK")  # the other words of the release
_BLANK = ("", "nan", "None")  # texts that mean a blank cell; the published file contains all three
_YEAR = 2014


def read(root: Path, source: str = "default") -> pd.DataFrame:
    """Return one row per image: the base columns, label_source, drop and "native:labels".

    `source` is default, physician or rnn. For physician and rnn, `drop` marks the rows of the other source.
    """
    table = read_labels(require(root, "padchest", FILE, "PADCHEST_*.csv"))
    if source != "default":
        from_other_source = (table["label_source"] != METHODS[source]) & (table["drop"] == "")
        table["drop"] = table["drop"].where(~from_other_source, f"not by {source}")
    folder = table.pop("folder")
    name = table["image_id"]
    if any((root / "images" / number).is_dir() for number in folder.unique()):
        table["path"] = "images/" + folder + "/" + name
    elif any((root / number).is_dir() for number in folder.unique() if number):
        table["path"] = folder + "/" + name
    else:
        table["path"] = ("images/" if (root / "images").is_dir() else "") + name
    return table


def read_labels(path: Path) -> pd.DataFrame:
    """Return the native table, read from the CSV file only, with the additional column `folder`; path is ""."""
    raw = read_text(path, list(NATIVE.values())).rename(
        columns={native_name: name for name, native_name in NATIVE.items()}
    )
    for name in ("image_id", "patient_id", "study_id"):
        refuse_rounded(raw[name], NATIVE[name], path)
    labels = _labels(raw["labels"])
    fault = first_fault(raw[FAULT], faults(labels.isna(), raw["labels"], "Labels", "a list of words", path))
    people = person(raw["sex"], raw["birth"], unstated=_BLANK)
    people["age"] = numbers(raw["date"].str[:4]) - people["age"]
    drop = np.select([raw["pediatric"] == "PED", raw["labels"].isin(_BLANK)], ["pediatric", "no labels"], "")
    return pd.DataFrame(
        {
            "image_id": raw["image_id"],
            "patient_id": raw["patient_id"],
            "study_id": raw["study_id"],
            "split": "",
            "view": recode(raw["view"], _VIEWS, "UNKNOWN"),
            **people,
            "device": raw["device"].where(~raw["device"].isin(_BLANK), ""),
            "path": "",
            "folder": raw["folder"],
            "label_source": raw["label_source"],
            "drop": drop,
            LABELS: labels.fillna("").astype(str),
        }
        | unknown_words(raw["view"], (*_VIEWS, *_OTHER_VIEWS, *_BLANK), "view")
        | ({FAULT: fault} if (fault != "").any() else {})
    )


def _labels(cells: "pd.Series[str]") -> "pd.Series[Any]":
    """Return the words of each cell, stripped, lower-cased and joined with "|"; null if a cell is not a list of words."""
    words_of_cell: dict[str, str | None] = dict.fromkeys(_BLANK, "")
    for text in cells.unique():
        if text in words_of_cell:
            continue
        try:
            parsed = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            parsed = None
        if not isinstance(parsed, list) or not all(isinstance(word, str) for word in parsed):
            words_of_cell[text] = None
            continue
        words = [word.strip().lower() for word in parsed]
        words_of_cell[text] = "|".join(word for word in words if word)
    return cells.map(words_of_cell).astype(object)


def boxes(root: Path) -> pd.DataFrame:
    """Return the boxes of both readers of PadChest-GR: image_id, finding, x_min, y_min, x_max, y_max in pixels of the original.

    Labels without a shared finding keep their native name. Without the file, the table has no rows.
    """
    columns = ["image_id", "finding", "x_min", "y_min", "x_max", "y_max"]
    if (path := find(root, "grounded_reports_*.json")) is None:
        return pd.DataFrame(columns=columns)
    findings = labels_yaml()["datasets"]["padchest"]["findings"]
    shared = {word: finding for finding, entry in findings.items() for word in entry["native"]}
    try:
        rows = [
            (str(image["ImageID"]), shared.get(word, word), *map(float, box))
            for image in json.loads(path.read_text(encoding="utf-8"))
            for finding in image["findings"]
            for word in [str(label).strip().lower() for label in finding.get("labels") or ()]
            for box in [*(finding.get("boxes") or ()), *(finding.get("extra_boxes") or ())]
        ]
        drawn = pd.DataFrame(rows, columns=columns)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"not a file of boxes: {error!r}", str(path), "use the file as published") from error
    size = _sizes(root).reindex(drawn["image_id"]).set_axis(drawn.index)
    scale = {"x_min": size["columns"], "y_min": size["rows"], "x_max": size["columns"], "y_max": size["rows"]}
    return drawn.assign(**{name: drawn[name] * side for name, side in scale.items()})


def box_frames(root: Path, images: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return {image id: (height, width)} of the original of each image whose size the table states."""
    size = _sizes(root).reindex(images["image_id"]).dropna().astype(int)
    return {str(image): (int(rows), int(columns)) for image, rows, columns in size.itertuples()}


def _sizes(root: Path) -> pd.DataFrame:
    """Return the size of each image in pixels, in the columns `rows` and `columns`."""
    raw = read_text(require(root, "padchest", FILE, "PADCHEST_*.csv"), ["ImageID", "Rows_DICOM", "Columns_DICOM"])
    raw = raw.drop_duplicates("ImageID").set_index("ImageID")
    return pd.DataFrame({"rows": numbers(raw["Rows_DICOM"]), "columns": numbers(raw["Columns_DICOM"])})


def write(table: pd.DataFrame, root: Path) -> None:
    """Write the label file with all 36 columns.

    The table must have:
        path             images/<number>/<image_id>, <number>/<image_id> or <image_id>; the same form in all rows
        native:labels    lower-case words without spaces at their ends; "" if `drop` is "no labels"
        age              whole years
    A missing column `label_source` means Physician in all rows, a missing column `drop` means "". `read` returns
    the same paths only if the image folders exist.
    """
    root.mkdir(parents=True, exist_ok=True)
    raw = pd.DataFrame("", index=table.index, columns=HEADER.split(","), dtype=object)
    raw[""] = np.arange(len(table))
    raw["ImageID"] = table["image_id"]
    raw["ImageDir"] = [
        path.split("/")[-2] if path.count("/") and path.split("/")[-2] != "images" else "0" for path in table["path"]
    ]
    raw["StudyDate_DICOM"] = f"{_YEAR}0115"
    raw["StudyID"] = table["study_id"]
    raw["PatientID"] = table["patient_id"]
    raw["PatientBirth"] = [f"{_YEAR - age:.1f}" if age == age else "" for age in table["age"]]
    raw["PatientSex_DICOM"] = table["sex"]
    positions = {"PA": "POSTEROANTERIOR", "AP": "ANTEROPOSTERIOR", "LATERAL": "LATERAL"}
    raw["ViewPosition_DICOM"] = recode(table["view"], positions)
    raw["Projection"] = recode(table["view"], {"PA": "PA", "AP": "AP", "LATERAL": "L"}, "UNK")
    raw["MethodProjection"] = "Manual review of DICOM fields"
    drop = table["drop"] if "drop" in table else pd.Series("", index=table.index)
    raw["Pediatric"] = np.where(drop == "pediatric", "PED", "No")
    raw["Modality_DICOM"] = "CR"
    raw["Manufacturer_DICOM"] = table["device"]
    raw["PhotometricInterpretation_DICOM"] = "MONOCHROME2"
    raw["PixelRepresentation_DICOM"] = 0
    raw["BitsStored_DICOM"] = 12
    raw["WindowCenter_DICOM"], raw["WindowWidth_DICOM"] = 2047.0, 4095.0
    raw["Rows_DICOM"] = table.get("rows", 1760)
    raw["Columns_DICOM"] = table.get("columns", 2140)
    raw["ReportID"] = np.arange(len(table)) + 1
    raw["MethodLabel"] = table.get("label_source", "Physician")
    raw["Labels"] = [
        _cell(text) if text or reason != "no labels" else "" for text, reason in zip(table[LABELS], drop, strict=True)
    ]
    raw.to_csv(root / FILE, index=False, lineterminator="\n")


def _cell(labels: str) -> str:
    """Return labels in the published form: a Python list in which all words except the first have a leading space."""
    first, *others = labels.split("|")
    return str([first, *(f" {word}" for word in others)])


def gold(table: pd.DataFrame, _root: Path) -> "pd.Series[bool]":
    """Return the mask of rows of PA images with a report that physicians labeled."""
    return (table["label_source"] == "Physician") & (table["view"] == "PA")
