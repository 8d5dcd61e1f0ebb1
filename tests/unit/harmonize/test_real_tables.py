"""Tests of the adapters with the real label tables of torchxrayvision, and of its readers with our files.

The expected counts are those of the published releases.
"""

import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from native_tables import OPENI_HEADINGS, TABLES

import harmonize.checks.release
from harmonize.checks.release import check_table, release_facts
from harmonize.cohorts import label_mapping
from harmonize.cohorts.invariants import checked
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import adapter, mimic, native, nih, openi, padchest
from harmonize.datasets.csvfile import header

Read = Callable[[str], pd.DataFrame]
# warnings of torchxrayvision and its imports; the tables have up to 377,000 rows
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

CHEXPERT = {  # label: 1, 0, -1, blank
    "No Finding": (22381, 0, 0, 201033),
    "Cardiomegaly": (27000, 11116, 8087, 177211),
    "Atelectasis": (33376, 1328, 33739, 154971),
    "Consolidation": (14783, 28097, 27742, 152792),
    "Pleural Effusion": (86187, 35396, 11628, 90203),
    "Pneumothorax": (19448, 56341, 3145, 144480),
    "Pneumonia": (6039, 2799, 18770, 195806),
    "Edema": (52246, 20726, 12984, 137458),
    "Lung Lesion": (9186, 1270, 1488, 211470),
}
NIH = {
    "No Finding": 60361,
    "Infiltration": 19894,
    "Effusion": 13317,
    "Atelectasis": 11559,
    "Nodule": 6331,
    "Mass": 5782,
    "Pneumothorax": 5302,
    "Consolidation": 4667,
    "Pleural_Thickening": 3385,
    "Cardiomegaly": 2776,
    "Emphysema": 2516,
    "Edema": 2303,
    "Fibrosis": 1686,
    "Pneumonia": 1431,
    "Hernia": 227,
}
PADCHEST = {
    "normal": 50616,
    "cardiomegaly": 15022,
    "pleural effusion": 9853,
    "loculated pleural effusion": 306,
    "hydropneumothorax": 48,
    "empyema": 5,
    "pneumonia": 7953,
    "atypical pneumonia": 244,
    "laminar atelectasis": 5190,
    "atelectasis": 2905,
    "lobar atelectasis": 860,
    "nodule": 3748,
    "multiple nodules": 358,
    "pulmonary mass": 1039,
    "mass": 56,
    "consolidation": 2497,
    "air bronchogram": 197,
    "alveolar pattern": 5738,
    "infiltrates": 7089,
    "pulmonary edema": 1456,
    "pneumothorax": 533,
    "unchanged": 14334,
    "suboptimal study": 1839,
    "exclude": 1312,
}


@pytest.fixture(scope="module")
def xrv() -> ModuleType:
    return pytest.importorskip("torchxrayvision", reason="torchxrayvision is not installed: no real tables")


@pytest.fixture(scope="module")
def data(xrv: ModuleType) -> Path:
    return Path(str(xrv.__file__)).parent / "data"


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per dataset, in which the real tables have the names of their releases."""
    root = tmp_path_factory.mktemp("real")
    for dataset in ("chexpert", "nih", "padchest"):
        (root / dataset).mkdir()
    (root / "chexpert" / "train.csv.gz").symlink_to(data / "chexpert_train.csv.gz")
    for name in ("nih/Data_Entry_2017_v2020.csv.gz", "nih/BBox_List_2017.csv.gz", f"padchest/{padchest.FILE}.gz"):
        (root / name).symlink_to(data / Path(name).name)
    return root


@pytest.fixture(scope="module")
def read(folder: Path) -> Read:
    """Return the native table of a dataset by its name; each is read once."""
    return cache(lambda dataset: adapter(dataset).read(folder / dataset))


def words(table: pd.DataFrame) -> Counter[str]:
    """Return the number of images per word."""
    return Counter(word for text in table["native:labels"] for word in set(text.split("|")))


def test_chexpert_counts_per_label_and_state_equal_the_published_counts(read: Read) -> None:
    table = read("chexpert")
    assert (len(table), table["patient_id"].nunique()) == (223414, 64540)
    counts = {
        label: tuple(int((table[native(label)] == state).sum()) for state in (1, 0, -1, -2)) for label in CHEXPERT
    }
    assert counts == CHEXPERT
    assert table["view"].value_counts().to_dict() == {"AP": 161590, "LATERAL": 32387, "PA": 29420, "FRONTAL": 17}
    assert table["sex"].value_counts().to_dict() == {"M": 132636, "F": 90777, "": 1}
    assert int(table["age"].isna().sum()) == 3
    states = label_mapping.apply(table, "chexpert")
    assert {label: int((states[label] == 1).sum()) for label in CHEXPERT} == {k: v[0] for k, v in CHEXPERT.items()}


def test_nih_counts_per_label_equal_the_published_counts(read: Read) -> None:
    table = read("nih")
    assert (len(table), table["patient_id"].nunique()) == (112120, 30805)
    assert words(table) == NIH
    assert table["view"].value_counts().to_dict() == {"PA": 67310, "AP": 44810}
    assert table["sex"].value_counts().to_dict() == {"M": 63340, "F": 48780}
    assert (table["age"].min(), table["age"].max()) == (0, 95)
    states = label_mapping.apply(table, "nih")
    assert int((states["Pleural Effusion"] == 1).sum()) == NIH["Effusion"]
    assert int((states["Lung Lesion"] == 1).sum()) == int(table["native:labels"].str.contains("Mass|Nodule").sum())
    assert not states.isna().any().any()


def test_the_expert_labels_of_nih_equal_the_published_counts(data: Path, tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017_v2020.csv.gz").symlink_to(data / "Data_Entry_2017_v2020.csv.gz")
    (tmp_path / "google2019_nih-chest-xray-labels.csv.gz").symlink_to(data / "google2019_nih-chest-xray-labels.csv.gz")
    table = nih.read(tmp_path, "expert")
    assert "row_fault" not in table
    gold = table[nih.gold(table, tmp_path)]
    assert (len(gold), gold["patient_id"].nunique()) == (4376, 1695)
    counts = {label: int(gold[f"expert:{label}"].sum()) for label in nih.EXPERT_LABELS}
    assert counts == {"Fracture": 186, "Pneumothorax": 238, "Airspace opacity": 2166, "Nodule or mass": 605}
    findings = ("Fracture", "Pneumothorax", "Lung Opacity", "Lung Lesion", "Edema")
    states = label_mapping.apply(gold, "nih", findings=findings, source="expert")
    assert states.sum().tolist() == [*counts.values(), 0]
    assert states.isna().sum().tolist() == [0, 0, 0, 0, 4376]


def test_openi_has_the_published_numbers_of_images_and_the_headings_that_torchxrayvision_reads(
    xrv: ModuleType, data: Path, tmp_path: Path
) -> None:
    with tarfile.open(data / "NLMCXR_reports.tgz") as reports:
        reports.extractall(tmp_path, filter="data")
    (tmp_path / "nlmcxr_dicom_metadata.csv.gz").symlink_to(data / "nlmcxr_dicom_metadata.csv.gz")
    table = openi.read(tmp_path)
    assert len(list((tmp_path / openi.REPORTS).glob("*.xml"))) == 3955
    assert (len(table), table["image_id"].nunique(), table["patient_id"].nunique()) == (7470, 7470, 3851)
    assert "row_fault" not in table
    assert "unknown_view" not in table
    assert table["view"].value_counts().to_dict() == {"UNKNOWN": 5888, "PA": 780, "LATERAL": 769, "AP": 33}
    (tmp_path / "nlmcxr_tsne_pa.csv.gz").symlink_to(data / "nlmcxr_tsne_pa.csv.gz")
    table = openi.read(tmp_path)
    views = {"LATERAL": 3395, "PA": 2119, "FRONTAL": 1179, "UNKNOWN": 443, "AP": 334}
    assert table["view"].value_counts().to_dict() == views
    corrected = pd.read_csv(data / "nlmcxr_tsne_pa.csv.gz").set_index("imageid")["tsne-view"]
    view = table.set_index("image_id")["view"].reindex(corrected.index)
    assert (view == "LATERAL").equals(corrected == "L")
    assert not (view == "UNKNOWN").any()
    # one report without images has another heading
    assert set(words(table)) - {""} == set(OPENI_HEADINGS) - {"no indexing", "mediastinal emphysema"}
    theirs = xrv.datasets.Openi_Dataset(imgpath=str(tmp_path), views=["*"], unique_patients=False).csv
    heads = {
        image: {" ".join(heading.split("/")[0].split()) for heading in text.split("|")}
        for image, text in zip(theirs["imageid"], theirs["labels_major"], strict=True)
    }
    first = table["native:labels"].str.replace(r"(cardiomegaly|mass|nodule), \w+", r"\1", regex=True)
    ours = zip(table["image_id"], first, strict=True)
    assert {image: set(text.split("|")) if text else {"no indexing"} for image, text in ours} == heads
    assert (table["drop"] == "no labels").tolist() == (table["native:labels"] == "").tolist()


def test_rsna_and_siim_have_the_published_numbers_of_images_labels_and_boxes(data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(data / "kaggle_stage_2_train_labels.csv.zip") as labels:
        labels.extractall(tmp_path)
    for name in ("kaggle_stage_2_train_images_dicom_headers.csv.gz", "siim-pneumothorax-train-rle.csv.gz"):
        (tmp_path / name).symlink_to(data / name)
    rsna = adapter("rsna").read(tmp_path)
    assert (len(rsna), rsna["image_id"].nunique()) == (26684, 26684)
    assert rsna["native:labels"].value_counts().to_dict() == {"no lung opacity": 20672, "lung opacity": 6012}
    assert rsna["view"].value_counts().to_dict() == {"PA": 14511, "AP": 12173}
    boxes = adapter("rsna").boxes(tmp_path)
    assert (len(boxes), boxes["image_id"].nunique()) == (9555, 6012)
    siim = adapter("siim").read(tmp_path)
    assert siim["native:labels"].value_counts().to_dict() == {"no pneumothorax": 9378, "pneumothorax": 2669}
    assert "row_fault" not in {*rsna, *siim}


def test_nih_boxes_equal_the_published_boxes(folder: Path) -> None:
    boxes = nih.boxes(folder / "nih")
    assert (len(boxes), boxes["image_id"].nunique()) == (984, 880)
    counts = {"Atelectasis": 180, "Pleural Effusion": 153, "Cardiomegaly": 146, "Infiltration": 123}
    counts |= {"Pneumonia": 120, "Pneumothorax": 98, "Lung Lesion": 85 + 79}
    assert boxes["finding"].value_counts().to_dict() == counts
    assert (boxes["x_max"] > boxes["x_min"]).all()
    assert boxes[["x_max", "y_max"]].max().max() <= nih.BOX_FRAME_PX + 1


def test_padchest_counts_per_word_equal_the_published_counts(read: Read) -> None:
    table = read("padchest")
    assert (len(table), table["patient_id"].nunique(), table["study_id"].nunique()) == (160861, 67625, 109931)
    counts = words(table)
    assert {word: counts[word] for word in PADCHEST} == PADCHEST
    assert table["view"].value_counts().to_dict() == {"PA": 91728, "LATERAL": 49579, "AP": 14346 + 4559, "UNKNOWN": 649}
    assert table["label_source"].value_counts().to_dict() == {"RNN_model": 121808, "Physician": 39053}
    assert table["device"].value_counts().to_dict() == {
        "PhilipsMedicalSystems": 81084,
        "ImagingDynamicsCompanyLtd": 79777,
    }
    assert table["sex"].value_counts().to_dict() == {"M": 80920, "F": 79919, "": 22}
    assert table["drop"].value_counts().to_dict() == {"": 160861 - 274 - 103, "pediatric": 274, "no labels": 103}


def test_padchest_normal_counts_only_without_other_findings(read: Read) -> None:
    table = read("padchest")
    state = label_mapping.apply(table, "padchest")["No Finding"]
    sets = table["native:labels"].map(
        lambda text: frozenset(text.split("|")) - {"", "unchanged", "exclude", "suboptimal study"}
    )
    assert int((state == 1).sum()) == int(sum(words_of_image == {"normal"} for words_of_image in sets))
    assert int(state.isna().sum()) == int(sum(not words_of_image for words_of_image in sets))
    assert 50390 < int((state == 1).sum()) < PADCHEST["normal"]


def test_the_kaggle_boxes_of_vindr_equal_the_published_boxes(data: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv.gz").symlink_to(data / "vinbigdata-train.csv.gz")
    vindr = adapter("vindr")
    tables = {source: vindr.read(tmp_path, source) for source in ("any_reader", "default", "all_readers")}
    table, boxes = tables["default"], vindr.boxes(tmp_path)
    assert (len(table), len(boxes)) == (15000, 67914 - 31818)
    raw = pd.read_csv(data / "vinbigdata-train.csv.gz")
    assert raw["class_name"].nunique() == len(vindr.KAGGLE_LABELS) == 15
    for label in vindr.KAGGLE_LABELS:  # every image has three readers; at least one, two or all must agree
        readers = raw[raw["class_name"] == label].groupby("image_id")["rad_id"].nunique()
        for source, min_readers in {"any_reader": 1, "default": 2, "all_readers": 3}.items():
            assert int(tables[source][native(label)].sum()) == int((readers >= min_readers).sum()), (label, source)
    states = label_mapping.apply(table, "vindr")
    assert states[["Edema", "Pneumonia"]].isna().all().all()
    assert not states["Lung Lesion"].isna().any()


def test_the_padchest_vocabulary_equals_the_published_words(read: Read) -> None:
    table = read("padchest")
    assert set(words(table)) - {""} == label_mapping.vocabulary("padchest")
    assert label_mapping.unknown_words(table, "padchest").empty


def test_no_finding_of_chexpert_is_never_absent(read: Read) -> None:
    states = label_mapping.apply(read("chexpert"), "chexpert")
    assert not (states["No Finding"] == 0).any()


@pytest.mark.parametrize("layout", ["chexpert", "nih", "padchest"])
def test_the_rules_hold_in_the_real_tables_and_in_a_part_of_them(layout: str, folder: Path, read: Read) -> None:
    table = read(layout)
    part = table[table["patient_id"].isin(table["patient_id"].drop_duplicates().sample(300, random_state=0))]
    for rows in (table, part):
        found, remarks = checked(rows, layout, folder / layout, "default", phantom=False)
        assert (set(found), remarks) == (set(table), [])  # no column of faults is added


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("chexpert", "train.csv.gz"),
        ("nih", "Data_Entry_2017_v2020.csv.gz"),
        ("nih", "BBox_List_2017.csv.gz"),
        ("padchest", f"{padchest.FILE}.gz"),
    ],
)
def test_the_published_facts_agree_with_the_real_tables(
    layout: str, name: str, folder: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = next(f for f in release_facts()["datasets"][layout] if name.removesuffix(".gz") in f["files"])
    exact = release_facts() | {"tolerance": {"subset": 0.9, "relative": 0.0, "rows": 0}}
    monkeypatch.setattr(harmonize.checks.release, "release_facts", lambda: exact)
    table = None if name.startswith("BBox") else read(layout)
    results, is_subset = check_table(CohortSpec(layout, layout, folder / layout), facts, table, False, False)
    assert not is_subset
    assert [(c.level, c.what, c.found) for c in results if c.level != "ok"] == []
    columns = {column for column in header(folder / layout / name) if column}
    assert {column for column in facts["columns"] if column} == columns


# For each dataset that torchxrayvision can read, but has no table of, its labels and patient ids from our files agree in every cell, except:
# uncertain is NaN, Pleural Effusion is called Effusion, and with No Finding == 1 all other labels become 0 (in BRAX
# all except Support Devices).


def write_images(table: pd.DataFrame, root: Path) -> None:
    for path in table["path"]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / path), np.full((8, 8), 100, np.uint8))


def in_torchxrayvision_form(table: pd.DataFrame, labels: list[str], keeps: tuple[str, ...]) -> Any:
    """Return our native states in the form of torchxrayvision."""
    ours = table[[native(label.replace("Effusion", "Pleural Effusion")) for label in labels]].astype(float).to_numpy()
    healthy = (table["native:No Finding"] == 1).to_numpy(bool)
    zeroed = np.array([label not in keeps for label in labels])
    ours[healthy[:, None] & zeroed] = 0
    return np.where(ours < 0, np.nan, ours)


def test_torchxrayvision_reads_the_same_mimic_from_our_files(xrv: ModuleType, tmp_path: Path) -> None:
    table = TABLES["mimic"]()
    mimic.write(table, tmp_path)
    write_images(table, tmp_path)
    theirs = xrv.datasets.MIMIC_Dataset(
        imgpath=str(tmp_path / "files"),
        csvpath=str(tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"),
        metacsvpath=str(tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz"),
        views=["*"],
        unique_patients=False,
    )
    ours = mimic.read(tmp_path).set_index("image_id").loc[theirs.csv["dicom_id"]]
    assert theirs.csv["patientid"].tolist() == ours["patient_id"].tolist()
    np.testing.assert_array_equal(theirs.labels, in_torchxrayvision_form(ours, theirs.pathologies, ()))
    assert theirs[0]["img"].shape == (1, 8, 8)


def test_torchxrayvision_reads_the_same_brax_from_our_files(xrv: ModuleType, tmp_path: Path) -> None:
    if not hasattr(xrv.datasets, "BRAX_Dataset"):
        pytest.skip("this torchxrayvision has no BRAX")
    table = TABLES["brax"]()
    adapter("brax").write(table, tmp_path)
    write_images(table, tmp_path)
    theirs = xrv.datasets.BRAX_Dataset(
        imgpath=str(tmp_path / "images"),
        csvpath=str(tmp_path / "master_spreadsheet_update.csv"),
        views=["*"],
        unique_patients=False,
    )
    ours = adapter("brax").read(tmp_path).query("drop == ''").reset_index(drop=True)
    assert theirs.csv["patientid"].tolist() == ours["patient_id"].tolist()
    np.testing.assert_array_equal(theirs.csv["age_years"], ours["age"])
    np.testing.assert_array_equal(
        theirs.labels, in_torchxrayvision_form(ours, theirs.pathologies, ("Support Devices",))
    )


def test_torchxrayvision_reads_the_same_vindr_boxes_from_our_files(xrv: ModuleType, tmp_path: Path) -> None:
    """torchxrayvision reads box files, not image labels: an image has a label if any reader drew a box for it."""
    table = TABLES["vindr"]()
    vindr = adapter("vindr")
    vindr.write(table, tmp_path)
    boxes = pd.DataFrame(
        {"image_id": table["image_id"].iloc[[1, 1, 2]], "finding": ["Lung Lesion", "Cardiomegaly", "Pleural Effusion"]}
    )
    boxes = boxes.assign(x_min=1.0, y_min=1.0, x_max=5.0, y_max=6.0).reset_index(drop=True)
    vindr.write_boxes(boxes, tmp_path, pd.Series(["train"] * len(boxes)))
    theirs = xrv.datasets.VinBrain_Dataset(
        imgpath=str(tmp_path), csvpath=str(tmp_path / "annotations/annotations_train.csv")
    )
    names = {"Lung Lesion": "Nodule/Mass", "Pleural Effusion": "Effusion"}
    expected = {
        (image, names.get(finding, finding)) for image, finding in zip(boxes["image_id"], boxes["finding"], strict=True)
    }
    labels = {(theirs.csv["image_id"][row], theirs.pathologies[k]) for row, k in np.argwhere(theirs.labels == 1)}
    assert labels == expected
    assert set(vindr.boxes(tmp_path)["image_id"]) == set(theirs.csv["image_id"])
