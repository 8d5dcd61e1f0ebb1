"""Forecast of the AUROC that more compute buys: known lines, too few recipes, and coverage of the interval."""

import numpy as np
import pytest
import statsmodels.api as sm

from bench.scoring.across_runs.compute_forecast import compute_forecast, fit
from reports.schemas.tables import SCHEMAS

COST = np.array([1.0, 2, 4, 8, 16, 32, 64, 64])
NAMES = [f"r{i}" for i in range(len(COST))]


def test_an_exact_line_is_continued_and_its_check_is_right() -> None:
    value = 0.7 + 0.01 * np.log2(COST)
    table = compute_forecast({"macs": dict(zip(NAMES, COST, strict=True))}, NAMES, value, np.tile(value[:, None], 50))
    assert (*table.columns,) == SCHEMAS["compute_forecast"]
    row = table.iloc[0]
    assert row[["amount", "num_recipes"]].tolist() == [128, 8]
    assert row[["value", "low", "high"]].tolist() == pytest.approx([0.77] * 3)
    assert row[["gain", "gain_low", "gain_high"]].tolist() == pytest.approx([0.01] * 3)
    assert row[["check", "check_low", "check_high", "reached"]].tolist() == pytest.approx([0.76] * 4)


def test_without_variance_over_patients_the_intervals_are_those_of_statsmodels() -> None:
    value = 0.7 + np.random.default_rng(0).normal(0, 0.02, len(COST))
    line = fit(COST, value, np.tile(value[:, None], 10), 128.0)
    model = sm.OLS(value, sm.add_constant(np.log2(COST))).fit()
    frame = model.get_prediction(np.array([[1.0, 7.0]])).summary_frame(alpha=0.05)
    assert (line.value, line.low, line.high) == pytest.approx(
        frame[["mean", "obs_ci_lower", "obs_ci_upper"]].iloc[0].tolist()
    )
    assert (line.slope_low, line.slope_high) == pytest.approx(model.conf_int()[1].tolist())


def test_too_few_recipes_or_costs_have_no_forecast() -> None:
    value = np.full(8, 0.8)
    drawn = np.tile(value[:, None], 10)
    few = dict(zip(NAMES[:5], COST[:5], strict=True))
    alike = dict(zip(NAMES, [1.0, 1, 1, 2, 2, 2, 3, 3], strict=True))
    unknown = dict.fromkeys(NAMES, float("nan")) | {"r0": 0.0}
    table = compute_forecast({"macs": few, "params": alike, "device_hours": unknown}, NAMES, value, drawn)
    assert table.empty


def test_six_recipes_have_a_forecast_without_a_check() -> None:
    value = 0.7 + 0.01 * np.arange(6)
    costs = {"macs": dict(zip(NAMES[:6], COST[:6], strict=True))}
    row = compute_forecast(costs, NAMES[:6], value, value[:, None] * [1, 1])
    assert row["value"].notna().all()
    assert row["check"].isna().all()


@pytest.mark.parametrize("noise", [0.002, 0.02])
def test_the_interval_contains_the_true_score_of_a_new_recipe_with_new_patients(noise: float) -> None:
    generator, covered, num = np.random.default_rng(0), 0, 400
    for _ in range(num):
        truth = 0.7 + 0.01 * np.log2(COST) + generator.normal(0, noise, len(COST))
        shift = generator.normal(0, 0.01)  # the same patients for all recipes
        drawn = truth[:, None] + shift + generator.normal(0, 0.01, 100)[None, :]
        line = fit(COST, truth + shift, drawn, 128.0)
        covered += line.low <= 0.77 + generator.normal(0, noise) <= line.high
    assert covered / num >= 0.93
