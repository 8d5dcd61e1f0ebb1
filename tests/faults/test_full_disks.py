"""Writes to a full disk: the error names the file, the free space and what to do, and the process survives.

The disk is a real file system of one megabyte. Where no file system can be mounted, the limit of the process on file sizes
takes its place.
"""

import contextlib
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pictures import ramp, save

from bench.results.long_tables import LongTables
from harmonize.cache import fill
from harmonize.cache.cache import open_cache
from harmonize.cache.image_hashes import image_hashes
from harmonize.checks.scan import scan
from harmonize.disk_space import DiskFullError
from harmonize.errors import CxrError
from harmonize.images.pixels import Geometry
from harmonize.phantom import PhantomSettings
from harmonize.phantom.cohorts import write_cohorts
from reports.site import write_site
from reports.tables import Tables
from tests.synthetic import Invented, tables

FREE = 1_000_000  # bytes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that takes about one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={FREE}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (FREE // 4, limits[1]))
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def images(root: Path, number: int, side: int) -> pd.DataFrame:
    """Write PNG files and return their table."""
    for k in range(number):
        save(root / f"i{k}.png", np.roll(ramp(side, side), 7 * k, axis=1))
    return pd.DataFrame({"image_id": [f"i{k}" for k in range(number)], "path": [f"i{k}.png" for k in range(number)]})


def long_page() -> Tables:
    """Return the tables of a page in which one text does not fit on the disk."""
    made = tables(Invented(runs=3))
    noise = np.random.default_rng(0).bytes(2 * FREE).hex()
    return Tables({**made.meta, "notes": [noise]}, made.frames)


def cache_of(size: int) -> Callable[[Path, Path], object]:
    def write(source: Path, disk: Path) -> object:
        return open_cache("toy", source, images(source, 40, size), Geometry(size), disk / "cache")

    return write


def long_table(source: Path, disk: Path) -> None:
    with LongTables(disk, synthetic=True) as long:
        frame = tables(Invented(runs=3))["scores"]
        for k in range(400):
            random = np.random.default_rng(k).normal(size=len(frame))
            long._write(
                "scores",
                pa.Table.from_pandas(frame.assign(value=random, low=random / 3, high=random / 7), preserve_index=False),
            )


def bundle(source: Path, disk: Path) -> str:
    (source / "big.json").write_bytes(np.random.default_rng(0).bytes(2 * FREE))
    return pytest.importorskip("bench.extensions.bundles.archive").pack(source, disk / "bundle.zip")


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "plain cache": cache_of(200),
    "tables": lambda _, disk: long_page().save(disk / "tables"),
    "site": lambda _, disk: write_site(long_page(), disk / "site"),
    "long table": long_table,
    "bundle": bundle,
    "phantom": lambda _, disk: write_cohorts(disk / "phantom", PhantomSettings(images={"nih": 300}, source="nih")),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_an_error_with_file_space_and_fix(
    name: str, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill, "check_disk", lambda *_: None)  # another process fills the disk after the check
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises((DiskFullError, CxrError)) as raised:
        WRITERS[name](source, disk)
    error = raised.value
    text = str(error)
    where, fix = (error.filename, error.fix) if isinstance(error, DiskFullError) else (error.where, error.fix)
    assert "No space left on device (" in text or "File too large (" in text
    assert " free" in text
    assert str(where).startswith(str(disk))
    assert "free disk space" in fix or "ulimit -f" in fix
    assert "run the same command again" in fix


def fill_up(folder: Path) -> None:
    """Write a file until nothing more fits."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


@pytest.mark.parametrize("what", ["hashes", "scan results"])
def test_hashes_and_scan_results_name_the_file_that_does_not_fit(what: str, disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    table = images(source, 1200, 8)
    cache = open_cache("toy", source, table, Geometry(8), disk / "cache")
    (disk / "check").mkdir()
    fill_up(disk)
    with pytest.raises(
        CxrError, match=rf"cannot store the {what}.*: (No space left on device|File too large) \(.* free"
    ) as raised:
        image_hashes(cache) if what == "hashes" else scan("toy", source, table["path"].tolist(), disk / "check")
    assert raised.value.where.startswith(str(disk))
    assert "run the same command again" in raised.value.fix
