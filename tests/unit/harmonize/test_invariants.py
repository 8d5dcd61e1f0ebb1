"""Tests of the facts that must agree in every part of a dataset: a changed part is named, an unchanged part gives no remark."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES
from release_parts import FILES, on_disk

from harmonize import CohortSpec
from harmonize.checks.release import inspect


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


@pytest.mark.parametrize("layout", TABLES)
def test_an_unchanged_part_of_a_release_gives_no_remark(layout: str, tmp_path: Path) -> None:
    assert said(on_disk(layout, tmp_path)) == []
