"""Small datasets of every layout on disk, written from the example tables of the adapters."""

from pathlib import Path

import pandas as pd

from harmonize import CohortSpec
from harmonize.cohorts import label_mapping
from harmonize.datasets import LAYOUTS, adapter

TABLES = {layout: adapter(layout).example for layout in LAYOUTS}
# the first parts of all headings of the published Open-i reports
OPENI_HEADINGS = (Path(__file__).parent / "openi_headings.txt").read_text(encoding="utf-8").splitlines()


def native_labels_of(layout: str) -> set[str]:
    """Return all native labels of a published dataset."""
    if layout == "openi":
        return set(OPENI_HEADINGS)
    module = adapter(layout)
    return {*label_mapping.vocabulary(layout)} or {*(getattr(module, "TOKENS", None) or module.LABELS)}


def touch(table: pd.DataFrame, root: Path) -> None:
    """Put an empty file where each image belongs: some layouts are told apart by their folders."""
    for path in table["path"]:
        if path:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare two native tables, whatever the order of rows and columns and the kind of text column."""
    assert sorted(found) == sorted(expected)
    ordered = [frame.sort_values("image_id").reset_index(drop=True)[sorted(expected)] for frame in (found, expected)]
    for column in ordered[1]:
        ours, theirs = ordered[0][column], ordered[1][column]
        assert ours.isna().tolist() == theirs.isna().tolist(), column
        assert ours.dropna().tolist() == theirs.dropna().tolist(), column


def written(layout: str, root: Path) -> pd.DataFrame:
    """Write a small dataset with empty image files and return its table."""
    table = TABLES[layout]()
    adapter(layout).write(table, root)
    touch(table, root)
    return table


def on_disk(layout: str, root: Path) -> CohortSpec:
    """Write a small dataset with empty image files and return where it is."""
    written(layout, root)
    return CohortSpec(layout, layout, root, *(("table.csv", str(root / "mapping.yaml")) if layout == "table" else ()))
