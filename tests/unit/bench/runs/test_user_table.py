"""Tables that a user gives, plain or compressed: the content is the same, and a small file cannot fill the memory."""

import bz2
import gzip
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.results.prediction_files import read_table
from bench.runs.image_paths import images_of
from harmonize.cohorts.exclude_list import remove_listed
from harmonize.datasets import csvrows, user_table
from harmonize.datasets.csvfile import read_text
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError, CxrError, DatasetError

ROWS = pd.DataFrame({"image_id": ["007", "a b", "ä"], "Edema": [0.25, 1.0, -2.5]})
SUFFIXES = (".gz", ".bz2", ".xz", ".zip", ".zst")


def read_columns(path: Path) -> object:
    """Read the columns of a table as the layouts do."""
    return read_text(path, ["image_id", "Edema"])


# kind of fault -> text of a table, line of the first unusable row, and what the error says
UNEVEN = {
    "missing cell": ("image_id,path,Edema\na,a.png,1\nb,b.png\nc,c.png,0\n", 3, "2 cells in a table of 3 columns"),
    "additional cell": ("image_id,path,Edema\na,a.png,1\nb,b.png,x,1\n", 3, "4 cells in a table of 3 columns"),
    "additional cell in each row": ("image_id,path,Edema\na,a.png,1,0\nb,b.png,0,1\n", 2, "4 cells in a table of 3"),
    "unclosed quote": ('image_id,path,Edema\na,a.png,"1\nb,b.png,0\nc,c.png,1"\n', 2, "an unclosed quote"),
    "NUL": ("image_id,path,Edema\na,a.png,1\nb\0,b.png,1\n", 3, "a NUL character"),
    "truncated": ("image_id,path,Edema\na,a.png,1\nb,b.p", 3, "truncated"),
}


def exclude_listed(path: Path) -> object:
    """Read a list of the key `exclude`."""
    return remove_listed(ROWS, [path], {})


def images_listed(path: Path) -> object:
    """Read a list of images."""
    return images_of([path])


def packed(path: Path, content: bytes) -> Path:
    """Write bytes to a file, compressed as the suffix of the file says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("table.csv", content)
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(content)
    else:
        compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
        path.write_bytes(compress(content))
    return path


@pytest.mark.parametrize("suffix", ["", *SUFFIXES])
def test_a_table_is_the_same_plain_and_compressed(suffix: str, tmp_path: Path) -> None:
    path = packed(tmp_path / f"table.csv{suffix}", ROWS.to_csv(index=False).encode())
    pd.testing.assert_frame_equal(read_user_table(path, dtype={"image_id": str}), ROWS)
    assert read_table(path)["image_id"].tolist() == ["007", "a b", "ä"]
    assert remove_listed(ROWS, [path], {})[0].empty


@pytest.mark.parametrize("read", [read_table, lambda path: remove_listed(ROWS, [path], {})])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_compression_bomb_is_refused_before_it_is_read(
    suffix: str, read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csvrows, "MAX_UNPACKED_BYTES", 100_000)
    monkeypatch.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("the table was read"))
    path = packed(tmp_path / f"table.csv{suffix}", b"image_id\n" + b"a" * 2_000_000)
    assert path.stat().st_size < 5_000
    with pytest.raises(DatasetError, match="unpacks to more than 100,000 bytes") as refused:
        read(path)
    assert refused.value.where == str(path)
    assert "unpack it" in refused.value.fix


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", ["cut", "other content"])
def test_a_damaged_compressed_table_is_refused_in_words(suffix: str, damage: str, tmp_path: Path) -> None:
    path = packed(tmp_path / f"table.csv{suffix}", ROWS.to_csv(index=False).encode() * 100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"no such format" * 9)
    with pytest.raises(DatasetError, match="cannot read"):
        read_table(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        remove_listed(ROWS, [path], {})


def test_a_zip_file_with_several_tables_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "table.csv.zip", b"image_id\na\n")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("second.csv", b"image_id\nb\n")
    with pytest.raises(DatasetError, match="2 files"):
        read_table(path)


def test_a_parquet_table_of_too_many_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"image_id": pa.array(["a"] * 1_000_000), "Edema": np.zeros(1_000_000)}), path)
    assert path.stat().st_size < 10_000
    assert len(read_user_table(path)) == 1_000_000
    monkeypatch.setattr(user_table, "MAX_PARQUET_CELLS", 1_999_999)
    with pytest.raises(DatasetError, match="more than 1,999,999 cells") as refused:
        read_table(path)
    assert refused.value.where == str(path)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_table_with_too_many_columns_is_refused(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvrows, "MAX_COLUMNS", len(ROWS.columns) - 1)
    path = tmp_path / f"table.{ending}"
    ROWS.to_csv(path, index=False) if ending == "csv" else ROWS.to_parquet(path, index=False)
    with pytest.raises(DatasetError, match=f"the table has {len(ROWS.columns)} columns"):
        read_user_table(path)


def test_a_list_of_images_is_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,note\na.png,1\n,2\n")
    assert images_of([tmp_path / "list.csv"]) == [tmp_path / "a.png"]


@pytest.mark.parametrize("read", [read_table, exclude_listed, images_listed])
@pytest.mark.parametrize("uneven", UNEVEN)
def test_a_row_with_missing_or_additional_cells_is_refused_by_its_line(
    uneven: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    text, line, what = UNEVEN[uneven]
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(CxrError, match=what) as refused:
        read(tmp_path / "table.csv")
    assert refused.value.where == f"{tmp_path / 'table.csv'}:{line}"
    packed(tmp_path / "table.csv.gz", text.encode())
    if read != images_listed:  # a list of images is a plain file
        with pytest.raises(CxrError, match=what):
            read(tmp_path / "table.csv.gz")


def test_blank_lines_and_text_in_quotes_are_no_faults(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('image_id,Edema,note\na,1,"two lines,\nand a comma"\n\nb,0,\n')
    assert read_user_table(path)["Edema"].tolist() == [1, 0]
    path.write_text("image_id\r\na\r\n\r\nb")
    assert read_user_table(path)["image_id"].tolist() == ["a", "b"]
    pd.DataFrame({"image_id": ["a", "b"]}).to_csv(path)  # pandas writes its index as a column without a name
    assert read_user_table(path)["image_id"].tolist() == ["a", "b"]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_an_empty_table_is_named_as_empty(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    for read in (read_table, images_listed):
        with pytest.raises(DatasetError, match="the file is empty"):
            read(tmp_path / "table.csv")


def test_a_column_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("image_id,Edema, Edema\na,1,0\n")
    with pytest.raises(DatasetError, match="'Edema' occurs twice") as refused:
        read_table(path)
    assert refused.value.where == str(path)


LATIN = "image_id,Edema\na,0\nä,1\n".encode("latin-1")


@pytest.mark.parametrize(
    ("content", "line"), [(LATIN, 3), ("image_id,Edema\nä,1\n".encode("utf-16"), 1), (gzip.compress(LATIN, mtime=0), 3)]
)
@pytest.mark.parametrize("read", [read_user_table, read_table, exclude_listed, read_columns])
def test_a_table_that_is_not_utf8_is_named_with_its_line_and_the_fix(
    read: Callable[[Path], object], content: bytes, line: int, tmp_path: Path
) -> None:
    path = tmp_path / ("t.csv.gz" if content[:2] == b"\x1f\x8b" else "t.csv")
    path.write_bytes(content)
    with pytest.raises(CxrError, match="not UTF-8 text") as refused:
        read(path)
    assert refused.value.where == f"{path}:{line}"
    assert "UTF-8" in refused.value.fix


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_pipe_is_not_opened(name: str, tmp_path: Path) -> None:
    """Reading a pipe without a writer would wait forever."""
    os.mkfifo(tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(DatasetError, match="not a file, but a folder, pipe") as refused:
            read_user_table(path)
        assert refused.value.where == str(path)
