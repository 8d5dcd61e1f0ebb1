"""Tests of the layouts of freely available datasets: what paths, readings and label tables mean, and damaged files."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from native_tables import assert_same, written
from pictures import ramp, save

import harmonize
from harmonize import CohortSpec
from harmonize.checks.duplicates import ScannedCohort
from harmonize.checks.release import inspect
from harmonize.checks.scan import scan
from harmonize.datasets import LABELS, adapter
from harmonize.datasets.open_files import image_paths
from harmonize.errors import DatasetError
from harmonize.ground_truth.positions import check_positions
from harmonize.labels.findings import labels_yaml
from tests.disturbed import bound_by_permissions

OPEN = tuple(name for name, block in labels_yaml()["datasets"].items() if "adapter" in block)
TABLES = ("rsna", "siim", "covid", "pcxr")


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def faults(table: pd.DataFrame) -> dict[str, str]:
    return {row.image_id: row.row_fault for row in table.itertuples() if row.row_fault}


def test_the_eight_open_datasets_have_a_layout() -> None:
    assert set(OPEN) == {"shenzhen", "montgomery", "guangzhou", "tbx11k", *TABLES}


@pytest.mark.parametrize("layout", OPEN)
def test_an_open_dataset_reads_what_it_wrote(layout: str, tmp_path: Path) -> None:
    table = written(layout, tmp_path)
    assert_same(adapter(layout).read(tmp_path), table)
    assert set(adapter(layout).TOKENS) >= {
        word for text in table.loc[table["drop"] == "", LABELS] for word in text.split("|")
    }


@pytest.mark.parametrize(
    ("layout", "reading", "sex", "age"),
    [  # forms that occur in the published readings
        ("shenzhen", "male 45yrs\nnormal", "M", 45),
        ("shenzhen", "male 16month\nnormal", "M", 16 / 12),
        ("shenzhen", "female 64days\nnormal", "F", 64 / 365.25),
        ("shenzhen", "male 42\nnormal", "M", None),
        ("shenzhen", "femal 32yrs\nnormal", "F", 32),
        ("shenzhen", "female24yrs\nnormal", "F", 24),
        ("shenzhen", "male , 29yrs  \t\nbilateral secondary PTB", "M", 29),
        ("montgomery", "Patient's Sex: F \nPatient's Age: 027Y\nnormal", "F", 27),
        ("montgomery", "Patient's Sex: O \nPatient's Age: 005Y\nnormal", "", 5),
        ("shenzhen", "male\nnormal", "M", None),
        ("shenzhen", "multiple nodules", "", None),
        ("montgomery", "no report", "", None),
    ],
)
def test_a_reading_states_sex_and_age(tmp_path: Path, layout: str, reading: str, sex: str, age: float | None) -> None:
    name = "CHNCXR_0001_0" if layout == "shenzhen" else "MCUCXR_0001_0"
    put(tmp_path, {f"CXR_png/{name}.png": "", f"ClinicalReadings/{name}.txt": reading})
    [row] = adapter(layout).read(tmp_path).itertuples()
    assert row.sex == sex
    assert (None if row.age != row.age else row.age) == (None if age is None else pytest.approx(age))
    assert len(adapter(layout).remarks(adapter(layout).read(tmp_path), tmp_path)) == (sex == "" or age is None)


def test_two_images_of_one_patient_are_one_patient(tmp_path: Path) -> None:
    names = ("MCUCXR_0162_1", "MCUCXR_0166_1")
    put(tmp_path, {f"CXR_png/{name}.png": "" for name in names})
    put(
        tmp_path,
        {
            f"ClinicalReadings/{names[1]}.txt": "Patient's Sex: M \nPatient's Age: 049Y\nNO REPORT (same pt as MCUCXR_0162_1)"
        },
    )
    table = adapter("montgomery").read(tmp_path)
    assert table["patient_id"].tolist() == ["MCUCXR_0162"] * 2
    assert table[LABELS].tolist() == ["tuberculosis"] * 2
    put(tmp_path, {f"ClinicalReadings/{names[0]}.txt": "(same pt as MCUCXR_0166_1)"})  # a circle
    assert adapter("montgomery").read(tmp_path)["patient_id"].nunique() <= 2


def test_the_folders_of_guangzhou_state_label_and_split_and_each_split_numbers_its_patients(tmp_path: Path) -> None:
    names = ["train/PNEUMONIA/person1_bacteria_1.jpeg", "test/PNEUMONIA/person1_virus_6.jpeg", "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
             "test/PNEUMONIA/BACTERIA-1135262-0001.jpeg"]  # fmt: skip
    table = (
        adapter("guangzhou")
        .read(put(tmp_path, dict.fromkeys([*names, "train/.DS_Store", "notes.png"], "")))
        .set_index("path")
    )
    assert table["patient_id"].to_dict() == dict(
        zip(names, ["train/person1", "test/person1", "train/NORMAL2-IM-1427", "test/BACTERIA-1135262"], strict=True)
    )
    assert table[LABELS].to_dict() == dict(zip(names, ["pneumonia", "pneumonia", "normal", "pneumonia"], strict=True))


def test_the_lists_of_tbx11k_state_the_splits(tmp_path: Path) -> None:
    files = {"lists/TBX11K_train.txt": "health/h1.png\ntb/tb1.png\n", "lists/TBX11K_val.txt": "imgs/sick/s1.png\n"}
    put(
        tmp_path,
        files | {f"imgs/{name}.png": "" for name in ("health/h1", "tb/tb1", "sick/s1", "sick/s2", "extra/da1")},
    )
    table = adapter("tbx11k").read(tmp_path).set_index("image_id")["split"]
    assert table.to_dict() == {
        "imgs/health/h1": "train",
        "imgs/sick/s1": "val",
        "imgs/sick/s2": "",
        "imgs/tb/tb1": "train",
    }


# names and a box as in the release
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "tb/tb1183.png", "width": 512, "height": 512}],
    "categories": [{"id": 1, "name": "ActiveTuberculosis"}, {"id": 2, "name": "ObsoletePulmonaryTuberculosis"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [108, 63, 167, 188]}],
}
BOX, IMAGE = COCO["annotations"][0], COCO["images"][0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, ""),
        ({"images": [IMAGE | {"file_name": "tb/TB1183.png"}]}, "upper and lower case"),
        ({"images": [IMAGE | {"file_name": "health/h2661.png"}]}, "absent by the labels, e.g. tuberculosis"),
        ({"categories": [{"id": 1, "name": "Active TB"}]}, "classes that the release does not have: 'Active TB' (1)"),
        ({"annotations": [BOX | {"bbox": [300, 63, 2000, 188]}]}, "outside of its image of 512 x 512"),
        ({"annotations": [BOX | {"bbox": [0.2, 0.1, 0.3, 0.4]}]}, "no boxes in pixels"),
        ({"annotations": [BOX | {"category_id": 4}]}, "not a file of boxes: KeyError(4)"),
        ({"annotations": [{"image_id": 7}]}, "not a file of boxes"),
    ],
)
def test_boxes_of_tbx11k_have_known_classes_ids_and_sizes(change: Any, text: str, tmp_path: Path) -> None:
    put(tmp_path, {"annotations/json/TBX11K_trainval_only_tb.json": json.dumps(COCO | change)})
    for name in ("health/h2661", "sick/s0567", "tb/tb1183"):
        save(tmp_path / f"imgs/{name}.png", ramp(64, 64))
    cohort, checks = inspect(CohortSpec("tbx11k", "tbx11k", tmp_path))
    assert cohort is not None
    scanned = scan("tbx11k", tmp_path, cohort.table["path"].tolist(), tmp_path / "scans")
    checks += check_positions(cohort, ScannedCohort(cohort, scanned))
    said = [check.found for check in checks if check.what in ("boxes", "positions of findings") and check.level != "ok"]
    assert any(text in line for line in said) if text else said == []
    if not text:
        assert adapter("tbx11k").boxes(tmp_path).to_numpy().tolist() == [
            ["imgs/tb/tb1183", "tuberculosis", 108, 63, 275, 251]
        ]


def test_findings_that_a_dataset_does_not_label_are_null(tmp_path: Path) -> None:
    written("shenzhen", tmp_path)
    cohort = harmonize.load(CohortSpec("shenzhen", "shenzhen", tmp_path)).table
    assert sorted(cohort["No Finding"]) == [0, 0, 1, 1]
    assert cohort["Lung Lesion"].isna().all()


def test_boxes_of_rsna_lie_in_its_images_and_another_box_names_its_line(tmp_path: Path) -> None:
    head = "patientId,x,y,width,height,Target\n"
    put(
        tmp_path,
        {"stage_2_train_labels.csv": f"{head}a,,,,,0\nb,264.0,152.0,213.0,379.0,1\nb,562.0,152.0,256.0,453.0,1\n"},
    )
    table = adapter("rsna").read(tmp_path)
    assert table[LABELS].tolist() == ["no lung opacity", "lung opacity"]
    boxes = adapter("rsna").boxes(tmp_path)
    assert boxes[["x_min", "y_min", "x_max", "y_max"]].values.tolist() == [[264, 152, 477, 531], [562, 152, 818, 605]]
    put(tmp_path, {"stage_2_train_labels.csv": f"{head}a,,,,,0\nb,900.0,152.0,213.0,379.0,1\n"})
    with pytest.raises(DatasetError, match="the box of 'b' is outside its image") as caught:
        adapter("rsna").boxes(tmp_path)
    assert caught.value.where.endswith("stage_2_train_labels.csv:3")


def test_links_to_folders_above_them_are_not_followed(tmp_path: Path) -> None:
    table = written("shenzhen", tmp_path)
    for name, target in {"a": ".", "b": ".", "CXR_png/c": "..", "CXR_png/d": "..", "CXR_png/e": "."}.items():
        (tmp_path / name).symlink_to(target)  # two such links in one folder would be followed 2^40 times
    assert_same(adapter("shenzhen").read(tmp_path), table)


def test_two_folders_with_links_to_each_other_are_read_once_on_each_way(tmp_path: Path) -> None:
    put(tmp_path, {"a/1.png": "", "b/2.png": ""})
    (tmp_path / "a/x").symlink_to("../b")
    (tmp_path / "b/y").symlink_to("../a")
    assert sorted(image_paths(tmp_path)) == ["a/1", "a/x/2", "b/2", "b/y/1"]


def test_only_a_folder_without_permission_is_refused_and_never_lost_and_found() -> None:
    with pytest.raises(DatasetError, match="cannot read the folder"):
        DatasetError.refuse_folder(PermissionError(errno.EACCES, "Permission denied", "/disk/images"))
    with pytest.raises(FileNotFoundError):
        DatasetError.refuse_folder(FileNotFoundError(errno.ENOENT, "No such file or directory", "/disk/images"))
    DatasetError.refuse_folder(PermissionError(errno.EACCES, "Permission denied", "/disk/lost+found"))


def test_a_folder_that_cannot_be_read_is_an_error_and_not_missing_images(tmp_path: Path) -> None:
    written("tbx11k", tmp_path)
    script = "import sys; from pathlib import Path; from harmonize.datasets.open_files import tbx11k; tbx11k.read(Path(sys.argv[1]))"
    (tmp_path / "imgs/health").chmod(0)
    done = subprocess.run(
        [*bound_by_permissions(), sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(harmonize.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    (tmp_path / "imgs/health").chmod(0o755)
    assert "cannot read the folder: Permission denied" in done.stderr
    assert str(tmp_path / "imgs/health") in done.stderr


def test_the_classes_of_rsna_state_no_finding_and_its_mapping_the_patients_of_nih(tmp_path: Path) -> None:
    put(tmp_path, {"stage_2_train_labels.csv": "patientId,x,y,width,height,Target\na,,,,,0\nb,,,,,0\nc,1,1,2,2,1\n",
                   **{f"stage_2_train_images/{name}.dcm": "" for name in "abc"}})  # fmt: skip
    spec = CohortSpec("rsna", "rsna", tmp_path)
    without = harmonize.load(spec).table
    assert without["No Finding"].fillna(-9).tolist() == [-9, -9, 0]
    assert without["patient_id"].tolist() == ["a", "b", "c"]
    assert [remark.what for remark in adapter("rsna").remarks(without, tmp_path)] == ["patients"]
    classes = "patientId,class\na,Normal\nb,No Lung Opacity / Not Normal\nc,Lung Opacity\n"
    mapping = [
        {"subset_img_id": "a", "img_id": "00000013_005.png"},
        {"subset_img_id": "b", "img_id": "00000013_006.png"},
    ]
    put(tmp_path, {"stage_2_detailed_class_info.csv": classes, adapter("rsna").patients: json.dumps(mapping)})
    table = harmonize.load(spec).table
    assert table["No Finding"].tolist() == [1, 0, 0]
    assert table["Pneumonia"].tolist() == [0, 0, 1]
    assert table["patient_id"].tolist() == ["13", "13", "c"]


def test_opposite_labels_of_one_image_are_a_fault_with_file_and_line(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"train-rle.csv": "ImageId, EncodedPixels\n9.1,-1\n9.2,557374 2 1015 8\n9.2,12 3\n9.1,557374 2\n9.3,\n"},
    )
    table = adapter("siim").read(tmp_path)
    assert table[LABELS].tolist()[1] == "pneumothorax"
    found = faults(table)
    assert set(found) == {"9.1", "9.3"}
    assert found["9.1"] == "the image has the opposite labels 'no pneumothorax' and 'pneumothorax' at train-rle.csv:5"
    assert "train-rle.csv:6" in found["9.3"]


def test_a_row_of_an_unknown_image_goes_to_the_quarantine(tmp_path: Path) -> None:
    put(tmp_path, {"stage_2_train_labels.csv": "patientId,x,y,width,height,Target\na,,,,,0\n",
                   "stage_2_detailed_class_info.csv": "patientId,class\na,Normal\nz,Normal\n"})  # fmt: skip
    table = adapter("rsna").read(tmp_path)
    assert (
        faults(table)[""]
        == "'z' in column 'image' is not an image of the first table at stage_2_detailed_class_info.csv:3"
    )
    put(tmp_path, {"stage_2_detailed_class_info.csv": "patientId,class\na.dcm,Normal\n"})
    with pytest.raises(DatasetError, match="the endings of file names differ"):
        adapter("rsna").read(tmp_path)


def test_a_word_that_is_no_label_is_a_fault(tmp_path: Path) -> None:
    put(tmp_path, {"stage_2_train_labels.csv": "patientId,x,y,width,height,Target\na,,,,,0\nb,,,,,yes\n"})
    assert (
        "'yes' in column 'Target' is not one of 1, 0 at stage_2_train_labels.csv:3"
        in faults(adapter("rsna").read(tmp_path))["b"]
    )


@pytest.mark.parametrize("layout", ["rsna", "shenzhen"])
def test_one_image_in_two_formats_is_refused(tmp_path: Path, layout: str) -> None:
    table = written(layout, tmp_path)
    path = Path(table["path"].iloc[0])
    (tmp_path / path.with_suffix(".jpg")).touch()
    with pytest.raises(DatasetError, match="two formats") as caught:
        adapter(layout).read(tmp_path)
    assert "remove the others" in caught.value.fix


def test_cases_of_the_covid_collection(tmp_path: Path) -> None:
    head = "patientid,sex,age,finding,view,modality,folder,filename\n"
    rows = ["1,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.jpg", "1,M,65,Pneumonia/Viral/COVID-19,Axial,CT,volumes,b.nii",
            '2,F,40,"COVID-19, ARDS",AP Supine,X-ray,images,c.png', "3,F,,No Finding,L,X-ray,images,d.png", "4,,,todo,PA,X-ray,images,e.png",
            "5,M,20,Mycoplasma Bacterial Pneumonia,PA,X-ray,images,f.png"]  # fmt: skip
    put(tmp_path, {"metadata.csv": head + "\n".join(rows), "images/a.jpg": "", "images/c.png": "", "images/f.png": ""})
    table = adapter("covid").read(tmp_path)
    assert table["drop"].tolist() == ["", "no radiograph", "", "", "no mapped finding", ""]
    assert table["view"].tolist()[:4] == ["PA", "UNKNOWN", "AP", "LATERAL"]
    assert table["patient_id"].tolist() == ["1", "1", "2", "3", "4", "5"]
    cohort = harmonize.load(CohortSpec("covid", "covid", tmp_path)).table
    assert cohort["Pneumonia"].tolist() == [1, 1, 1]
    put(tmp_path, {"metadata.csv": head.replace("view", "position") + "\n".join(rows)})
    with pytest.raises(DatasetError, match="view"):
        adapter("covid").read(tmp_path)


def test_columns_of_vindr_pcxr_become_labels(tmp_path: Path) -> None:
    written("pcxr", tmp_path)
    path = tmp_path / "image_labels_test.csv"
    raw = pd.read_csv(path, dtype=str)
    raw.assign(**{"No finding": "1", "Pneumonia": "1.0"}).to_csv(path, index=False)
    [fault] = faults(adapter("pcxr").read(tmp_path)).values()
    assert "image_labels_test.csv:2" in fault


def test_images_whose_names_are_not_as_published_are_counted(tmp_path: Path) -> None:
    put(tmp_path, {f"CXR_png/{name}.png": "" for name in ("CHNCXR_0001_0", "CHNCXR_0002_1 (1)", "._CHNCXR_0001_0")})
    found = [remark.found for remark in adapter("shenzhen").remarks(adapter("shenzhen").read(tmp_path), tmp_path)]
    assert any("as published: 1, e.g. CXR_png/CHNCXR_0002_1 (1).png" in text for text in found)


def test_regions_that_radiologists_marked_are_a_label_source_of_shenzhen(tmp_path: Path) -> None:
    names = ["CHNCXR_0001_0", "CHNCXR_0327_1", "CHNCXR_0437_1", "CHNCXR_0447_1", "CHNCXR_0467_1", "CHNCXR_0999_1"]
    put(tmp_path, {f"CXR_png/{name}.png": "" for name in names})
    spec = CohortSpec("shenzhen", "shenzhen", tmp_path, label_source="regions")
    with pytest.raises(DatasetError, match=r"no Statistics_ShenzhenDataset\.csv"):
        harmonize.load(spec)
    head = (
        "imagename,Pleural_Effusion,Apical_Thickening,Single_Nodule_(non-calcified),Severe_Infiltrate_(Consolidation),"
    )
    head += "Clustered_Nodule_(2mm-5mm_apart)\n"
    rows = "CHNCXR_0327_1.png,0,0,0,0,1\nCHNCXR_0437_1.png,0,1,0,0,0\nCHNCXR_0447_1.png,0,0,0,3,0\nCHNCXR_0467_1.png,0,0,0,0,0\n"
    put(tmp_path, {"Statistics_ShenzhenDataset.csv": head + rows})
    findings = ("No Finding", "Consolidation", "Lung Lesion", "Pleural Effusion", "Edema")
    table = harmonize.load(spec, findings=findings).table
    found = {finding: table[finding].fillna(-9).tolist() for finding in findings}
    assert found == {
        "No Finding": [1, 0, 0, 0, 0, 0],
        "Consolidation": [0, 0, 0, 1, -9, -9],
        "Lung Lesion": [0, 1, 0, 0, -9, -9],
        "Pleural Effusion": [0, 0, 0, 0, -9, -9],
        "Edema": [-9] * 6,
    }
    assert harmonize.load(CohortSpec("shenzhen", "shenzhen", tmp_path)).table["Consolidation"].isna().all()
    put(
        tmp_path,
        {"Statistics_ShenzhenDataset.csv": head + "CHNCXR_0327_1.png,0,0,some,0,1\nCHNCXR_0327_1.png,0,0,1,0,1\n"},
    )
    fault = faults(adapter("shenzhen").read(tmp_path))
    assert "Statistics_ShenzhenDataset.csv:2" in fault["CXR_png/CHNCXR_0327_1"]
