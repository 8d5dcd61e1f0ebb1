"""Tests of bad input: bad rows are listed and excluded; a table with many bad rows raises an error."""

import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from native_tables import TABLES, touch, written
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

import harmonize
from harmonize import CohortSpec
from harmonize.checks.duplicates import ScannedCohort, check_images
from harmonize.checks.release import inspect
from harmonize.checks.scan import scan
from harmonize.cohorts.bad_rows import separate_bad_rows
from harmonize.datasets import FAULT, nih, padchest
from harmonize.datasets import mimic as mimic_layout
from harmonize.datasets.ids import FEW
from harmonize.errors import DatasetError

ENTRIES = nih.ENTRIES[0]
MIMIC_LABELS = "mimic-cxr-2.0.0-chexpert.csv.gz"


def edited(layout: str, root: Path, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> CohortSpec:
    """Write a small dataset and change one of its files, as text."""
    written(layout, root)
    raw = pd.read_csv(root / name, dtype=str, keep_default_na=False)
    edit(raw).to_csv(root / name, index=False)
    mapped = ("table.csv", str(root / "mapping.yaml")) if layout == "table" else ()
    return CohortSpec(layout, layout, root, *mapped)


def with_cell(row: int, column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda raw: raw.assign(**{column: raw[column].where(raw.index != row, value)})


def row_checks(spec: CohortSpec) -> dict[str, tuple[str, str]]:
    """Return the row checks of `bench check`: name -> (level, result)."""
    return {c.what: (c.level, c.found) for c in inspect(spec)[1] if "row" in c.what or c.what == "labels"}


def flow_balances(cohort: harmonize.Cohort) -> bool:
    """Return whether `kept` is `found` minus all losses."""
    flow = {step: n for step, n in cohort.flow.items() if step not in harmonize.cohorts.cohort_choice.REMARKS}
    found, kept = flow.pop("found"), flow.pop("kept")
    return found - sum(flow.values()) == kept == len(cohort.table)


def test_a_row_with_an_unknown_label_is_excluded_with_a_reason(tmp_path: Path) -> None:
    spec = edited("nih", tmp_path, ENTRIES, with_cell(1, "Finding Labels", "Edema|Oedema"))
    cohort = harmonize.load(spec)
    assert cohort.flow["bad_row"] == 1
    assert flow_balances(cohort)
    assert FAULT not in cohort.table
    reason = cohort.quarantine["reason"].tolist()[0]
    assert reason.startswith("'Edema|Oedema' in column 'Finding Labels' is not of ")
    assert reason.endswith(f"at {ENTRIES}:3")
    level, result = row_checks(spec)["bad rows"]
    assert level == "fault"
    assert "1 of 4 rows cannot be used" in result
    assert "Oedema" in result


def test_a_repeated_row_is_used_once_and_counted(tmp_path: Path) -> None:
    spec = edited("nih", tmp_path, ENTRIES, lambda raw: pd.concat([raw, raw.iloc[[1, 1]]]))
    cohort = harmonize.load(spec)
    assert cohort.flow["repeated_row"] == 2
    assert "bad_row" not in cohort.flow
    assert cohort.table["image_id"].is_unique
    assert flow_balances(cohort)
    assert row_checks(spec)["repeated rows"] == ("warning", "2 rows repeat another in every cell")
    written("nih", tmp_path / "once")
    assert harmonize.load(CohortSpec("nih", "nih", tmp_path / "once")).id == cohort.id


def test_different_rows_with_one_image_id_are_all_excluded(tmp_path: Path) -> None:
    spec = edited(
        "nih", tmp_path, ENTRIES, lambda raw: pd.concat([raw, raw.iloc[[1]].assign(**{"Finding Labels": "Hernia"})])
    )
    cohort = harmonize.load(spec)
    image = TABLES["nih"]()["image_id"][1]
    assert cohort.quarantine["image_id"].tolist() == [image, image]
    assert set(cohort.quarantine["reason"]) == {"several different rows have this image id"}
    assert image not in set(cohort.table["image_id"])
    assert flow_balances(cohort)


@pytest.mark.parametrize("bad", ["../outside.png", "/etc/passwd", "images/../../x.png", "C:/x.png"])
def test_a_path_outside_the_root_is_excluded(bad: str, tmp_path: Path) -> None:
    (tmp_path / "outside.png").touch()
    spec = edited("table", tmp_path / "root", "table.csv", with_cell(1, "path", bad))
    cohort = harmonize.load(spec)
    assert cohort.quarantine[["path", "reason"]].to_numpy().tolist() == [
        [bad, f"the path is absolute or leads out of the root folder at {bad}"]
    ]
    assert bad not in set(cohort.table["path"])
    assert f"leads out of the root folder at {bad} (1)" in row_checks(spec)["bad rows"][1]


def test_an_image_without_a_patient_is_excluded(tmp_path: Path) -> None:
    table = TABLES["padchest"]()
    table.loc[1, "patient_id"] = ""
    padchest.write(table, tmp_path)
    touch(table, tmp_path)
    cohort = harmonize.load(CohortSpec("padchest", "padchest", tmp_path))
    assert cohort.quarantine["reason"].tolist() == ["no patient_id"]


def test_mimic_studies_with_two_different_rows_are_excluded_and_equal_rows_count_once(tmp_path: Path) -> None:
    spec = edited("mimic", tmp_path, MIMIC_LABELS, lambda raw: pd.concat([raw, raw.iloc[:1]]))
    assert "bad_row" not in harmonize.load(spec).flow
    raw = pd.read_csv(tmp_path / MIMIC_LABELS, dtype=str, keep_default_na=False)
    raw.loc[raw.index[-1], "Fracture"] = "-1.0" if raw["Fracture"].iloc[0] != "-1.0" else "1.0"
    raw.to_csv(tmp_path / MIMIC_LABELS, index=False)
    excluded = mimic_layout.read(tmp_path).query(f"{FAULT} != ''")
    assert set(excluded["study_id"]) == {raw["study_id"].iloc[0]}


def test_a_mimic_image_with_an_unknown_split_is_excluded(tmp_path: Path) -> None:
    spec = edited("mimic", tmp_path, "mimic-cxr-2.0.0-split.csv.gz", with_cell(0, "split", "valid"))
    assert (
        "'valid' in column 'split' is not train, validate or test" in harmonize.load(spec).quarantine["reason"].iloc[0]
    )


def test_an_invalid_cell_of_one_vindr_reader_excludes_the_image(tmp_path: Path) -> None:
    spec = edited("vindr", tmp_path, "annotations/image_labels_train.csv", with_cell(4, "Edema", "?"))
    cohort = harmonize.load(spec)
    assert cohort.flow["bad_row"] == 1
    assert len(cohort.table) == len(TABLES["vindr"]()) - 1


def test_labels_outside_the_padchest_vocabulary_give_a_warning_and_keep_the_image(tmp_path: Path) -> None:
    table = TABLES["padchest"]()
    table.loc[0, "native:labels"] = "normal|pnuemonia"
    padchest.write(table, tmp_path)
    touch(table, tmp_path)
    spec = CohortSpec("padchest", "padchest", tmp_path)
    assert row_checks(spec)["labels"] == (
        "warning",
        "1 rows have labels that the release does not have: 'pnuemonia' (1)",
    )


def native(number: int) -> pd.DataFrame:
    """Return a native table of `number` usable rows."""
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(number)], "path": [f"i{k}.png" for k in range(number)]})
    table["patient_id"] = table["study_id"] = table["image_id"]
    return table.assign(split="", view="PA", sex="", age=np.nan, device="")


@pytest.mark.parametrize(
    ("rows", "bad", "refused"),
    [(1000, 10, False), (1000, 11, True), (20, FEW, False), (20, FEW + 1, True), (6, 3, False), (6, 4, True)],
)
def test_a_table_with_too_many_bad_rows_raises_an_error(rows: int, bad: int, refused: bool) -> None:
    table = native(rows).assign(**{FAULT: ""})
    table.loc[: bad - 1, FAULT] = [f"'?' in column 'Edema' is not a label state at x.csv:{k + 2}" for k in range(bad)]
    flow: dict[str, int] = {}
    if refused:
        with pytest.raises(
            DatasetError,
            match=rf"{bad} of {rows:,} rows cannot be used: '\?' in column 'Edema' .* at x.csv:2, x.csv:3, x.csv:4, …",
        ):
            separate_bad_rows(table, "here", flow)
    else:
        usable_rows, bad_rows = separate_bad_rows(table, "here", flow)
        assert (len(usable_rows), len(bad_rows), flow) == (rows - bad, bad, {"bad_row": bad})


def test_a_table_without_bad_rows_does_not_change() -> None:
    flow: dict[str, int] = {}
    usable_rows, bad_rows = separate_bad_rows(native(4), "here", flow)
    assert usable_rows.equals(native(4))
    assert bad_rows.empty
    assert flow == {}


def test_a_dicom_without_pixels_and_a_huge_png_are_reported_and_other_images_are_used(tmp_path: Path) -> None:
    written("vindr", tmp_path / "vindr")
    empty, huge, *others = sorted((tmp_path / "vindr").rglob("*.dicom"))
    data = FileDataset(str(empty), {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.Rows = data.Columns = 64
    data.save_as(empty, enforce_file_format=False)
    valid_png = cv2.imencode(".png", np.arange(4096, dtype=np.uint8).reshape(64, 64))[1].tobytes()
    for other in others:
        other.write_bytes(valid_png)
    size = b"IHDR" + (40_000).to_bytes(4, "big") * 2 + valid_png[24:29]
    huge.write_bytes(valid_png[:12] + size + zlib.crc32(size).to_bytes(4, "big") + valid_png[33:])
    cohort = harmonize.load(CohortSpec("vindr", "vindr", tmp_path / "vindr"))
    scanned = ScannedCohort(cohort, scan("vindr", cohort.root, cohort.table["path"].tolist(), tmp_path / "store"))
    (check,) = [check for check in check_images(scanned) if check.level == "fault"]
    assert "2 cannot" in check.found
    assert f"{empty.stem} (damaged DICOM: no pixel data)" in check.found
    assert f"{huge.stem} (40000 x 40000 pixels, more than 100,000,000)" in check.found
