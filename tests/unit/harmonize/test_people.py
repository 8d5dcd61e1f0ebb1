"""Sex and age of VinDr: read from DICOM headers once, absent where nobody states them."""

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


def header(path: Path, **tags: str) -> None:
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
def test_two_tags_are_read_and_nothing_is_made_up(tags: dict[str, str], sex: str, age: float, tmp_path: Path) -> None:
    header(tmp_path / "a.dicom", **tags)
    (row,) = read_people([tmp_path / "a.dicom"]).itertuples(index=False)
    assert (row.image_id, row.sex) == ("a", sex)
    assert row.age == age or (np.isnan(row.age) and np.isnan(age))


def test_a_file_that_is_no_dicom_states_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.dicom").write_bytes(b"no image")
    assert read_people([tmp_path / "a.dicom"]).isna()["age"].all()


def test_people_csv_in_the_folder_is_part_of_the_cohort_and_without_it_nobody_is_described(tmp_path: Path) -> None:
    spec = on_disk("vindr", tmp_path)
    assert set(harmonize.load(spec).table["sex"]) == {""}
    first, *others = images(tmp_path)
    header(first, PatientSex="F", PatientAge="061Y")
    assert len(others) == 4
    found = read_people([first, *others])
    found.to_csv(tmp_path / "people.csv", index=False)
    table = harmonize.load(spec).table.set_index("image_id")
    assert (table["sex"][first.stem], table["age"][first.stem]) == ("F", 61.0)
    assert table.drop(index=first.stem)["age"].isna().all()
    assert set(table.drop(index=first.stem)["sex"]) == {""}
    assert pd.read_csv(tmp_path / "people.csv")["image_id"].is_unique
