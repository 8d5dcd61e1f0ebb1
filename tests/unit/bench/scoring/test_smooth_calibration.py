"""The smooth calibration curve, its slope and its intercept equal independent fits, and their intervals contain the truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.interpolate import CubicSpline
from scipy.special import expit, logit
from scipy.stats import t

from bench.scoring.smooth_calibration import GROUPS, KNOTS, CalibrationPairs
from tests.nonempty import nonempty

ROOT = Path(__file__).parents[4]


def patients_of(seed, num, slope=0.6, bend=0.0):
    """Return logits, labels and patients: up to five images of a patient share a label effect; the true logit is bent."""
    draw = np.random.default_rng(seed)
    patient = np.repeat(np.arange(num), draw.integers(1, 6, num))
    x = draw.normal(-1, 1.5, num)[patient] + draw.normal(0, 0.5, len(patient))
    true = slope * x - bend * (x + 1) ** 2
    # a shared uniform number of half of the patients correlates labels without a change of their probability
    shared = (draw.random(num) < 0.5)[patient]
    uniform = np.where(shared, draw.random(num)[patient], draw.random(len(patient)))
    return x, uniform < expit(true), patient


def natural_basis(x, knots):
    """Cardinal natural cubic splines, linear beyond the outer knots: another basis of the same curves."""
    columns = []
    for values in np.eye(len(knots)):
        spline = CubicSpline(knots, values, bc_type="natural")
        inside = np.clip(x, knots[0], knots[-1])
        columns.append(spline(inside) + spline(inside, 1) * (x - inside))
    return np.stack(columns, 1)


def test_curve_and_band_equal_those_of_statsmodels_in_another_basis():
    x, positive, patient = patients_of(0, 300)
    at = np.array([0.02, 0.1, 0.3, 0.6, 0.9])
    knots = np.quantile(x, KNOTS)
    fit = sm.GLM(positive.astype(float), natural_basis(x, knots), sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": patient, "use_correction": False}
    )
    points, num = natural_basis(logit(at), knots), len(np.unique(patient))
    error = np.sqrt(np.einsum("gj,jk,gk->g", points, fit.cov_params(), points) * num / (num - 4))
    of_images = fit.resid_response[:, None] * fit.model.exog @ np.asarray(fit.normalized_cov_params) @ points.T
    squares = np.array([np.bincount(patient, column) for column in of_images.T]) ** 2
    half = t.ppf(0.975, squares.sum(1) ** 2 / (squares**2).sum(1) - 1) * error
    found = CalibrationPairs.of(x, positive, patient).curve(at)
    middle = points @ fit.params
    for bound, expected in nonempty(zip(found, (middle, middle - half, middle + half), strict=True)):
        np.testing.assert_allclose(logit(bound), expected, atol=1e-3)


def test_many_pairs_are_fitted_in_groups_with_the_numbers_of_all_pairs(monkeypatch):
    x, positive, patient = patients_of(1, 2000)
    assert len(x) > 5 * GROUPS
    at = np.array([0.02, 0.1, 0.3, 0.6, 0.9])
    grouped = CalibrationPairs.of(x, positive, patient)
    monkeypatch.setattr("bench.scoring.smooth_calibration.GROUPS", len(x))
    single = CalibrationPairs.of(x, positive, patient)
    np.testing.assert_allclose(logit(grouped.curve(at)), logit(single.curve(at)), atol=1e-3)
    for found, expected in ((grouped.slope(), single.slope()), (grouped.intercept(), single.intercept())):
        assert (found.value, *found.bounds) == pytest.approx((expected.value, *expected.bounds), abs=1e-4)


@pytest.mark.parametrize(
    ("prob", "positive", "patient"),
    [
        ([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0, 0, 0, 1, 1, 1], range(6)),
        ([0.5] * 6, [0, 1, 0, 1, 0, 1], range(6)),
        ([0.1, 0.4, 0.2, 0.9, 0.6, 0.7], [0, 1, 0, 0, 0, 0], range(6)),
        ([0.1, 0.4, 0.2, 0.9, 0.6, 0.7], [0, 1, 0, 1, 0, 0], [0, 1, 2, 1, 4, 5]),
    ],
    ids=("separated", "equal", "one positive image", "one positive patient"),
)
def test_there_is_no_curve_without_two_patients_of_each_class_or_with_equal_or_separating_probabilities(
    prob, positive, patient
):
    pairs = CalibrationPairs.of(logit(prob), np.array(positive, bool), np.array([*patient]))
    assert np.isnan(pairs.curve(np.array([0.3, 0.5]))).all()
    assert np.isnan([pairs.slope().value, *pairs.slope().bounds]).all()


@pytest.mark.slow
@pytest.mark.parametrize(("num", "bend"), [(150, 0.0), (400, 0.1)])
def test_the_band_contains_the_true_curve_in_about_95_percent_of_samples_at_each_point(num, bend):
    at = np.array([-3.0, -1.5, 0.0, 1.0])
    true, inside, cases = expit(0.6 * at - bend * (at + 1) ** 2), [], 400
    for seed in range(cases):
        x, positive, patient = patients_of([num, seed], num, bend=bend)
        _, low, high = CalibrationPairs.of(x, positive, patient).curve(expit(at))
        inside.append((low <= true) & (true <= high))
    coverage = np.mean(inside, 0)
    assert ((coverage >= 0.91) & (coverage <= 0.985)).all(), coverage


def test_the_benchmark_has_the_coverage_that_the_document_states():
    table = pd.read_csv(ROOT / "benchmarks" / "calibration_curves.csv")
    text = (ROOT / "docs" / "extensions" / "decisions.md").read_text(encoding="utf-8")
    assert table["cases"].min() >= 2000
    assert len(table) == 24 * 7
    curve = table.loc[table["measure"].str.startswith("curve"), "found"]
    assert f"the true share in {100 * curve.min():.1f} to {100 * curve.max():.1f} % of samples" in text
    for measure in ("slope", "intercept"):
        found = 100 * table.loc[table["measure"] == measure, "found"]
        assert f"{measure} {found.min():.1f} to {found.max():.1f} %" in text
