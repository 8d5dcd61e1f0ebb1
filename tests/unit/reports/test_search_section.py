"""The section on the search for settings: one row for each trial, with the chosen one marked."""

import numpy as np
import pandas as pd
import synthetic
from bs4 import BeautifulSoup, Tag

from reports.page import render
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables

HOSTILE = "<script>alert(1)</script>"
SEARCH = {
    "trials": 2,
    "seed": 3,
    "over": {"schedule.lr": ["log", 1e-5, 1e-3], "schedule.batch_size": ["choice", 8, 16]},
}


def section(rows: list[tuple[object, ...]], search: dict[str, object] | None = None) -> Tag | None:
    made = synthetic.tables(synthetic.Invented(runs=3, hospitals=("chexpert", "mimic", "nih")))
    frame = pd.DataFrame(rows, columns=list(SCHEMAS["trials"]))
    meta = {**made.meta, **({"search": search} if search else {})}
    page = render(Tables(meta, {**made.frames, "trials": frame}))
    assert HOSTILE not in page
    found = BeautifulSoup(page, "html.parser").find(id="search")
    return found if isinstance(found, Tag) else None


def test_a_grid_without_search_has_no_such_section() -> None:
    assert section([]) is None


def test_each_trial_has_its_mean_over_finished_runs_and_names_are_escaped() -> None:
    rows = [
        (HOSTILE, "a", 0, "", "a", 0, "", "done", 0.70, 9.0, False),
        (HOSTILE, "a", 0, "", "b", 1, "", "done", 0.80, 9.0, False),
        (HOSTILE, "a", 1, "lr 0.0003", "c", 0, "", "done", 0.90, 9.0, True),
        (HOSTILE, "a", 1, "lr 0.0003", "d", 1, "", "failed", np.nan, np.nan, True),
    ]
    found = section(rows, SEARCH)
    assert found is not None
    texts = [row.get_text(" ", strip=True) for row in found.find_all("tr")[1:]]
    assert texts == ["0 as in the grid 2 of 2 .750", "1 lr 0.0003 1 of 2 .900 chosen"]
    text = found.get_text(" ", strip=True)
    assert "the same 2 trials" in text
    assert "from 1e-05 to 0.001, logarithmic" in text
    assert "one of 8, 16" in text
