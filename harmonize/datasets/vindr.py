"""VinDr-CXR: 18,000 frontal DICOMs of two hospitals in Hanoi, 28 labels and boxes drawn by radiologists.

Layout: train/<image_id>.dicom, test/<image_id>.dicom (.dcm, .png and .jpg are taken too) and annotations/
{image_labels,annotations}_{train,test}.csv. train has three rows per image, one per reader: a label is present where
most readers say so. test has one row per image, the consensus of five, and spells "Other disease" without s.
No patient id is released: the image is the unit. Every image is PA. The tables state no sex and no age; people.csv in
the root or in annotations/ does, where `bench data people` has read it from the DICOM headers.
Boxes: pixels of the native image; those of all readers.
Source: Nguyen et al. 2022, arXiv:2012.15029. Credentialed access: physionet.org/content/vindr-cxr.
Label sources: majority (the default), any_reader and all_readers of the train images; the test consensus is one.
The Kaggle challenge (one train.csv of boxes) lacks Edema, Pneumonia, 11 other labels and the test split: those are null.
"""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.datasets import FAULT, native
from harmonize.datasets.columns import base_columns, state_columns
from harmonize.datasets.csvfile import faults, find, first_of, header, numbers, read_text, recode, require, states_array
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
_SUFFIXES = (".dicom", ".dcm", ".png", ".jpg")
_READERS = 3
PEOPLE = "people.csv"


def read(root: Path, source: str = "default") -> pd.DataFrame:
    """Return one row per image: the base columns and "native:<label>" for 28 labels, each 1 or 0 (Kaggle: or null).

    `source` says when a train label is present: default or majority, any_reader, all_readers.
    """
    require_folder(root)
    files = [find(root, f"annotations/image_labels_{split}.csv") for split in ("train", "test")]
    if not any(files):
        boxes_file = kaggle(root)
        if boxes_file is not None:
            return read_kaggle(boxes_file, root, source)
        require(root, "vindr", "annotations/image_labels_test.csv")
    parts = [
        read_votes(path, split, root, source)
        for path, split in zip(files, ("train", "test"), strict=True)
        if path is not None
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.fillna({FAULT: ""}) if FAULT in table else table


def kaggle(root: Path) -> Path | None:
    """Return the Kaggle challenge's train.csv, None when the root holds none."""
    path = find(root, "train.csv")
    return path if path is not None and "class_name" in header(path) else None


def require_folder(root: Path) -> None:
    """Raise DatasetError when the root is missing."""
    if not root.is_dir():
        raise DatasetError(
            "no such folder", str(root), "point --data at the folder that holds vindr, or correct `root:`"
        )


def read_votes(path: Path, split: str, root: Path, source: str = "default") -> pd.DataFrame:
    """Return the native table of one image_labels file: its readers' verdict."""
    present = header(path)
    names = [_ALIASES[label] if label not in present and label in _ALIASES else label for label in LABELS]
    raw = read_text(path, ["image_id"], names, optional=["rad_id"]).rename(
        columns=dict(zip(names, LABELS, strict=True))
    )
    states = raw[list(LABELS)].to_numpy(np.int8, na_value=NOT_MENTIONED)
    neither = pd.Series(((states != PRESENT) & (states != ABSENT)).any(axis=1), index=raw.index)
    unsaid = faults(neither, raw["image_id"], "image_id", "0 or 1 in every label", path)
    fault = first_of(raw[FAULT], unsaid) if FAULT in raw else unsaid
    if split == "test" or "rad_id" in raw:  # else nobody can tell a reader who agrees from a row that is repeated
        fault = fault[~raw.duplicated()]
        raw = raw.drop_duplicates()
        again = raw.duplicated(["image_id", *(["rad_id"] if "rad_id" in raw else [])])
        fault = first_of(fault, faults(again, raw["image_id"], "image_id", "in one row for each reader", path))
    codes, images = pd.factorize(raw["image_id"])
    total = np.zeros((len(images), len(LABELS)), np.int32)
    np.add.at(total, codes, raw[list(LABELS)].eq(PRESENT).to_numpy(bool, na_value=False))
    state = _verdict(total, np.bincount(codes)[:, None], source if split == "train" else "default")
    found = {label: states_array(state[:, k]) for k, label in enumerate(LABELS)}
    return _marked(_table(images, split, root, found), fault, raw["image_id"])


def read_kaggle(path: Path, root: Path, source: str = "default") -> pd.DataFrame:
    """Return the native table of the Kaggle challenge: a reader states a label where it drew a box of it.

    The labels that the challenge left out (13 of 28, Edema and Pneumonia among them) are null for every image.
    """
    raw = read_text(path, ["image_id", "rad_id", "class_name"])
    odd = ~raw["class_name"].isin(KAGGLE_LABELS)
    fault = faults(odd, raw["class_name"], "class_name", f"of {', '.join(KAGGLE_LABELS)},", path)
    stated = raw.drop_duplicates()
    codes, images = pd.factorize(stated["image_id"])
    total = np.zeros((len(images), len(KAGGLE_LABELS)), np.int32)
    place = pd.Index(KAGGLE_LABELS).get_indexer(pd.Index(stated["class_name"]))
    np.add.at(total, (codes[place >= 0], place[place >= 0]), 1)
    readers = stated.drop_duplicates(["image_id", "rad_id"])["image_id"]
    number = np.bincount(pd.Index(images).get_indexer(pd.Index(readers)))
    state = _verdict(total, number[:, None], source)
    null = np.ones(len(images), bool)
    known = {label: states_array(state[:, k]) for k, label in enumerate(KAGGLE_LABELS)}
    unknown = states_array(np.zeros(len(images), np.int8), null)
    table = _table(images, "train", root, {label: known.get(label, unknown) for label in LABELS})
    return _marked(table, fault, raw["image_id"])


def _marked(table: pd.DataFrame, fault: "pd.Series[str]", image: "pd.Series[str]") -> pd.DataFrame:
    """Return the table with the first fault of any of an image's rows, where there is one."""
    rows = fault != ""
    if not rows.any():
        return table
    of_image = pd.Series(fault[rows].to_numpy(), index=image[rows].to_numpy())
    of_image = of_image[~of_image.index.duplicated()]
    return table.assign(**{FAULT: table["image_id"].map(of_image).fillna("").astype(object)})


def _verdict(total: NDArray[np.int32], readers: NDArray[np.int64], source: str) -> NDArray[np.int8]:
    """Return the state of each label from the number of readers who state it."""
    needed = {"any_reader": np.ones_like(readers), "all_readers": readers}.get(source, readers // 2 + 1)
    return (total >= needed).astype(np.int8)


def _table(images: Any, split: str, root: Path, states: dict[str, Any]) -> pd.DataFrame:
    """Return the native table of images of one split."""
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
    """Return sex and age from people.csv, not stated where the file or a row of it is missing."""
    path = find(root, PEOPLE, f"annotations/{PEOPLE}")
    if path is None:
        return {"sex": "", "age": np.nan}
    stated = read_text(path, ["image_id", "sex", "age"]).drop_duplicates("image_id").set_index("image_id")
    stated = stated.reindex(images).set_axis(images.index).fillna("")
    return {"sex": recode(stated["sex"], {"F": "F", "M": "M"}), "age": numbers(stated["age"])}


def images(root: Path) -> list[Path]:
    """Return the DICOM files of the train and the test folder."""
    files = [
        path for split in ("train", "test") for suffix in _SUFFIXES[:2] for path in (root / split).glob(f"*{suffix}")
    ]
    return sorted(files)


def _suffixes(folder: Path) -> dict[str, str]:
    """Return image id -> suffix of every image in the folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        names = [entry.name.rpartition(".") for entry in entries]
    return {stem: f".{suffix}" for stem, _, suffix in names if f".{suffix}" in _SUFFIXES}


def boxes(root: Path) -> pd.DataFrame:
    """Return image_id, finding, x_min, y_min, x_max, y_max in pixels of the native image; no rows without files.

    Boxes of labels outside the shared findings keep the label's own name.
    """
    files = [find(root, f"annotations/annotations_{split}.csv") for split in ("train", "test")]
    found = [path for path in (files if any(files) else [kaggle(root)]) if path is not None]
    none = pd.DataFrame({name: pd.Series(dtype=object) for name in ("image_id", "class_name", *_CORNERS)})
    parts = [read_text(path, ["image_id", "class_name", *_CORNERS], may_be_empty=True) for path in found]
    raw = pd.concat(parts, ignore_index=True) if parts else none
    corners = {name: numbers(raw[name]) for name in _CORNERS}
    table = pd.DataFrame({"image_id": raw["image_id"], "finding": raw["class_name"].replace(_BOX_FINDINGS), **corners})
    return table[table["x_min"].notna()].reset_index(drop=True)  # "No finding" has no box


def write(table: pd.DataFrame, root: Path) -> None:
    """Write image_labels_train.csv (three readers, one of whom sometimes dissents) and image_labels_test.csv.

    Needs: patient_id = study_id = image_id, path = <split>/<image_id>.dicom, view PA, no sex and age, states 0 and 1.
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
    dissents = train["image_id"].map(lambda image: zlib.crc32(str(image).encode()) % 4 == 0)
    readers = []
    for number in range(_READERS):
        votes = train.copy()
        votes.insert(
            1, "rad_id", [f"R{1 + (zlib.crc32(str(image).encode()) + 5 * number) % 17}" for image in train["image_id"]]
        )
        if number == _READERS - 1:  # the third reader of every fourth image sees nothing: the majority stands
            votes.loc[dissents, list(LABELS)] = [*([0] * (len(LABELS) - 1)), 1]
        readers.append(votes)
    rows = pd.concat(readers).sort_index(kind="stable")
    rows.to_csv(root / "annotations/image_labels_train.csv", index=False)


def write_boxes(table: pd.DataFrame, root: Path, split: pd.Series) -> None:
    """Write annotations_{train,test}.csv from such a table as `boxes` returns.

    `split` is train or test for each of its rows. Images labelled "No finding" get no row.
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    back = {ours: theirs for theirs, ours in _BOX_FINDINGS.items()}
    raw = pd.DataFrame({"image_id": table["image_id"], "rad_id": "R1", "class_name": table["finding"].replace(back)})
    raw = raw.assign(**{name: table[name] for name in _CORNERS})
    in_test = split.to_numpy() == "test"
    raw[~in_test].to_csv(root / "annotations/annotations_train.csv", index=False)
    raw[in_test].drop(columns="rad_id").to_csv(root / "annotations/annotations_test.csv", index=False)


def gold(table: pd.DataFrame, _root: Path) -> "pd.Series[bool]":
    """Return the rows of the test split, which has the consensus of five radiologists."""
    return table["split"] == "test"


def example() -> pd.DataFrame:
    """Return a small native table of three train and two test images."""
    images = [f"a{k:031x}" for k in (11, 22, 33, 44, 55)]
    split = ["train", "train", "train", "test", "test"]
    states = [
        {"No finding": 1},
        {"Nodule/Mass": 1},
        {"Lung tumor": 1, "Edema": 1},
        {"Other diseases": 1},
        {"No finding": 1},
    ]
    columns = base_columns(
        image_id=images,
        patient_id=images,
        study_id=images,
        split=split,
        path=[f"{folder}/{image}.dicom" for folder, image in zip(split, images, strict=True)],
    )
    return pd.DataFrame(columns | state_columns(LABELS, states, default=ABSENT))
