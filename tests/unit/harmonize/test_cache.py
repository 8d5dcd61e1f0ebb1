"""Tests of the cache of decoded images, plain and packed: continuation, change, damage, processes."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pictures import ramp, save, save_dicom

from harmonize.cache import build as cachebuild
from harmonize.cache import fill as cachefill
from harmonize.cache.cache import ImageCache, open_cache
from harmonize.errors import SetupError
from harmonize.images.pixels import Geometry, read_gray, to_geometry

PLAIN, PACKED = Geometry(32), Geometry(1024)


@pytest.fixture(params=[PLAIN, PACKED], ids=["plain", "packed"], autouse=True)
def geometry(request: pytest.FixtureRequest) -> Geometry:
    global SMALL  # noqa: PLW0603  (helper functions use it)
    SMALL = request.param
    return SMALL


def write_images(root: Path, number: int = 7) -> pd.DataFrame:
    """Write PNG, JPEG and DICOM files and return their table."""
    rows = []
    for k in range(number):
        suffix = ("png", "jpg", "dcm")[k % 3]
        image = np.roll(ramp(50 + k, 60), 7 * k, axis=1)
        (save_dicom if suffix == "dcm" else save)(root / f"d{k % 2}/i{k}.{suffix}", image)
        rows.append({"image_id": f"image {k}", "path": f"d{k % 2}/i{k}.{suffix}"})
    return pd.DataFrame(rows)


def pixel_files(root: Path) -> list[Path]:
    """Return the files with pixels."""
    return [path for path in (root / "cache").rglob("images-*") if path.suffix in (".u8", ".zst")]


def build(root: Path, table: pd.DataFrame, **options: Any) -> ImageCache:
    return open_cache("toy", root, table, options.pop("geometry", SMALL), root / "cache", **options)


def record_decoding(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the path of every file that this process decodes."""
    decoded_paths: list[str] = []
    real = cachebuild._decode_one

    def spy(path: str, geometry: Geometry) -> Any:
        decoded_paths.append(path)
        return real(path, geometry)

    monkeypatch.setattr(cachebuild, "_decode_one", spy)
    return decoded_paths


def test_a_cache_contains_the_decoded_images(tmp_path: Path) -> None:
    table = write_images(tmp_path)
    cache = build(tmp_path, table)
    assert cache.images.shape == (7, SMALL.size, SMALL.size)
    for row, path in zip(cache.rows(table["image_id"]), table["path"], strict=True):
        expected = to_geometry(read_gray(tmp_path / path, SMALL.decode_at), SMALL)
        np.testing.assert_array_equal(cache.images[row], expected)
    assert cache.quarantine.empty
    assert cache.num_bytes == pixel_files(tmp_path)[0].stat().st_size <= SMALL.num_bytes(7)
    assert cache.rows(["image 3", "no such image"]).tolist() == [3, -1]


def test_opening_a_finished_cache_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_images(tmp_path)
    first = build(tmp_path, table)
    before = {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*")}
    decoded_paths = record_decoding(monkeypatch)
    assert build(tmp_path, table).fingerprint == first.fingerprint
    assert not decoded_paths
    assert {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*")} == before, "no file is written again"


@pytest.mark.slow
def test_two_processes_give_the_same_cache_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_images(tmp_path)
    cache_of_one = build(tmp_path, table)
    monkeypatch.setattr(cachebuild, "POOL_WORTH_S", 0.0)
    monkeypatch.setattr("harmonize.cache.fill.CHUNK_BYTES", 1)
    cache_of_two = open_cache("toy", tmp_path, table, SMALL, tmp_path / "other", workers=2)
    np.testing.assert_array_equal(cache_of_one.images, cache_of_two.images)
    assert cache_of_one.fingerprint == cache_of_two.fingerprint


def test_unreadable_and_missing_images_are_quarantined(tmp_path: Path) -> None:
    table = write_images(tmp_path)
    (tmp_path / table["path"][1]).write_bytes(b"")
    (tmp_path / table["path"][4]).unlink()
    cache = build(tmp_path, table)
    assert cache.quarantine["image_id"].tolist() == ["image 1", "image 4"]
    assert cache.quarantine["reason"].tolist() == ["empty file", "listed but absent"]
    assert cache.rows(["image 1", "image 2", "image 4"]).tolist() == [-1, 2, -1]


def test_only_a_changed_file_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_images(tmp_path)
    before = build(tmp_path, table)
    fingerprint, old = before.fingerprint, np.array(before.images)
    save(tmp_path / table["path"][3], ramp(90, 30))
    decoded_paths = record_decoding(monkeypatch)
    after = build(tmp_path, table)
    assert decoded_paths == [str(tmp_path / table["path"][3])]
    assert after.fingerprint != fingerprint
    np.testing.assert_array_equal(np.delete(after.images, 3, 0), np.delete(old, 3, 0))
    assert len(pixel_files(tmp_path)) == 1  # the old pixels are deleted


def test_added_and_reordered_rows_keep_decoded_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_images(tmp_path)
    five_rows = build(tmp_path, table.iloc[:5])
    pixels = np.array(five_rows.images)
    decoded_paths = record_decoding(monkeypatch)
    all_rows = build(tmp_path, table.iloc[::-1])
    assert len(decoded_paths) == 2
    np.testing.assert_array_equal(all_rows.images[all_rows.rows(table["image_id"][:5])], pixels)


def test_the_fingerprint_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    table = write_images(tmp_path)
    fingerprint = build(tmp_path, table).fingerprint
    assert build(tmp_path, table.iloc[::-1]).fingerprint == fingerprint
    assert build(tmp_path, table, geometry=Geometry(SMALL.size, "letterbox")).fingerprint != fingerprint


def test_an_interrupted_build_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_images(tmp_path)
    monkeypatch.setattr("harmonize.cache.fill.CHUNK_BYTES", 1)

    def stop(_name: str, done: int, _total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, table, progress=stop)
    journal = next((tmp_path / "cache").rglob("*.journal"))
    journal.write_text(journal.read_text() + '[[5, 12, "')  # an incomplete line
    decoded_paths = record_decoding(monkeypatch)
    calls: list[tuple[str, int, int]] = []
    cache = build(tmp_path, table, progress=lambda *call: calls.append(call))
    assert len(decoded_paths) == 3
    assert calls[0] == ("toy", 4, 7)
    assert calls[-1] == ("toy", 7, 7)
    for row, path in enumerate(table["path"]):
        np.testing.assert_array_equal(
            cache.images[row], to_geometry(read_gray(tmp_path / path, SMALL.decode_at), SMALL)
        )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_build_continues_and_leaves_no_process(tmp_path: Path) -> None:
    table = write_images(tmp_path, 24)  # the script is the same for plain and packed images
    table.to_csv(tmp_path / "t.csv", index=False)
    script = tmp_path / "build.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nimport pandas as pd\nimport harmonize.cache.cache as cache\n"
        "import harmonize.cache.build as cachebuild\nimport harmonize.cache.fill as cachefill\ncachebuild.POOL_WORTH_S = 0.0\n"
        "from harmonize.images.pixels import Geometry\ncachefill.CHUNK_BYTES = 1\n"
        "def slow(*call):\n    print(call, flush=True)\n    time.sleep(60 if call[1] == 11 else 0)\n"  # until it is killed
        "if __name__ == '__main__':\n    root = Path(sys.argv[1])\n"
        f"    cache.open_cache('toy', root, pd.read_csv(root / 't.csv'), Geometry({SMALL.size}), root / 'cache', 2, slow)\n"
    )
    command = [sys.executable, str(script), str(tmp_path)]
    path = os.pathsep.join([str(Path(cachebuild.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if "11, 24" in line:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    assert not list((tmp_path / "cache").rglob("index.parquet"))
    for _ in range(1200):  # the children exit when they notice that their parent has ended
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("decoding processes still run after their parent has ended")
    calls: list[tuple[str, int, int]] = []
    cache = build(tmp_path, table, progress=lambda *call: calls.append(call))
    assert calls[0][1] >= 10
    assert len(cache.index) == 24
    assert cache.fingerprint == open_cache("toy", tmp_path, table, SMALL, tmp_path / "fresh").fingerprint
    child.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="locks among processes")
@pytest.mark.parametrize("geometry", [PLAIN], ids=["plain"], indirect=True)  # the lock is the same for packed images
def test_two_processes_that_open_one_cache_decode_each_image_once(tmp_path: Path) -> None:
    write_images(tmp_path).to_csv(tmp_path / "t.csv", index=False)
    script = tmp_path / "build.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nimport pandas as pd\nimport harmonize.cache.build as cachebuild\n"
        "from harmonize.cache.cache import open_cache\nfrom harmonize.images.pixels import Geometry\nreal = cachebuild._decode_one\n"
        "def slow(path, geometry):\n    print(path, flush=True)\n    time.sleep(0.05)\n    return real(path, geometry)\n"
        "root, cachebuild._decode_one = Path(sys.argv[1]), slow\n"
        f"cache = open_cache('toy', root, pd.read_csv(root / 't.csv'), Geometry({PLAIN.size}), root / 'cache')\n"
        "print(cache.fingerprint)\n"
    )
    path = os.pathsep.join([str(Path(cachebuild.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, str(script), str(tmp_path)], os.environ | {"PYTHONPATH": path}
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    outputs = [child.communicate(timeout=600)[0].split("\n")[:-1] for child in children]
    assert sorted(map(len, outputs)) == [1, 8], (
        "one prints seven images and the fingerprint, the other only the fingerprint"
    )
    assert outputs[0][-1] == outputs[1][-1]


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "no index", "bad index"])
def test_a_damaged_cache_is_built_again(damage: str, tmp_path: Path) -> None:
    table = write_images(tmp_path)
    fingerprint = build(tmp_path, table).fingerprint
    (pixels,) = pixel_files(tmp_path)
    index = pixels.with_name("index.parquet")
    if damage == "truncated":
        os.truncate(pixels, 1000)
    elif damage == "overwritten":
        pixels.write_bytes(bytes(pixels.stat().st_size))
    elif damage == "no index":
        index.unlink()
    else:
        index.write_bytes(b"PAR1")
    assert build(tmp_path, table).fingerprint == fingerprint


def test_a_small_disk_raises_an_error_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_images(tmp_path)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("harmonize.cache.fill.shutil.disk_usage", lambda _path: usage)
    with pytest.raises(SetupError, match=r"needs [\d.]+ [kM]B, \d+ kB are free"):
        build(tmp_path, table)


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_a_small_disk_raises_an_error_for_a_larger_table_and_for_a_continued_build(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger table needs disk space for all its images, because the old file stays until the new file is finished."""
    table = write_images(tmp_path)
    monkeypatch.setattr("harmonize.cache.fill.CHUNK_BYTES", 1)

    def stop(_name: str, done: int, _total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    if state == "finished":
        build(tmp_path, table.iloc[:6])
    else:
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path, table, progress=stop)
    usage = type("Usage", (), {"free": 100})
    with monkeypatch.context() as patched:
        patched.setattr("harmonize.cache.fill.shutil.disk_usage", lambda _path: usage)
        if state == "interrupted" and SMALL == PLAIN:  # plain pixels have their space since the start of the build
            assert len(build(tmp_path, table).images) == 7
            return
        decoded_paths = record_decoding(patched)
        with pytest.raises(SetupError, match="are free"):
            build(tmp_path, table, progress=lambda *_: pytest.fail("decoding started"))
        assert decoded_paths == [], "packed images give the expected size of the others"
        usage.free = 8 * max(file.stat().st_size for file in (tmp_path / "cache").rglob("images-*.*"))  # type: ignore[attr-defined]
        assert len(build(tmp_path, table).images) == 7


def test_the_planned_size_is_the_size_on_disk(tmp_path: Path) -> None:
    build(tmp_path, write_images(tmp_path), geometry=PLAIN)
    assert pixel_files(tmp_path)[0].stat().st_size == PLAIN.num_bytes(7)


def test_a_full_disk_raises_an_error_and_the_build_continues_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_images(tmp_path)
    monkeypatch.setattr("harmonize.cache.fill.CHUNK_BYTES", 1)
    calls: list[int] = []
    with monkeypatch.context() as patched:
        real = cachefill.journal_line

        def full(rows: list[int], entries: list[cachebuild.CachedRow]) -> str:
            if rows[0] == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(rows, entries)

        patched.setattr("harmonize.cache.fill.journal_line", full)
        with pytest.raises(SetupError, match="cannot write the image cache: No space left on device"):
            build(tmp_path, table)
    cache = build(tmp_path, table, progress=lambda _name, done, _total: calls.append(done))
    assert calls[0] == 3
    assert cache.fingerprint == open_cache("toy", tmp_path, table, SMALL, tmp_path / "fresh").fingerprint
