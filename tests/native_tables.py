"""Small datasets of every layout on disk: tables with every kind of row, and the files in which a release has them."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from harmonize import CohortSpec
from harmonize.cohorts import label_mapping
from harmonize.datasets import LABELS, SPLITS, VIEWS, adapter, native, taixray
from harmonize.datasets.columns import base_columns
from harmonize.datasets.csvfile import recode
from harmonize.datasets.open_files import FileSet
from harmonize.datasets.open_tables import LabelTable, TableSet
from harmonize.labels.findings import ABSENT

NAN = float("nan")
# the first parts of all headings of the published Open-i reports
OPENI_HEADINGS = (Path(__file__).parent / "openi_headings.txt").read_text(encoding="utf-8").splitlines()
# layouts of `open_tables`: image and labels of each row
ROWS = {
    "rsna": (("00000000-a", "no lung opacity|normal"), ("00000000-b", "lung opacity"), ("00000000-c", "no lung opacity|not normal")),
    "siim": (("9.276.1", "no pneumothorax"), ("9.276.2", "pneumothorax")),
    "covid": (("a.png", "no finding"), ("b.png", "covid-19|pneumonia|viral"), ("c.png", "todo"), ("d.png", "pneumocystis")),
    "pcxr": (("9a", "no finding"), ("9b", "brocho-pneumonia"), ("9c", "pneumonia|tuberculosis")),
}  # fmt: skip
# layouts of `open_files`: paths of images
PATHS = {
    "shenzhen": [f"CXR_png/CHNCXR_{name}.png" for name in ("9001_0", "9002_1", "9003_0", "9004_1")],
    "montgomery": [f"CXR_png/MCUCXR_{name}.png" for name in ("9001_0", "9002_1", "9003_0", "9004_1")],
    "guangzhou": [
        "chest_xray/train/NORMAL/IM-9115-0001.jpeg", "chest_xray/train/PNEUMONIA/person9001_bacteria_1.jpeg",
        "chest_xray/train/PNEUMONIA/person9001_bacteria_2.jpeg", "chest_xray/test/NORMAL/NORMAL2-IM-9427-0001.jpeg",
        "chest_xray/test/PNEUMONIA/person9001_virus_6.jpeg",
    ],
    "tbx11k": ["imgs/health/h9001.png", "imgs/sick/s9001.png", "imgs/tb/tb9001.png"],
}  # fmt: skip
CHEXPERT = (
    ("train", "patient00001/study1/view1_frontal"), ("train", "patient00001/study2/view1_frontal"),
    ("train", "patient00001/study2/view2_lateral"), ("train", "patient00002/study1/view1_frontal"),
    ("valid", "patient64541/study1/view1_frontal"), ("test", "patient64741/study1/view1_frontal"),
)  # fmt: skip
MIMIC = [("10000001", "50000001", "aa"), ("10000001", "50000001", "ab"), ("10000002", "50000002", "ac"), ("10000002", "50000003", "ad"),
         ("11000003", "50000004", "ae")]  # fmt: skip


def state_columns(
    labels: Sequence[str], states: Sequence[Mapping[str, int]], default: int = -2
) -> dict[str, "pd.Series[int]"]:
    """Return one native column per label; `states` has a dict {label: state} for each row, and other labels get `default`."""
    return {native(label): pd.Series([row.get(label, default) for row in states], dtype="Int8") for label in labels}


def _of_labels(labels: Sequence[str], **columns: object) -> pd.DataFrame:
    return pd.DataFrame(base_columns(**columns) | {LABELS: labels})


def _of_states(layout: str, states: list[dict[str, int]], default: int = -2, **columns: object) -> pd.DataFrame:
    return pd.DataFrame(base_columns(**columns) | state_columns(adapter(layout).LABELS, states, default))


def _chexpert() -> pd.DataFrame:
    labels = adapter("chexpert").LABELS
    edema = {"Cardiomegaly": -1, "Edema": 1, "Pleural Effusion": 1}
    states = [{"No Finding": 1, "Support Devices": 1, "Pneumothorax": 0}, edema, edema, {"Lung Lesion": 1, "Pneumonia": 0},
              dict.fromkeys(labels, 0) | {"Edema": 1}, dict.fromkeys(labels, 0) | {"No Finding": 1}]  # fmt: skip
    split = {"train": "train", "valid": "expert_valid", "test": "expert_test"}
    return _of_states("chexpert", states, image_id=[image.replace("/", "_") for _, image in CHEXPERT],
                      patient_id=[image.split("/")[0] for _, image in CHEXPERT], study_id=[image.rpartition("/")[0] for _, image in CHEXPERT],
                      path=[f"{folder}/{image}.jpg" for folder, image in CHEXPERT], split=[split[folder] for folder, _ in CHEXPERT],
                      view=["AP", "PA", "LATERAL", "FRONTAL", "AP", "FRONTAL"], sex=["F", "F", "F", "M", "M", ""],
                      age=[68.0, 69.0, 69.0, NAN, 41.0, NAN])  # fmt: skip


def _mimic() -> pd.DataFrame:
    patients, studies, images = (list(ids) for ids in zip(*MIMIC, strict=True))
    states = [{"Edema": 1}, {"Edema": 1}, {"No Finding": 1}, {"Fracture": 0, "Pneumonia": -1}, {}]
    return _of_states("mimic", states, image_id=images, patient_id=patients, study_id=studies,
                      path=[f"files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg" for patient, study, image in MIMIC],
                      split=["train", "train", "val", "val", "test"], view=["PA", "LATERAL", "AP", "UNKNOWN", "AP"],
                      sex=["F", "F", "M", "M", ""], age=[60.0, 60.0, 41.0, 43.0, NAN])  # fmt: skip


def _nih() -> pd.DataFrame:
    images = ["00000001_000.png", "00000001_001.png", "00000002_000.png", "00000013_005.png"]
    folders = ["images_001", "images_001", "images_012", "images_012"]
    labels = ["Cardiomegaly", "Cardiomegaly|Effusion", "No Finding", "Mass|Infiltration|Pleural_Thickening"]
    return _of_labels(labels, image_id=images, patient_id=["1", "1", "2", "13"], study_id=["1/0", "1/1", "2/0", "13/5"],
                      path=[f"{folder}/images/{image}" for folder, image in zip(folders, images, strict=True)],
                      split=["train", "train", "test", "train"], view=["PA", "PA", "AP", "PA"], sex=["M", "M", "F", "F"],
                      age=[57.0, 58.0, 81.0, 0.0])  # fmt: skip


def _padchest() -> pd.DataFrame:
    labels = ["normal", "cardiomegaly|pleural effusion", "unchanged", "nodule|normal", "", "pneumonia", ""]
    images = [f"2168401113669640_{k}.png" for k in range(7)]
    return _of_labels(labels, image_id=images, patient_id=["8" * 36, *("81234 5"[k] * 36 for k in (0, 1, 2, 3, 4, 6))],
                      study_id=[f"{k + 1}" * 38 for k in range(7)], path=[f"images/{k % 3}/{image}" for k, image in enumerate(images)],
                      view=["PA", "LATERAL", "AP", "UNKNOWN", "PA", "PA", "AP"], sex=["F", "F", "M", "", "M", "F", "M"],
                      age=[84.0, 84.0, 1.0, NAN, 30.0, 7.0, 50.0], device=(["PhilipsMedicalSystems", "ImagingDynamicsCompanyLtd"] * 4)[:7],
                      label_source=["Physician", "RNN_model"] * 3 + ["Physician"],
                      drop=["", "", "", "", "no labels", "pediatric", ""])  # fmt: skip


def _vindr() -> pd.DataFrame:
    images, split = [f"a{k:031x}" for k in (11, 22, 33, 44, 55)], ["train", "train", "train", "test", "test"]
    states = [
        {"No finding": 1},
        {"Nodule/Mass": 1},
        {"Lung tumor": 1, "Edema": 1},
        {"Other diseases": 1},
        {"No finding": 1},
    ]
    return _of_states("vindr", states, ABSENT, image_id=images, patient_id=images, study_id=images, split=split,
                      path=[f"{folder}/{image}.dicom" for folder, image in zip(split, images, strict=True)])  # fmt: skip


def _brax() -> pd.DataFrame:
    images = [f"id_{p}/Study_1.{s}/Series_2.{s}/image-3.{s}" for p, s in (("a", 1), ("a", 2), ("b", 3), ("c", 4))]
    states = [{"No Finding": 1}, {"No Finding": 1}, {"Edema": -1, "Atelectasis": 0}, {}]
    return _of_states("brax", states, image_id=images, patient_id=[image.split("/")[0] for image in images],
                      study_id=["101", "102", "103", "104"], path=[f"images/{image}.png" for image in images],
                      view=["PA", "LATERAL", "UNKNOWN", "AP"], sex=["F", "F", "M", ""], age=[85.0, 85.0, 35.0, NAN],
                      device=["6", "6", "2", ""], drop=["", "", "", "strip"])  # fmt: skip


def _openi() -> pd.DataFrame:
    images = [
        "CXR1_1_IM-0001-3001",
        "CXR1_1_IM-0001-4001",
        "CXR2_IM-0652-1001",
        "CXR3_IM-1384-1001",
        "CXR4_IM-2050-1001",
    ]
    reports = [image.split("_")[0] for image in images]
    return _of_labels(["normal", "normal", "cardiomegaly|pulmonary edema", "opacity", ""], image_id=images, patient_id=reports,
                      study_id=reports, path=[f"NLMCXR_png/{image}.png" for image in images],
                      view=["PA", "LATERAL", "AP", "UNKNOWN", "PA"], drop=["", "", "", "", "no labels"])  # fmt: skip


def _taixray() -> pd.DataFrame:
    images = [f"{k:064x}" for k in (11, 22, 33, 44)]
    states = [{"HeartSize": 1, "Atelectasis": -1}, {"PleuralEffusion": 1}, {}, {"PulmonaryCongestion": 1}]
    return _of_states("taixray", states, ABSENT, image_id=images, patient_id=["p1", "p1", "p2", "p3"], study_id=images,
                      split=["train", "train", "val", "test"], path=[f"data/{image}.png" for image in images], view="AP",
                      sex=["F", "F", "M", ""], age=[68.0, 68.0, 40.0, NAN])  # fmt: skip


def _table() -> pd.DataFrame:
    paths = ["images/a.png", "images/b c.png", "images/deep/d.png"]
    columns = base_columns(image_id=paths, patient_id=["1", "2", "2"], study_id=paths, path=paths, split=["train", "test", "test"],
                           view=["PA", "AP", "LATERAL"], sex=["F", "", "M"], age=[20.0, NAN, 35.5], drop="")  # fmt: skip
    states = {"Pneumonia": [1, 0, None], "No Finding": [0, 1, None]}
    return pd.DataFrame(columns | {native(name): pd.Series(state, dtype="Int8") for name, state in states.items()})


def _of_files(layout: str) -> pd.DataFrame:
    """Return every label; with readings also an age in months, and two images of one patient."""
    files, paths = adapter(layout), PATHS[layout]
    groups = [match.groupdict() for path in paths if (match := re.fullmatch(files.pattern, path, re.IGNORECASE))]
    split = [files.splits.get((group.get("split") or "").lower(), "") for group in groups]
    patient = [
        f"{name}/{g['patient']}" if files.prefix else g["patient"] for name, g in zip(split, groups, strict=True)
    ]
    image, has = [path.rpartition(".")[0] for path in paths], bool(files.reading)
    return _of_labels([files.labels[group["label"].lower()] for group in groups], image_id=image, study_id=image, path=paths, split=split,
                      patient_id=[*patient[:-1], patient[0]] if has else patient, view=files.view, sex=["M", "F", "M", "M"] if has else "",
                      age=[45.0, 1.25, NAN, 45.0] if has else NAN, drop="")  # fmt: skip


def _of_tables(layout: str) -> pd.DataFrame:
    """Return every label of a finding; with headers also two views, sex and age."""
    tables, rows = adapter(layout), ROWS[layout]
    image, number = [name for name, _ in rows], len(rows)
    has_person = bool(tables.headers or tables.known)
    unknown = [bool(tables.known) and text not in tables.known and "|" not in text for _, text in rows]
    return _of_labels([text for _, text in rows], image_id=image, study_id=image,
                      patient_id=["9001", *map(str, range(9001, 9000 + number))] if tables.known else image,
                      path=[f"{tables.folder}/{name.removesuffix(tables.ending)}{tables.ending}" for name in image],
                      split=[tables.tables[k % 2].split for k in range(number)] if tables.tables[0].split else "",
                      view=(["PA", "AP"] * number)[:number] if has_person else tables.view,
                      sex=["F"] * 2 + ["M"] * (number - 2) if has_person else "",
                      age=[51.0] * 2 + [NAN] + [7.0] * (number - 3) if has_person else NAN,
                      drop=["no mapped finding" if missing else "" for missing in unknown])  # fmt: skip


OWN = {"chexpert": _chexpert, "mimic": _mimic, "nih": _nih, "padchest": _padchest, "vindr": _vindr, "brax": _brax, "openi": _openi,
       "taixray": _taixray, "table": _table}  # fmt: skip
TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    **OWN,
    **{layout: partial(_of_files, layout) for layout in PATHS},
    **{layout: partial(_of_tables, layout) for layout in ROWS},
}


def write(layout: str, table: pd.DataFrame, root: Path) -> None:
    """Write the files of a dataset, from which its adapter reads the table, apart from the order of rows."""
    root.mkdir(parents=True, exist_ok=True)
    module = adapter(layout)
    if isinstance(module, FileSet):
        _write_readings(module, table, root)
    elif isinstance(module, TableSet):
        _write_tables(module, table, root)
    else:
        own = {"openi": _write_openi, "taixray": _write_taixray, "table": _write_table}
        (own.get(layout) or module.write)(table, root)


def _write_readings(files: FileSet, table: pd.DataFrame, root: Path) -> None:
    """Write what readings say of sex, age and of a patient with two images; the paths of the images say everything else."""
    for path, patient, sex, age in (
        table[["path", "patient_id", "sex", "age"]].itertuples(index=False) if files.reading else ()
    ):
        stated = "999" if np.isnan(age) else f"{age:03.0f}Y" if age.is_integer() else f"{age * 12:03.0f}M"
        same = "" if f"/{patient}_" in path else f"\n(same pt as {patient}_0)"
        reading = root / files.reading.format(Path(path).stem)
        reading.parent.mkdir(exist_ok=True)
        reading.write_text(f"Patient's Sex: {sex or 'O'} \nPatient's Age: {stated}{same}\n", encoding="utf-8")


def _write_tables(tables: TableSet, table: pd.DataFrame, root: Path) -> None:
    view = recode(table["view"], {"PA": "PA", "AP": "AP", "LATERAL": "L"})
    for labels in tables.tables:
        rows = table[table["split"] == labels.split] if labels.split else table
        if tables.known:
            made = pd.DataFrame({"patientid": table["patient_id"], "sex": table["sex"], "age": table["age"], "view": view, "folder": tables.folder,
                                 labels.column: table[LABELS].str.replace("|", "/"), "modality": np.where(table["drop"] == "no radiograph", "CT", "X-ray"),
                                 labels.image: table["image_id"]})  # fmt: skip
        else:
            made = _rows(rows, labels).assign(
                **dict.fromkeys(tables.boxes_in if labels is tables.tables[0] else (), "")
            )
        made.to_csv(root / labels.files[0], index=False)
    if tables.headers:
        ages = [f"{age:.0f}" if age == age else "" for age in table["age"]]
        facts = {"PatientID": table["image_id"], "ViewPosition": view, "PatientSex": table["sex"], "PatientAge": ages}
        pd.DataFrame(facts).to_csv(root / tables.headers, index=False)


def _rows(table: pd.DataFrame, labels: LabelTable) -> pd.DataFrame:
    """Return a column for each word, or a row for each word of an image."""
    has = [set(text.split("|")) for text in table[LABELS]]
    words: Mapping[str, str] = labels.words or {}
    if not labels.column:
        return pd.DataFrame(
            {labels.image: table["image_id"]}
            | {name: [int(token in row) for row in has] for name, token in words.items()}
        )
    cells = [
        (name, word)
        for name, row in zip(table["image_id"], has, strict=True)
        for word, token in words.items()
        if token in row
    ]
    return pd.DataFrame(cells, columns=[labels.image, labels.column], dtype=str)


def _write_openi(table: pd.DataFrame, root: Path) -> None:
    (root / "ecgen-radiology").mkdir(exist_ok=True)
    for uid, images in table.groupby("study_id", sort=True):
        report = ET.Element("eCitation")
        ET.SubElement(report, "uId", id=str(uid))
        mesh = ET.SubElement(report, "MeSH")
        for label in (images[LABELS].iloc[0] or "no indexing").split("|"):
            ET.SubElement(mesh, "major").text = label
        for image in images["image_id"]:
            ET.SubElement(report, "parentImage", id=image)
        ET.ElementTree(report).write(
            root / f"ecgen-radiology/{str(uid).removeprefix('CXR')}.xml", encoding="utf-8", xml_declaration=True
        )
    view = recode(table["view"], {"PA": "PA", "AP": "AP", "LATERAL": "LL"})
    pd.DataFrame({"imageid": table["image_id"], "View Position": view}).to_csv(
        root / "nlmcxr_dicom_metadata.csv", index=False
    )


def _write_taixray(table: pd.DataFrame, root: Path) -> None:
    """Write the grades 2, 1 or 0 of the right side; those of the left side are 0."""
    (root / "metadata").mkdir(exist_ok=True)
    days = [f"{age * 365.25:.0f}" if age == age else "" for age in table["age"]]
    raw = pd.DataFrame({"UID": table["image_id"], "PatientID": table["patient_id"], "Age": days, "Sex": table["sex"]})
    for label in taixray.LABELS:
        sides = (label,) if label in taixray.LABELS[:2] else (f"{label}_Right", f"{label}_Left")
        raw = raw.assign(**dict.fromkeys(sides, 0) | {sides[0]: table[native(label)].map({1: 2, -1: 1, 0: 0})})
    raw.to_csv(root / "metadata/annotation.csv", index=False)
    table[["image_id", "split"]].set_axis(["UID", "Split"], axis=1).to_csv(root / "metadata/split.csv", index=False)


def _write_table(table: pd.DataFrame, root: Path) -> None:
    """Write table.csv and mapping.yaml."""
    columns = [str(name) for name in table.columns if str(name).startswith("native:")]
    table[["path", "patient_id", "split", "view", "sex", "age", *columns]].to_csv(root / "table.csv", index=False)
    rules: dict[str, Any] = {"image": "{path}", "patient": "patient_id", "age": {"column": "age"}}
    for key, names in {"view": VIEWS, "sex": ("F", "M"), "split": SPLITS}.items():
        rules[key] = {"column": key, **{name: [name] for name in names}}
    rules["findings"] = {
        name.removeprefix("native:"): {"column": name, "present": [1], "absent": [0]} for name in columns
    }
    (root / "mapping.yaml").write_text(yaml.safe_dump(rules, sort_keys=False), encoding="utf-8")


def native_labels_of(layout: str) -> set[str]:
    """Return all native labels of a published dataset."""
    if layout == "openi":
        return set(OPENI_HEADINGS)
    module = adapter(layout)
    return {*label_mapping.vocabulary(layout)} or {*(getattr(module, "TOKENS", None) or module.LABELS)}


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
    write(layout, table, root)
    touch(table, root)
    return table


def on_disk(layout: str, root: Path) -> CohortSpec:
    """Write a small dataset with empty image files and return where it is."""
    written(layout, root)
    return CohortSpec(layout, layout, root, *(("table.csv", str(root / "mapping.yaml")) if layout == "table" else ()))
