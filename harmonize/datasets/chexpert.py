"""CheXpert: 224,316 chest radiographs of 65,240 patients of Stanford Hospital, 14 labels mined from reports.

Layout: train.csv, valid.csv and train/patient00001/study1/view1_frontal.jpg; test_labels.csv (one row per image, as in
CheXlocalize) or groundtruth.csv (one row per study) for test/. Paths in the files start with CheXpert-v1.0[-small]/;
the root may be that folder or the one above it. CheXlocalize's val_labels.csv and val/ serve where valid.csv is
missing; its folder CheXpert/ may lie beside the release, and may be all there is (then the cohort is the expert sets).
Label sources: chexbert and visualchexbert read train_cheXbert.csv and train_visualCheXbert.csv (same columns) instead
of train.csv. The expert sets are the same in all.
Labels: 1.0 present, 0.0 absent, -1.0 uncertain, blank not mentioned. valid and test were labelled by radiologists:
they are the splits expert_valid and expert_test. "No Finding" is never 0.0 in train.csv.
Views: frontal images are AP or PA; where only "frontal" is known (the test set, 17 rows of train.csv) the view is
FRONTAL.
Source: Irvin et al. 2019, arXiv:1901.07031. Test labels: github.com/rajpurkarlab/cheXpert-test-set-labels.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, chexlocalize, native
from harmonize.datasets.columns import base_columns, state_columns
from harmonize.datasets.csvfile import (
    cells,
    extracted,
    faults,
    find,
    first_of,
    header,
    numbers,
    read_text,
    recode,
    require,
)
from harmonize.datasets.outlines import Outlines
from harmonize.errors import DatasetError

SIGNATURE = ("CheXpert-v1.0*", "valid.csv", "CheXpert")
LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
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
TRAIN = {  # label source -> file of the training labels
    "default": "train.csv",
    "chexbert": "train_cheXbert.csv",
    "visualchexbert": "train_visualCheXbert.csv",
}
PREFIX = "CheXpert-v1.0-small/"
_PREFIXES = r"^(?:CheXpert-v1\.0(?:-small)?/|CheXpert/)"
_STUDY = r"(?P<folder>\w+)/(?P<patient>patient\d+)/(?P<study>study\d+)"
_PATH = "of the form train/patient00001/study1/view1_frontal.jpg"
_SEX = {"Female": "F", "Male": "M"}
_SEX_BACK = {"F": "Female", "M": "Male", "": "Unknown"}


def read(root: Path, source: str = "default") -> pd.DataFrame:
    """Return one row per image: the base columns and "native:<label>" for 14 labels.

    `source` is default, chexbert or visualchexbert: whose labels the training images have.
    """
    name = TRAIN[source]
    release = find(root, name, f"CheXpert-v1.0*/{name}")
    parts = []
    if release is not None:
        images = read_images(release, "train", source != "default")
        parts.append(_placed(_described(images, release), release.parent, root))
    inner = root if release is None else release.parent
    beside = [folder for folder in (inner, root / "CheXpert") if folder.is_dir()]
    valid = find_in(beside, "valid.csv") or find_in(beside, "val_labels.csv", "val/val_labels.csv")
    test = find_in(
        beside, "test_labels.csv", "groundtruth.csv", "test.csv", "test/test_labels.csv", "test/groundtruth.csv"
    )
    if release is None and (source != "default" or (valid is None and test is None)):
        require(root, "chexpert", name, f"CheXpert-v1.0*/{name}")
    if valid is not None:
        folder = _home(valid, beside)
        parts.append(_placed(read_images(valid, "expert_valid"), folder, root))
    if test is not None:
        folder = _home(test, beside)
        by_study = "Study" in header(test)
        images = _read_studies(test, folder) if by_study else read_images(test, "expert_test")
        parts.append(_placed(images, folder, root))
    table = pd.concat(parts, ignore_index=True)
    return table.fillna({FAULT: ""}) if FAULT in table else table


def find_in(folders: list[Path], *names: str) -> Path | None:
    """Return the first of these files in the first folder that has one."""
    return next((path for folder in folders if (path := find(folder, *names)) is not None), None)


def _home(path: Path, folders: list[Path]) -> Path:
    """Return the folder that a label file's paths start from."""
    return next(folder for folder in folders if path.parent == folder or path.parent.parent == folder)


def _placed(table: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """Return the table with paths relative to the root."""
    if not (folder / "valid").is_dir() and (folder / "val").is_dir():  # CheXlocalize renamed the folder, not the paths
        table["path"] = table["path"].str.replace(r"^valid/", "val/", regex=True)
    if folder != root:
        table["path"] = f"{folder.relative_to(root).as_posix()}/" + table["path"]
    return table


def _described(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the training images with sex, age and view from train.csv where their own file has labels alone."""
    usual = find(path.parent, TRAIN["default"])
    if usual is None or "Sex" in header(path):
        return table
    people = read_images(usual, "train").set_index("image_id")[["sex", "age", "view"]].reindex(table["image_id"])
    found = people["view"].notna().to_numpy()
    for name in people:
        table[name] = table[name].where(~found, people[name].to_numpy())
    return table


def read_images(path: Path, split: str, may_be_bare: bool = False) -> pd.DataFrame:
    """Return the native table of one file with a row per image, without looking for the images.

    A training file has sex, age and view beside the labels, unless it may be bare.
    """
    described = (split == "train" and not may_be_bare) or "Frontal/Lateral" in header(path)
    columns = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"] if described else ["Path"]
    raw = read_text(path, columns, LABELS)
    if not described:
        raw = raw.assign(Sex="", Age="", **{"AP/PA": ""})
        raw["Frontal/Lateral"] = raw["Path"].str.contains("_lateral").map({True: "Lateral", False: "Frontal"})
    return _table(raw, path, split)


def _read_studies(path: Path, inner: Path) -> pd.DataFrame:
    """Return one row per image on disk of the studies in groundtruth.csv: the file names no image."""
    raw = read_text(path, ["Study"], LABELS).rename(columns={"Study": "study"})
    study = raw["study"].str.replace(_PREFIXES, "", regex=True).str.strip("/")
    images = [
        (row, f"{name}/{image.name}")
        for row, name in enumerate(study)
        for image in sorted((inner / name).glob("view*.*"))
    ]
    if not images:
        fix = "put the test images beside it (test/patient64741/study1/view1_frontal.jpg), or remove the file"
        raise DatasetError("no image of any study of the test set is there", str(path), fix)
    found = raw.iloc[[row for row, _ in images]].drop(columns="study").reset_index(drop=True)
    found["Path"] = [name for _, name in images]
    found = found.assign(Sex="", Age="", **{"AP/PA": ""})
    found["Frontal/Lateral"] = found["Path"].str.contains("_lateral").map({True: "Lateral", False: "Frontal"})
    return _table(found, path, "expert_test")


def _table(raw: pd.DataFrame, path: Path, split: str) -> pd.DataFrame:
    """Return the native table of raw rows with Path, Sex, Age, Frontal/Lateral, AP/PA and the labels."""
    where = raw["Path"].str.replace(_PREFIXES, "", regex=True)
    names = extracted(where, _STUDY)
    fault = raw[FAULT] if FAULT in raw else pd.Series("", index=raw.index, dtype=object)
    fault = first_of(fault, faults(names["patient"].isna(), raw["Path"], "Path", _PATH, path))
    lateral = raw["Frontal/Lateral"] == "Lateral"
    age = numbers(raw["Age"])
    base = {
        "image_id": where.str.replace(r"^\w+/", "", regex=True)
        .str.replace(r"\.\w+$", "", regex=True)
        .str.replace("/", "_"),
        "patient_id": names["patient"].fillna(""),
        "study_id": (names["patient"] + "/" + names["study"]).fillna(""),
        "split": split,
        "view": recode(raw["AP/PA"], {"AP": "AP", "PA": "PA"}, "FRONTAL").where(~lateral, "LATERAL"),
        "sex": recode(raw["Sex"], _SEX),
        "age": age.where(age > 0),  # 0 is written where the age is unknown
        "device": "",
        "path": where,
    }
    marked = {FAULT: fault} if (fault != "").any() else {}
    return pd.DataFrame(base | {native(label): raw[label] for label in LABELS} | marked)


def write(table: pd.DataFrame, root: Path) -> None:
    """Write train.csv, valid.csv and test_labels.csv.

    Needs: path = <train|valid|test>/patient00001/study1/view1_frontal.jpg, image_id =
    patient00001_study1_view1_frontal and study_id = patient00001/study1 to match; ages are whole years above 0. Rows
    of expert_test hold no sex, no age and no projection (FRONTAL or LATERAL): its file has no column for them.
    """
    root.mkdir(parents=True, exist_ok=True)
    raw = pd.DataFrame({"Path": PREFIX + table["path"].astype(str)})
    raw["Sex"] = table["sex"].map(_SEX_BACK)
    raw["Age"] = table["age"].fillna(0).astype(int)
    raw["Frontal/Lateral"] = table["view"].eq("LATERAL").map({True: "Lateral", False: "Frontal"})
    raw["AP/PA"] = table["view"].where(table["view"].isin(["AP", "PA"]), "")
    for label in LABELS:
        raw[label] = cells(table[native(label)])
    for split, name in {"train": "train.csv", "expert_valid": "valid.csv"}.items():
        if split == "train" or (table["split"] == split).any():
            raw[table["split"] == split].to_csv(root / name, index=False)
    test = raw[table["split"] == "expert_test"]
    if len(test):
        paths = test["Path"].str.removeprefix(PREFIX)
        test[list(LABELS)].assign(Path=paths)[["Path", *LABELS]].to_csv(root / "test_labels.csv", index=False)


def gold(table: pd.DataFrame, _root: Path) -> "pd.Series[bool]":
    """Return the rows of the expert sets, which radiologists labeled."""
    return table["split"].str.startswith("expert_")


def outlines(root: Path, image_ids: frozenset[str]) -> Outlines:
    """Return CheXlocalize's outlines: its files lie in the root, or in a folder CheXlocalize in or beside the root."""
    folders = (root, root / "CheXlocalize", root.parent / "CheXlocalize")
    files = [path for folder in folders for path in sorted(folder.glob("gt_segmentations_*.json"))]
    return chexlocalize.read_outlines(files, image_ids)


def example() -> pd.DataFrame:
    """Return a small native table with every kind of row: three splits, a lateral image, missing sex and age."""
    images = [
        ("train", "patient00001/study1/view1_frontal"),
        ("train", "patient00001/study2/view1_frontal"),
        ("train", "patient00001/study2/view2_lateral"),
        ("train", "patient00002/study1/view1_frontal"),
        ("valid", "patient64541/study1/view1_frontal"),
        ("test", "patient64741/study1/view1_frontal"),
    ]
    states = [
        {"No Finding": 1, "Support Devices": 1, "Pneumothorax": 0},
        {"Cardiomegaly": -1, "Edema": 1, "Pleural Effusion": 1},
        {"Cardiomegaly": -1, "Edema": 1, "Pleural Effusion": 1},
        {"Lung Lesion": 1, "Pneumonia": 0},
        dict.fromkeys(LABELS, 0) | {"Edema": 1},
        dict.fromkeys(LABELS, 0) | {"No Finding": 1},
    ]
    split = {"train": "train", "valid": "expert_valid", "test": "expert_test"}
    columns = base_columns(
        image_id=[image.replace("/", "_") for _, image in images],
        patient_id=[image.split("/")[0] for _, image in images],
        study_id=["/".join(image.split("/")[:2]) for _, image in images],
        path=[f"{folder}/{image}.jpg" for folder, image in images],
        split=[split[folder] for folder, _ in images],
        view=["AP", "PA", "LATERAL", "FRONTAL", "AP", "FRONTAL"],
        sex=["F", "F", "F", "M", "M", ""],
        age=[68.0, 69.0, 69.0, np.nan, 41.0, np.nan],
    )
    return pd.DataFrame(columns | state_columns(LABELS, states))
