"""CheXpert: 224,316 chest radiographs of 65,240 patients of Stanford Hospital, 14 labels mined from reports.

Layout: train.csv, valid.csv and train/patient00001/study1/view1_frontal.jpg; for test/ either test_labels.csv (one row
per image, as in CheXlocalize) or groundtruth.csv (one row per study). Paths in the files start with
CheXpert-v1.0[-small]/; `root` is this folder or its parent. If valid.csv is missing, CheXlocalize's val_labels.csv
and val/ are used. CheXlocalize's folder CheXpert/ may be in the root too. The sets valid and test are the expert sets,
because radiologists labeled them. Without train.csv, the cohort has only the expert sets.
Full release: the root has folders as unpacked, "CheXpert-v1.0 batch 1 (validate & csv)" with the tables and
"CheXpert-v1.0 batch 2 (train 1)/patient00001/..." to batch 4.
CheXpert Plus: df_chexpert_plus_*.csv, labels by CheXbert in chexbert_labels/{report,impression,findings}_fixed.json (the first
of these files), images in train/ or PNG/train/. Its set valid is read only from valid.csv.
Label sources: chexbert reads the labels from train_cheXbert.csv, and visualchexbert from train_visualCheXbert.csv; both
files have the columns of train.csv. The expert sets have the same labels with every label source.
Labels: 1.0 present, 0.0 absent, -1.0 uncertain, blank not mentioned. The expert sets are the splits expert_valid and
expert_test. "No Finding" is never 0.0 in train.csv.
Views: frontal images are AP or PA, or FRONTAL if the direction is not stated (the test set, 17 rows of train.csv).
Source: Irvin et al. 2019, arXiv:1901.07031. Test labels: github.com/rajpurkarlab/cheXpert-test-set-labels.
"""

from pathlib import Path

import pandas as pd

from harmonize.datasets import FAULT, UNKNOWN, chexlocalize, native
from harmonize.datasets.chexlocalize import Outlines
from harmonize.datasets.columns import with_bad_rows
from harmonize.datasets.csvfile import (
    cells,
    extract_groups,
    faults,
    find,
    first_fault,
    header,
    person,
    read_text,
    recode,
    require,
    unknown_words,
    unmatched_faults,
)
from harmonize.datasets.ids import require_match
from harmonize.errors import DatasetError
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN

SIGNATURE = ("CheXpert-v1.0*", "valid.csv", "CheXpert", "df_chexpert_plus_*.csv")
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
TRAIN = {  # label source -> file with the training labels
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

    `source` is the label source of the training images: default, chexbert or visualchexbert.
    """
    name = TRAIN[source]
    release = find(root, name, f"CheXpert-v1.0*/{name}")
    tables = []
    if release is not None:
        images = read_images(release, "train", may_be_bare=source != "default")
        tables.append(_with_root_paths(_with_demographics(images, release), release.parent, root))
    plus = find(root, "df_chexpert_plus_*.csv") if release is None and source == "default" else None
    if plus is not None:
        tables.append(_read_plus(plus, root))
    release_folder = root if release is None else release.parent
    folders = [folder for folder in (release_folder, root / "CheXpert") if folder.is_dir()]
    valid = find_in(folders, "valid.csv") or find_in(folders, "val_labels.csv", "val/val_labels.csv")
    test = find_in(
        folders, "test_labels.csv", "groundtruth.csv", "test.csv", "test/test_labels.csv", "test/groundtruth.csv"
    )
    if not tables and (source != "default" or (valid is None and test is None)):
        require(root, "chexpert", name, f"CheXpert-v1.0*/{name}")
    if valid is not None:
        folder = _base_folder(valid, folders)
        tables.append(_with_root_paths(read_images(valid, "expert_valid"), folder, root))
    if test is not None:
        folder = _base_folder(test, folders)
        by_study = "Study" in header(test)
        images = _read_studies(test, folder) if by_study else read_images(test, "expert_test")
        tables.append(_with_root_paths(images, folder, root))
    table = pd.concat(tables, ignore_index=True)
    return table.fillna(dict.fromkeys({FAULT, UNKNOWN + "view"} & set(table), ""))


def find_in(folders: list[Path], *names: str) -> Path | None:
    """Return the first existing file with one of these names, searched folder by folder; None if there is no such file."""
    return next((path for folder in folders if (path := find(folder, *names)) is not None), None)


def _base_folder(path: Path, folders: list[Path]) -> Path:
    """Return the folder to which the paths in a label file are relative."""
    return next(folder for folder in folders if path.parent == folder or path.parent.parent == folder)


def _with_root_paths(table: pd.DataFrame, folder: Path, root: Path) -> pd.DataFrame:
    """Return the table with paths relative to the root."""
    if not (folder / "valid").is_dir() and (folder / "val").is_dir():
        # CheXlocalize renamed the folder of the images, but its label file has the old paths
        table["path"] = table["path"].str.replace(r"^valid/", "val/", regex=True)
    if folder == root:
        return table
    home = f"{folder.relative_to(root).as_posix()}/"
    batches = sorted(folder.parent.glob("CheXpert-v1.0 batch *")) if " batch " in folder.name else []
    names = [(batch.relative_to(root).as_posix(), batch.glob("patient*")) for batch in batches]
    batch_of = {patient.name: batch for batch, patients in names for patient in patients}
    table["path"] = [
        f"{batch_of[patient]}/{path.partition('/')[2]}" if patient in batch_of else home + path
        for patient, path in zip(table["patient_id"], table["path"], strict=True)
    ]
    return table


def _read_plus(path: Path, root: Path) -> pd.DataFrame:
    """Return the training images of CheXpert Plus, with the labels by CheXbert and the endings of the files on disk."""
    names = {
        "path_to_image": "Path",
        "sex": "Sex",
        "age": "Age",
        "frontal_lateral": "Frontal/Lateral",
        "ap_pa": "AP/PA",
    }
    raw = read_text(path, list(names)).rename(columns=names)
    raw = raw[raw["Path"].str.startswith("train/")]
    file = require(
        root, "chexpert", *(f"chexbert_labels/{part}_fixed.json" for part in ("report", "impression", "findings"))
    )
    try:
        labels = (
            pd.read_json(file, lines=True).drop_duplicates("path_to_image").set_index("path_to_image")[list(LABELS)]
        )
        cells = labels.reindex(raw["Path"]).set_axis(raw.index).astype("Float64").fillna(NOT_MENTIONED)
    except (ValueError, KeyError) as error:
        raise DatasetError(f"not the labels of CheXbert: {error}", str(file), "use the file as published") from error
    if not cells.isin([PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED]).all(axis=None):
        raise DatasetError("a label is not 1, 0, -1 or null", str(file), "use the file as published")
    require_match(raw["Path"], labels.index.to_series(), "labels", file)
    table = _table(raw.assign(**cells.astype("Int8")), path, "train")
    stem = table["path"].str.replace(r"\.\w+$", "", regex=True)
    forms = [(folder, ending) for folder in ("", "PNG/", "DICOM/") for ending in (".jpg", ".png", ".dcm")]
    on_disk = [form for name in stem.iloc[:100] for form in forms if (root / f"{form[0]}{name}{form[1]}").is_file()]
    folder, ending = on_disk[0] if on_disk else forms[0]
    return table.assign(path=folder + stem + ending)


def _with_demographics(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add sex, age and view from train.csv to training images whose own file has only labels."""
    train_file = find(path.parent, TRAIN["default"])
    if train_file is None or "Sex" in header(path):
        return table
    people = read_images(train_file, "train").drop_duplicates("image_id")
    require_match(table["image_id"], people["image_id"], f"sexes and ages of {train_file.name}", path, may_be_few=True)
    strays = unmatched_faults(people, "image_id", table["image_id"]) if FAULT in people else []
    people = people.set_index("image_id").reindex(table["image_id"]).set_axis(table.index)
    has_row = people["view"].notna()
    for name in ("sex", "age", "view"):
        table[name] = table[name].where(~has_row, people[name])
    if FAULT in people:
        fault = people[FAULT].fillna("").astype(object)
        table[FAULT] = first_fault(table[FAULT], fault) if FAULT in table else fault
    return with_bad_rows(table, strays)


def read_images(path: Path, split: str, may_be_bare: bool = False) -> pd.DataFrame:
    """Return the native table of a file with one row per image; the images need not exist.

    The file of the split train must have sex, age and view; with `may_be_bare`, it may have only paths and labels.
    """
    has_demographics = (split == "train" and not may_be_bare) or "Frontal/Lateral" in header(path)
    columns = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"] if has_demographics else ["Path"]
    raw = read_text(path, columns, LABELS)
    if not has_demographics:
        raw = raw.assign(Sex="", Age="", **{"AP/PA": ""})
        raw["Frontal/Lateral"] = raw["Path"].str.contains("_lateral").map({True: "Lateral", False: "Frontal"})
    return _table(raw, path, split)


def _read_studies(path: Path, folder: Path) -> pd.DataFrame:
    """Return one row per image of the studies in groundtruth.csv; images are found on disk, because the file lists none."""
    raw = read_text(path, ["Study"], LABELS).rename(columns={"Study": "study"})
    study = raw["study"].str.replace(_PREFIXES, "", regex=True).str.strip("/")
    images = [
        (row, f"{name}/{image.name}")
        for row, name in enumerate(study)
        for image in sorted((folder / name).glob("view*.*"))
    ]
    if not images:
        fix = "add the test images (test/patient64741/study1/view1_frontal.jpg), or remove the file"
        raise DatasetError("no images on disk for the studies of this file", str(path), fix)
    rows = raw.iloc[[row for row, _ in images]].drop(columns="study").reset_index(drop=True)
    rows["Path"] = [name for _, name in images]
    rows = rows.assign(Sex="", Age="", **{"AP/PA": ""})
    rows["Frontal/Lateral"] = rows["Path"].str.contains("_lateral").map({True: "Lateral", False: "Frontal"})
    has_image = study.index.isin([study.index[row] for row, _ in images])
    strays = raw.loc[~has_image & (raw[FAULT] != ""), FAULT]
    return with_bad_rows(_table(rows, path, "expert_test"), strays.tolist())


def _table(raw: pd.DataFrame, path: Path, split: str) -> pd.DataFrame:
    """Return the native table, made from the columns Path, Sex, Age, Frontal/Lateral, AP/PA and the labels."""
    image_path = raw["Path"].str.replace(_PREFIXES, "", regex=True)
    names = extract_groups(image_path, _STUDY)
    fault = first_fault(raw[FAULT], faults(names["patient"].isna(), raw["Path"], "Path", _PATH, path))
    lateral = raw["Frontal/Lateral"] == "Lateral"
    people = person(raw["Sex"], raw["Age"], _SEX, ("Unknown",))
    people["age"] = people["age"].where(people["age"] > 0)  # age 0 means unknown
    unknown = unknown_words(raw["Frontal/Lateral"], ("Frontal", "Lateral"), "view")
    is_known = unknown.get(UNKNOWN + "view", pd.Series("", raw.index)) == ""
    columns = {
        "image_id": image_path.str.replace(r"^\w+/", "", regex=True)
        .str.replace(r"\.\w+$", "", regex=True)
        .str.replace("/", "_"),
        "patient_id": names["patient"].fillna(""),
        "study_id": (names["patient"] + "/" + names["study"]).fillna(""),
        "split": split,
        "view": recode(raw["AP/PA"], {"AP": "AP", "PA": "PA"}, "FRONTAL")
        .where(~lateral, "LATERAL")
        .where(is_known, "UNKNOWN"),
        **people,
        "device": "",
        "path": image_path,
    }
    fault_column = {FAULT: fault} if (fault != "").any() else {}
    return pd.DataFrame(columns | unknown | {native(label): raw[label] for label in LABELS} | fault_column)


def write(table: pd.DataFrame, root: Path) -> None:
    """Write train.csv, valid.csv and test_labels.csv.

    The table must have: path = <train|valid|test>/patient00001/study1/view1_frontal.jpg, image_id =
    patient00001_study1_view1_frontal and study_id = patient00001/study1, all matching; ages in whole years above 0.
    Rows of expert_test have no sex, no age, and the view FRONTAL or LATERAL, because their file has no such columns.
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
    """Return the mask of rows in the expert sets, which radiologists labeled."""
    return table["split"].str.startswith("expert_")


def outlines(root: Path, image_ids: frozenset[str]) -> Outlines:
    """Return the outlines of CheXlocalize, whose files are in the root or in a folder CheXlocalize in or beside the root."""
    folders = (root, root / "CheXlocalize", root.parent / "CheXlocalize")
    files = [path for folder in folders for path in sorted(folder.glob("gt_segmentations_*.json"))]
    return chexlocalize.read_outlines(files, image_ids)
