"""Parts of the releases of all layouts: 30 patients with two studies, whose labels differ, drawn by code."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
from native_tables import state_columns, touch, write

from harmonize import CohortSpec
from harmonize.cohorts.invariants import LABELER
from harmonize.datasets import LABELS, adapter, native
from harmonize.datasets.columns import base_columns

STUDIES = [(patient, study) for patient in range(30) for study in range(2)]  # each with two images
FILES = {
    "nih": "Data_Entry_2017_v2020.csv",
    "nih boxes": "BBox_List_2017.csv",
    "chexpert": "train.csv",
    "brax": "master_spreadsheet_update.csv",
    "mimic": "mimic-cxr-2.0.0-chexpert.csv.gz",
    "mimic metadata": "mimic-cxr-2.0.0-metadata.csv.gz",
    "mimic people": "patients.csv.gz",
    "mimic split": "mimic-cxr-2.0.0-split.csv.gz",
    "padchest": "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
    "vindr": "annotations/image_labels_train.csv",
    "vindr boxes": "annotations/annotations_train.csv",
    "vindr people": "people.csv",
    "openi": "nlmcxr_dicom_metadata.csv",
    "taixray": "metadata/annotation.csv",
    "taixray split": "metadata/split.csv",
    "rsna": "stage_2_train_labels.csv",
    "rsna classes": "stage_2_detailed_class_info.csv",
    "rsna headers": "kaggle_stage_2_train_images_dicom_headers.csv",
    "siim": "train-rle.csv",
    "covid": "metadata.csv",
    "pcxr": "image_labels_train.csv",
    "table": "table.csv",
}
_HEX = "{0:08x}{1:012x}{2:012x}"
_FORMS = {  # image, patient, study and path of {0} patient, {1} study, {2} image, {3} image of the patient, {4} frontal or lateral
    "chexpert": (
        "patient{0:05d}_study{1}_view{2}_{4}",
        "patient{0:05d}",
        "patient{0:05d}/study{1}",
        "train/patient{0:05d}/study{1}/view{2}_{4}.jpg",
    ),
    "brax": (
        "id_{0}/Study_1.{0}.{1}/Series_{2}/image-{2}",
        "id_{0}",
        "9{0:03d}{1}",
        "images/id_{0}/Study_1.{0}.{1}/Series_{2}/image-{2}.png",
    ),
    "mimic": ("{0:04d}{1}{2}", "100{0:05d}", "5{0:06d}{1}", "files/p10/p100{0:05d}/s5{0:06d}{1}/{0:04d}{1}{2}.jpg"),
    "nih": ("{0:08d}_{3:03d}.png", "{0}", "{0}/{3}", "images_001/images/{0:08d}_{3:03d}.png"),
    "padchest": ("2{0:036d}{1}_{2}.png", "8{0:035d}", "2{0:036d}{1}", "images/0/2{0:036d}{1}_{2}.png"),
    "vindr": (_HEX, "", "", f"train/{_HEX}.dicom"),
    "pcxr": (_HEX, "", "", f"train/{_HEX}.dicom"),
    "rsna": (_HEX, "{0:04d}", "", f"stage_2_train_images/{_HEX}.dcm"),
    "siim": (_HEX, "", "", f"dicom-images-train/{_HEX}.dcm"),
    "openi": ("CXR{0}_{1}_IM-{2:04d}-1001", "CXR{0}", "CXR{0}", "NLMCXR_png/CXR{0}_{1}_IM-{2:04d}-1001.png"),
    "taixray": ("{0:061x}{1}{2}", "{0:04d}", "", "data/{0:061x}{1}{2}.png"),
    "covid": ("{0}-{1}-{2}.png", "{0}", "", "images/{0}-{1}-{2}.png"),
    "table": ("images/{0:03d}-{1}{2}.png", "1{0:03d}", "", "images/{0:03d}-{1}{2}.png"),
}
_STATES = {
    "vindr": ({"Nodule/Mass": 1}, {"No finding": 1}, {"No finding": 1}),
    "taixray": ({"HeartSize": 1}, {"PleuralEffusion": 1}, {"Atelectasis": -1}),
    "table": ({"Pneumonia": 1}, {"No Finding": 1}, {"No Finding": 1}),
}
_WORDS = {  # layout -> native labels of three kinds of images
    "nih": ("No Finding", "Effusion", "Atelectasis|Mass"),
    "padchest": ("normal", "pleural effusion", "nodule|pneumonia"),
    "openi": ("normal", "cardiomegaly", "opacity"),
    "rsna": ("no lung opacity|normal", "lung opacity", "no lung opacity|not normal"),
    "siim": ("no pneumothorax", "pneumothorax", "pneumothorax"),
    "covid": ("no finding", "covid-19|pneumonia|viral", "pneumocystis"),
    "pcxr": ("no finding", "brocho-pneumonia", "pneumonia|tuberculosis"),
}


def states(layout: str) -> list[dict[str, int]]:
    """Return the label states of each study, as the labeler writes them: most are blank, and No Finding is 1 or blank."""
    labels, chance, out = adapter(layout).LABELS, random.Random(0), []
    for patient, study in STUDIES:
        if patient % 5 == study == 0:
            out.append({"No Finding": 1})
            continue
        of_study = {name: chance.choice([1, 0, -1, -2, -2, -2, -2, -2]) for name in labels if name != "No Finding"}
        of_study |= {labels[1]: -1, labels[3]: 0} if study else {}
        if not any(state in (1, -1) for name, state in of_study.items() if name != "Support Devices"):
            of_study["No Finding"] = 1
        out.append(of_study)
    return out


def table(layout: str) -> pd.DataFrame:
    """Return a native table of 30 patients, 60 studies and 120 images; some layouts have one patient for each image."""
    rows = pd.DataFrame(
        [(patient, study, image) for patient, study in STUDIES for image in range(2)],
        columns=["patient", "study", "image"],
    )
    kind = (rows["patient"] + rows["study"] + rows["image"] * (layout == "nih")) % 3
    if layout in _WORDS:
        labels: dict[str, Any] = {LABELS: [_WORDS[layout][k] for k in kind]}
    elif layout in LABELER:
        labels = state_columns(adapter(layout).LABELS, [s for s in states(layout) for _ in range(2)])
    else:
        names = {"table": ("Pneumonia", "No Finding")}.get(layout) or adapter(layout).LABELS
        labels = state_columns(names, [_STATES[layout][k] for k in kind], 0)
    return pd.DataFrame(base_columns(**_facts(layout, rows), **_ids(layout, rows)) | labels)


def _facts(layout: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return split, view, sex and age of the images, as far as the release states them."""
    facts: dict[str, Any] = {
        "split": "train" if layout in ("chexpert", "mimic", "taixray", "table", "vindr") else "",
        "view": rows["image"].map({0: "PA", 1: "LATERAL"}),
        "sex": (rows["patient"] % 2).map({0: "F", 1: "M"}),
        "age": (rows["patient"] + rows["study"] + 30.0).round(),
    }
    if layout in ("nih", "vindr", "rsna", "siim", "pcxr", "taixray"):
        facts["view"] = {"siim": "FRONTAL", "pcxr": "FRONTAL", "taixray": "AP"}.get(layout, "PA")
    if layout == "padchest":
        facts["device"] = "PhilipsMedicalSystems"
    if layout == "pcxr":
        facts["split"] = ["train", "test"] * 60
    if layout == "taixray":
        facts["split"] = (rows["patient"] % 3).map({0: "train", 1: "val", 2: "test"})
        facts["age"] = (facts["age"] * 365.25).round() / 365.25
    if layout in ("vindr", "siim", "pcxr", "openi"):
        facts |= {"sex": "", "age": float("nan")}
    return facts if layout in ("chexpert", "mimic", "taixray", "nih") else facts | {"drop": ""}


def _ids(layout: str, rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return the ids and paths of the images."""
    texts = [
        [form.format(p, s, i, 2 * s + i, ("frontal", "lateral")[i]) for p, s, i in rows.itertuples(index=False)]
        for form in _FORMS[layout]
    ]
    images, patients, studies, paths = texts
    return {
        "image_id": images,
        "patient_id": patients if patients[0] else images,
        "study_id": studies if studies[0] else images,
        "path": paths,
    }


def _paths(layout: str) -> list[str]:
    """Return the paths of a dataset whose paths state the labels."""
    form = {
        "shenzhen": "CXR_png/CHNCXR_{0:04d}_{1}.png",
        "montgomery": "CXR_png/MCUCXR_{0:04d}_{1}.png",
        "guangzhou": "chest_xray/{2}/PNEUMONIA/person{0}_{3}_{1}.jpeg",
        "tbx11k": "imgs/{4}/{5}{0:04d}.png",
    }[layout]
    kinds = [("health", "h"), ("sick", "s"), ("tb", "tb")]
    words = [(p % 2, ("train", "test")[p % 2], ("virus", "bacteria")[s], *kinds[p % 3]) for p, s in STUDIES]
    return list(dict.fromkeys(form.format(p, *text) for (p, _), text in zip(STUDIES, words, strict=True)))


def on_disk(layout: str, root: Path) -> CohortSpec:
    """Write a part of a release with empty images, boxes and people."""
    if reading := str(getattr(adapter(layout), "reading", "")):
        (root / "ClinicalReadings").mkdir(parents=True)
    if hasattr(adapter(layout), "pattern"):
        touch(pd.DataFrame({"path": _paths(layout)}), root)
        text = "male {}yrs" if layout == "shenzhen" else "Patient's Sex: F \nPatient's Age: 0{}Y"
        for k, path in enumerate(_paths(layout) if reading else ()):
            (root / reading.format(Path(path).stem)).write_text(text.format(30 + k), encoding="utf-8")
        return CohortSpec(layout, layout, root)
    made = table(layout)
    write(layout, made, root)
    touch(made, root)
    if layout == "nih":
        boxes = pd.DataFrame(
            [(name, "Effusion", 1, 1, 5, 5) for name in made.loc[made[LABELS] == "Effusion", "image_id"]]
        )
        boxes.to_csv(
            root / FILES["nih boxes"], header=["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"], index=False
        )
        for name, of_test in (("test_list.txt", True), ("train_val_list.txt", False)):
            listed = [image for image in made["image_id"] if (int(image[:8]) % 3 == 0) == of_test]
            (root / name).write_text("\n".join(listed), encoding="utf-8")
    if layout == "vindr":
        chosen = made.loc[made[native("Nodule/Mass")] == 1, "image_id"]
        boxes = pd.DataFrame({"image_id": chosen, "rad_id": "R1", "class_name": "Nodule/Mass", "x_min": 1, "y_min": 1})
        boxes.assign(x_max=5, y_max=5).to_csv(root / FILES["vindr boxes"], index=False)
        people = {"image_id": made["image_id"].tolist(), "sex": "F", "age": [20 + k % 60 for k in made.index]}
        pd.DataFrame(people).to_csv(root / FILES["vindr people"], index=False)
    if layout == "rsna":
        pairs = [{"subset_img_id": name, "img_id": f"{k // 4:08d}_000.png"} for k, name in enumerate(made["image_id"])]
        (root / adapter("rsna").patients).write_text(json.dumps(pairs), encoding="utf-8")
    mapping = ("table.csv", str(root / "mapping.yaml")) if layout == "table" else ()
    return CohortSpec(layout, layout, root, *mapping)
