"""The intervals contain the true values as often as the document says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.extensions.calibration.fits import calibration
from benchmarks.calibration import DISTANCES, IMAGES, MEASURES, PATIENTS, drawn, rows, truths
from tests.nonempty import nonempty

TABLE = Path(__file__).parents[3] / "benchmarks" / "calibration.csv"


def test_the_table_covers_all_cells_as_the_document_says() -> None:
    table = pd.read_csv(TABLE)
    assert len(table) == len(MEASURES) * len(PATIENTS) * len(IMAGES) * len(DISTANCES)
    assert (table["cases"] == 2000).all()
    text = (TABLE.parents[1] / "docs" / "extensions" / "decisions.md").read_text(encoding="utf-8")
    low, high = 100 * table.groupby("measure")["found"].min(), 100 * table.groupby("measure")["found"].max()
    for measure, words in {
        "slope": "the slope contain the true value in {:.1f} to {:.1f} % of cases",
        "intercept": "of the intercept in {:.1f} to {:.1f} %",
        "observed_expected": "of O:E in {:.1f} to {:.1f} %",
    }.items():
        assert words.format(low[measure], high[measure]) in text


@pytest.mark.slow
@pytest.mark.parametrize(("positive", "negative", "images"), [(10, 90, 4), (40, 160, 1), (20, 80, "1 to 30")])
def test_a_small_simulation_covers_the_true_values(positive: int, negative: int, images: int | str) -> None:
    found = pd.DataFrame(rows((positive, negative, images, 1.2), 500))
    assert list(found["measure"]) == list(MEASURES)
    assert found["found"].astype(float).between(0.93, 0.995).all()


def test_the_true_values_are_those_of_a_very_large_hospital() -> None:
    [found] = calibration(*drawn(20_000, 80_000, 1, 1.2, np.random.default_rng(0)), [(1.0, 0.0)])
    for name, truth in nonempty(truths(0.2, 1.2).items()):
        assert getattr(found, name).value == pytest.approx(truth, abs=0.03)
