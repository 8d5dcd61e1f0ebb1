"""Contract of every dataset layout: each question about a file of the dataset is asked in `harmonize.datasets.file_access`.

A kept cohort table would be used after a file has changed if an adapter opened the file in another way.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmonize.cohorts.cohort import load
from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import LAYOUTS, adapter, chexpert, mimic, native
from harmonize.datasets.file_access import Question, recorded
from harmonize.labels.findings import label_sources
from tests.native_tables import on_disk

EVENTS = ("open", "os.listdir", "os.scandir")
_seen: list[tuple[str, str]] | None = None  # event and path; an audit hook cannot be removed, so it writes only here


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event in EVENTS and isinstance(arguments[0], str | os.PathLike):
        _seen.append((event, os.fspath(arguments[0])))


@contextmanager
def accesses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Yield all files that Python opens or asks the operating system about."""
    global _seen  # noqa: PLW0603
    sys.addaudithook(_hook)
    plain = os.stat
    _seen = seen = []

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if isinstance(path, str | os.PathLike):
            seen.append(("stat", os.fspath(path)))
        return plain(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        try:
            yield seen
        finally:
            _seen = None


def unrecorded(seen: list[tuple[str, str]], answers: dict[Question, str], root: Path) -> set[tuple[str, str]]:
    """Return the accesses below `root` that no recorded question covers."""
    contents = {path for kind, path, _ in answers if kind == "content"}
    searched = tuple(path for kind, path, _ in answers if kind == "matching")
    asked = {path for _, path, _ in answers}
    for kind, path, detail in answers:
        if kind == "files":
            files = {f"{path}/{name}" for name in detail.split("\0")}
            asked |= files | {os.path.dirname(file) for file in files}  # noqa: PTH120
    below = {(event, path) for event, path in seen if path.startswith(str(root))}
    return {
        (event, path)
        for event, path in below
        if path not in contents and (event == "open" or not (path in asked or path.startswith(searched)))
    }


def requests() -> Iterator[tuple[str, str, bool]]:
    """Yield each layout with each of its label sources, and with its gold subset."""
    for layout in LAYOUTS:
        yield from ((layout, source, False) for source in ("default", *label_sources(layout)))
        if hasattr(adapter(layout), "gold"):
            yield layout, getattr(adapter(layout), "GOLD_LABEL_SOURCE", "default"), True


def put_more_files(spec: CohortSpec) -> None:
    """Add the files that the example of the layout does not have: labels of other sources, ages, a list to exclude."""
    if spec.layout == "chexpert":
        for name in set(chexpert.TRAIN.values()):
            (spec.root / name).write_bytes((spec.root / "train.csv").read_bytes())
    if spec.layout == "mimic":
        table = mimic.example()
        mimic.write(table.assign(**{f"expert:{name}": table[native(name)] for name in mimic.LABELS}), spec.root)
        shutil.copy(next(spec.root.glob("*-chexpert.csv.gz")), spec.root / "mimic-cxr-2.0.0-negbio.csv.gz")
    if spec.layout == "vindr":
        (spec.root / "people.csv").write_text("image_id,sex,age\nabsent,F,30\n")
    (spec.root / "listed.csv").write_text("image_id\nabsent\n")


@pytest.mark.parametrize(("layout", "source", "gold"), list(requests()))
def test_each_access_to_a_file_of_a_dataset_is_recorded(
    layout: str, source: str, gold: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = on_disk(layout, tmp_path / layout)
    put_more_files(spec)
    spec = replace(
        spec, label_source=source, choice=CohortChoice(gold=gold, views="all"), exclude=(spec.root / "listed.csv",)
    )
    with accesses(monkeypatch) as seen, recorded() as answers:
        assert load(spec).id
    assert {event for event, _ in seen} >= {"open", "stat"}
    assert not unrecorded(seen, answers, spec.root)


def test_an_access_in_another_way_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with accesses(monkeypatch) as seen, recorded() as answers:
        (tmp_path / "a.csv").is_file()
        list(tmp_path.iterdir())
        with pytest.raises(OSError, match=r"a\.csv"):
            (tmp_path / "a.csv").open()
    found = unrecorded(seen, answers, tmp_path)
    assert {event for event, _ in found} >= {"stat", "open"}
    assert len(found) == 3
