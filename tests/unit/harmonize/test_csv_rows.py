"""Tests of CSV rows whose cells cannot be assigned to columns, and of cells that state no usable value."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from native_tables import TABLES, on_disk, touch, written

import harmonize
from harmonize import CohortSpec
from harmonize.checks.release import Check, inspect
from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.datasets import FAULT, adapter, brax, csvrows, nih, padchest, vindr
from harmonize.datasets.csvfile import header, read_text
from harmonize.errors import DatasetError

MAPPING = """
image: "{file}"
patient: patient
age: {column: age}
findings: {Edema: {column: edema, present: [1], absent: [0]}, Cardiomegaly: {column: heart, present: [1], absent: [0]}}
"""
HEADER = "file,patient,comment,age,edema,heart"
ROWS = [f"{k}.png,p{k},fine,{20 + k},{k % 2},0" for k in range(12)]


def table_spec(root: Path, lines: list[str], name: str = "table.csv", end: str = "\n") -> CohortSpec:
    """Write a table and its images, and return the cohort."""
    root.mkdir(exist_ok=True)
    content = "".join(f"{line}{end}" for line in lines).encode()
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(Path(name).suffix, open)
    with opener(root / name, "wb") as file:
        file.write(content)
    (root / "mapping.yaml").write_text(MAPPING)
    for k in range(len(ROWS)):
        (root / f"{k}.png").touch()
    return CohortSpec("own", "table", root, name, str(root / "mapping.yaml"))


def with_rows(**changed: str) -> list[str]:
    """Return the lines of the table; `r3="..."` replaces row 3, which is line 5 of the file."""
    return [HEADER, *(changed.get(f"r{k}", row) for k, row in enumerate(ROWS))]


def reasons(spec: CohortSpec) -> dict[str, str]:
    """Return the reasons of the quarantine by image."""
    quarantine = harmonize.load(spec).quarantine
    return dict(zip(quarantine["image_id"], quarantine["reason"], strict=True))


def found(spec: CohortSpec, level: str) -> dict[str, str]:
    """Return what `bench check` found at one level."""
    return {check.what: check.found for check in inspect(spec)[1] if check.level == level}


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.csv.bz2", "table.csv.xz"])
def test_rows_with_too_many_or_too_few_cells_are_in_the_quarantine_and_the_others_keep_their_labels(
    name: str, tmp_path: Path
) -> None:
    lines = with_rows(r2="2.png,p2,note, with comma,22,1,0", r5="5.png,p5,fine,25,1")
    spec = table_spec(tmp_path, lines, name)
    assert reasons(spec) == {
        "2.png": f"7 cells in a table of 6 columns at {name}:4",
        "5.png": f"5 cells in a table of 6 columns at {name}:7",
    }
    cohort = harmonize.load(spec)
    assert cohort.flow["bad_row"] == 2
    clean = harmonize.load(table_spec(tmp_path / "clean", with_rows())).table
    clean = clean[~clean["image_id"].isin(["2.png", "5.png"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(cohort.table, clean)
    faults = found(spec, "fault")
    assert list(faults) == ["bad rows"]
    assert "2 of 12 rows cannot be used: 7 cells in a table of 6 columns at table.csv" in faults["bad rows"]


def test_a_table_in_which_most_rows_have_another_number_of_cells_is_refused_with_the_first_lines(
    tmp_path: Path,
) -> None:
    spec = table_spec(tmp_path, [HEADER, *(f"{k},{row}" for k, row in enumerate(ROWS))])
    with pytest.raises(DatasetError) as caught:
        harmonize.load(spec)
    assert caught.value.what == (
        "12 of 12 rows cannot be used: 7 cells in a table of 6 columns at table.csv:2, table.csv:3, table.csv:4, … (12)"
    )
    assert "12 of 12 rows" in found(spec, "fault")["refused"]


FILES = {  # layout -> label file
    "chexpert": "train.csv",
    "mimic": "mimic-cxr-2.0.0-chexpert.csv.gz",
    "nih": nih.ENTRIES[0],
    "padchest": padchest.FILE,
    "vindr": "annotations/image_labels_train.csv",
    "brax": brax.FILES[0],
    "table": "table.csv",
}


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of a plain or gzipped file."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as file:
        lines = file.read().splitlines()
    with opener(path, "wt", newline="") as file:
        file.write("".join(f"{line}\n" for line in change(lines)))


def damaged(line: str, damage: str) -> str:
    return line + ",1.0" if damage == "more" else line.rpartition(",")[0]


@pytest.mark.parametrize("damage", ["more", "fewer"])
@pytest.mark.parametrize("layout", FILES)
def test_a_damaged_row_of_every_layout_is_a_fault_and_yields_no_label(layout: str, damage: str, tmp_path: Path) -> None:
    spec = replace(on_disk(layout, tmp_path), choice=CohortChoice(views="all"))
    before = harmonize.load(spec)
    edit(tmp_path / FILES[layout], lambda lines: [*lines[:1], damaged(lines[1], damage), *lines[2:]])
    after = harmonize.load(spec)
    name = Path(FILES[layout]).name
    assert set(after.quarantine["reason"].str.rpartition(" at ")[2]) == {f"{name}:2"}
    lost = set(after.quarantine["image_id"])
    assert lost
    assert not lost & set(after.table["image_id"])
    rest = before.table[~before.table["image_id"].isin(lost)].reset_index(drop=True)
    pd.testing.assert_frame_equal(after.table, rest)
    faults = found(spec, "fault")
    assert "bad rows" in faults
    if layout != "table":
        assert "1 of " in faults[f"{name}: rows"]


@pytest.mark.parametrize("name", ["metadata", "split", "patients"])
def test_a_damaged_row_of_every_mimic_file_excludes_its_images(name: str, tmp_path: Path) -> None:
    spec = on_disk("mimic", tmp_path)
    file = f"mimic-cxr-2.0.0-{name}.csv.gz" if name != "patients" else "patients.csv.gz"
    edit(tmp_path / file, lambda lines: [*lines[:1], lines[1] + ",x", *lines[2:]])
    assert set(reasons(spec).values()) == {reasons(spec).popitem()[1]}
    assert reasons(spec).popitem()[1].endswith(f"at {file}:2")


def test_a_damaged_row_that_belongs_to_no_image_is_in_the_quarantine_with_its_line(tmp_path: Path) -> None:
    spec = on_disk("mimic", tmp_path)
    file = "mimic-cxr-2.0.0-chexpert.csv.gz"
    edit(tmp_path / file, lambda lines: [*lines[:1], "x," + lines[1], *lines[2:]])
    cohort = harmonize.load(spec)
    assert cohort.quarantine[["image_id", "reason"]].to_numpy().tolist() == [
        ["", f"17 cells in a table of 16 columns at {file}:2"]
    ]
    assert cohort.flow["unlabelled"] == 1  # the study's other image is lateral


def test_a_damaged_box_or_person_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / nih.BOXES).write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Mass,1,2,3\n")
    with pytest.raises(DatasetError, match=r"5 cells in a table of 9 columns at BBox_List_2017\.csv:2"):
        nih.boxes(tmp_path)
    written("vindr", tmp_path / "vindr")
    (tmp_path / "vindr" / vindr.PEOPLE).write_text("image_id,sex,age\na,F\n")
    with pytest.raises(DatasetError, match=r"2 cells in a table of 3 columns at people\.csv:2"):
        vindr.read(tmp_path / "vindr")


def test_cells_of_unnamed_columns_at_the_end_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,,\n1,2\n3,4,,\n5,6,,,\n7\n")
    rows = read_text(tmp_path / "t.csv", ["a", "b"])
    assert rows[FAULT].str.partition(" in ")[0].tolist() == ["", "", "5 cells", "1 cell"]
    assert rows.index.tolist() == [2, 3, 4, 5]
    assert header(tmp_path / "t.csv") == ["a", "b", "", ""]


def test_an_unclosed_quote_puts_every_row_that_it_joins_into_the_quarantine(tmp_path: Path) -> None:
    spec = table_spec(tmp_path, with_rows(r4='4.png,p4,"unclosed,24,0,0', r7='7.png,p7,closed",27,1,0'))
    assert reasons(spec) == {
        f"{k}.png": f"an unclosed quote joins this row with others at table.csv:{k + 2}" for k in (4, 5, 6, 7)
    }
    assert harmonize.load(spec).flow["found"] == len(ROWS)
    assert "4 of 12 rows cannot be used" in found(spec, "fault")["bad rows"]


def test_a_quote_that_is_never_closed_is_not_silent(tmp_path: Path) -> None:
    spec = table_spec(tmp_path, with_rows(r10='10.png,p10,"unclosed,30,0,0'))
    assert list(reasons(spec)) == ["10.png", "11.png"]
    (tmp_path / "table.csv").write_text(f'{HEADER}\n{ROWS[0]}\n1.png,p1,"{"x" * 2**24}y",21,0,0\n')
    with pytest.raises(DatasetError, match="field larger than field limit") as caught:
        harmonize.load(spec)
    assert caught.value.where.endswith("table.csv:3")


def test_line_breaks_in_free_text_are_valid_and_later_lines_are_counted_from_the_file(tmp_path: Path) -> None:
    report = '1.png,p1,"Heart normal, lungs clear.\nNo effusion, no edema, no mass, no nodule, no scar.\n",21,1,0'
    spec = table_spec(tmp_path, with_rows(r1=report, r3="3.png,p3,fine,23,1"))
    assert reasons(spec) == {"3.png": "5 cells in a table of 6 columns at table.csv:7"}
    assert harmonize.load(spec).table["native:Edema"].tolist()[1] == 1


def test_line_breaks_in_published_free_text_are_valid(tmp_path: Path) -> None:
    on_disk("padchest", tmp_path)
    path = tmp_path / padchest.FILE
    raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    raw["labelCUIS"] = "['C0444532' 'C0443246'\n 'C0032225']"
    raw.loc[2, "Labels"] = "?"
    raw.to_csv(path, index=False)
    faults = padchest.read(tmp_path)[FAULT]
    assert faults[faults != ""].tolist() == [f"'?' in column 'Labels' is not a list of words at {padchest.FILE}:6"]


def test_a_row_with_a_nul_character_is_in_the_quarantine(tmp_path: Path) -> None:
    spec = table_spec(tmp_path, with_rows(r2="2.png,p\x002,fine,22,1,0", r5="5.png,p5,fine,25,1\x00,0"))
    assert reasons(spec) == {f"{k}.png": f"a NUL character at table.csv:{k + 2}" for k in (2, 5)}


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_every_line_end_gives_the_same_table(end: str, tmp_path: Path) -> None:
    table = harmonize.load(table_spec(tmp_path / "a", with_rows(), end=end)).table
    pd.testing.assert_frame_equal(table, harmonize.load(table_spec(tmp_path / "b", with_rows())).table)


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    lines = with_rows(r3="3.png,p3,fine,23")
    spec = table_spec(tmp_path, ["", *lines[:4], " \t", "", *lines[4:], ""])
    assert reasons(spec) == {"3.png": "4 cells in a table of 6 columns at table.csv:8"}
    assert harmonize.load(spec).flow["found"] == len(ROWS)


def test_a_column_that_occurs_twice_is_refused_by_name_if_it_is_used(tmp_path: Path) -> None:
    spec = table_spec(tmp_path, [f"{HEADER},comment", *(f"{row},x" for row in ROWS)])
    assert len(harmonize.load(spec).table) == len(ROWS)
    spec = table_spec(tmp_path, [f"{HEADER},edema", *(f"{row},1" for row in ROWS)])
    with pytest.raises(DatasetError, match="2 columns have the name 'edema'"):
        harmonize.load(spec)


def test_ages_that_are_impossible_are_unknown_and_a_warning(tmp_path: Path) -> None:
    ages = ["-5", "999", "inf", "1e400", "forty", "045Y", "0", "120", "45.5", "", "NA", "31"]
    rows = [f"{k}.png,p{k},fine,{age},1,0" for k, age in enumerate(ages)]
    spec = table_spec(tmp_path, [HEADER, *rows])
    assert harmonize.load(spec).table["age"].dropna().tolist() == [0.0, 120.0, 45.5, 31.0]
    (warning,) = [check for check in inspect(spec)[1] if check.level == "warning"]
    assert (warning.what, "0 to 120 years" in warning.fix) == ("ages", True)
    assert warning.found.startswith("6 cells have other values: '-5' (1), '999' (1), 'inf' (1), ")
    assert found(spec, "fault") == {}


def test_label_cells_that_the_mapping_does_not_list_are_a_warning_with_their_values(tmp_path: Path) -> None:
    spec = table_spec(
        tmp_path,
        with_rows(r1="1.png,p1,,21,yes,0", r2="2.png,p2,,22,yes,0", r3="3.png,p3,,23,01,0", r5="5.png,p5,,25,NA,0"),
    )
    assert found(spec, "warning") == {"labels of Edema": "3 cells have other values: 'yes' (2), '01' (1)"}
    assert harmonize.load(spec).table["native:Edema"].isna().sum() == 4


def test_patient_ids_are_text_and_ids_that_look_alike_are_a_warning(tmp_path: Path) -> None:
    ids = ["12", "12.0", "012", "A1", "\uff21\uff11", "A\u200b1", " 13 ", "13", "0", "p7", "p8", "p9"]
    rows = [f"{k}.png,{patient},fine,40,1,0" for k, patient in enumerate(ids)]
    spec = table_spec(tmp_path, [HEADER, *rows])
    assert harmonize.load(spec).table["patient_id"].tolist() == [patient.strip() for patient in ids]
    (check,) = [check for check in inspect(spec)[1] if check.level == "warning"]
    assert check.what == "patient ids"
    assert check.found == r"6 ids look alike: '012' = '12' = '12.0', 'A1' = 'A\u200b1' = '\uff21\uff11'"
    assert "two splits" in check.fix


def test_a_damaged_row_cannot_be_excluded_silently_by_a_shifted_cell(tmp_path: Path) -> None:
    table = TABLES["brax"]()
    brax.write(table, tmp_path)
    touch(table, tmp_path)
    edit(tmp_path / brax.FILES[0], lambda lines: [*lines[:2], lines[2].rsplit(",", 4)[0], *lines[3:]])
    cohort = harmonize.load(CohortSpec("brax", "brax", tmp_path))
    assert cohort.quarantine["reason"].tolist() == [f"21 cells in a table of 25 columns at {brax.FILES[0]}:3"]
    assert cohort.flow["bad_row"] == 1


def test_the_demographics_of_a_damaged_chexpert_row_are_not_used(tmp_path: Path) -> None:
    written("chexpert", tmp_path)
    bare = pd.read_csv(tmp_path / "train.csv", dtype=str, keep_default_na=False)
    bare.drop(columns=["Sex", "Age", "Frontal/Lateral", "AP/PA"]).to_csv(tmp_path / "train_cheXbert.csv", index=False)
    edit(tmp_path / "train.csv", lambda lines: [*lines[:1], lines[1] + ",1.0", *lines[2:]])
    native = adapter("chexpert").read(tmp_path, "chexbert")
    assert native.loc[native[FAULT] != "", FAULT].tolist() == ["20 cells in a table of 19 columns at train.csv:2"]


def test_a_study_without_images_in_a_damaged_row_is_not_lost(tmp_path: Path) -> None:
    written("chexpert", tmp_path)
    raw = pd.read_csv(tmp_path / "test_labels.csv", dtype=str)
    raw.insert(0, "Study", "CheXpert-v1.0/test/patient64741/study1")
    raw.drop(columns="Path").to_csv(tmp_path / "groundtruth.csv", index=False)
    (tmp_path / "test_labels.csv").unlink()
    edit(tmp_path / "groundtruth.csv", lambda lines: [*lines, "x," + lines[1]])
    native = adapter("chexpert").read(tmp_path)
    faults = native.loc[native[FAULT] != "", ["image_id", FAULT]]
    assert faults.to_numpy().tolist() == [["", "16 cells in a table of 15 columns at groundtruth.csv:3"]]


def test_a_check_of_a_regular_table_has_no_warning(tmp_path: Path) -> None:
    checks: list[Check] = inspect(table_spec(tmp_path, with_rows()))[1]
    assert {check.level for check in checks} == {"note", "ok"}


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_compressed_table_above_the_limit_is_refused_before_it_is_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"table.csv{suffix}"
    spec = table_spec(tmp_path, with_rows(), name)
    size = sum(len(line) + 1 for line in with_rows())
    monkeypatch.setattr(csvrows, "MAX_UNPACKED_BYTES", size)
    assert len(harmonize.load(spec).table) == len(ROWS)
    monkeypatch.setattr(csvrows, "MAX_UNPACKED_BYTES", size - 1)
    with pytest.raises(DatasetError, match=f"more than {size - 1:,} bytes") as refused:
        harmonize.load(spec)
    assert name in str(refused.value)
    assert "unpack" in str(refused.value)
    assert len(harmonize.load(table_spec(tmp_path, with_rows())).table) == len(ROWS)
