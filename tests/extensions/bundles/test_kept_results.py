"""Results that are kept for the next call: when they are read, and when they are computed again."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.config.registry import Registry
from bench.extensions.bundles import kept as keeping
from bench.extensions.bundles import recompute
from bench.extensions.bundles.archive import CHECKSUMS, pack, unpack
from bench.extensions.bundles.kept import UNUSED_SECONDS, kept
from bench.extensions.bundles.verify import opened
from harmonize.disk_space import DiskFullError
from harmonize.errors import StoreError
from tests.conftest import Once
from tests.extensions.board.laboratories import bundle
from tests.extensions.bundles.test_bundles import on_json, run_of

REGISTRY = Registry.read()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept results."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "results"))
    return tmp_path / "results"


def was_kept(what: Any = "sum", registry: Registry = REGISTRY, result: Any = (1, 2)) -> bool:
    """Return whether a result was kept; either way, it must be the right one."""
    found, before = kept(registry, what, lambda: result)
    assert found == result
    return before


def test_a_result_is_kept_for_equal_inputs_and_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [was_kept(), was_kept(), was_kept("other"), was_kept()] == [False, True, False, True]
    entry = replace(next(iter(REGISTRY.sections["losses"].values())), title="Another title")
    other = replace(
        REGISTRY, sections={**REGISTRY.sections, "losses": {**REGISTRY.sections["losses"], entry.name: entry}}
    )
    assert [was_kept(registry=other), was_kept(registry=other)] == [False, True]
    monkeypatch.setattr(keeping, "_program", cache(lambda: "another version"))
    assert [was_kept(), was_kept()] == [False, True]
    monkeypatch.setenv("BENCH_CACHE", "")
    assert [was_kept(), was_kept()] == [False, False]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_version_of_the_program_is_that_of_each_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("bench/a.py", "harmonize/labels.yaml", "reports/page.html")
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(keeping, "_ROOT", tmp_path)
    monkeypatch.setattr(keeping, "STARTED", time.time() + 3600)
    program: Callable[[], str] = keeping._program.__wrapped__  # without its cache
    found = {program()}
    for name in names:
        (tmp_path / name).write_text("two")
        found.add(program())
    assert len(found) == 1 + len(names)
    (tmp_path / "numba-9.9.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))  # as if another package were installed
    assert program() not in found


def test_after_a_change_of_its_files_a_program_neither_keeps_nor_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its code may be older than the files, whose hash names the results."""
    assert [was_kept(), was_kept()] == [False, True]
    (tmp_path / "bench").mkdir()
    monkeypatch.setattr(keeping, "_ROOT", tmp_path)
    keeping._program.cache_clear()
    try:
        for name in ("empty", "other"):
            assert [was_kept(name), was_kept(name)] == [False, True]

        def compute() -> tuple[int, int]:
            (tmp_path / "bench" / "a.py").write_text("new")
            os.utime(tmp_path / "bench" / "a.py", (0, 0))  # as if the file were copied with its old time
            return 1, 2

        assert kept(REGISTRY, "third", compute) == ((1, 2), False)
        before = sorted(folder.iterdir())
        assert [was_kept(name) for name in ("empty", "third", "third")] == [False, False, False]
        assert sorted(folder.iterdir()) == before
    finally:
        keeping._program.cache_clear()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"\x02", b"\x03")),
        lambda path: path.write_bytes(b""),
        lambda path: path.chmod(0o666),
        lambda path: path.parent.chmod(0o777),
        lambda path: path.parent.chmod(0o775),
        lambda path: path.parents[1].chmod(0o777),
    ],
    ids=["cut off", "edited", "empty", "file", "folder", "folder of a group", "parent"],
)
def test_a_result_that_is_damaged_or_that_others_can_write_is_computed_again(
    damage: Callable[[Path], object], folder: Path
) -> None:
    assert [was_kept(), was_kept()] == [False, True]
    [path] = folder.iterdir()
    damage(path)
    assert not was_kept()
    is_safe = not any(each.stat().st_mode & 0o022 for each in (folder, folder.parent))
    was_kept("other")
    assert len(list(folder.iterdir())) == 1 + is_safe, "where others can write, nothing is written"
    folder.chmod(0o700)
    folder.parent.chmod(0o1777)
    assert [was_kept(), was_kept()][1], "in a sticky folder, others cannot rename"


def test_the_file_that_is_checked_is_the_one_that_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file, put in the place of an open one, must not lend it its mode."""
    assert [was_kept(), was_kept()] == [False, True]
    [path] = folder.iterdir()
    own = path.read_bytes()
    path.chmod(0o666)
    read = Path.open

    def opened_and_replaced(of: Path, *arguments: Any, **options: Any) -> Any:
        file = read(of, *arguments, **options)
        if of == path and arguments == ("rb",) and not options:
            monkeypatch.setattr(Path, "open", read)
            path.unlink()
            path.write_bytes(own)
            path.chmod(0o600)
        return file

    monkeypatch.setattr(Path, "open", opened_and_replaced)
    assert not was_kept()


def test_without_a_home_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert [was_kept(), was_kept()] == [False, True]
    parents = [tmp_path / "home", tmp_path / "home" / ".cache"]
    assert [each.stat().st_mode & 0o777 for each in parents] == [0o700, 0o700]
    monkeypatch.setattr(
        os.path, "expanduser", lambda path: path
    )  # what it returns without HOME and an entry of the user
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert [was_kept(), was_kept()] == [False, False]
    assert not list((tmp_path / "work").iterdir())


def test_errors_and_code_of_other_packages_are_not_kept(folder: Path) -> None:
    assert [was_kept(result={}), was_kept(result={})] == [False, False]

    def fail() -> None:
        raise StoreError("wrong", "here", "mend it")

    for _ in range(2):
        with pytest.raises(StoreError):
            kept(REGISTRY, "wrong", fail)
    entry = replace(next(iter(REGISTRY.sections["losses"].values())), name="mine", use="my_losses:own")
    other = replace(REGISTRY, sections={**REGISTRY.sections, "losses": {"mine": entry}})
    assert [was_kept(registry=other), was_kept(registry=other)] == [False, False]
    assert not any(folder.iterdir()), "nothing was kept"


def test_results_that_nobody_uses_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    was_kept("old")
    [old] = folder.iterdir()
    os.utime(old, (time.time() - UNUSED_SECONDS - 60,) * 2)
    others = folder / ("0" * 64)
    others.write_bytes(b"a file of another program")
    os.utime(others, (0, 0))

    def full(path: Path, *_: object) -> None:
        raise DiskFullError(errno.ENOSPC, "full", str(path))

    monkeypatch.setattr(keeping, "write_bytes", full)
    was_kept("new")
    assert list(folder.iterdir()) == [others], "also on a full disk"


def test_a_result_of_a_bundle_that_was_replaced_meanwhile_is_not_kept(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"one")
    assert kept(REGISTRY, "id", lambda: path.write_bytes(b"another"), path) == (7, False)
    path.write_bytes(b"one")
    assert kept(REGISTRY, "id", path.read_bytes, path) == (b"one", False)
    assert kept(REGISTRY, "id", path.read_bytes, path) == (b"one", True)
    path.write_bytes(b"two")
    assert kept(REGISTRY, "id", path.read_bytes, path) == (b"two", False)
    path.write_bytes(b"gone")
    assert kept(REGISTRY, "id", lambda: path.rename(tmp_path / "b.zip"), path) == (tmp_path / "b.zip", False)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.grid
def test_kept_counts_of_networks_refuse_other_numbers(
    finished: Path, once: Once, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks of a bundle are built once, and each further bundle is compared with their numbers."""
    path = once("bundle", lambda made: bundle(finished / "runs", made / "a.zip")) / "a.zip"
    with opened(path, REGISTRY) as found:
        counted = found.stated
    assert any(folder.iterdir())

    def build(*_: object) -> None:
        raise AssertionError("the network is built again")

    monkeypatch.setattr(recompute, "_count", build)
    with opened(path, REGISTRY) as found:
        assert found.stated == counted
    members = tmp_path / "members"
    members.mkdir()
    unpack(path, members)
    (members / CHECKSUMS).unlink()
    on_json(run_of(members) / "cost.json", lambda cost: cost.update(params=12))
    pack(members, tmp_path / "forged.zip")
    with (
        pytest.raises(StoreError, match="12 params, but its configuration gives"),
        opened(tmp_path / "forged.zip", REGISTRY),
    ):
        pass
