"""Tests of sex and age of VinDr, which are read from DICOM headers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from native_tables import on_disk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

import harmonize
from harmonize.cohorts.dicom_demographics import read_people
from harmonize.datasets.vindr import images


def write_header(path: Path, **tags: object) -> None:
    """Write a DICOM file without pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    for tag, value in tags.items():
        setattr(data, tag, value)
    data.save_as(path, enforce_file_format=False)


@pytest.mark.parametrize(
    ("tags", "sex", "age"),
    [
        ({"PatientSex": "F", "PatientAge": "045Y"}, "F", 45.0),
        ({"PatientSex": "M", "PatientAge": "006M"}, "M", 0.5),
        ({"PatientSex": "O"}, "", np.nan),
        ({"PatientAge": ""}, "", np.nan),
        ({}, "", np.nan),
    ],
)
def test_sex_and_age_are_read_from_two_tags(tags: dict[str, str], sex: str, age: float, tmp_path: Path) -> None:
    write_header(tmp_path / "a.dicom", **tags)
    (row,) = read_people([tmp_path / "a.dicom"]).itertuples(index=False)
    assert (row.image_id, row.sex) == ("a", sex)
    assert row.age == age or (np.isnan(row.age) and np.isnan(age))


def test_the_size_of_the_image_is_read(tmp_path: Path) -> None:
    write_header(tmp_path / "a.dicom", Rows=2880, Columns=2304)
    write_header(tmp_path / "b.dicom")
    people = read_people([tmp_path / "a.dicom", tmp_path / "b.dicom"])
    assert people.to_csv(index=False).splitlines()[1:] == ["a,,,2880,2304", "b,,,,"]


def test_a_file_that_is_not_dicom_has_no_sex_and_no_age(tmp_path: Path) -> None:
    (tmp_path / "a.dicom").write_bytes(b"no image")
    assert read_people([tmp_path / "a.dicom"]).isna()["age"].all()


def test_the_cohort_has_sex_and_age_only_with_people_csv(tmp_path: Path) -> None:
    spec = on_disk("vindr", tmp_path)
    assert set(harmonize.load(spec).table["sex"]) == {""}
    first, *others = images(tmp_path)
    write_header(first, PatientSex="F", PatientAge="061Y")
    assert len(others) == 4
    people = read_people([first, *others])
    people.to_csv(tmp_path / "people.csv", index=False)
    table = harmonize.load(spec).table.set_index("image_id")
    assert (table["sex"][first.stem], table["age"][first.stem]) == ("F", 61.0)
    assert table.drop(index=first.stem)["age"].isna().all()
    assert set(table.drop(index=first.stem)["sex"]) == {""}
    assert pd.read_csv(tmp_path / "people.csv")["image_id"].is_unique
