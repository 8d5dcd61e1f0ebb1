"""The grid of open hospitals is planned on small datasets that the layouts write."""

from pathlib import Path

import pandas as pd
from native_tables import TABLES, touch, write

from bench.config.grid import Grid
from bench.config.registry import Registry
from tests.conftest import Command

GRID = Path(__file__).parents[4] / "grids" / "open.yaml"


def write_many(layout: str, root: Path, number: int) -> None:
    """Write about `number` images of a layout: the rows of its example, each with other digits in its ids."""
    example = TABLES[layout]()
    copies = [
        example.assign(
            **{
                column: renamed(layout, column, example[column], k)
                for column in ("image_id", "patient_id", "study_id", "path")
            }
        )
        for k in range(number // len(example))
    ]
    table = pd.concat(copies, ignore_index=True)
    write(layout, table, root)
    touch(table, root)


def renamed(layout: str, column: str, text: "pd.Series[str]", k: int) -> "pd.Series[str]":
    """Return ids or paths with other digits for each k."""
    if layout == "covid":
        if column == "patient_id":
            return text + str(k)
        return text.str.replace(r"(\w)\.png", rf"\g<1>{k}.png", regex=True)
    if layout == "openi":
        return text.str.replace(r"CXR(\d)", lambda match: f"CXR{10 * k + int(match[1])}", regex=True)
    if layout != "nih":
        return text.str.replace(r"9(\d\d\d)", lambda match: str(int(match[0]) + 10 * k), regex=True)
    if column in ("patient_id", "study_id"):
        return text.str.replace(r"^(\d+)", lambda match: str(int(match[1]) + 100 * k), regex=True)
    return text.str.replace(r"(\d{8})_", lambda match: f"{int(match[1]) + 100 * k:08d}_", regex=True)


def test_the_grid_of_open_hospitals_is_planned_on_files_of_their_layouts(tmp_path: Path, here: Command) -> None:
    for layout in Grid.read(str(GRID), Registry.read(None)).hospitals:
        write_many(layout, tmp_path / "data" / layout, 120)
    # starting weights are no part of this test
    (tmp_path / "open.yaml").write_text(f"include: {GRID}\nbase: {{weights: none}}\n")
    out = here("run", "--grid", "open.yaml", "--data", "data", "--store", "store", "--dry-run", cwd=tmp_path).stdout
    assert "5 runs (5 to do)" in out
