"""NIH ChestX-ray14: 112,120 frontal PNGs of 30,805 patients, 14 labels mined from reports.

Layout: Data_Entry_2017_v2020.csv (or Data_Entry_2017.csv), images_001/images/00000001_000.png ... images_012 (or
images_001/ or images/ without the inner folder), test_list.txt, train_val_list.txt and BBox_List_2017.csv. The
table may have the form of either release: "Patient Gender" or "Patient Sex", a trailing comma or none, ages such as 58
or 058Y. Without the two lists, no image has a split.
Labels: names joined by "|"; "No Finding" never occurs together with another label. No label is uncertain.
Boxes: in pixels of the 1024 x 1024 original, for any size of the file on disk.
Files: .png as in the table, or another ending such as .PNG or .jpg.
Expert labels: radiologists at Google labeled 4,376 images again for four findings, and 810 of them (PA, test) for all
findings, with the cells YES and NO, in the folders four_findings_expert_labels and all_findings_expert_labels. The additional
columns "expert:<label>" and "all_findings:<label>" have these states, null for all other images and for blank cells. They
are the labels of the label sources `expert`, also of the gold subset, and `all_findings`.
Source: Wang et al. 2017, arXiv:1705.02315. Free to download, with attribution. Expert labels: Majkowska et al. 2020,
doi:10.1148/radiol.2019191293; Nabulsi et al. 2021, arXiv:2010.11375.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonize.datasets import FAULT, LABELS, Remark
from harmonize.datasets.columns import joined_states, with_bad_rows
from harmonize.datasets.csvfile import (
    faults,
    find,
    first_fault,
    header,
    numbers,
    person,
    read_text,
    recode,
    require,
    require_whole,
    states_array,
    unknown_words,
)
from harmonize.datasets.csvrows import read_lines
from harmonize.datasets.ids import difference, examples, occurs_in, refuse_rounded
from harmonize.errors import DatasetError
from harmonize.labels.findings import ABSENT, PRESENT

SIGNATURE = ("Data_Entry_2017*",)
ENTRIES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
BOXES = "BBox_List_2017.csv"
BOX_FRAME_PX = 1024
_ENDINGS = (".png", ".jpg", ".jpeg")
_LISTS = ("test_list.txt", "train_val_list.txt")
EXPERT_LABELS = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
GOLD_LABEL_SOURCE = "expert"
FOLDERS = {"expert": "four_findings_expert_labels", "all_findings": "all_findings_expert_labels"}  # by label source
# both sets of images in one file, as in the package torchxrayvision
_EXPERT_PACKAGE = "google2019_nih-chest-xray-labels.csv"
_ANSWERS = {"YES": PRESENT, "NO": ABSENT}
_BLANK = -9  # stands for a blank cell, which has no state
TOKENS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "No Finding",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
ALL_FINDINGS_LABELS = ("Abnormal", *(name.replace("_", " ") for name in TOKENS if name != "No Finding"))
# label source: the column of image ids, and the labels
_COLUMNS = {"expert": ("Image Index", EXPERT_LABELS), "all_findings": ("Image ID", ALL_FINDINGS_LABELS)}
_BOX_FINDINGS = {
    "Effusion": "Pleural Effusion",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Infiltrate": "Infiltration",  # the file of boxes spells the label Infiltration like this
}
_BOX_COLUMNS = ["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"]


def read(root: Path, source: str = "default") -> pd.DataFrame:
    """Return one row per image: the base columns, "native:labels", and the labels of experts if available.

    `source` is default, expert or all_findings. All give the same table, but the others need the files of their labels.
    """
    table = read_entries(require(root, "nih", *ENTRIES))
    files = {name: _expert_files(root, name) for name in FOLDERS}
    if source in files and not files[source]:
        fix = "nih: put the folder of the labels there"
        raise DatasetError(f"no {FOLDERS[source]}/test_labels.csv", str(root), fix)
    table["split"] = _splits(root, table["image_id"])
    paths = _images(root)
    with_other_ending = {Path(name).stem: path for name, path in paths.items()}  # such as .PNG or .jpg
    table["path"] = [
        paths.get(image) or with_other_ending.get(image.removesuffix(".png"), "") for image in table["image_id"]
    ]
    for name, of_source in files.items():
        for path in of_source:
            table = _with_expert(table, path, name)
    return table


def _expert_files(root: Path, source: str) -> list[Path]:
    """Return the files with the labels of a label source: one for each of the two sets of images, or one for both.

    A file is in its folder, or begins with the folder's name, as a copy of all folders in one folder does.
    """
    folder = FOLDERS[source]
    each = [
        find(root, f"{folder}/{name}.csv", f"{folder}/{folder}_{name}.csv", f"{folder}_{name}.csv")
        for name in ("test_labels", "validation_labels")
    ]
    both = find(root, _EXPERT_PACKAGE) if source == "expert" else None
    return [path for path in each if path is not None] or ([both] if both is not None else [])


def _with_expert(table: pd.DataFrame, path: Path, source: str) -> pd.DataFrame:
    """Return the table with the expert labels of a file; images with labels of an earlier file keep these labels.

    A row with another cell than YES, NO or blank has a fault, and so has an image whose rows, of one file or of two, differ.
    Raises DatasetError if no row is of an image of the table because the ids have another form.
    """
    key, labels = _COLUMNS[source]
    raw = read_text(path, [key, *labels])
    fault, image = raw[FAULT], table["image_id"]
    for label in labels:
        text = raw[label].str.strip()
        fault = first_fault(fault, faults(~text.isin([*_ANSWERS, ""]), raw[label], label, "YES or NO", path))
        state = np.select([text == answer for answer in _ANSWERS], list(_ANSWERS.values()), _BLANK).astype(np.int8)
        raw[label] = pd.Series(states_array(state, state == _BLANK), raw.index)
    raw[FAULT] = fault
    if not occurs_in(image, raw[key]).any() and difference(raw[key], image):
        what = f"no expert label belongs to an image of the table: {examples(raw[key], image)}"
        raise DatasetError(what, str(path), "use the file as published")
    states, fault, strays = joined_states(path, raw, key, labels, image, source)
    columns = pd.DataFrame(states, table.index)
    if set(columns) <= set(table):
        old = table[list(columns)]
        is_in_both = old.notna().any(axis=1) & columns.notna().any(axis=1)
        differs = is_in_both & ~(old.fillna(_BLANK) == columns.fillna(_BLANK)).all(axis=1)
        columns = old.where(old.notna().any(axis=1), columns)
        again = differs.map({True: f"the image has other expert labels in another file at {path.name}", False: ""})
        fault = first_fault(fault, again)
    if FAULT in table or (fault != "").any():
        table = table.assign(**{FAULT: first_fault(table[FAULT], fault) if FAULT in table else fault})
    return with_bad_rows(table.assign(**{str(name): columns[name] for name in columns}), strays)


def gold(table: pd.DataFrame, root: Path) -> "pd.Series[bool]":
    """Return the mask of images that radiologists at Google labeled again.

    Raises DatasetError if the files with these labels are missing.
    """
    labels = [f"expert:{label}" for label in EXPERT_LABELS]
    if not set(labels) <= set(table):
        fix = f"put the folder {FOLDERS['expert']} into the folder of the other tables, or remove `gold`"
        raise DatasetError("no image was labeled by radiologists", str(root), fix)
    return table[labels].notna().any(axis=1)


def remarks(table: pd.DataFrame, root: Path) -> list[Remark]:
    """Return a remark for each official list with entries that are no image of the table, and on images in no list."""
    out, unlisted = [], table.loc[table["split"] == "", "image_id"]
    if len(unlisted) and any(find(root, name) for name in _LISTS):
        found = f"{len(unlisted):,} of {len(table):,} images are in neither list, e.g. {unlisted.iloc[0]}"
        out.append(Remark("lists", found, "use the lists as published"))
    for path in (path for name in _LISTS if (path := find(root, name)) is not None):
        entries = read_lines(path)
        strange = sorted(set(entries) - set(table["image_id"]))
        if strange:
            share = f"{100 * len(strange) / len(set(entries)):.0f} %"
            found = f"{len(strange):,} of {len(set(entries)):,} entries ({share}) match no image of the table"
            fix = "no fix needed if the table is a part of the release; otherwise use the list as published"
            out.append(Remark(path.name, f"{found}, e.g. {strange[0]!r}", fix))
    return out


def read_entries(path: Path) -> pd.DataFrame:
    """Return the native table (see `harmonize.datasets`) of the file Data_Entry; split and path are ""."""
    sex = "Patient Sex" if "Patient Sex" in header(path) else "Patient Gender"
    raw = read_text(
        path, ["Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", sex, "View Position"]
    )
    valid = {text for text in raw["Finding Labels"].unique() if all(token in TOKENS for token in str(text).split("|"))}
    is_invalid = ~raw["Finding Labels"].isin(list(valid))
    kind = f"of {', '.join(TOKENS)}, joined with |,"
    refuse_rounded(raw["Patient ID"], "Patient ID", path)
    fault = first_fault(raw[FAULT], faults(is_invalid, raw["Finding Labels"], "Finding Labels", kind, path))
    unit = raw["Patient Age"].str.strip().str[-1:].map({"M": 12.0, "D": 365.25}).fillna(1.0)
    people = person(raw[sex], raw["Patient Age"].str.strip().str.replace(r"[YMD]$", "", regex=True))
    people["age"] /= unit
    return pd.DataFrame(
        {
            "image_id": raw["Image Index"],
            "patient_id": raw["Patient ID"],
            "study_id": raw["Patient ID"] + "/" + raw["Follow-up #"],
            "split": "",
            "view": recode(raw["View Position"], {"PA": "PA", "AP": "AP"}, "UNKNOWN"),
            **people,
            "device": "",
            "path": "",
            LABELS: raw["Finding Labels"],
        }
        | unknown_words(raw["View Position"], ("PA", "AP"), "view")
        | ({FAULT: fault} if (fault != "").any() else {})
    )


def _splits(root: Path, image: "pd.Series[str]") -> Any:
    """Return the split of each image, train or test, from the official lists; "" if neither list has the image."""
    test, train = (find(root, name) for name in _LISTS)
    if test is None and train is None:
        return ""
    in_test = _listed(test, image) if test is not None else ~_listed(train, image)
    in_train = _listed(train, image) if train is not None else ~in_test
    if (in_test & in_train).any():
        both = int((in_test & in_train).sum())
        raise DatasetError(f"{both} images are in both lists", f"{train} and {test}", "use the lists as published")
    return np.select([in_test, in_train], ["test", "train"], "")


def _listed(path: Path | None, image: "pd.Series[str]") -> "pd.Series[bool]":
    """Return the mask of images that are in a list file, one image per line; without a file (None), no image is listed.

    Raises DatasetError if no entry is an image because the entries have another form, such as names without ending.
    """
    if path is None:
        return image.isin([])
    entries = read_lines(path)
    is_listed = occurs_in(image, entries)
    if entries and not is_listed.any() and difference(entries, image):
        what = f"no entry of {path.name} is an image of the table: {examples(entries, image)}"
        raise DatasetError(what, str(path), "use the list as published")
    return is_listed


def _images(root: Path) -> dict[str, str]:
    """Return file name -> path for every image in images*/ and images*/images/.

    Raises DatasetError if two folders have different files of one name, such as a resized copy.
    """
    paths: dict[str, str] = {}
    for folder in [root, *sorted(root.glob("images*")), *sorted(root.glob("images*/images"))]:
        if folder.is_dir():
            prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
            names = os.listdir(folder)  # noqa: PTH208  (Path.iterdir makes a Path of each name)
            found = {name: prefix + name for name in names if name.lower().endswith(_ENDINGS)}
            twice = [(paths[name], found[name]) for name in found.keys() & paths.keys()]
            differ = sorted(pair for pair in twice if len({(root / path).stat().st_size for path in pair}) > 1)
            if differ:
                what = (
                    f"{len(differ):,} images are there twice with different content: {differ[0][0]} and {differ[0][1]}"
                )
                raise DatasetError(what, str(root), "keep one of the folders below `root:`")
            paths |= found
    return paths


def boxes(root: Path) -> pd.DataFrame:
    """Return the table of boxes: image_id, finding, x_min, y_min, x_max, y_max in pixels of the 1024 x 1024 original.

    Labels without a shared finding keep their native name. Without the file, the table has no rows.
    """
    path = find(root, BOXES)
    columns = ["image_id", "finding", "x_min", "y_min", "x_max", "y_max"]
    if path is None:
        return pd.DataFrame({name: pd.Series(dtype=object if name in columns[:2] else float) for name in columns})
    raw = read_text(path, _BOX_COLUMNS, may_be_empty=True)
    require_whole(raw, path)
    raw = raw.reset_index(drop=True)
    x, y, width, height = (numbers(raw[name]) for name in _BOX_COLUMNS[2:])
    finding = raw["Finding Label"].replace(_BOX_FINDINGS)
    values = (raw["Image Index"], finding, x, y, x + width, y + height)
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def box_frames(_root: Path, images: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return {image id: (1024, 1024)}: boxes are in pixels of the original, for any size of the file."""
    return dict.fromkeys(images["image_id"], (BOX_FRAME_PX, BOX_FRAME_PX))


def write(table: pd.DataFrame, root: Path) -> None:
    """Write Data_Entry_2017_v2020.csv; if the table has splits, also test_list.txt and train_val_list.txt.

    The table must have: image_id = 00000001_000.png, path = images_001/images/<image_id> (`read` needs these files),
    study_id = <patient_id>/<follow-up number>, ages in whole years, and splits that are all train or test, or all "".
    If the table has labels of experts, the rows of the split train are written to validation_labels.csv of their folder, and
    all other rows to test_labels.csv.
    If the table has the columns `rows` and `columns` (height and width of the image in pixels), they are written, too.
    """
    root.mkdir(parents=True, exist_ok=True)
    raw = pd.DataFrame({"Image Index": table["image_id"], "Finding Labels": table[LABELS]})
    raw["Follow-up #"] = table["study_id"].str.split("/").str[-1]
    raw["Patient ID"] = table["patient_id"]
    raw["Patient Age"] = [f"{age:.0f}" if age == age else "" for age in table["age"]]
    raw["Patient Sex"] = table["sex"]
    raw["View Position"] = table["view"].where(table["view"].isin(["PA", "AP"]), "")
    raw["OriginalImage[Width"] = table.get("columns", BOX_FRAME_PX)
    raw["Height]"] = table.get("rows", BOX_FRAME_PX)
    raw["OriginalImagePixelSpacing[x"] = raw["y]"] = 0.143
    # The published header has unquoted commas in OriginalImage[Width,Height] and OriginalImagePixelSpacing[x,y].
    lines = raw.to_csv(index=False, header=False, lineterminator="\n")
    (root / ENTRIES[0]).write_text(",".join(raw.columns) + "\n" + lines, encoding="utf-8", newline="")
    if (table["split"] != "").any():
        for split, name in {"test": "test_list.txt", "train": "train_val_list.txt"}.items():
            ids = table.loc[table["split"] == split, "image_id"]
            (root / name).write_text("".join(f"{image}\n" for image in ids), encoding="utf-8", newline="")
    for source in FOLDERS:
        _write_expert(table, raw, root, source)


def _write_expert(table: pd.DataFrame, raw: pd.DataFrame, root: Path, source: str) -> None:
    """Write the labels of a label source, if the table has them, after the columns `raw` of the file Data_Entry."""
    answers, (key, labels) = {state: text for text, state in _ANSWERS.items()}, _COLUMNS[source]
    if f"{source}:{labels[0]}" not in table:
        return
    rows = raw.assign(**{key: table["image_id"]}, **{name: table[f"{source}:{name}"].map(answers) for name in labels})
    is_labeled = rows[list(labels)].notna().any(axis=1)
    in_train = table["split"] == "train"
    (root / FOLDERS[source]).mkdir(exist_ok=True)
    for name, in_file in {"test_labels": ~in_train, "validation_labels": in_train}.items():
        if (is_labeled & in_file).any():
            rows[is_labeled & in_file].to_csv(root / FOLDERS[source] / f"{name}.csv", index=False, lineterminator="\n")


def write_boxes(table: pd.DataFrame, root: Path) -> None:
    """Write BBox_List_2017.csv from a table with the columns that `boxes` returns; Lung Lesion becomes Nodule."""
    native_name = {"Pleural Effusion": "Effusion", "Lung Lesion": "Nodule", "Infiltration": "Infiltrate"}
    rows = pd.DataFrame({"image": table["image_id"], "label": table["finding"].replace(native_name)})
    rows = rows.assign(
        x=table["x_min"], y=table["y_min"], w=table["x_max"] - table["x_min"], h=table["y_max"] - table["y_min"]
    )
    lines = rows.to_csv(index=False, header=False, lineterminator="\n")
    (root / BOXES).write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n" + lines, encoding="utf-8", newline="")
