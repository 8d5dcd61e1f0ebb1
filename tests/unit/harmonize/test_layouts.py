"""Tests of all adapters on small files that their own writers made."""

from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, assert_same, write, written

from harmonize.datasets import BASE, FAULT, VIEWS, adapter, nih, padchest
from harmonize.datasets.open_files import FileSet
from harmonize.errors import DatasetError
from harmonize.phantom.sites import SITES

for_every_layout = pytest.mark.parametrize("layout", TABLES)


@for_every_layout
def test_read_returns_the_table_that_write_got(layout: str, tmp_path: Path) -> None:
    table = written(layout, tmp_path)
    assert_same(adapter(layout).read(tmp_path), table)


@for_every_layout
def test_a_native_table_has_the_documented_columns(layout: str, tmp_path: Path) -> None:
    written(layout, tmp_path)
    table = adapter(layout).read(tmp_path)
    assert set(BASE) <= set(table)
    assert set(table["view"]) <= set(VIEWS)
    assert table["age"].dtype == "float64"
    text = [column for column in BASE if column != "age"]
    assert not table[text].isna().any().any()
    assert all(isinstance(value, str) for column in text for value in table[column])
    states = [column for column in table if column.startswith("native:") and column != "native:labels"]
    assert all(table[column].dtype == pd.Int8Dtype() for column in states)


@pytest.mark.parametrize("layout", SITES)
def test_the_same_table_gives_the_same_bytes(layout: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(layout, TABLES[layout](), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert files
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


@for_every_layout
def test_a_missing_root_raises_an_error_with_its_path(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder") as caught:
        adapter(layout).read(tmp_path / "nowhere")
    assert "nowhere" in caught.value.where
    (tmp_path / "nowere").mkdir()
    with pytest.raises(DatasetError) as caught:
        adapter(layout).read(tmp_path / "nowhere")
    assert caught.value.fix.startswith("did you mean 'nowere'? correct `root:`")


@pytest.mark.parametrize("layout", [layout for layout in TABLES if layout != "table"])
def test_a_missing_label_file_raises_an_error_with_its_name(layout: str, tmp_path: Path) -> None:
    needed = "no image has a path" if isinstance(adapter(layout), FileSet) else r"\.csv"
    with pytest.raises(DatasetError, match=needed) as caught:
        adapter(layout).read(tmp_path)
    assert layout in caught.value.fix


LABEL_FILES = {
    "chexpert": "train.csv",
    "mimic": "mimic-cxr-2.0.0-chexpert.csv.gz",
    "nih": nih.ENTRIES[0],
    "padchest": padchest.FILE,
    "vindr": "annotations/image_labels_train.csv",
    "brax": "master_spreadsheet_update.csv",
}
for_every_label_file = pytest.mark.parametrize("layout", LABEL_FILES)
COLUMNS = {
    "chexpert": "Pleural Effusion",
    "mimic": "Edema",
    "nih": "Finding Labels",
    "padchest": "Labels",
    "vindr": "Pneumonia",
    "brax": "Lung Lesion",
}


@for_every_label_file
def test_a_missing_column_raises_an_error_with_its_file_and_the_most_similar_column(
    layout: str, tmp_path: Path
) -> None:
    written(layout, tmp_path)
    path = tmp_path / LABEL_FILES[layout]
    column = COLUMNS[layout]
    pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns={column: f"{column}s"}).to_csv(path, index=False)
    with pytest.raises(DatasetError) as caught:
        adapter(layout).read(tmp_path)
    assert repr(column) in caught.value.what
    assert path.name in caught.value.where
    assert repr(f"{column}s") in caught.value.fix


@for_every_label_file
def test_a_file_with_only_a_header_raises_an_error(layout: str, tmp_path: Path) -> None:
    written(layout, tmp_path)
    path = tmp_path / LABEL_FILES[layout]
    pd.read_csv(path, dtype=str).iloc[:0].to_csv(path, index=False)
    with pytest.raises(DatasetError, match="no rows"):
        adapter(layout).read(tmp_path)


@for_every_label_file
def test_the_fault_of_an_invalid_label_cell_states_file_column_and_line(layout: str, tmp_path: Path) -> None:
    written(layout, tmp_path)
    path = tmp_path / LABEL_FILES[layout]
    raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    raw.loc[1, COLUMNS[layout]] = "maybe"
    raw.to_csv(path, index=False)
    fault = adapter(layout).read(tmp_path)[FAULT]
    texts = fault[fault != ""]
    assert len(texts) >= 1
    assert len(texts) < len(fault)
    assert texts.iloc[0].startswith(f"'maybe' in column {COLUMNS[layout]!r} is not ")
    assert texts.iloc[0].endswith(f"at {path.name}:3")
