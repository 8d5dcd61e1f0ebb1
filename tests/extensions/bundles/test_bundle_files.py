"""The zip file and the tables of a bundle as an attacker could write them. No grid is needed."""

import hashlib
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.extensions.bundles import archive, limits
from bench.extensions.bundles.archive import pack, unpack
from bench.extensions.bundles.match_images import same_images
from bench.extensions.bundles.pseudonyms import decades, image_names, table_id
from bench.extensions.bundles.tables import read_columns, write_columns
from harmonize.errors import StoreError

Writer = Callable[[zipfile.ZipFile], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid bundle of two members with arbitrary content."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "members" / "runs").mkdir(parents=True)
    (folder / "members" / "runs" / "a.json").write_bytes(b'{"a":1}')
    (folder / "members" / "bundle.json").write_bytes(b"{}")
    pack(folder / "members", folder / "good.zip")
    return folder / "good.zip"


def test_a_damaged_directory_of_a_zip_is_refused(tmp_path: Path) -> None:
    path, damaged = tmp_path / "a.zip", tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("cohorts/nih.parquet", b"rows")
    content = path.read_bytes()
    damaged.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x03"))
    assert zipfile.is_zipfile(damaged), "its end record is whole"
    refuse(damaged, tmp_path / "out", "cannot be read")


def refuse(path: Path, folder: Path, what: str) -> None:
    folder.mkdir()
    with pytest.raises(StoreError, match=what):
        unpack(path, folder)


def test_unpacking_and_packing_again_gives_the_same_bundle(good: Path, tmp_path: Path) -> None:
    name = unpack(good, tmp_path)
    assert len(name) == 64
    assert (tmp_path / "runs" / "a.json").read_bytes() == b'{"a":1}'
    assert pack(tmp_path, tmp_path.parent / "again.zip") == name
    assert (tmp_path.parent / "again.zip").read_bytes() == good.read_bytes()


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=150)
def test_a_changed_byte_is_refused(good: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(good.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "flipped.zip").write_bytes(content)
    refuse(folder / "flipped.zip", folder / "out", "refused")


@pytest.mark.parametrize("extra", [b"x", b"PK\x05\x06" + bytes(18)])
@pytest.mark.parametrize("in_front", [True, False])
def test_bytes_before_or_after_the_members_are_refused(
    good: Path, tmp_path: Path, extra: bytes, in_front: bool
) -> None:
    content = good.read_bytes()
    (tmp_path / "b.zip").write_bytes(extra + content if in_front else content + extra)
    refuse(tmp_path / "b.zip", tmp_path / "out", "refused")


@pytest.mark.parametrize("length", [0, 1, 30, -1, -22])
def test_a_truncated_bundle_is_refused(good: Path, tmp_path: Path, length: int) -> None:
    (tmp_path / "b.zip").write_bytes(good.read_bytes()[:length])
    refuse(tmp_path / "b.zip", tmp_path / "out", "refused")


NAMES = [
    "../out.json",
    "/etc/cron.d/x.json",
    "a/../../x.json",
    "C:\\x.json",
    "a\\..\\x.json",
    "a/b/c/d/e.json",
    ".hidden",
    "a//b",
    "é.json",
    "x" * 200,
]


@pytest.mark.parametrize("name", NAMES)
def test_invalid_member_names_are_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"{}")
    refuse(tmp_path / "b.zip", tmp_path / "out", "the member name .* is invalid")
    assert {p.name for p in tmp_path.rglob("*")} == {"b.zip", "out"}


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("runs")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, b"/etc")


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("a.json", b"0" * 10_000_000, zipfile.ZIP_DEFLATED)


def file_and_folder(archive: zipfile.ZipFile) -> None:
    for name in ("a", "a/b"):
        archive.writestr(zipfile.ZipInfo(name), b"{}")


def twice(archive: zipfile.ZipFile) -> None:
    for content in (b"{}", b"[]"):
        archive.writestr(zipfile.ZipInfo("a.json"), content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("write", "what"),
    [
        (link, "checksums.json is missing"),
        (twice, "cannot be read"),
        (bomb, "compressed"),
        (file_and_folder, "cannot be read"),
    ],
)
def test_links_repeated_names_and_zip_bombs_are_refused(write: Writer, what: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        write(archive)
    refuse(tmp_path / "b.zip", tmp_path / "out", what)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink() or path.stat().st_size > 10_000]


def test_a_member_that_is_a_link_is_refused_though_its_checksum_is_right(good: Path, tmp_path: Path) -> None:
    content = bytearray(good.read_bytes())
    at = content.index(b"PK\x01\x02")  # the first entry of the directory
    content[at + 38 : at + 42] = struct.pack("<I", (stat.S_IFLNK | 0o777) << 16)
    (tmp_path / "b.zip").write_bytes(content)
    refuse(tmp_path / "b.zip", tmp_path / "out", "bytes that belong to no member")


def test_false_sizes_are_refused(good: Path, tmp_path: Path) -> None:
    content = bytearray(good.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the last entry of the directory
    content[at + 20 : at + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    (tmp_path / "b.zip").write_bytes(content)
    refuse(tmp_path / "b.zip", tmp_path / "out", "too large")


def test_file_size_member_size_and_number_of_members_are_limited(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (name, value, what) in enumerate(
        [("MOST_BYTES", 10, "larger"), ("MOST_MEMBERS", 1, "members"), ("MOST_JSON", 3, "too large")]
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, value)
            refuse(good, tmp_path / str(number), what)


def test_members_and_checksums_must_match(tmp_path: Path) -> None:
    for number, listed in enumerate([{}, {"a.json": "0" * 64, "b.json": "0" * 64}, {"a.json": "0" * 64}]):
        folder = tmp_path / f"m{number}"
        folder.mkdir()
        (folder / "a.json").write_bytes(b"{}")
        checksums = json.dumps({"members": listed, "schema": 1}, sort_keys=True, separators=(",", ":"))
        (folder / "checksums.json").write_text(checksums)
        archive._write(folder, tmp_path / f"{number}.zip")
        refuse(tmp_path / f"{number}.zip", tmp_path / str(number), "not listed|listed but missing|is wrong")


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a": 1}', b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"[]", b'{"a":' + b"9" * 5000 + b"}"],
)
def test_json_that_is_not_canonical_or_breaks_parsers_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(StoreError, match="refused"):
        archive.read_json(tmp_path / "x.json")


KINDS = {"image": "ordinal", "split": "text", "Edema": "state", "age": "number"}


def written(path: Path, **changed: object) -> Path:
    frame = pd.DataFrame(
        {"image": [0, 1], "split": ["val", "test"], "Edema": pd.array([1, None], "Int8"), "age": [45.0, np.nan]}
    )
    write_columns(path, frame.assign(**changed), KINDS)
    return path


def test_columns_are_read_as_they_were_written(tmp_path: Path) -> None:
    frame = read_columns(written(tmp_path / "t.parquet"), KINDS)
    assert frame["split"].tolist() == ["val", "test"]
    assert frame["Edema"].tolist()[0] == 1
    assert frame["Edema"].isna().tolist() == [False, True]
    assert np.isnan(frame["age"].iloc[1])


def hostile_table(path: Path, kind: str) -> Path:
    """Write a small Parquet file that needs much memory, or that is not the expected table."""
    table = pq.read_table(written(path))
    if kind == "compressed":
        pq.write_table(table, path, compression="zstd")
    elif kind == "another column":
        pq.write_table(table.append_column("patient_id", pa.array(["p1", "p2"])), path, compression="none")
    elif kind == "another type":
        pq.write_table(table.set_column(0, "image", pa.array(["id-1", "id-2"])), path, compression="none")
    elif kind == "nulls":
        pq.write_table(table.set_column(0, "image", pa.array([None, 1], pa.int32())), path, compression="none")
    elif kind == "long text":
        pq.write_table(table.set_column(1, "split", pa.array(["x" * 1_000_000, "test"])), path, compression="none")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    elif kind == "oversized footer":
        content = path.read_bytes()
        path.write_bytes(content[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1")
    elif kind == "no parquet":
        path.write_bytes(b"\x80\x04\x95pickle")
    return path


def expanding_table(path: Path, kind: str) -> Path:
    """Write a small Parquet file that needs much memory."""
    if kind == "many cells":
        zeros = pa.array(np.zeros(2_000_000))  # 16 million bytes in memory and a few kilobytes in the file
        pq.write_table(pa.table({f"c{k}": zeros for k in range(20)}), path, compression="none")
    elif kind == "long list":
        lists = pa.ListArray.from_arrays([0, 40_000_000], pa.array(np.zeros(40_000_000)))
        pq.write_table(pa.table({"image": lists}), path, compression="none")
    elif kind == "many rows":
        number = limits.MOST_ROWS + 1
        frame = {"image": pa.array(np.zeros(number), pa.int32())}  # two million equal numbers take a few kilobytes
        pq.write_table(pa.table(frame), path, compression="none")
    elif kind == "many row groups":
        pq.write_table(
            pa.table({"image": pa.array(range(101), pa.int32())}), path, compression="none", row_group_size=1
        )
    return path


HOSTILE = {
    "compressed": "compressed",
    "another column": "columns",
    "another type": "columns",
    "nulls": "empty cells",
    "long text": "more than 400 characters",
    "many cells": "states 320,000,000 bytes",
    "long list": "states 320,000,000 bytes",
    "many row groups": "101 row groups",
    "many rows": "too many",
    "truncated": "cannot be read",
    "oversized footer": "cannot be read",
    "no parquet": "cannot be read",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tables_are_refused(kind: str, tmp_path: Path) -> None:
    path = expanding_table(hostile_table(tmp_path / "t.parquet", kind), kind)
    assert path.stat().st_size < 20_000_000
    with pytest.raises(StoreError, match=f"refused.*{HOSTILE[kind]}") as refusal:
        read_columns(path, KINDS)
    assert "id-1" not in str(refusal.value)


def test_a_table_with_another_number_of_rows_is_refused_before_its_values_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "t.parquet")
    assert len(read_columns(path, KINDS, rows=2)) == 2
    content = path.read_bytes()
    footer = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
    path.write_bytes(b"PAR1" + bytes(footer - 4) + content[footer:])  # no value of this file can be read
    for rows, what in ((2, "cannot be read"), (3, "has 2 rows instead of 3")):
        with pytest.raises(StoreError, match=f"refused.*{what}"):
            read_columns(path, KINDS, rows=rows)


def test_lists_and_repeated_texts_are_read_as_they_were_written(tmp_path: Path) -> None:
    written_kinds = {"name": "text", "curve": "numbers"}
    frame = pd.DataFrame({"name": ["b", "a", "b"], "curve": [np.array([1.0, 2.5]), np.array([]), np.array([np.nan])]})
    write_columns(tmp_path / "t.parquet", frame, written_kinds)
    read = read_columns(tmp_path / "t.parquet", written_kinds)
    assert read["name"].tolist() == ["b", "a", "b"]
    for ours, theirs in zip(frame["curve"], read["curve"], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_other_logits_with_the_same_hash_are_not_the_same_images() -> None:
    table = pd.DataFrame({"image_id": ["0"], "patient_id": ["0"]})
    ours = pd.DataFrame({"image_id": ["0"], "Edema": 0.5, "Pneumonia": 0.5})
    theirs = ours.assign(Edema=0.0927734375, Pneumonia=-0.35898349206823205)  # equal for pandas' hash_pandas_object
    assert same_images(table, table, [ours], [ours], "nih") == {"0": "0"}
    with pytest.raises(StoreError, match="different logits"):
        same_images(table, table, [ours], [theirs], "nih")


def test_the_id_of_a_table_is_the_hash_of_its_names_and_cells() -> None:
    frame = pd.DataFrame({"split": ["val", "test", ""], "age": [5.0, np.nan, 15.0], "image": [0, 1, 2]})
    whole = b"\x1e".join(
        [
            b"split",
            b"val\x1ftest\x1f",
            b"age",
            frame["age"].to_numpy().tobytes(),
            b"image",
            frame["image"].to_numpy().tobytes(),
        ]
    )
    assert table_id(frame) == hashlib.sha256(whole).hexdigest()[:12]


def test_ages_become_decades_and_names_sort_like_their_ordinals() -> None:
    assert decades(pd.Series([0.0, 39.99, 40.0, 89.0, 90.0, 117.0])).tolist() == [5, 35, 45, 85, 95, 95]
    assert np.isnan(decades(pd.Series([np.nan]))).all()
    names = image_names("ab", np.array([2, 10, 1], np.int32))
    assert sorted(names) == [names[2], names[0], names[1]]
