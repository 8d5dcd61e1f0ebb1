"""Results that are kept for the next call: when they are read, and when they are computed again."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.config.registry import Registry
from bench.extensions.bundles import kept as keeping
from bench.extensions.bundles import recompute
from bench.extensions.bundles.archive import CHECKSUMS, pack, unpack
from bench.extensions.bundles.kept import UNUSED_SECONDS, kept
from bench.extensions.bundles.verify import opened
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
    monkeypatch.setattr(keeping, "_program", lambda: "another version")
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
    program: Callable[[], str] = keeping._program.__wrapped__  # without its cache
    found = {program()}
    for name in names:
        (tmp_path / name).write_text("two")
        found.add(program())
    assert len(found) == 1 + len(names)
    (tmp_path / "numba-9.9.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))  # as if another package were installed
    assert program() not in found


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"\x02", b"\x03")),
        lambda path: path.write_bytes(b""),
        lambda path: path.chmod(0o666),
        lambda path: path.parent.chmod(0o777),
    ],
    ids=["cut off", "edited", "empty", "file that others can write", "folder that others can write"],
)
def test_a_result_that_is_damaged_or_that_others_can_write_is_computed_again(
    damage: Callable[[Path], object], folder: Path
) -> None:
    assert [was_kept(), was_kept()] == [False, True]
    [path] = folder.iterdir()
    damage(path)
    assert not was_kept()
    folder.chmod(0o700)
    assert was_kept()


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
    assert not folder.exists(), "nothing was kept"


def test_results_that_nobody_uses_are_removed(folder: Path) -> None:
    was_kept("old")
    [old] = folder.iterdir()
    os.utime(old, (time.time() - UNUSED_SECONDS - 60,) * 2)
    was_kept("new")
    assert not old.exists()
    assert len(list(folder.iterdir())) == 1


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
