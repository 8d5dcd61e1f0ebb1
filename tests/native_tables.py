"""Small native tables of every layout, made by hand, with the values that a layout can hold."""

from pathlib import Path

import numpy as np
import pandas as pd

from harmonize import CohortSpec
from harmonize.datasets import LABELS, adapter, brax, chexpert, mimic, native, vindr


def states(labels: tuple[str, ...], rows: list[dict[str, int]], otherwise: int = -2) -> dict[str, pd.Series]:
    return {native(label): pd.Series([row.get(label, otherwise) for row in rows], dtype="Int8") for label in labels}


def base(**columns: object) -> dict[str, object]:
    return {"sex": "", "age": np.nan, "device": "", "split": "", "view": "PA"} | columns


def chexpert_table() -> pd.DataFrame:
    places = [
        ("train", "patient00001/study1/view1_frontal"),
        ("train", "patient00001/study2/view1_frontal"),
        ("train", "patient00001/study2/view2_lateral"),
        ("train", "patient00002/study1/view1_frontal"),
        ("valid", "patient64541/study1/view1_frontal"),
        ("test", "patient64741/study1/view1_frontal"),
    ]
    rows = [
        {"No Finding": 1, "Support Devices": 1, "Pneumothorax": 0},
        {"Cardiomegaly": -1, "Edema": 1, "Pleural Effusion": 1},
        {"Cardiomegaly": -1, "Edema": 1, "Pleural Effusion": 1},
        {"Lung Lesion": 1, "Pneumonia": 0},
        dict.fromkeys(chexpert.LABELS, 0) | {"Edema": 1},
        dict.fromkeys(chexpert.LABELS, 0) | {"No Finding": 1},
    ]
    split = {"train": "train", "valid": "expert_valid", "test": "expert_test"}
    columns = base(
        image_id=[place.replace("/", "_") for _, place in places],
        patient_id=[place.split("/")[0] for _, place in places],
        study_id=["/".join(place.split("/")[:2]) for _, place in places],
        path=[f"{folder}/{place}.jpg" for folder, place in places],
        split=[split[folder] for folder, _ in places],
        view=["AP", "PA", "LATERAL", "FRONTAL", "AP", "FRONTAL"],
        sex=["F", "F", "F", "M", "M", ""],
        age=[68.0, 69.0, 69.0, np.nan, 41.0, np.nan],
    )
    return pd.DataFrame(columns | states(chexpert.LABELS, rows))


def mimic_table() -> pd.DataFrame:
    images = [("10000001", "50000001", "aa"), ("10000001", "50000001", "ab"), ("10000002", "50000002", "ac")]
    images += [("10000002", "50000003", "ad"), ("11000003", "50000004", "ae")]
    rows = [{"Edema": 1}, {"Edema": 1}, {"No Finding": 1, "Pneumonia": -1}, {"Fracture": 0}, {}]
    columns = base(
        image_id=[image for _, _, image in images],
        patient_id=[patient for patient, _, _ in images],
        study_id=[study for _, study, _ in images],
        path=[f"files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg" for patient, study, image in images],
        split=["train", "train", "val", "val", "test"],
        view=["PA", "LATERAL", "AP", "UNKNOWN", "AP"],
        sex=["F", "F", "M", "M", ""],
        age=[60.0, 60.0, 41.0, 43.0, np.nan],
    )
    return pd.DataFrame(columns | states(mimic.LABELS, rows))


def nih_table() -> pd.DataFrame:
    ids = ["00000001_000.png", "00000001_001.png", "00000002_000.png", "00000013_005.png"]
    columns = base(
        image_id=ids,
        patient_id=["1", "1", "2", "13"],
        study_id=["1/0", "1/1", "2/0", "13/5"],
        path=[
            f"images_001/images/{ids[0]}",
            f"images_001/images/{ids[1]}",
            *(f"images_012/images/{i}" for i in ids[2:]),
        ],
        split=["train", "train", "test", "train"],
        view=["PA", "PA", "AP", "PA"],
        sex=["M", "M", "F", "F"],
        age=[57.0, 58.0, 81.0, 0.0],
    )
    words = ["Cardiomegaly", "Cardiomegaly|Effusion", "No Finding", "Mass|Infiltration|Pleural_Thickening"]
    return pd.DataFrame(columns | {LABELS: words})


def padchest_table() -> pd.DataFrame:
    words = ["normal", "cardiomegaly|pleural effusion", "unchanged", "nodule|normal", "", "pneumonia", ""]
    ids = [f"2168401113669640_{k}.png" for k in range(len(words))]
    columns = base(
        image_id=ids,
        patient_id=["8" * 36, "8" * 36, *(f"{k}" * 36 for k in range(1, 6))],
        study_id=[f"{k + 1}" * 38 for k in range(len(words))],
        path=[f"images/{k % 3}/{image}" for k, image in enumerate(ids)],
        view=["PA", "LATERAL", "AP", "UNKNOWN", "PA", "PA", "AP"],
        sex=["F", "F", "M", "", "M", "F", "M"],
        age=[84.0, 84.0, 1.0, np.nan, 30.0, 7.0, 50.0],
        device=["PhilipsMedicalSystems", "ImagingDynamicsCompanyLtd"] * 3 + [""],
        label_source=["Physician", "RNN_model"] * 3 + ["Physician"],
        drop=["", "", "", "", "no labels", "pediatric", ""],
    )
    return pd.DataFrame(columns | {LABELS: words})


def vindr_table() -> pd.DataFrame:
    ids = [f"a{k:031x}" for k in (11, 22, 33, 44, 55)]
    split = ["train", "train", "train", "test", "test"]
    rows = [
        {"No finding": 1},
        {"Nodule/Mass": 1},
        {"Lung tumor": 1, "Edema": 1},
        {"Other diseases": 1},
        {"No finding": 1},
    ]
    columns = base(
        image_id=ids,
        patient_id=ids,
        study_id=ids,
        split=split,
        path=[f"{part}/{image}.dicom" for part, image in zip(split, ids, strict=True)],
    )
    return pd.DataFrame(columns | states(vindr.LABELS, rows, 0))


def brax_table() -> pd.DataFrame:
    ids = [f"id_{p}/Study_1.{s}/Series_2.{s}/image-3.{s}" for p, s in (("a", 1), ("a", 2), ("b", 3), ("c", 4))]
    columns = base(
        image_id=ids,
        patient_id=[image.split("/")[0] for image in ids],
        study_id=["101", "102", "103", "104"],
        path=[f"images/{image}.png" for image in ids],
        view=["PA", "LATERAL", "UNKNOWN", "AP"],
        sex=["F", "F", "M", ""],
        age=[85.0, 85.0, 35.0, np.nan],
        device=["6", "6", "2", ""],
        drop=["", "", "", "strip"],
    )
    rows = [{"No Finding": 1}, {"No Finding": 1}, {"Edema": -1, "Atelectasis": 0}, {}]
    return pd.DataFrame(columns | states(brax.LABELS, rows))


def own_table() -> pd.DataFrame:
    ids = ["images/a.png", "images/b c.png", "images/deep/d.png"]
    columns = base(
        image_id=ids,
        patient_id=["1", "2", "2"],
        study_id=ids,
        path=ids,
        split=["train", "test", "test"],
        view=["PA", "AP", "LATERAL"],
        sex=["F", "", "M"],
        age=[20.0, np.nan, 35.5],
        drop="",
    )
    natives = {
        "native:Pneumonia": pd.Series([1, 0, None], dtype="Int8"),
        "native:No Finding": pd.Series([0, 1, None], dtype="Int8"),
    }
    return pd.DataFrame(columns | natives)


TABLES = {
    "chexpert": chexpert_table,
    "mimic": mimic_table,
    "nih": nih_table,
    "padchest": padchest_table,
    "vindr": vindr_table,
    "brax": brax_table,
    "table": own_table,
}


def touch(table: pd.DataFrame, root: Path) -> None:
    """Put an empty file where each image belongs: some layouts are told apart by their folders."""
    for path in table["path"]:
        if path:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare two native tables, whatever the order of rows and columns and the kind of text column."""
    assert sorted(found) == sorted(expected)
    ordered = [frame.sort_values("image_id").reset_index(drop=True)[sorted(expected)] for frame in (found, expected)]
    for column in ordered[1]:
        ours, theirs = ordered[0][column], ordered[1][column]
        assert ours.isna().tolist() == theirs.isna().tolist(), column
        assert ours.dropna().tolist() == theirs.dropna().tolist(), column


def written(layout: str, root: Path) -> pd.DataFrame:
    """Write a small dataset with empty image files and return its table."""
    table = TABLES[layout]()
    adapter(layout).write(table, root)
    touch(table, root)
    return table


def on_disk(layout: str, root: Path) -> CohortSpec:
    """Write a small dataset with empty image files and return where it is."""
    written(layout, root)
    return CohortSpec(layout, layout, root, *(("table.csv", str(root / "mapping.yaml")) if layout == "table" else ()))
