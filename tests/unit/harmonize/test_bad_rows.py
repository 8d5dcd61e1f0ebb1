"""Bad input: each odd row is named and left out, and what cannot be trusted as a whole is refused."""

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
from harmonize import CohortSpec, DatasetError
from harmonize.checks.duplicates import Looked, check_images
from harmonize.checks.known_images import seen
from harmonize.checks.release import inspect
from harmonize.checks.scan import scan
from harmonize.cohorts.bad_rows import FEW, usable
from harmonize.datasets import FAULT, nih, padchest
from harmonize.datasets import mimic as mimic_layout
from harmonize.statistics.cohort_statistics import describe

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


def named(spec: CohortSpec) -> dict[str, tuple[str, str]]:
    """Return what `bench check` says of the rows: level and finding by what was looked at."""
    return {c.what: (c.level, c.found) for c in inspect(spec)[1] if "row" in c.what or c.what == "words"}


def flow_balances(cohort: harmonize.Cohort) -> bool:
    """Whether found minus every loss is kept."""
    flow = {step: n for step, n in cohort.flow.items() if step not in harmonize.cohorts.cohort_choice.REMARKS}
    found, kept = flow.pop("found"), flow.pop("kept")
    return found - sum(flow.values()) == kept == len(cohort.table)


def test_a_row_with_an_unknown_label_is_left_out_and_named_and_the_rest_is_read(tmp_path: Path) -> None:
    spec = edited("nih", tmp_path, ENTRIES, with_cell(1, "Finding Labels", "Edema|Oedema"))
    cohort = harmonize.load(spec)
    assert cohort.flow["bad_row"] == 1
    assert flow_balances(cohort)
    assert FAULT not in cohort.table
    reason = cohort.quarantine["reason"].tolist()[0]
    assert reason.startswith("'Edema|Oedema' in column 'Finding Labels' is not of ")
    assert reason.endswith(f"at {ENTRIES}:3")
    level, found = named(spec)["rows left out"]
    assert level == "fault"
    assert "1 of 4 cannot" in found
    assert "Oedema" in found


def test_a_row_that_is_repeated_is_read_once_and_counted(tmp_path: Path) -> None:
    spec = edited("nih", tmp_path, ENTRIES, lambda raw: pd.concat([raw, raw.iloc[[1, 1]]]))
    cohort = harmonize.load(spec)
    assert cohort.flow["repeated_row"] == 2
    assert "bad_row" not in cohort.flow
    assert cohort.table["image_id"].is_unique
    assert flow_balances(cohort)
    assert named(spec)["repeated rows"] == ("warning", "2 rows repeat another in every cell")
    written("nih", tmp_path / "once")
    assert harmonize.load(CohortSpec("nih", "nih", tmp_path / "once")).id == cohort.id


def test_image_ids_whose_rows_differ_are_all_left_out(tmp_path: Path) -> None:
    spec = edited(
        "nih", tmp_path, ENTRIES, lambda raw: pd.concat([raw, raw.iloc[[1]].assign(**{"Finding Labels": "Hernia"})])
    )
    cohort = harmonize.load(spec)
    image = TABLES["nih"]()["image_id"][1]
    assert cohort.quarantine["image_id"].tolist() == [image, image]
    assert set(cohort.quarantine["reason"]) == {"an image id with rows that differ"}
    assert image not in set(cohort.table["image_id"])
    assert flow_balances(cohort)


@pytest.mark.parametrize("bad", ["../outside.png", "/etc/passwd", "images/../../x.png", "C:/x.png"])
def test_a_path_that_leaves_the_root_is_never_opened(bad: str, tmp_path: Path) -> None:
    (tmp_path / "outside.png").touch()
    spec = edited("table", tmp_path / "root", "table.csv", with_cell(1, "path", bad))
    cohort = harmonize.load(spec)
    assert cohort.quarantine[["path", "reason"]].to_numpy().tolist() == [[bad, "a path that leaves the root"]]
    assert bad not in set(cohort.table["path"])
    assert "leaves the root (1)" in named(spec)["rows left out"][1]


def test_an_image_without_a_patient_is_left_out(tmp_path: Path) -> None:
    table = TABLES["padchest"]()
    table.loc[1, "patient_id"] = ""
    padchest.write(table, tmp_path)
    touch(table, tmp_path)
    cohort = harmonize.load(CohortSpec("padchest", "padchest", tmp_path))
    assert cohort.quarantine["reason"].tolist() == ["no patient_id"]


def test_studies_of_mimic_with_two_rows_that_differ_are_left_out_and_equal_rows_count_once(tmp_path: Path) -> None:
    spec = edited("mimic", tmp_path, MIMIC_LABELS, lambda raw: pd.concat([raw, raw.iloc[:1]]))
    assert "bad_row" not in harmonize.load(spec).flow
    raw = pd.read_csv(tmp_path / MIMIC_LABELS, dtype=str, keep_default_na=False)
    raw.loc[raw.index[-1], "Fracture"] = "-1.0" if raw["Fracture"].iloc[0] != "-1.0" else "1.0"
    raw.to_csv(tmp_path / MIMIC_LABELS, index=False)
    left_out = mimic_layout.read(tmp_path).query(f"{FAULT} != ''")
    assert set(left_out["study_id"]) == {raw["study_id"].iloc[0]}


def test_an_unknown_split_of_mimic_is_left_out(tmp_path: Path) -> None:
    spec = edited("mimic", tmp_path, "mimic-cxr-2.0.0-split.csv.gz", with_cell(0, "split", "valid"))
    assert (
        "'valid' in column 'split' is not train, validate or test" in harmonize.load(spec).quarantine["reason"].iloc[0]
    )


def test_one_odd_reader_of_vindr_takes_out_its_image(tmp_path: Path) -> None:
    spec = edited("vindr", tmp_path, "annotations/image_labels_train.csv", with_cell(4, "Edema", "?"))
    cohort = harmonize.load(spec)
    assert cohort.flow["bad_row"] == 1
    assert len(cohort.table) == len(TABLES["vindr"]()) - 1


def test_words_outside_the_vocabulary_of_padchest_are_a_warning_and_the_image_stays(tmp_path: Path) -> None:
    table = TABLES["padchest"]()
    table.loc[0, "native:labels"] = "normal|pnuemonia"
    padchest.write(table, tmp_path)
    touch(table, tmp_path)
    spec = CohortSpec("padchest", "padchest", tmp_path)
    assert named(spec)["words"] == ("warning", "1 rows have others: 'pnuemonia' (1)")


def native(number: int) -> pd.DataFrame:
    """A native table of `number` rows that can be used."""
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(number)], "path": [f"i{k}.png" for k in range(number)]})
    table["patient_id"] = table["study_id"] = table["image_id"]
    return table.assign(split="", view="PA", sex="", age=np.nan, device="")


@pytest.mark.parametrize(
    ("rows", "bad", "refused"),
    [(1000, 10, False), (1000, 11, True), (20, FEW, False), (20, FEW + 1, True), (6, 3, False), (6, 4, True)],
)
def test_more_bad_rows_than_a_few_or_a_hundredth_refuse_the_table(rows: int, bad: int, refused: bool) -> None:
    table = native(rows).assign(**{FAULT: ""})
    table.loc[: bad - 1, FAULT] = [f"'?' in column 'Edema' is not a label state at x.csv:{k + 2}" for k in range(bad)]
    flow: dict[str, int] = {}
    if refused:
        with pytest.raises(
            DatasetError, match=rf"{bad} of {rows:,} rows cannot be used, e\.g\. '\?' in column 'Edema'"
        ):
            usable(table, "here", flow)
    else:
        kept, left_out = usable(table, "here", flow)
        assert (len(kept), len(left_out), flow) == (rows - bad, bad, {"bad_row": bad})


def test_rows_that_can_all_be_used_stay_as_they_are() -> None:
    flow: dict[str, int] = {}
    kept, left_out = usable(native(4), "here", flow)
    assert kept.equals(native(4))
    assert left_out.empty
    assert flow == {}


def test_a_dicom_without_pixels_and_a_bomb_are_named_and_the_other_images_are_read(tmp_path: Path) -> None:
    written("vindr", tmp_path / "vindr")
    empty, bomb, *others = sorted((tmp_path / "vindr").rglob("*.dicom"))
    data = FileDataset(str(empty), {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.Rows = data.Columns = 64
    data.save_as(empty, enforce_file_format=False)
    whole = cv2.imencode(".png", np.arange(4096, dtype=np.uint8).reshape(64, 64))[1].tobytes()
    for other in others:
        other.write_bytes(whole)
    size = b"IHDR" + (40_000).to_bytes(4, "big") * 2 + whole[24:29]
    bomb.write_bytes(whole[:12] + size + zlib.crc32(size).to_bytes(4, "big") + whole[33:])
    cohort = harmonize.load(CohortSpec("vindr", "vindr", tmp_path / "vindr"))
    looked = Looked(cohort, scan("vindr", cohort.root, cohort.table["path"].tolist(), tmp_path / "store"))
    (found,) = [check for check in check_images(looked) if check.level == "fault"]
    assert "2 cannot" in found.found
    assert f"{empty.stem} (damaged DICOM: no pixel data)" in found.found
    assert f"{bomb.stem} (40000 x 40000 pixels, more than 100,000,000)" in found.found
    known = seen(cohort.root, cohort.table, tmp_path / "store", tmp_path / "no-cache")
    flow = describe(cohort, seen=known).flow.set_index("step")["images"]
    assert (flow["kept"], flow["unreadable"], flow["used"]) == (5, 2, 3)
