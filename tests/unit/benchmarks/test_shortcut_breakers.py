"""The summary of the shares of a planted gap: known shares, and the coverage of the interval of a ratio."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.shortcut_breakers import CONDITIONS, CONTROL, HERE, fieller, markdown, summary

TABLE = HERE / "shortcut_breakers.csv"
RESULTS = HERE / "RESULTS.md"


def rows_of(planted: dict[str, list[float]], price: float) -> pd.DataFrame:
    """Return rows in which each condition has these planted gaps, one for each seed, and a constant price inside."""
    rows = []
    for condition, gaps in planted.items():
        for seed, gap in enumerate(gaps):
            inside = 0.7 - (price if condition != CONTROL else 0)
            shared = {"seed": seed, "condition": condition, "internal_others": 0.6, "external_others": 0.6}
            rows.append({**shared, "strength": 0.0, "internal": inside, "external": 0.65})
            rows.append({**shared, "strength": 0.9, "internal": inside + gap, "external": 0.65})
    return pd.DataFrame(rows)


def test_the_share_removed_and_the_price_are_those_of_the_rows() -> None:
    table = rows_of({CONTROL: [0.3, 0.32, 0.28, 0.31, 0.29], "markers": [0.06, 0.07, 0.05, 0.06, 0.06]}, price=0.02)
    control, markers = summary(table).to_dict("records")
    assert control["planted"] == pytest.approx(0.3)
    assert markers["removed"] == pytest.approx(0.8)
    assert markers["removed_low"] < 0.8 < markers["removed_high"]
    assert markers["price"] == pytest.approx(-0.02)
    assert markers["outside"] == pytest.approx(0)
    assert "| markers | tags and markers in corners | +.060" in markdown(summary(table))


def test_a_seed_without_all_rows_is_left_out() -> None:
    table = rows_of({CONTROL: [0.3, 0.32, 0.28], "markers": [0.06, 0.07, 0.05]}, price=0.0)
    last = (table["seed"] == 2) & (table["condition"] == "markers") & (table["strength"] == 0.0)
    assert summary(table[~last])["seeds"].tolist() == [2, 2]


@pytest.mark.slow
def test_the_interval_of_a_ratio_covers_the_true_ratio_in_95_percent_of_samples() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        below = 0.3 + 0.05 * generator.standard_normal(6)
        above = 0.2 * below + 0.03 * generator.standard_normal(6)
        _, low, high = fieller(above, below)
        covered += low <= 0.2 <= high
    assert covered / 2000 == pytest.approx(0.95, abs=0.02)


def test_a_ratio_to_a_mean_that_may_be_0_has_no_bounds() -> None:
    _, low, high = fieller(np.array([0.1, 0.2, 0.1]), np.array([0.1, -0.1, 0.05]))
    assert (low, high) == (-np.inf, np.inf)


def test_the_results_are_those_of_the_stored_rows() -> None:
    rows = summary(pd.read_csv(TABLE))
    assert markdown(rows) in RESULTS.read_text()
    assert set(rows["condition"]) == set(CONDITIONS)
    assert rows["seeds"].min() >= 5


def test_only_random_tags_remove_the_gap_of_a_planted_tag() -> None:
    rows = summary(pd.read_csv(TABLE)).set_index("condition")
    assert rows["planted"][CONTROL] > 0.1
    for name in ("markers", "breakers"):
        assert rows["removed_low"][name] > 0.8
    for name in ("borders", "tones", "resolutions", "lung crop"):
        assert rows["removed_high"][name] < 0.2
