"""Tests of variants of the six datasets: headers, file names, folders, cells."""

import json
from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, assert_same, on_disk, touch, written

from harmonize import load
from harmonize.cohorts import label_mapping
from harmonize.datasets import FAULT, adapter, chexpert, mimic, nih, padchest, vindr
from harmonize.errors import DatasetError


def test_mimic_files_may_be_unzipped(tmp_path: Path) -> None:
    table = written("mimic", tmp_path)
    for path in tmp_path.glob("*.csv.gz"):
        pd.read_csv(path, dtype=str, keep_default_na=False).to_csv(path.with_suffix(""), index=False)
        path.unlink()
    assert_same(mimic.read(tmp_path), table)


def test_chexpert_may_be_in_the_folder_of_its_release(tmp_path: Path) -> None:
    table = written("chexpert", tmp_path / "CheXpert-v1.0-small")
    native_table = chexpert.read(tmp_path)
    assert_same(native_table, table.assign(path="CheXpert-v1.0-small/" + table["path"]))


def test_the_full_chexpert_is_read_as_unpacked(tmp_path: Path) -> None:
    table = written("chexpert", tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)")
    folder = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    for number, patient in enumerate(("patient00001", "patient00002")):
        batch = tmp_path / f"CheXpert-v1.0 batch {number + 2} (train {number + 1})"
        batch.mkdir()
        (folder / "train" / patient).rename(batch / patient)
    (folder / "train").rmdir()
    native_table = chexpert.read(tmp_path)
    assert all((tmp_path / path).is_file() for path in native_table["path"])
    assert native_table["path"].iloc[0] == "CheXpert-v1.0 batch 2 (train 1)/patient00001/study1/view1_frontal.jpg"
    assert_same(native_table.drop(columns="path"), table.drop(columns="path"))


@pytest.mark.parametrize("folder", ["", "PNG/"])
def test_chexpert_plus_has_the_labels_of_chexbert(folder: str, tmp_path: Path) -> None:
    """The columns are those of df_chexpert_plus_240401.csv, the first lines those of report_fixed.json."""
    names = ["train/patient42142/study5/view1_frontal.jpg", "train/patient42142/study5/view2_lateral.jpg",
             "valid/patient64541/study1/view1_frontal.jpg"]  # fmt: skip
    rows = [[names[0], "a.dcm", "Frontal", "AP", "patient42142", 5, "FINAL\nREPORT, old", "", 68.0, "Male", "White", "train"],
            [names[1], "b.dcm", "Lateral", "", "patient42142", 5, "FINAL\nREPORT, old", "", 68.0, "Male", "White", "train"],
            [names[2], "c.dcm", "Frontal", "AP", "patient64541", 1, "", "", 41.0, "Female", "", "valid"]]  # fmt: skip
    columns = ["path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id", "patient_report_date_order",
               "report", "section_findings", "age", "sex", "race", "split"]  # fmt: skip
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "df_chexpert_plus_240401.csv", index=False)
    labels = dict.fromkeys(chexpert.LABELS) | {"Edema": 1.0, "Pneumonia": -1.0, "Fracture": 0.0}
    (tmp_path / "chexbert_labels").mkdir()
    lines = [json.dumps({"path_to_image": name} | labels) for name in names]
    (tmp_path / "chexbert_labels/report_fixed.json").write_text("\n".join(lines) + "\n")
    for name in names:
        path = tmp_path / folder / name.replace(".jpg", ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    table = chexpert.read(tmp_path)
    assert table["path"].tolist() == [folder + name.replace(".jpg", ".png") for name in names[:2]]
    assert table[["view", "sex", "age", "split"]].to_numpy().tolist() == [
        ["AP", "M", 68.0, "train"],
        ["LATERAL", "M", 68.0, "train"],
    ]
    states = {label: table[f"native:{label}"].tolist() for label in ("Edema", "Pneumonia", "Fracture", "No Finding")}
    assert states == {"Edema": [1, 1], "Pneumonia": [-1, -1], "Fracture": [0, 0], "No Finding": [-2, -2]}


def test_chexpert_paths_of_the_full_release_have_no_prefix(tmp_path: Path) -> None:
    table = written("chexpert", tmp_path)
    for name in ("train.csv", "valid.csv"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("CheXpert-v1.0-small/", "CheXpert-v1.0/"))
    assert_same(chexpert.read(tmp_path), table)


def test_chexpert_test_labels_by_study_apply_to_all_images_of_the_study(tmp_path: Path) -> None:
    table = written("chexpert", tmp_path)
    raw = pd.read_csv(tmp_path / "test_labels.csv")
    raw.insert(0, "Study", "CheXpert-v1.0/test/patient64741/study1")
    raw.drop(columns="Path").astype(dict.fromkeys(chexpert.LABELS, int)).to_csv(
        tmp_path / "groundtruth.csv", index=False
    )
    (tmp_path / "test_labels.csv").unlink()
    (tmp_path / "test/patient64741/study1/view2_lateral.jpg").touch()
    native_table = chexpert.read(tmp_path)
    test = native_table[native_table["split"] == "expert_test"]
    assert test["view"].tolist() == ["FRONTAL", "LATERAL"]
    assert test["native:No Finding"].tolist() == [1, 1]
    assert_same(native_table[native_table["view"].ne("LATERAL") | native_table["split"].ne("expert_test")], table)


def test_chexpert_uses_chexlocalize_files_for_the_expert_splits(tmp_path: Path) -> None:
    table = written("chexpert", tmp_path)
    valid = pd.read_csv(tmp_path / "valid.csv", dtype=str, keep_default_na=False)
    valid["Path"] = valid["Path"].str.replace("CheXpert-v1.0-small/", "CheXpert/")
    valid.drop(columns=["Sex", "Age", "Frontal/Lateral", "AP/PA"]).to_csv(tmp_path / "val_labels.csv", index=False)
    (tmp_path / "valid.csv").unlink()
    (tmp_path / "valid").rename(tmp_path / "val")
    native_table = chexpert.read(tmp_path).query("split == 'expert_valid'")
    assert native_table["path"].tolist() == ["val/patient64541/study1/view1_frontal.jpg"]
    assert native_table["native:Edema"].tolist() == table.query("split == 'expert_valid'")["native:Edema"].tolist()


def test_chexpert_finds_chexlocalize_with_or_without_the_release(tmp_path: Path) -> None:
    table = written("chexpert", tmp_path / "CheXpert-v1.0")
    release = tmp_path / "CheXpert-v1.0"
    folder = tmp_path / "CheXpert"
    folder.mkdir()
    (release / "test").rename(folder / "test")
    (release / "test_labels.csv").rename(folder / "test_labels.csv")
    native_table = chexpert.read(tmp_path).set_index("image_id")["path"]
    assert native_table["patient64741_study1_view1_frontal"] == "CheXpert/test/patient64741/study1/view1_frontal.jpg"
    assert (
        native_table["patient64541_study1_view1_frontal"] == "CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg"
    )
    assert len(native_table) == len(table)
    assert chexpert.read(folder)["split"].tolist() == ["expert_test"]


def test_mimic_labels_of_release_2_1_0_are_extra_columns(tmp_path: Path) -> None:
    table = TABLES["mimic"]()
    for label in mimic.LABELS:
        table[f"expert:{label}"] = pd.Series([None, None, None, None, int(label == "Lung Opacity")], dtype="Int8")
    mimic.write(table, tmp_path)
    assert "Airspace Opacity" in (tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv").read_text()
    assert_same(mimic.read(tmp_path), table)


def test_mimic_images_of_a_study_without_labels_are_unmapped(tmp_path: Path) -> None:
    written("mimic", tmp_path)
    path = tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"
    pd.read_csv(path, dtype=str, keep_default_na=False).query("study_id != '50000002'").to_csv(path, index=False)
    native_table = mimic.read(tmp_path).set_index("image_id")
    assert native_table["native:Edema"].isna().tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("header", "tail"), [("Patient Gender", ""), ("Patient Sex", ""), ("Patient Gender", ",")])
def test_every_published_header_of_nih_is_read(header: str, tail: str, tmp_path: Path) -> None:
    table = written("nih", tmp_path)
    lines = (tmp_path / nih.ENTRIES[0]).read_text().splitlines()
    lines[0] = lines[0].replace("Patient Sex", header)
    (tmp_path / nih.ENTRIES[0]).unlink()
    (tmp_path / "Data_Entry_2017.csv").write_text("".join(f"{line}{tail}\n" for line in lines))
    assert_same(nih.read(tmp_path), table)


def test_nih_ages_may_have_units_and_impossible_ages_are_unknown(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path)
    raw = pd.read_csv(tmp_path / nih.ENTRIES[0], dtype=str).assign(**{"Patient Age": ["058Y", "414", "018M", "7"]})
    raw.to_csv(tmp_path / nih.ENTRIES[0], index=False)
    assert load(spec).table["age"].fillna(-1).tolist() == [58.0, -1.0, 1.5, 7.0]


def test_different_nih_images_of_one_name_are_refused(tmp_path: Path) -> None:
    table = written("nih", tmp_path)
    name = Path(str(table["path"].iloc[0])).name
    (tmp_path / "images_012/images").mkdir(parents=True, exist_ok=True)
    (tmp_path / "images_012/images" / name).write_bytes((tmp_path / str(table["path"].iloc[0])).read_bytes())
    nih.read(tmp_path)  # a copy
    (tmp_path / "images_012/images" / name).write_bytes(b"another image")
    with pytest.raises(DatasetError, match="1 images are there twice with different content"):
        nih.read(tmp_path)


def test_nih_images_may_be_in_one_folder_without_lists(tmp_path: Path) -> None:
    table = TABLES["nih"]()
    nih.write(table, tmp_path)
    flat = table.assign(path="images/" + table["image_id"], split="")
    flat.loc[3, "path"] = ""  # not downloaded
    touch(flat, tmp_path)
    for name in ("test_list.txt", "train_val_list.txt"):
        (tmp_path / name).unlink()
    assert_same(nih.read(tmp_path), flat)


def test_one_nih_list_is_sufficient(tmp_path: Path) -> None:
    table = written("nih", tmp_path)
    (tmp_path / "train_val_list.txt").unlink()
    assert_same(nih.read(tmp_path), table)
    (tmp_path / "test_list.txt").rename(tmp_path / "keep.txt")
    (tmp_path / "train_val_list.txt").write_text("\n".join(table.query("split == 'train'")["image_id"]))
    assert_same(nih.read(tmp_path), table)


def test_nih_boxes_are_returned_as_corners(tmp_path: Path) -> None:
    boxes = pd.DataFrame(
        {
            "image_id": ["00000001_000.png", "00000002_000.png"],
            "finding": ["Pleural Effusion", "Lung Lesion"],
            "x_min": [10.0, 20.5],
            "y_min": [30.0, 40.0],
            "x_max": [110.0, 60.5],
            "y_max": [230.0, 90.0],
        }
    )
    nih.write_boxes(boxes, tmp_path)
    assert (tmp_path / nih.BOXES).read_text().startswith("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    pd.testing.assert_frame_equal(nih.boxes(tmp_path), boxes, check_dtype=False)


@pytest.mark.parametrize("form", ["images/{folder}/{image}", "{folder}/{image}", "images/{image}", "{image}"])
def test_padchest_images_may_be_in_several_folder_structures(form: str, tmp_path: Path) -> None:
    table = TABLES["padchest"]()
    folders = [str(k % 3) for k in range(len(table))]
    padchest.write(table, tmp_path)
    table["path"] = [form.format(folder=f, image=i) for f, i in zip(folders, table["image_id"], strict=True)]
    touch(table, tmp_path)
    assert_same(padchest.read(tmp_path), table)


def test_padchest_words_are_stripped_and_lower_cased(tmp_path: Path) -> None:
    written("padchest", tmp_path)
    raw = pd.read_csv(tmp_path / padchest.FILE, dtype=str, keep_default_na=False)
    raw.loc[0, "Labels"] = "['Pneumonia ', '  pleural effusion', '']"
    raw.loc[1, "Labels"] = "nan"
    raw.loc[2, "Labels"] = "['']"
    raw.to_csv(tmp_path / padchest.FILE, index=False)
    native_table = padchest.read(tmp_path)
    assert native_table["native:labels"].tolist()[:3] == ["pneumonia|pleural effusion", "", ""]
    assert native_table["drop"].tolist()[:3] == ["", "no labels", ""]


def test_vindr_train_labels_are_the_majority_of_the_readers(tmp_path: Path) -> None:
    written("vindr", tmp_path)
    path = tmp_path / "annotations/image_labels_train.csv"
    raw = pd.read_csv(path)
    raw["Pneumonia"] = raw.groupby("image_id").cumcount().lt(2).astype(int)  # two of three
    raw["COPD"] = raw.groupby("image_id").cumcount().lt(1).astype(int)  # one of three
    raw.sample(frac=1, random_state=0).to_csv(path, index=False)  # the published rows are not sorted by image
    native_table = vindr.read(tmp_path).query("split == 'train'")
    assert native_table["native:Pneumonia"].tolist() == [1, 1, 1]
    assert native_table["native:COPD"].tolist() == [0, 0, 0]


def test_different_rows_of_one_vindr_test_image_are_a_fault(tmp_path: Path) -> None:
    written("vindr", tmp_path)
    path = tmp_path / "annotations/image_labels_test.csv"
    raw = pd.read_csv(path)
    pd.concat([raw, raw.iloc[:1]]).to_csv(path, index=False)
    assert FAULT not in vindr.read(tmp_path)  # a repeated row is no fault
    pd.concat([raw, raw.iloc[:1].assign(Edema=1 - raw["Edema"].iloc[0])]).to_csv(path, index=False)
    fault = vindr.read(tmp_path).set_index("image_id")[FAULT]
    assert fault[fault != ""].to_dict() == {
        raw["image_id"][0]: f"{raw['image_id'][0]!r} in column 'image_id' is not in one row for each reader at "
        f"{path.name}:4"
    }


KAGGLE = """image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max
b1,Cardiomegaly,3,R8,1,2,3,4
a1,No finding,14,R1,,,,
b1,Cardiomegaly,3,R9,1,2,3,4
b1,Cardiomegaly,3,R9,5,6,7,8
a1,No finding,14,R2,,,,
b1,Nodule/Mass,8,R10,1,2,3,4
a1,Infiltration,6,R3,1,2,3,4
"""


def test_the_kaggle_release_of_vindr_has_majority_labels_and_null_for_missing_labels(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/a1.dicom").touch()
    (tmp_path / "train/b1.png").touch()
    (tmp_path / "train.csv").write_text(KAGGLE)
    native_table = vindr.read(tmp_path).set_index("image_id").loc[["a1", "b1"]]
    assert native_table["path"].tolist() == ["train/a1.dicom", "train/b1.png"]
    assert native_table["native:Cardiomegaly"].tolist() == [0, 1]
    assert native_table["native:Nodule/Mass"].tolist() == [0, 0]
    assert native_table["native:No finding"].tolist() == [1, 0]
    for label in set(vindr.LABELS) - set(vindr.KAGGLE_LABELS):
        assert native_table[f"native:{label}"].isna().all(), label
    states = label_mapping.apply(native_table, "vindr")
    assert states[["Edema", "Pneumonia"]].isna().all().all()
    assert states["Lung Lesion"].tolist() == [0, 0]
    assert vindr.read(tmp_path, "any_reader").set_index("image_id")["native:Nodule/Mass"]["b1"] == 1
    assert vindr.read(tmp_path, "all_readers").set_index("image_id")["native:No finding"]["a1"] == 0
    assert vindr.boxes(tmp_path)["finding"].tolist().count("Cardiomegaly") == 3


def test_an_unknown_class_of_the_kaggle_release_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(KAGGLE.replace("Infiltration", "Infiltrate"))
    fault = vindr.read(tmp_path).set_index("image_id")[FAULT]
    assert fault["b1"] == ""
    assert fault["a1"].startswith("'Infiltrate' in column 'class_name' is not of ")
    assert fault["a1"].endswith("at train.csv:8")


def test_vindr_boxes_have_no_rows_for_images_without_finding(tmp_path: Path) -> None:
    boxes = pd.DataFrame(
        {
            "image_id": ["a", "b"],
            "finding": ["Lung Lesion", "Cardiomegaly"],
            "x_min": 1.0,
            "y_min": 2.0,
            "x_max": 3.0,
            "y_max": 4.0,
        }
    )
    vindr.write_boxes(boxes, tmp_path, pd.Series(["train", "test"]))
    path = tmp_path / "annotations/annotations_train.csv"
    path.write_text(path.read_text() + "c,R2,No finding,,,,\n")
    pd.testing.assert_frame_equal(vindr.boxes(tmp_path), boxes, check_dtype=False)


def test_the_older_spreadsheet_of_brax_can_be_read(tmp_path: Path) -> None:
    table = written("brax", tmp_path)
    (tmp_path / "master_spreadsheet_update.csv").rename(tmp_path / "master_spreadsheet.csv")
    assert_same(adapter("brax").read(tmp_path), table)


def test_brax_ages_of_85_or_more_are_85(tmp_path: Path) -> None:
    table = written("brax", tmp_path)
    assert "85 or more" in (tmp_path / "master_spreadsheet_update.csv").read_text()
    assert adapter("brax").read(tmp_path)["age"].tolist()[:2] == table["age"].tolist()[:2]
