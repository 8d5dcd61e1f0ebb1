"""VinDr-CXR: 18,000 frontal DICOMs of two hospitals in Hanoi, 28 labels and boxes drawn by radiologists.

Layout: train/<image_id>.dicom, test/<image_id>.dicom (also .dcm, .png and .jpg) and annotations/
{image_labels,annotations}_{train,test}.csv. train has three rows per image, one per reader; a label is present if most
readers mark it. test has one row per image, the consensus of five readers, and spells "Other disease" without s.
No patient id is released, so each image counts as a patient. Every image is PA. The tables have no sex and no age;
`bench data people` reads both from the DICOM headers and writes people.csv, in the root or in annotations/.
Boxes: in pixels of the original DICOM, from all readers. For copies in another format, which often have another size,
the size of the original must be in people.csv (columns rows and columns, also by `bench data people`).
Source: Nguyen et al. 2022, arXiv:2012.15029. Credentialed access: physionet.org/content/vindr-cxr.
Label sources: majority (the default), any_reader and all_readers, for train images; test images have the consensus.
The Kaggle challenge (one train.csv with boxes) has no test split, and only 15 labels; the other 13 labels, such as
Edema, are null.
"""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.datasets import FAULT, native
from harmonize.datasets.csvfile import (
    faults,
    find,
    first_fault,
    header,
    numbers,
    person,
    read_text,
    require,
    require_folder,
    require_whole,
    states_array,
)
from harmonize.errors import DatasetError
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT

SIGNATURE = ("annotations/image_labels_*",)
LABELS = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Clavicle fracture",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Enlarged PA",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Lung cavity",
    "Lung cyst",
    "Mediastinal shift",
    "Nodule/Mass",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "Rib fracture",
    "Other lesion",
    "COPD",
    "Lung tumor",
    "Pneumonia",
    "Tuberculosis",
    "Other diseases",
    "No finding",
)
KAGGLE_LABELS = (
    "Aortic enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "ILD",
    "Infiltration",
    "Lung Opacity",
    "Nodule/Mass",
    "Other lesion",
    "Pleural effusion",
    "Pleural thickening",
    "Pneumothorax",
    "Pulmonary fibrosis",
    "No finding",
)
_ALIASES = {"Other diseases": "Other disease"}
_BOX_FINDINGS = {"Pleural effusion": "Pleural Effusion", "Nodule/Mass": "Lung Lesion"}
_CORNERS = ["x_min", "y_min", "x_max", "y_max"]
_DICOM_SUFFIXES = (".dicom", ".dcm")
_SUFFIXES = (*_DICOM_SUFFIXES, ".png", ".jpg")
_READERS = 3
PEOPLE = "people.csv"


def read(root: Path, source: str = "default") -> pd.DataFrame:
    """Return one row per image: the base columns and "native:<label>" for 28 labels, each 1 or 0 (Kaggle: or null).

    `source` sets how many readers must mark a train label: default or majority, any_reader, all_readers.
    """
    require_folder(root, "vindr")
    files = [find(root, f"annotations/image_labels_{split}.csv") for split in ("train", "test")]
    if not any(files):
        boxes_file = kaggle(root)
        if boxes_file is not None:
            return read_kaggle(boxes_file, root, source)
        require(root, "vindr", "annotations/image_labels_test.csv")
    tables = [
        read_votes(path, split, root, source)
        for path, split in zip(files, ("train", "test"), strict=True)
        if path is not None
    ]
    table = pd.concat(tables, ignore_index=True)
    return table.fillna({FAULT: ""}) if FAULT in table else table


def kaggle(root: Path) -> Path | None:
    """Return the path of the Kaggle challenge's train.csv, or None."""
    path = find(root, "train.csv")
    return path if path is not None and "class_name" in header(path) else None


def read_votes(path: Path, split: str, root: Path, source: str = "default") -> pd.DataFrame:
    """Return the native table of one image_labels file; `source` sets how labels of several readers are combined."""
    present = header(path)
    names = [_ALIASES[label] if label not in present and label in _ALIASES else label for label in LABELS]
    raw = read_text(path, ["image_id"], names, optional=["rad_id"]).rename(
        columns=dict(zip(names, LABELS, strict=True))
    )
    states = raw[list(LABELS)].to_numpy(np.int8, na_value=NOT_MENTIONED)
    is_invalid = pd.Series(((states != PRESENT) & (states != ABSENT)).any(axis=1), index=raw.index)
    invalid = faults(is_invalid, raw["image_id"], "image_id", "0 or 1 in every label", path)
    fault = first_fault(raw[FAULT], invalid)
    # Without the column rad_id, equal rows may come from readers who agree. Such rows are kept.
    if split == "test" or "rad_id" in raw:
        fault = fault[~raw.duplicated()]
        raw = raw.drop_duplicates()
        is_repeated = raw.duplicated([name for name in ("image_id", "rad_id") if name in raw])
        fault = first_fault(fault, faults(is_repeated, raw["image_id"], "image_id", "in one row for each reader", path))
    codes, images = pd.factorize(raw["image_id"])
    num_marks = np.zeros((len(images), len(LABELS)), np.int32)
    np.add.at(num_marks, codes, raw[list(LABELS)].eq(PRESENT).to_numpy(bool, na_value=False))
    state = _states_from_marks(num_marks, np.bincount(codes)[:, None], source if split == "train" else "default")
    states_of_label = {label: states_array(state[:, column]) for column, label in enumerate(LABELS)}
    return _with_faults(_table(images, split, root, states_of_label), fault, raw["image_id"])


def read_kaggle(path: Path, root: Path, source: str = "default") -> pd.DataFrame:
    """Return the native table of the Kaggle challenge; a reader marks a label by drawing a box with this label.

    The 13 labels that the challenge does not have (Edema, Pneumonia, ...) are null for every image.
    """
    raw = read_text(path, ["image_id", "rad_id", "class_name"])
    is_unknown = ~raw["class_name"].isin(KAGGLE_LABELS)
    kind = f"of {', '.join(KAGGLE_LABELS)},"
    fault = first_fault(raw[FAULT], faults(is_unknown, raw["class_name"], "class_name", kind, path))
    marks = raw.drop_duplicates()  # a reader who draws several boxes with one label marks the label once
    codes, images = pd.factorize(marks["image_id"])
    num_marks = np.zeros((len(images), len(KAGGLE_LABELS)), np.int32)
    column = pd.Index(KAGGLE_LABELS).get_indexer(pd.Index(marks["class_name"]))  # -1 for an unknown label
    is_known = column >= 0
    np.add.at(num_marks, (codes[is_known], column[is_known]), 1)
    reader_rows = marks.drop_duplicates(["image_id", "rad_id"])["image_id"]
    num_readers = np.bincount(pd.Index(images).get_indexer(pd.Index(reader_rows)))
    state = _states_from_marks(num_marks, num_readers[:, None], source)
    all_null = np.ones(len(images), bool)
    states_of_label = {label: states_array(state[:, k]) for k, label in enumerate(KAGGLE_LABELS)}
    null_states = states_array(np.zeros(len(images), np.int8), all_null)
    table = _table(images, "train", root, {label: states_of_label.get(label, null_states) for label in LABELS})
    return _with_faults(table, fault, raw["image_id"])


def _with_faults(table: pd.DataFrame, fault: "pd.Series[str]", image: "pd.Series[str]") -> pd.DataFrame:
    """Add the column FAULT if any row has a fault: the first fault among the rows of each image."""
    rows = fault != ""
    if not rows.any():
        return table
    of_image = pd.Series(fault[rows].to_numpy(), index=image[rows].to_numpy())
    of_image = of_image[~of_image.index.duplicated()]
    return table.assign(**{FAULT: table["image_id"].map(of_image).fillna("").astype(object)})


def _states_from_marks(num_marks: NDArray[np.int32], num_readers: NDArray[np.int64], source: str) -> NDArray[np.int8]:
    """Return the state of each label, 1 or 0, as [N images, K labels].

    `num_marks` [N, K] has the number of readers who mark the label, `num_readers` [N, 1] the number of all readers.
    """
    needed = {"any_reader": np.ones_like(num_readers), "all_readers": num_readers}.get(source, num_readers // 2 + 1)
    return (num_marks >= needed).astype(np.int8)


def _table(images: Any, split: str, root: Path, states: dict[str, Any]) -> pd.DataFrame:
    """Return the native table of the images of one split."""
    ids = pd.Series(images).astype(str)
    suffix = _suffixes(root / split)
    columns: dict[str, Any] = {
        "image_id": ids,
        "patient_id": ids,
        "study_id": ids,
        "split": split,
        "view": "PA",
        **_people(root, ids),
        "device": "",
        "path": [f"{split}/{image}{suffix.get(image, _SUFFIXES[0])}" for image in ids],
    }
    return pd.DataFrame(columns | {native(label): states[label] for label in LABELS})


def _people(root: Path, images: "pd.Series[str]") -> dict[str, Any]:
    """Return sex and age from people.csv, or "" and NaN if the file or the row of the image is missing."""
    path = find(root, PEOPLE, f"annotations/{PEOPLE}")
    if path is None:
        return {"sex": "", "age": np.nan}
    people = read_text(path, ["image_id", "sex", "age"])
    require_whole(people, path)
    people = people.drop_duplicates("image_id").set_index("image_id")
    people = people.reindex(images).set_axis(images.index).fillna("")
    return person(people["sex"], people["age"])


def images(root: Path) -> list[Path]:
    """Return the DICOM files of the train and test folders, sorted."""
    files = [
        path for split in ("train", "test") for suffix in _DICOM_SUFFIXES for path in (root / split).glob(f"*{suffix}")
    ]
    return sorted(files)


def _suffixes(folder: Path) -> dict[str, str]:
    """Return image id -> suffix (one of _SUFFIXES) of every image in the folder."""
    if not folder.is_dir():
        return {}
    names = os.listdir(folder)  # noqa: PTH208  (Path.iterdir makes a Path of each name)
    parts = [name.rpartition(".") for name in names]
    return {stem: f".{suffix}" for stem, _, suffix in parts if f".{suffix}" in _SUFFIXES}


def boxes(root: Path) -> pd.DataFrame:
    """Return the table of boxes: image_id, finding, x_min, y_min, x_max, y_max in pixels of the original DICOM.

    Labels without a shared finding keep their native name. Without box files, the table has no rows.
    """
    files = [find(root, f"annotations/annotations_{split}.csv") for split in ("train", "test")]
    box_files = [path for path in (files if any(files) else [kaggle(root)]) if path is not None]
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in ("image_id", "class_name", *_CORNERS)})
    tables = [read_text(path, ["image_id", "class_name", *_CORNERS], may_be_empty=True) for path in box_files]
    for path, rows in zip(box_files, tables, strict=True):
        require_whole(rows, path)
    raw = pd.concat(tables, ignore_index=True) if tables else empty
    corners = {name: numbers(raw[name]) for name in _CORNERS}
    table = pd.DataFrame({"image_id": raw["image_id"], "finding": raw["class_name"].replace(_BOX_FINDINGS), **corners})
    return table[table["finding"] != "No finding"].reset_index(drop=True)  # rows of this label have no box


def box_frames(root: Path, images: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return {image id: (height, width)} of the original DICOM, for images that are no longer DICOM files.

    The sizes are in people.csv. Raises DatasetError if the size of an original is unknown.
    """
    copies = images.loc[~images["path"].str.endswith(_DICOM_SUFFIXES), "image_id"]
    if copies.empty:
        return {}
    path = find(root, PEOPLE, f"annotations/{PEOPLE}")
    sizes = pd.DataFrame(columns=["image_id", "rows", "columns"], dtype=object)
    if path is not None:
        people = read_text(path, ["image_id"], optional=["rows", "columns"])
        require_whole(people, path)
        sizes = people.reindex(columns=["image_id", "rows", "columns"])
    sizes = sizes.drop_duplicates("image_id").set_index("image_id")
    known = {str(i): (h, w) for i, h, w in zip(sizes.index, *(numbers(sizes[c]) for c in sizes), strict=True)}
    frames = {image: known.get(image, (np.nan, np.nan)) for image in copies}
    missing = [image for image, (height, width) in frames.items() if not (height >= 1 and width >= 1)]
    if missing:
        what = f"the boxes are in pixels of the original DICOM, whose size is unknown for {len(missing):,} copies, e.g. {missing[0]}"
        fix = (
            "write the sizes into people.csv, columns image_id, sex, age, rows and columns (`bench data people` reads"
            " them from the DICOM files), or remove the files of boxes"
        )
        raise DatasetError(what, str(path or root / PEOPLE), fix)
    return {image: (int(height), int(width)) for image, (height, width) in frames.items()}


def write(table: pd.DataFrame, root: Path) -> None:
    """Write image_labels_train.csv and image_labels_test.csv; in train, the third reader disagrees on some images.

    The table must have: patient_id = study_id = image_id, path = <split>/<image_id>.dicom, view PA, no sex and age,
    states 0 and 1.
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    states = pd.DataFrame({label: table[native(label)].astype(int) for label in LABELS})
    states.insert(0, "image_id", table["image_id"])
    test = states[table["split"] == "test"].rename(columns=_ALIASES)
    if len(test):
        test.to_csv(root / "annotations/image_labels_test.csv", index=False)
    train = states[table["split"] == "train"]
    if train.empty:
        return
    disagrees = train["image_id"].map(lambda image: zlib.crc32(str(image).encode()) % 4 == 0)
    readers = []
    for number in range(_READERS):
        votes = train.copy()
        votes.insert(
            1, "rad_id", [f"R{1 + (zlib.crc32(str(image).encode()) + 5 * number) % 17}" for image in train["image_id"]]
        )
        # in every fourth image or so, the third reader marks no finding; the majority stays the same
        if number == _READERS - 1:
            votes.loc[disagrees, list(LABELS)] = [*([0] * (len(LABELS) - 1)), 1]
        readers.append(votes)
    rows = pd.concat(readers).sort_index(kind="stable")
    rows.to_csv(root / "annotations/image_labels_train.csv", index=False)


def write_boxes(table: pd.DataFrame, root: Path, split: pd.Series) -> None:
    """Write annotations_{train,test}.csv from a table with the columns that `boxes` returns.

    `split` is train or test for each row. The table has no rows for images with the label "No finding".
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    native_name = {finding: label for label, finding in _BOX_FINDINGS.items()}
    raw = pd.DataFrame(
        {"image_id": table["image_id"], "rad_id": "R1", "class_name": table["finding"].replace(native_name)}
    )
    raw = raw.assign(**{name: table[name] for name in _CORNERS})
    in_test = split.to_numpy() == "test"
    raw[~in_test].to_csv(root / "annotations/annotations_train.csv", index=False)
    raw[in_test].drop(columns="rad_id").to_csv(root / "annotations/annotations_test.csv", index=False)


def gold(table: pd.DataFrame, _root: Path) -> "pd.Series[bool]":
    """Return the mask of the test split, which has the consensus of five radiologists."""
    return table["split"] == "test"
