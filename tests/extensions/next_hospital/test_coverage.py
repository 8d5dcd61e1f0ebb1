"""The prediction interval covers new hospitals as often as the document says."""

from pathlib import Path

import pandas as pd
import pytest

from bench.extensions.next_hospital.areas import SCALE
from benchmarks.next_hospital import rows

TABLE = Path(__file__).parents[3] / "benchmarks" / "next_hospital.csv"


def test_the_table_shows_the_coverage_that_the_document_states() -> None:
    table = pd.read_csv(TABLE)
    assert table["cases"].min() >= 400
    used = table[(table["scale"] == SCALE) & (table["prediction"] == "macro")]
    differing = used[(used["effects"] == "normal") & (used["tau"] > 0)]
    assert differing["inside"].between(0.93, 0.995).all()
    assert used.loc[used["tau"] == 0, "no_tau"].between(0.5, 0.65).all()
    skewed = used[used["effects"] == "left-skewed"]
    assert skewed["below"].max() <= 0.06
    # with half the scale, more hospitals that fail are below the interval
    half = table[(table["scale"] == SCALE / 2) & (table["effects"] == "left-skewed")]
    assert half["below"].max() > 0.06


@pytest.mark.slow
@pytest.mark.parametrize("table", ["one", "holes"])
def test_a_small_simulation_covers_new_hospitals(table: str) -> None:
    found = pd.DataFrame(rows(("normal", table, 5, 0.2), 50))
    assert set(found["prediction"]) == {"macro", "finding"}
    assert found.loc[found["scale"] == SCALE, "inside"].astype(float).min() >= 0.9
