"""Images in Parquet files: a column with the bytes of the images, read one row group at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harmonize
from bench.analyses.shortcuts.jpeg_quality import jpeg_quality
from harmonize.cache.cache import open_cache
from harmonize.checks.release import check_images_are_there
from harmonize.cohorts.specs import read_data
from harmonize.datasets.image_files import are_files
from harmonize.errors import ConfigError, DatasetError
from harmonize.ground_truth.ground_truth import Truth, scene
from harmonize.images import shards
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import Geometry, read_gray

MAPPING = """
image: {bytes: image}
patient: patient
separator: "|"
findings:
  Pneumonia: {column: labels, present: [Pneumonia], absent: "*"}
  Edema: {column: labels, present: [Edema], absent: "*"}
"""


def picture(number: int) -> Any:
    return np.random.default_rng(number).integers(0, 255, (40, 40), np.uint8)


def shard(path: Path, numbers: range, **columns: Any) -> None:
    """Write images as the hub does: a struct of bytes and path, and lists of labels."""
    cells = [{"bytes": cv2.imencode(".png", picture(i))[1].tobytes(), "path": f"{i}.png"} for i in numbers]
    labels = [["Pneumonia", "Edema"][: 1 + i % 2] for i in numbers]
    table = {"image": cells, "labels": labels, "patient": [f"p{i}" for i in numbers], **columns}
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), path, row_group_size=3)


def spec(folder: Path, table: str = '"data/*.parquet"') -> harmonize.CohortSpec:
    (folder / "mapping.yaml").write_text(MAPPING)
    text = f"mine: {{layout: table, root: ., table: {table}, mapping: mapping.yaml}}\n"
    (folder / "data.yaml").write_text(text)
    return read_data(folder / "data.yaml")["mine"]


def test_the_images_of_several_shards_are_read_by_file_column_and_row(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "a-0.parquet", range(5))
    shard(tmp_path / "data" / "a-1.parquet", range(5, 9))
    cohort = harmonize.load(spec(tmp_path))
    assert cohort.table["path"].tolist()[4:6] == ["data/a-0.parquet/image/4", "data/a-1.parquet/image/0"]
    assert cohort.table["Pneumonia"].tolist() == [1] * 9
    assert cohort.table["Edema"].tolist() == [i % 2 for i in range(9)]
    form = Geometry(40, "squash")
    cache = open_cache("mine", tmp_path, cohort.table, form, tmp_path / "cache", 1)
    assert (cache.index["reason"] == "").all()
    for i in range(9):
        np.testing.assert_array_equal(cache.images[i], picture(i))


def test_masks_and_the_quality_of_an_image_are_read_from_its_cell(tmp_path: Path) -> None:
    content = cv2.imencode(".jpg", picture(0), [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    shard(tmp_path / "data" / "a.parquet", range(1), image=[content])
    cell = tmp_path / "data" / "a.parquet" / "image" / "0"
    assert jpeg_quality(cell) == 60
    assert jpeg_quality(cell.with_name("1")) == 0
    assert scene(cell, "a", Geometry(40, "squash"), 0, Truth("")).image.shape == (40, 40)


def test_a_row_group_is_read_once_for_images_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard(tmp_path / "data" / "a.parquet", range(9))
    groups = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, **k: groups.append(i) or real(self, i, **k))
    for i in range(9):
        np.testing.assert_array_equal(read_gray(tmp_path / "data" / "a.parquet" / "image" / str(i)), picture(i))
    assert groups == [0, 1, 2]


def test_several_threads_read_each_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard(tmp_path / "data" / "a.parquet", range(12))
    groups = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, **k: groups.append(i) or real(self, i, **k))
    in_step = Barrier(4)

    def read(group: int) -> None:
        for i in range(3 * group, 3 * group + 3):
            in_step.wait(60)
            np.testing.assert_array_equal(read_gray(tmp_path / "data" / "a.parquet" / "image" / str(i)), picture(i))

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(read, range(4)))) == 4
    assert sorted(groups) == [0, 1, 2, 3]


def test_what_a_shard_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data" / "a.parquet"
    shard(path, range(3), image=[b"no image", None, b""])
    with pytest.raises(UnreadableImage, match="not a JPEG, PNG or DICOM image"):
        read_gray(path / "image" / "0")
    with pytest.raises(UnreadableImage, match=r"row 1 of a\.parquet has no bytes in column image"):
        read_gray(path / "image" / "1")
    with pytest.raises(UnreadableImage, match="empty file"):
        read_gray(path / "image" / "2")
    with pytest.raises(UnreadableImage, match=r"row 3 of a\.parquet: no such row or column"):
        read_gray(path / "image" / "3")
    with pytest.raises(UnreadableImage, match=r"row 0 of a\.parquet: no such row or column"):
        read_gray(path / "picture" / "0")
    path.write_bytes(b"PAR1 damaged")
    monkeypatch.setattr(shards, "_last", shards._Last())
    with pytest.raises(UnreadableImage, match=r"row 0 of a\.parquet"):
        read_gray(path / "image" / "0")


def test_a_column_without_bytes_a_missing_shard_and_a_csv_table_are_refused(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "a.parquet", range(3), image=["1.png", "2.png", "3.png"])
    with pytest.raises(ConfigError, match="column 'image' has no bytes of images"):
        harmonize.load(spec(tmp_path))
    with pytest.raises(DatasetError, match=r"no other/\*\.parquet"):
        harmonize.load(spec(tmp_path, '"other/*.parquet"'))
    (tmp_path / "table.csv").write_text("image,patient,labels\na,b,Edema\n")
    with pytest.raises(ConfigError, match="only a Parquet file has bytes of images"):
        harmonize.load(spec(tmp_path, "table.csv"))


def test_an_image_is_there_if_its_shard_is(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "a.parquet", range(3))
    cohort = harmonize.load(spec(tmp_path))
    paths = cohort.table["path"]
    assert are_files(tmp_path, paths).all()
    assert check_images_are_there(cohort) == []
    (tmp_path / "data" / "a.parquet").rename(tmp_path / "b.parquet")
    assert not are_files(tmp_path, paths).any()
