"""Intervals of AUROC and AUPRC: published formulas, properties, and coverage with few positive patients."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm, t

from bench.scoring.area_intervals import (
    ClassSizes,
    area_interval,
    coefficients,
    effective_patients,
    mean_interval,
    score_interval,
    widened,
)
from bench.scoring.column import Column
from bench.scoring.influence import error_of
from bench.scoring.intervals import wilson

SIZES = st.integers(1, 400)
AREA = st.floats(0, 1)
Z = float(norm.ppf(0.975))


def hanley_mcneil(area: float, positives: float, negatives: float) -> float:
    """Return the variance of Hanley and McNeil 1982 from Q1 and Q2, as printed."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    terms = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return terms / (positives * negatives)


def newcombe(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return the interval of Newcombe 2006, method 5: the areas at 1.96 of their own standard errors, found by a root finder."""
    num = (positives + negatives) / 2 - 1

    def excess(bound: float) -> float:
        factor = 1 + num * (1 - bound) / (2 - bound) + num * bound / (1 + bound)
        return (area - bound) ** 2 - Z**2 * bound * (1 - bound) * factor / (positives * negatives)

    low = brentq(excess, 1e-15, area - 1e-9) if area > 0 else 0.0
    return low, brentq(excess, area + 1e-9, 1 - 1e-15) if area < 1 else 1.0


def sizes_of(positives: float, negatives: float) -> ClassSizes:
    numbers = np.array([[positives], [negatives]], np.float64)
    return ClassSizes(numbers, numbers)


def interval(area: float, positives: int, negatives: int, z: float = Z) -> tuple[float, float]:
    """Return the bounds of independent patients."""
    a, b = z**2 * coefficients("auroc", np.array([[float(positives)], [float(negatives)]]))
    (low,), (high,) = score_interval(np.array([area]), a, b)
    return float(low), float(high)


@pytest.mark.parametrize(
    ("area", "positives", "negatives"), [(0.893, 51, 58), (0.6, 5, 150), (1.0, 10, 150), (0.31, 90, 4)]
)
def test_bounds_are_the_roots_of_newcombes_fifth_method(area: float, positives: int, negatives: int) -> None:
    np.testing.assert_allclose(interval(area, positives, negatives), newcombe(area, positives, negatives), atol=1e-9)


def test_the_variance_is_that_of_hanley_and_mcneil_for_classes_of_equal_size() -> None:
    for area in (0.55, 0.893, 0.99):
        low, _ = interval(area, 54, 54, z=1e-4)
        assert (area - low) / 1e-4 == pytest.approx(np.sqrt(hanley_mcneil(area, 54, 54)), rel=1e-3)


@given(AREA, SIZES, SIZES)
def test_bounds_contain_the_area_are_shares_and_mirror_when_labels_or_scores_are_reversed(
    area: float, positives: int, negatives: int
) -> None:
    low, high = interval(area, positives, negatives)
    assert 0 <= low <= area <= high <= 1
    assert high - low > 1e-4
    mirrored = interval(1 - area, negatives, positives)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


@given(AREA, SIZES, SIZES, st.floats(0.5, 3), st.floats(1.01, 2))
def test_an_interval_at_a_higher_level_contains_the_interval_at_a_lower_level(
    area: float, positives: int, negatives: int, z: float, factor: float
) -> None:
    low, high = interval(area, positives, negatives, z)
    wide_low, wide_high = interval(area, positives, negatives, z * factor)
    assert wide_low <= low + 1e-11
    assert high <= wide_high + 1e-11
    more_low, _ = interval(area, positives + 50, negatives + 50, z)
    assert more_low >= low - 1e-11


@pytest.mark.parametrize("metric", ["auroc", "auprc"])
@pytest.mark.parametrize("area", [0.3, 0.9, 1.0])
def test_widened_gives_the_interval_of_the_higher_level(metric: str, area: float) -> None:
    a, b = coefficients(metric, np.array([[20.0], [4000.0]]))
    value = np.array([area])
    degrees = 40 if metric == "auroc" else 20
    quantile = Z * t.ppf(norm.cdf(2.6), degrees) / t.ppf(0.975, degrees)
    wide = widened(metric, value, *score_interval(value, Z**2 * a, Z**2 * b), 2.6)
    np.testing.assert_allclose(wide, score_interval(value, quantile**2 * a, quantile**2 * b), atol=1e-3)
    low, high = widened(metric, value, value, value, 2.6)  # an interval of zero width has no scale
    assert (low[0], high[0]) == (area, area)


def test_auprc_without_a_variance_has_wilsons_interval() -> None:
    found = area_interval("auprc", np.array([1.0]), np.zeros(1), sizes_of(12, 300))
    np.testing.assert_allclose(found, wilson(np.array([1.0]), np.array([12.0])), atol=1e-9)


def test_the_lower_bound_of_a_low_auprc_is_that_of_the_arcsine_scale() -> None:
    (low,), _ = area_interval("auprc", np.array([0.2]), np.zeros(1), sizes_of(12, 300))
    assert low == pytest.approx(np.sin(np.arcsin(np.sqrt(0.2)) - Z / np.sqrt(12) / 2) ** 2)
    assert low < wilson(np.array([0.2]), np.array([12.0]))[0]


def test_a_perfect_separation_has_an_interval_that_depends_on_the_number_of_patients() -> None:
    numbers = np.array([[10.0, 20.0], [150.0, 150.0]])
    low, high = area_interval("auroc", np.ones(2), np.zeros(2), ClassSizes(numbers, 5 * numbers))
    assert low[0] == pytest.approx(newcombe(1.0, 10, 150)[0], abs=1e-9)
    assert low[0] < low[1] < 1
    assert high.tolist() == [1, 1]


def test_unequal_numbers_of_images_count_as_fewer_patients() -> None:
    assert effective_patients(np.array([[3, 3, 0, 3], [30, 1, 1, 1]])).tolist() == [3.0, pytest.approx(33**2 / 903)]
    assert effective_patients(np.zeros((2, 3), np.int64)).tolist() == [0, 0]


def test_more_variance_widens_the_interval_up_to_no_limit_and_less_narrows_it_to_that_of_images() -> None:
    value, error = np.full(4, 0.8), np.array([1e-6, 1e-5, 0.05, 0.1])
    patients = np.repeat([[40.0], [300.0]], 4, 1)
    low, high = area_interval("auroc", value, error, ClassSizes(patients, 3 * patients))
    assert low[0] == pytest.approx(low[1], abs=1e-6)
    assert low[1] > low[2] > low[3]
    assert high[0] < high[2] < high[3]
    assert low[0] < interval(0.8, 120, 900)[0]  # never narrower than independent images


@pytest.mark.parametrize("case", ["no positive", "all positive", "no error", "nan"])
def test_an_area_that_cannot_be_estimated_has_no_bounds(case: str) -> None:
    value, error = np.array([0.8]), np.array([0.05])
    sizes = sizes_of(0 if case == "no positive" else 10, 0 if case == "all positive" else 10)
    if case == "no error":
        error[0] = np.nan
    elif case == "nan":
        value[0] = np.nan
    bounds = np.stack(area_interval("auroc", value, error, sizes))
    assert np.isnan(bounds).all()


def test_the_mean_of_equal_independent_areas_has_the_interval_of_all_patients_together() -> None:
    coefficient = Z**2 * np.array([0.0, 1 / 20])
    value = np.full(4, 0.8)
    low, high = score_interval(value, *coefficient)
    (together_low,), (together_high,) = score_interval(value[:1], *(coefficient / 4))
    assert mean_interval("auroc", value, (low, high), np.eye(4)) == pytest.approx(
        (together_low, together_high), abs=1e-9
    )
    same = np.ones((4, 4))
    assert mean_interval("auroc", value, (low, high), same) == pytest.approx((low[0], high[0]), abs=1e-9)


def test_a_mean_with_perfect_separations_and_missing_numbers() -> None:
    value, low, high = np.array([1.0, np.nan, 1.0]), np.array([0.8, np.nan, 0.8]), np.array([1.0, np.nan, 1.0])
    assert mean_interval("auprc", np.array([0.3]), np.array([[0.0], [0.8]]), np.eye(1)) == (0.0, 0.8)
    lower, upper = mean_interval("auroc", value, (low, high), np.eye(3))
    assert (0.88 < lower < 0.92, upper) == (True, 1.0)
    assert mean_interval("auroc", value, (low, high), np.ones((3, 3))) == pytest.approx((0.8, 1))
    low[2] = np.nan
    assert np.isnan(mean_interval("auroc", value, (low, high), np.eye(3))).all()
    assert np.isnan(mean_interval("auroc", value[1:2], (low[1:2], high[1:2]), np.eye(1))).all()


def test_the_mean_of_numbers_that_are_no_areas_combines_the_distances_of_their_bounds() -> None:
    value, low, high = np.array([0.1, -0.1]), np.array([-0.2, -0.5]), np.array([0.2, 0.1])
    assert mean_interval("", value, (low, high), np.eye(2)) == pytest.approx((-0.25, np.hypot(0.1, 0.2) / 2))


def planted(positives: int, area: float, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROCs [num] and their standard errors [num] in samples with 150 negative patients and a known AUROC."""
    generator = np.random.default_rng(seed)
    label = np.repeat(np.array([1, 0], np.int8), [positives, 150])
    score = generator.normal(size=(num, len(label))) + np.sqrt(2) * norm.ppf(area) * label
    found = [Column.of(np.arange(len(label), dtype=np.int32), label, s).auroc() for s in score]
    return np.array([value for value, _ in found]), np.array([error_of(of_image) for _, of_image in found])


@pytest.mark.parametrize(("positives", "area"), [(5, 0.9), (10, 0.995), (20, 0.97)])
def test_intervals_contain_the_true_auroc_with_few_positives_and_the_normal_ones_do_not(
    positives: int, area: float
) -> None:
    value, error = planted(positives, area, 600, 1)
    numbers = np.repeat([[float(positives)], [150.0]], len(value), 1)
    low, high = area_interval("auroc", value, error, ClassSizes(numbers, numbers))
    assert ((low <= area) & (area <= high)).mean() > 0.93
    assert (high > low).all()
    assert (np.abs(value - area) <= Z * error).mean() < 0.9


def test_the_committed_simulation_meets_its_criteria() -> None:
    table = pd.read_csv(Path(__file__).parents[4] / "benchmarks" / "areas.csv")
    assert table["command"].str.startswith("python benchmarks/areas.py --cases").all()
    assert (table["zero_width"] == 0).all()
    cells = table[table["part"] == "auroc"]
    assert len(cells) == 2 * 5 * 5
    assert (cells["simulations"] >= 1900).all()
    assert (cells["coverage"] > 0.93).all()
    assert (cells.loc[cells["auroc"] < 0.97, "coverage"] < 0.99).all()
    auprc = table[table["part"] == "auprc"]
    assert (auprc["coverage"] > np.where(auprc["positives"] > 5, 0.93, 0.92)).all()
