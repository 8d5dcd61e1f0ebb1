"""Contract of every dataset layout: each file that reading opens is part of the key of a kept cohort table.

A kept cohort table would otherwise be used after a file has changed.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.planning.parsed_tables import ParsedTable
from harmonize.cohorts.cohort import load
from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import adapter, chexpert, mimic, native, nih
from harmonize.datasets.open_files import REGIONS, FileSet
from harmonize.labels.findings import FINDINGS, label_sources
from tests.native_tables import TABLES, on_disk

_seen: list[str] | None = None  # opened files; an audit hook cannot be removed, so it writes only here


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event == "open" and isinstance(arguments[0], str | os.PathLike):
        _seen.append(os.fspath(arguments[0]))


@contextmanager
def opened() -> Iterator[list[str]]:
    """Yield the paths of all files that Python opens."""
    global _seen  # noqa: PLW0603
    sys.addaudithook(_hook)
    _seen = seen = []
    try:
        yield seen
    finally:
        _seen = None


def requests() -> Iterator[tuple[str, str, bool]]:
    """Yield each layout with each of its label sources, and with its gold subset."""
    for layout in TABLES:
        yield from ((layout, source, False) for source in ("default", *label_sources(layout)))
        if hasattr(adapter(layout), "gold"):
            yield layout, getattr(adapter(layout), "GOLD_LABEL_SOURCE", "default"), True


def put_more_files(spec: CohortSpec) -> None:
    """Add the files that the example of the layout does not have: labels of other sources, ages, a list to exclude."""
    if spec.layout == "chexpert":
        for name in set(chexpert.TRAIN.values()):
            (spec.root / name).write_bytes((spec.root / "train.csv").read_bytes())
    if spec.layout == "mimic":
        table = TABLES["mimic"]()
        mimic.write(table.assign(**{f"expert:{name}": table[native(name)] for name in mimic.LABELS}), spec.root)
        shutil.copy(next(spec.root.glob("*-chexpert.csv.gz")), spec.root / "mimic-cxr-2.0.0-negbio.csv.gz")
    if spec.layout == "nih":
        labels = {"expert": nih.EXPERT_LABELS, "all_findings": nih.ALL_FINDINGS_LABELS}
        columns = [f"{source}:{name}" for source, names in labels.items() for name in names]
        nih.write(TABLES["nih"]().assign(**dict.fromkeys(columns, pd.Series(1, range(4), "Int8"))), spec.root)
    if spec.layout == "vindr":
        (spec.root / "people.csv").write_text("image_id,sex,age\nabsent,F,30\n")
    if spec.layout == "shenzhen":
        numbers = ",".join("1" for _ in REGIONS)
        (spec.root / "Statistics_ShenzhenDataset.csv").write_text(
            f"imagename,{','.join(REGIONS)}\nCHNCXR_9002_1.png,{numbers}\n"
        )
    (spec.root / "listed.csv").write_text("image_id\nabsent\n")


@pytest.mark.parametrize(("layout", "source", "gold"), list(requests()))
def test_each_file_that_reading_opens_is_part_of_the_key(layout: str, source: str, gold: bool, tmp_path: Path) -> None:
    spec = on_disk(layout, tmp_path / layout)
    put_more_files(spec)
    spec = replace(
        spec, label_source=source, choice=CohortChoice(gold=gold, views="all"), exclude=(spec.root / "listed.csv",)
    )
    with opened() as seen:
        assert load(spec).id
    read = {path for path in seen if path.startswith(str(tmp_path))}
    found = adapter(layout)
    paths_state_all = isinstance(found, FileSet) and not found.reading
    assert len(read) >= (1 if paths_state_all else 2)  # the list to exclude, and files of the layout
    assert read <= set(ParsedTable(tmp_path, spec, "default", FINDINGS).files())
