"""Tests of the adapter of TAIX-Ray on files with the names and headers of the release."""

from pathlib import Path

import pytest

import harmonize
from harmonize import CohortSpec
from harmonize.datasets import taixray
from harmonize.errors import DatasetError

# the header of annotation.csv as the release's script writes it; the values are made up
HEADER = ("UID,PatientID,PhysicianID,StudyDate,Age,Sex,HeartSize,PulmonaryCongestion,PleuralEffusion_Right,PleuralEffusion_Left,"
          "PulmonaryOpacities_Right,PulmonaryOpacities_Left,Atelectasis_Right,Atelectasis_Left")  # fmt: skip
ROWS = ("e1,p1,d1,2013-05-25,26647,M,2,0,2,1,0,0,1,0", "e2,p2,d2,2013-05-03,19020,F,1,3,0,0,1,4,0,0")


def put(root: Path, table: str, images: str, rows: tuple[str, ...] = ROWS, split: str = "split.csv") -> None:
    path = root / table
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    (path.parent / split).write_text("UID,Split\ne1,train\ne2,test\n")
    (root / images).mkdir(parents=True, exist_ok=True)
    for name in ("e1", "e2"):
        (root / images / f"{name}.png").touch()


@pytest.mark.parametrize(
    ("table", "images"),
    [
        ("metadata/annotation.csv", "data"),
        ("metadata/annoation.csv", "data"),  # as the page of the release spells it
        ("annotation.csv", "images"),
        ("data_512/images/annotation.csv", "data_512/images"),
    ],
)
def test_grades_become_findings_in_every_layout_of_the_release(table: str, images: str, tmp_path: Path) -> None:
    put(tmp_path, table, images)
    names = ("Cardiomegaly", "Edema", "Pleural Effusion", "Atelectasis", "Lung Opacity", "Pneumonia")
    cohort = harmonize.load(CohortSpec("taixray", "taixray", tmp_path), findings=names)
    assert cohort.flow["absent"] == 0
    rows = cohort.table.set_index("image_id")
    assert rows[list(names)].fillna(-9).loc["e1"].tolist() == [1, 0, 1, -1, 0, -9]
    assert rows[list(names)].fillna(-9).loc["e2"].tolist() == [-1, 1, 0, 0, 1, -9]
    assert rows["age"].round(1).tolist() == [73.0, 52.1]  # the file states days
    assert rows[["view", "sex", "split"]].to_numpy().tolist() == [["AP", "M", "train"], ["AP", "F", "test"]]


def test_a_grade_above_4_is_a_fault_with_its_line_and_a_missing_table_is_named(tmp_path: Path) -> None:
    put(tmp_path, "metadata/annotation.csv", "data", (ROWS[0].replace(",2,0,2", ",7,0,2"), ROWS[1]))
    fault = taixray.read(tmp_path)["row_fault"]
    assert "'7' in column 'HeartSize' is not a grade from 0 to 4 at annotation.csv:2" in fault[0]
    with pytest.raises(DatasetError, match=r"metadata/anno\*ation.csv"):
        taixray.read(tmp_path / "data")
