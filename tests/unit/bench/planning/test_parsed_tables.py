"""A cohort table kept in the store equals what reading gives, and is used only while nothing that was read has changed."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.planning import parsed_tables
from bench.planning.parsed_tables import ParsedTable
from harmonize.cohorts.cohort import Cohort, load
from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.specs import CohortSpec
from harmonize.errors import DatasetError
from harmonize.labels.findings import FINDINGS
from tests.native_tables import TABLES, on_disk
from tests.nonempty import nonempty

WITHOUT_TABLES = {"guangzhou", "tbx11k"}  # labels are names of folders


class Readings:
    """Counts how often a dataset is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        monkeypatch.setattr(parsed_tables, "load", self.load)

    def load(self, *args: Any, **options: Any) -> Cohort:
        self.number += 1
        return load(*args, **options)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Readings:
    return Readings(monkeypatch)


def cohort(folder: Path, spec: CohortSpec, mapping: str = "default", **options: Any) -> Cohort:
    return ParsedTable(folder, spec, mapping, FINDINGS, **options).cohort()


def assert_same(kept: Cohort, read: Cohort) -> None:
    for name in ("table", "quarantine", "doubts"):
        ours, theirs = getattr(kept, name), getattr(read, name)
        pd.testing.assert_frame_equal(
            ours, theirs, check_exact=True, check_index_type="exact", check_column_type="exact"
        )
        for column in filter(lambda name: pd.api.types.is_object_dtype(theirs[name]), theirs):
            assert list(map(type, ours[column])) == list(map(type, theirs[column]))
    assert list(kept.flow.items()) == list(read.flow.items())
    for name in ("name", "layout", "root", "phantom", "spec", "remarks", "id", "facts"):
        assert getattr(kept, name) == getattr(read, name)
    assert replace(kept).id == read.id  # computed from the table, not kept


@pytest.mark.parametrize("layout", TABLES)
def test_a_kept_cohort_equals_the_cohort_that_reading_gives(layout: str, tmp_path: Path, readings: Readings) -> None:
    spec = on_disk(layout, tmp_path / layout)
    expected = load(spec)
    assert_same(cohort(tmp_path / "tables", spec), expected)
    kept = cohort(tmp_path / "tables", spec)
    assert readings.number == 1
    assert_same(kept, expected)
    kept.table["age"] = kept.table["age"].to_numpy() + 1  # like any table, it can be changed
    kept.table.loc[0, "age"] = 3.0
    assert_same(cohort(tmp_path / "tables", spec), expected)


@pytest.mark.parametrize("layout", ["chexpert", "nih"])
def test_a_loop_of_links_hides_no_changed_table(layout: str, tmp_path: Path) -> None:
    spec = on_disk(layout, tmp_path / layout)
    (spec.root / "loop").symlink_to("loop")
    before = cohort(tmp_path / "tables", spec)
    for path in files_read(spec.root):
        path.write_text(path.read_text().replace(",Male,", ",Female,").replace(",M,", ",F,"))
    after = cohort(tmp_path / "tables", spec)
    assert set(before.table["sex"]) != set(after.table["sex"])
    assert_same(after, load(spec))


def test_remarks_are_kept(tmp_path: Path, readings: Readings) -> None:
    spec = on_disk("nih", tmp_path / "nih")
    with (spec.root / "test_list.txt").open("a") as file:
        file.write("00099999_000.png\n")
    read, kept = (cohort(tmp_path / "tables", spec) for _ in range(2))
    assert readings.number == 1
    assert kept.remarks == read.remarks
    assert "1 of 2 entries (50 %)" in kept.remarks[0].found


def files_read(root: Path) -> list[Path]:
    """The tables of a dataset: its images, all empty, are not opened."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)


@pytest.mark.parametrize("layout", sorted(set(TABLES) - WITHOUT_TABLES))
def test_one_changed_byte_of_any_file_that_is_read_is_read_again(
    layout: str, tmp_path: Path, readings: Readings
) -> None:
    spec = on_disk(layout, tmp_path / layout)
    for path in nonempty(files_read(spec.root)):
        cohort(tmp_path / "tables", spec)
        content, number = path.read_bytes(), readings.number
        position = len(content) - 2
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            found = cohort(tmp_path / "tables", spec)
        except Exception as error:  # noqa: BLE001  (a damaged file is an error, with and without kept tables)
            with pytest.raises(type(error)):
                load(spec)
        else:
            assert_same(found, load(spec))
        assert readings.number == number + 1, path.name
        path.write_bytes(content)


@pytest.mark.parametrize("layout", TABLES)
def test_an_image_that_is_removed_or_added_is_noticed(layout: str, tmp_path: Path, readings: Readings) -> None:
    spec = on_disk(layout, tmp_path / layout)
    complete = cohort(tmp_path / "tables", spec)
    image = spec.root / complete.table["path"].iloc[-1]
    image.unlink()
    if len(complete.table) > 1:
        fewer = cohort(tmp_path / "tables", spec)
        assert_same(fewer, load(spec))
        assert len(fewer.table) == len(complete.table) - 1
    else:
        with pytest.raises(DatasetError, match="no images"):
            cohort(tmp_path / "tables", spec)
    image.touch()
    assert_same(cohort(tmp_path / "tables", spec), complete)
    assert readings.number == (3 if len(complete.table) > 1 else 2)


def test_a_folder_in_place_of_an_image_and_a_missing_dataset_are_noticed(tmp_path: Path, readings: Readings) -> None:
    spec = on_disk("chexpert", tmp_path / "chexpert")
    first = cohort(tmp_path / "tables", spec)
    image = spec.root / first.table["path"].iloc[0]
    image.unlink()
    image.mkdir()
    assert len(cohort(tmp_path / "tables", spec).table) == len(first.table) - 1
    shutil.rmtree(spec.root)
    with pytest.raises(Exception, match="no such folder"):
        cohort(tmp_path / "tables", spec)
    assert readings.number == 3


def test_files_that_appear_later_are_noticed(tmp_path: Path, readings: Readings) -> None:
    spec = on_disk("chexpert", tmp_path / "chexpert")
    labels = (spec.root / "test_labels.csv").read_bytes()
    (spec.root / "test_labels.csv").unlink()
    first = cohort(tmp_path / "tables", spec)
    assert not first.phantom
    (tmp_path / "phantom.json").touch()
    assert cohort(tmp_path / "tables", spec).phantom
    (spec.root / "test_labels.csv").write_bytes(labels)
    assert len(cohort(tmp_path / "tables", spec).table) == len(first.table) + 1
    assert readings.number == 3


def test_each_argument_has_a_table_of_its_own(tmp_path: Path, readings: Readings) -> None:
    spec = on_disk("chexpert", tmp_path / "chexpert")
    folder = tmp_path / "tables"
    listed = tmp_path / "listed.csv"
    listed.write_text("patient_id\npatient00002\n")
    first = load(spec).table["path"].iloc[0]
    requests: list[tuple[CohortSpec, str, dict[str, Any]]] = [
        (spec, "default", {}),
        (spec, "strict", {}),
        (replace(spec, choice=CohortChoice(views="pa")), "default", {}),
        (replace(spec, exclude=(listed,)), "default", {}),
        (spec, "default", {"tables_alone": True}),
    ]
    for repeat in range(2):
        for one, mapping, options in requests:
            assert_same(cohort(folder, one, mapping, **options), load(one, mapping, **options))
        assert readings.number == len(requests), repeat
    listed.write_text("patient_id\npatient00001\n")
    assert first not in set(cohort(folder, requests[3][0]).table["path"])


def test_a_change_of_a_list_of_splits_is_noticed(tmp_path: Path, readings: Readings) -> None:
    listed = {name: tmp_path / f"{name}.csv" for name in ("train", "test")}
    spec = replace(on_disk("chexpert", tmp_path / "chexpert"), split=tuple(listed.items()))
    patients = ["patient00001", "patient00002"]
    for repeat in range(2):
        for path, patient in zip(listed.values(), patients, strict=True):
            path.write_text(f"patient_id\n{patient}\n")
        table = cohort(tmp_path / "tables", spec).table
        assert set(table.loc[table["split"] == "test", "patient_id"]) == {patients[1]}
        assert readings.number == repeat + 1
        patients.reverse()


def test_labels_of_other_sources_are_noticed(tmp_path: Path, readings: Readings) -> None:
    spec = on_disk("chexpert", tmp_path / "chexpert")
    text = (spec.root / "train.csv").read_text()
    (spec.root / "train_cheXbert.csv").write_text(text)
    hybrid = replace(spec, hybrid=(("Edema", "chexbert"),), training=(("chexbert", ()),))
    cohort(tmp_path / "tables", hybrid)
    assert_same(cohort(tmp_path / "tables", hybrid), load(hybrid))
    assert readings.number == 1
    (spec.root / "train_cheXbert.csv").write_text(text.replace("1.0", "0.0"))
    assert_same(cohort(tmp_path / "tables", hybrid), load(hybrid))
    assert readings.number == 2


def test_other_code_reads_again(tmp_path: Path, readings: Readings, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = on_disk("nih", tmp_path / "nih")
    cohort(tmp_path / "tables", spec)
    with monkeypatch.context() as patched:
        patched.setattr(parsed_tables, "_program", lambda: "another version")
        assert_same(cohort(tmp_path / "tables", spec), load(spec))
        assert readings.number == 2
    assert len(list((tmp_path / "tables").iterdir())) == 1  # the new table replaces the old one


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "folder"])
def test_a_damaged_table_is_ignored_and_made_again(damage: str, tmp_path: Path, readings: Readings) -> None:
    spec = on_disk("nih", tmp_path / "nih")
    other = on_disk("brax", tmp_path / "brax")
    cohort(tmp_path / "other", other)
    cohort(tmp_path / "tables", spec)
    [file] = (tmp_path / "tables").iterdir()
    content = file.read_bytes()
    middle = len(content) // 2
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        [foreign] = (tmp_path / "other").iterdir()
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        damaged = {"empty": b"", "cut": content[:-1], "flipped": flipped, "foreign": foreign.read_bytes()}
        file.write_bytes(damaged[damage])
    assert_same(cohort(tmp_path / "tables", spec), load(spec))
    assert readings.number == 3
    if damage != "folder":
        assert_same(cohort(tmp_path / "tables", spec), load(spec))
        assert readings.number == 3


def test_a_table_that_cannot_be_written_is_no_error(
    tmp_path: Path, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = on_disk("nih", tmp_path / "nih")
    (tmp_path / "file").touch()
    assert_same(cohort(tmp_path / "file" / "tables", spec), load(spec))  # no folder can be made there

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.store.store.os.fsync", full)
    assert_same(cohort(tmp_path / "tables", spec), load(spec))
    assert list((tmp_path / "tables").iterdir()) == []


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = on_disk("nih", tmp_path / "nih")

    def load_and_change(*args: Any, **options: Any) -> Cohort:
        read = load(*args, **options)
        with (spec.root / "test_list.txt").open("a") as file:
            file.write("\n")
        return read

    monkeypatch.setattr(parsed_tables, "load", load_and_change)
    cohort(tmp_path / "tables", spec)
    assert not (tmp_path / "tables").exists()


CELLS = st.one_of(
    st.sampled_from(["1", "0", "1.0", "-1", "", " ", "x", "NA", "nan", "Pneumonia", "No Finding", "'", "é", "0x1"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters='",\r\n\0'), max_size=4),
)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS, st.sampled_from(["30", "-4", "x", "", "1e1"])), min_size=1, max_size=12)


@given(rows=ROWS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_kept_as_it_was_read(
    rows: list[tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("any")
    lines = [f"p{number},{','.join(row)}" for number, row in enumerate(rows)]
    (root / "table.csv").write_text("\n".join(["file,patient,finding,more,age", *lines, "p,patient,No Finding,b,3"]))
    (root / "mapping.yaml").write_text(
        'image: "{file}.png"\npatient: patient\nage: {column: age}\nkeep: [more]\n'
        'findings:\n  Pneumonia: {column: finding, present: ["1", "Pneumonia"], absent: "*"}\n'
    )
    spec = CohortSpec("any", "table", root, "table.csv", str(root / "mapping.yaml"))
    try:
        expected = load(spec, tables_alone=True)
    except Exception as error:  # noqa: BLE001  (too many rows without a patient, for example)
        with pytest.raises(type(error)):
            cohort(root / "tables", spec, tables_alone=True)
        return
    assert_same(cohort(root / "tables", spec, tables_alone=True), expected)
    with pytest.MonkeyPatch.context() as patched:
        patched.delattr(parsed_tables, "load")  # the table that was kept is used
        assert_same(cohort(root / "tables", spec, tables_alone=True), expected)
