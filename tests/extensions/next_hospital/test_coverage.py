"""The prediction interval covers new hospitals as often as the document says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.extensions.next_hospital.random_effects import bayes
from bench.extensions.next_hospital.report_tables import LOGIT_SCALE
from benchmarks.next_hospital import COLUMNS, METHODS, panels_of, rows

TABLE = Path(__file__).parents[3] / "benchmarks" / "next_hospital.csv"


def test_the_default_is_the_method_whose_coverage_the_table_shows() -> None:
    table = pd.read_csv(TABLE)
    assert tuple(table.columns) == COLUMNS
    assert set(table["method"]) == set(METHODS)
    assert table["cases"].min() > 2400
    method = next(name for name, fit in METHODS.items() if getattr(fit, "keywords", {}).get("scale") == LOGIT_SCALE)
    new = table[
        (table["measure"] == "new hospital") & (table["hospitals"] >= 5) & table["kind"].isin(["normal", "macro"])
    ]
    differing = new[new["tau"] > 0].pivot_table("found", ["kind", "tau", "hospitals"], "method")
    assert differing[method].between(0.93, 0.985).all()
    assert len(differing) == 12
    others = differing.drop(columns=method)
    shortfall = (0.93 - differing).clip(lower=0).max()
    assert (shortfall[others.columns][["reml", "bayes 0.25"]] > 0.05).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "macro"])
def test_a_small_simulation_covers_new_hospitals(kind: str) -> None:
    panels, new, _ = panels_of(kind, 5, 0.3, 600, np.random.default_rng(1))
    fit = bayes(panels.at(panels.enough), LOGIT_SCALE)
    inside = (fit.new_low <= new[panels.enough]) & (new[panels.enough] <= fit.new_high)
    assert inside.mean() == pytest.approx(0.96, abs=0.025)


@pytest.mark.slow
def test_each_row_of_the_benchmark_has_its_coverage() -> None:
    found = pd.DataFrame(rows("outlier", 4, 0.2, 20, "command"), columns=list(COLUMNS))
    assert len(found) == 2 * len(METHODS)
    assert found["found"].astype(float).between(0.5, 1).all()
