"""Tests of the facts that must agree in every part of a dataset: a changed part is named, an unchanged part gives no remark."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from native_tables import touch

from harmonize import CohortSpec
from harmonize.checks.release import inspect
from harmonize.datasets import LABELS, adapter, native
from harmonize.datasets.columns import base_columns, state_columns

CHANCE = random.Random(0)
STUDIES = [(patient, study) for patient in range(30) for study in range(2)]  # each with two images
FILES = {
    "nih": "Data_Entry_2017_v2020.csv",
    "chexpert": "train.csv",
    "brax": "master_spreadsheet_update.csv",
    "mimic": "mimic-cxr-2.0.0-chexpert.csv.gz",
    "mimic people": "patients.csv.gz",
    "mimic split": "mimic-cxr-2.0.0-split.csv.gz",
    "nih boxes": "BBox_List_2017.csv",
    "vindr boxes": "annotations/annotations_train.csv",
    "vindr people": "people.csv",
}


def states(labels: tuple[str, ...]) -> list[dict[str, int]]:
    """Return the label states of each study, as the labeler writes them: most are blank, and No Finding is 1 or blank."""
    out = []
    for _, study in STUDIES:
        of_study = {name: CHANCE.choice([1, 0, -1, -2, -2, -2, -2, -2]) for name in labels if name != "No Finding"}
        of_study |= {labels[1]: -1, labels[3]: 0} if study else {}
        if not any(state in (1, -1) for name, state in of_study.items() if name != "Support Devices"):
            of_study["No Finding"] = 1
        out.append(of_study)
    return out


def table(layout: str) -> pd.DataFrame:
    """Return a native table of 30 patients, 60 studies and 120 images, whose labels differ between studies."""
    module = adapter(layout)
    rows = [(patient, study, image) for patient, study in STUDIES for image in range(2)]
    facts: dict[str, Any] = {
        "sex": ["FM"[patient % 2] for patient, _, _ in rows],
        "age": [30.0 + patient + study for patient, study, _ in rows],
        "view": ["PA" if image == 0 else "LATERAL" for _, _, image in rows],
    }
    if layout == "nih":
        names = [f"{patient + 1:08d}_{2 * study + image:03d}.png" for patient, study, image in rows]
        ids = {"patient_id": [str(p + 1) for p, _, _ in rows], "study_id": [f"{p + 1}/{2 * s + i}" for p, s, i in rows]}
        words = ["No Finding", "Effusion", "Atelectasis|Mass"]
        facts |= {"view": "PA", "path": [f"images_001/images/{name}" for name in names]}
        columns = base_columns(image_id=names, **ids, **facts)
        return pd.DataFrame(columns | {LABELS: [words[(p + s + i) % 3] for p, s, i in rows]})
    if layout == "vindr":
        names = [f"{patient:08x}{study:012x}{image:012x}" for patient, study, image in rows]
        columns = base_columns(
            image_id=names,
            patient_id=names,
            study_id=names,
            split="train",
            path=[f"train/{name}.dicom" for name in names],
        )
        labels = [{"Nodule/Mass": int(k % 2), "No finding": int(k % 2 == 0)} for k in range(len(names))]
        return pd.DataFrame(columns | state_columns(module.LABELS, labels, 0))
    form = {
        "chexpert": ("patient{0:05d}", "patient{0:05d}/study{1}", "train/patient{0:05d}/study{1}/view{2}_{3}.jpg"),
        "brax": ("id_{0}", "9{0:03d}{1}", "images/id_{0}/Study_1.{0}.{1}/Series_{2}/image-{2}.png"),
        "mimic": ("100{0:05d}", "5{0:06d}{1}", "files/p10/p100{0:05d}/s5{0:06d}{1}/{0:04d}{1}{2}.jpg"),
    }[layout]
    patients, studies, paths = ([text.format(p, s, i, ("frontal", "lateral")[i]) for p, s, i in rows] for text in form)
    images = {
        "chexpert": [path.removeprefix("train/").removesuffix(".jpg").replace("/", "_") for path in paths],
        "brax": [path.removeprefix("images/").removesuffix(".png") for path in paths],
        "mimic": [path.rpartition("/")[2].removesuffix(".jpg") for path in paths],
    }[layout]
    facts |= {"split": "" if layout == "brax" else "train", "path": paths}
    columns = base_columns(image_id=images, patient_id=patients, study_id=studies, **facts)
    labels = [state for state in states(module.LABELS) for _ in range(2)]
    return pd.DataFrame(columns | state_columns(module.LABELS, labels))


def on_disk(layout: str, root: Path) -> CohortSpec:
    made = table(layout)
    adapter(layout).write(made, root)
    touch(made, root)
    images = made["image_id"].tolist()
    if layout == "nih":
        boxes = pd.DataFrame(
            [(name, "Effusion", 1, 1, 5, 5) for name in made.loc[made[LABELS] == "Effusion", "image_id"]]
        )
        boxes.to_csv(
            root / FILES["nih boxes"], header=["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"], index=False
        )
    if layout == "vindr":
        chosen = made.loc[made[native("Nodule/Mass")] == 1, "image_id"]
        boxes = pd.DataFrame({"image_id": chosen, "rad_id": "R1", "class_name": "Nodule/Mass", "x_min": 1, "y_min": 1})
        boxes.assign(x_max=5, y_max=5).to_csv(root / FILES["vindr boxes"], index=False)
        people = {"image_id": images, "sex": "F", "age": 40}
        pd.DataFrame(people).to_csv(root / "people.csv", index=False)
    return CohortSpec(layout, layout, root)


def alone(
    order: Callable[["pd.Series[str]"], "pd.Series[str]"], *columns: str
) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the change of some columns, while the others stay as they are."""
    return lambda cells: cells.assign(**{name: order(cells[name]).to_numpy() for name in columns})


def swapped(old: str, new: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda cells: cells.replace(old, new)


def shifted(cells: "pd.Series[str]") -> "pd.Series[str]":
    return pd.Series([*cells.iloc[1:], cells.iloc[0]])


def ascending(cells: "pd.Series[str]") -> "pd.Series[str]":
    return cells.sort_values()


def first_ten(text: str, *columns: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda cells: cells.assign(**{name: [text] * 10 + cells[name].tolist()[10:] for name in columns})


def half(change: Callable[[str], str], column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda cells: cells.assign(**{column: [change(c) if k % 2 else c for k, c in enumerate(cells[column])]})


CHANGED = [
    ("nih", alone(shifted, "Patient ID"), "Patient ID is not the patient in Image Index"),
    (
        "nih",
        alone(lambda cells: cells.sort_values(ascending=False), "Image Index"),
        "Patient ID is not the patient in Image Index",
    ),
    ("nih", alone(shifted, "Patient Age"), "younger than at the study before"),
    ("nih", first_ten("Effusion|No Finding", "Finding Labels"), "No Finding together with another label"),
    ("nih", first_ten("999", "Patient Age"), "outside 0 to 120 years, e.g. 999"),
    ("nih boxes", half(lambda name: name.removesuffix(".png"), "Image Index"), "(50%) match no image"),
    ("nih boxes", first_ten("effusion", "Finding Label"), "'effusion' (10)"),
    ("nih boxes", first_ten("Mass", "Finding Label"), "finding that is absent by the labels"),
    ("chexpert", first_ten("Frontal", "Frontal/Lateral"), "the view is not that in the file name"),
    ("chexpert", swapped("", "0.0"), "cells is blank"),
    ("chexpert", swapped("-1.0", "1.0"), "cells is -1"),
    ("chexpert", swapped("-1.0", "0.0"), "cells is -1"),
    ("chexpert", lambda cells: cells.assign(Edema=cells["Edema"].replace("", "0.0")), "no cell of Edema is blank"),
    (
        "chexpert",
        lambda cells: cells.assign(**{"No Finding": cells["No Finding"].replace("", "0.0")}),
        "No Finding is 0 or -1",
    ),
    ("chexpert", alone(shifted, "Age"), "images with different ages"),
    ("chexpert", alone(shifted, "Cardiomegaly", "Edema"), "images with different labels"),
    ("chexpert", first_ten("1.0", "No Finding", "Edema"), "No Finding together with another label"),
    ("brax", alone(shifted, "PatientID"), "PatientID is not the patient in PngPath"),
    ("brax", alone(ascending, "AccessionNumber"), ""),
    (
        "brax",
        alone(lambda cells: cells.sort_values(ascending=False), "PngPath"),
        "PatientID is not the patient in PngPath",
    ),
    ("brax", swapped("", "0"), "cells is blank"),
    ("brax", swapped("-1.0", "1.0"), "cells is -1"),
    ("mimic", alone(shifted, "study_id"), "in column 'subject_id' is not that of the same study_id"),
    ("mimic", swapped("", "0.0"), "cells is blank"),
    ("mimic", swapped("-1.0", "1.0"), "cells is -1"),
    ("mimic split", alone(shifted, "dicom_id"), "is not that of the same dicom_id"),
    (
        "mimic people",
        lambda cells: cells.assign(subject_id=[f"p{text}" for text in cells["subject_id"]]),
        "match 0 of 120 images",
    ),
    ("mimic people", first_ten("300", "anchor_age"), "outside 0 to 120 years"),
    ("vindr boxes", first_ten("Nodule/mass", "class_name"), "'Nodule/mass' (10)"),
    (
        "vindr people",
        lambda cells: cells.assign(image_id=cells["image_id"] + ".dicom"),
        "the endings of file names differ",
    ),
    ("vindr people", lambda cells: cells.iloc[:60], "60 of 120 images have no row"),
    ("vindr people", first_ten("0", "age"), "outside 1 to 120 years, e.g. 0"),
]


def said(spec: CohortSpec) -> list[str]:
    """Return the faults and warnings of a dataset."""
    return [f"{c.what}: {c.found}" for c in inspect(spec)[1] if c.level in ("fault", "warning")]


@pytest.mark.parametrize(("file", "change", "text"), CHANGED)
def test_a_changed_file_is_named(
    file: str, change: Callable[[pd.DataFrame], pd.DataFrame], text: str, tmp_path: Path
) -> None:
    spec = on_disk(file.partition(" ")[0], tmp_path)
    path = tmp_path / FILES[file]
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)
    if file == "nih":  # the published header has unquoted commas
        path.write_text(path.read_text(encoding="utf-8").replace('"', ""), encoding="utf-8")
    results = said(spec)
    assert any(text in line for line in results) if text else results == [], results


@pytest.mark.parametrize("layout", ["nih", "chexpert", "brax", "mimic", "vindr"])
def test_an_unchanged_part_of_a_release_gives_no_remark(layout: str, tmp_path: Path) -> None:
    assert said(on_disk(layout, tmp_path)) == []
