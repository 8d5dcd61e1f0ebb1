"""Intervals of rates at a threshold: none has the width 0, and they contain the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from bench.scoring.bootstrap.area_intervals import effective_patients, mean_interval
from bench.scoring.bootstrap.bootstrap import CALL_METRICS
from bench.scoring.bootstrap.intervals import share_interval
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.rates import F1, intervals, sizes


def column(label: np.ndarray, patient: np.ndarray) -> Column:
    """Return images in the given order, which is that of falling scores."""
    return Column.listed(np.arange(len(label)), patient.astype(np.int32), label == 1)


def test_the_sizes_of_rates_are_counts_of_their_images_and_effective_numbers_of_patients() -> None:
    label = np.array([1, 1, 0, 1, 0, 0, 1])
    patient = np.array([0, 0, 1, 2, 2, 3, 3])
    images, patients = (
        dict(zip(CALL_METRICS, of[:, 0], strict=True)) for of in sizes(column(label, patient), np.array([3]), 4)
    )
    # called: the first three images, of patients 0, 0, 1; positive: of patients 0, 0, 2, 3
    assert images == {"f1": 5, "precision": 3, "sensitivity": 4, "specificity": 3, "npv": 4}
    expected = {"f1": 25 / 7, "precision": 9 / 5, "sensitivity": 16 / 6, "specificity": 3, "npv": 16 / 8}
    assert patients == pytest.approx(expected)


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.0, 0.5, 1.0]))
def test_no_interval_has_the_width_zero_and_each_contains_its_rate(seed: int, num_patients: int, rate: float) -> None:
    draw = np.random.default_rng(seed)
    images = draw.integers(1, 9, (5, num_patients)).astype(float)
    events = draw.binomial(images.astype(int), rate).astype(float)
    weight = draw.multinomial(num_patients, np.full(num_patients, 1 / num_patients), 50)
    value, replicates = events.sum(1) / images.sum(1), (events @ weight.T) / (images @ weight.T)
    of = np.stack([images.sum(1), effective_patients(images)])[..., None]
    low, high = intervals(value[:, None], replicates[:, None], of)[..., 0]
    assert ((low < high) & (low <= value) & (value <= high)).all()
    assert ((low >= 0) & (high <= 1)).all()
    mean_low, mean_high = mean_interval("f1", value, np.stack([low, high]), replicates)
    assert mean_low < mean_high
    assert mean_low <= value.mean() <= mean_high


def test_a_rate_without_replicates_has_the_interval_of_its_patients_and_a_missing_rate_has_none() -> None:
    value, replicates = np.full((5, 2), [0.25, np.nan]), np.full((5, 2, 20), np.nan)
    low, high = intervals(value, replicates, np.stack([np.full((5, 2), 16.0), np.full((5, 2), 8.0)]))
    assert [low[2, 0], high[2, 0]] == pytest.approx(proportion_confint(2, 8, method="agresti_coull"))
    assert np.isnan([low[:, 1], high[:, 1]]).all()
    assert np.isnan(mean_interval("f1", value[0, 1:], np.full((2, 1), np.nan), replicates[0, 1:])).all()


def test_f1_has_the_interval_of_the_share_of_true_positives_among_called_or_positive_images() -> None:
    draw, share = np.random.default_rng(0), 0.4
    replicates = draw.normal(share, 0.05, 1000)
    f1, of_f1 = (np.broadcast_to(2 * x / (1 + x), (5, 1, *np.shape(x))) for x in (np.array(share), replicates))
    low, high = intervals(f1, of_f1, np.full((2, 5, 1), 100.0))[:, F1, 0]
    expected = share_interval(np.array(share), replicates, np.array(100.0), np.array(100.0))
    assert [low, high] == pytest.approx([float(2 * bound / (1 + bound)) for bound in expected])


def test_the_interval_of_a_mean_of_equal_rates_depends_on_the_correlation_of_their_replicates() -> None:
    values, bounds = np.full(4, 0.5), np.array([[0.3] * 4, [0.7] * 4])
    replicates = np.random.default_rng(0).normal(size=(4, 100_000))
    assert mean_interval("npv", values, bounds, replicates) == pytest.approx((0.4, 0.6), abs=2e-3)
    same = np.broadcast_to(replicates[0], replicates.shape)
    assert mean_interval("npv", values, bounds, same) == pytest.approx((0.3, 0.7)), "the same rate four times"
    never = np.full((4, 9), np.nan)
    assert mean_interval("npv", values, bounds, never) == pytest.approx((0.4, 0.6)), "as independent rates"


@pytest.mark.slow
@pytest.mark.parametrize(("num_patients", "rate"), [(10, 0.97), (20, 0.8), (40, 0.5)])
def test_intervals_contain_the_true_rate_of_unequal_correlated_clusters(num_patients: int, rate: float) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(1, 13, (1000, num_patients)).astype(float)
    of_patient = draw.beta(rate * 7 / 3, (1 - rate) * 7 / 3, images.shape)  # a correlation of .3 inside patients
    events = draw.binomial(images.astype(int), of_patient).astype(float)
    weight = draw.multinomial(num_patients, np.full(num_patients, 1 / num_patients), 400)
    value, replicates = events.sum(1) / images.sum(1), (events @ weight.T) / (images @ weight.T)
    low, high = share_interval(value, replicates, images.sum(1), effective_patients(images))
    assert ((low <= rate) & (rate <= high)).mean() > 0.93
    few = value == 1
    assert few.any() == (num_patients == 10)
    assert (low[few] < 0.9).all()
