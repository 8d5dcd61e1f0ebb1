"""Intervals of rates at a threshold: none has the width 0, and they contain the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from bench.scoring.area_intervals import effective_patients, mean_interval
from bench.scoring.column import Column
from bench.scoring.influence import correlations, error_of, ratio
from bench.scoring.intervals import share_interval
from bench.scoring.rates import CALL_METRICS, F1, Rates, shares, sizes_of
from bench.scoring.sample import Sample


def column(label: np.ndarray, patient: np.ndarray) -> Column:
    """Return images in the given order, which is that of falling scores."""
    return Column.of(patient.astype(np.int32), label.astype(np.int8), -np.arange(len(label), dtype=np.float64))


def test_the_sizes_of_rates_are_counts_of_their_images_and_effective_numbers_of_patients() -> None:
    images_of = column(np.array([1, 1, 0, 1, 0, 0, 1]), np.array([0, 0, 1, 2, 2, 3, 3]))
    _, of = shares(images_of, np.array([3]))
    images, patients = (dict(zip(CALL_METRICS, sizes[:, 0], strict=True)) for sizes in sizes_of(images_of, of, 4))
    # called: the first three images, of patients 0, 0, 1; positive: of patients 0, 0, 2, 3
    assert images == {"f1": 5, "precision": 3, "sensitivity": 4, "specificity": 3, "npv": 4}
    expected = {"f1": 25 / 7, "precision": 9 / 5, "sensitivity": 16 / 6, "specificity": 3, "npv": 16 / 8}
    assert patients == pytest.approx(expected)


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.0, 0.5, 1.0]))
def test_no_interval_has_the_width_zero_and_each_contains_its_rate(seed: int, num_patients: int, share: float) -> None:
    draw = np.random.default_rng(seed)
    patient = np.repeat(np.arange(num_patients), draw.integers(1, 9, num_patients))
    images = column(draw.random(len(patient)) < share, patient)
    rates = Rates.of(
        images, np.array([0, len(patient) // 2, len(patient)]), Sample.of(patient.astype(str).astype(object))
    )
    for value, influence, bounds in zip(rates.value, rates.influence, rates.bounds.swapaxes(0, 1), strict=True):
        low, high = bounds
        known = np.isfinite(value)
        assert np.isnan([low[~known], high[~known]]).all()
        assert ((low < high) & (low <= value) & (value <= high))[known].all()
        assert ((low >= 0) & (high <= 1))[known].all()
        if known.any():
            mean_low, mean_high = mean_interval("f1", value, bounds, correlations(influence @ influence.T))
            assert mean_low < mean_high
            assert mean_low <= value[known].mean() <= mean_high


def test_a_rate_without_a_variance_has_the_interval_of_its_patients_and_a_missing_rate_has_none() -> None:
    low, high = share_interval(np.array([0.25, np.nan]), np.full(2, np.nan), np.full(2, 16.0), np.full(2, 8.0))
    assert [low[0], high[0]] == pytest.approx(proportion_confint(2, 8, method="agresti_coull"))
    assert np.isnan([low[1], high[1]]).all()
    assert np.isnan(mean_interval("f1", np.full(1, np.nan), np.full((2, 1), np.nan), np.eye(1))).all()


def test_f1_has_the_interval_of_the_share_of_true_positives_among_called_or_positive_images() -> None:
    draw = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), draw.integers(1, 5, 60))
    label = draw.random(len(patient)) < np.linspace(0.9, 0.1, len(patient))
    cut = len(patient) // 3
    rates = Rates.of(column(label, patient), np.array([cut]), Sample.of(patient.astype(str).astype(object)))
    either = label | (np.arange(len(label)) < cut)
    share, of_images = ratio(label & (np.arange(len(label)) < cut), either)
    images = np.bincount(patient[either], minlength=60)
    error = error_of(np.bincount(patient, of_images))
    expected = share_interval(share, error, np.array(images.sum()), effective_patients(images))
    assert rates.value[F1, 0] == pytest.approx(2 * share / (1 + share))
    assert rates.bounds[:, F1, 0] == pytest.approx([float(2 * bound / (1 + bound)) for bound in expected])


def test_the_interval_of_a_mean_of_equal_rates_depends_on_their_correlation() -> None:
    values, bounds = np.full(4, 0.5), np.array([[0.3] * 4, [0.7] * 4])
    assert mean_interval("npv", values, bounds, np.eye(4)) == pytest.approx((0.4, 0.6))
    assert mean_interval("npv", values, bounds, np.ones((4, 4))) == pytest.approx((0.3, 0.7)), (
        "the same rate four times"
    )


@pytest.mark.parametrize(("num_patients", "rate"), [(10, 0.97), (20, 0.8), (40, 0.5)])
def test_intervals_contain_the_true_rate_of_unequal_correlated_clusters(num_patients: int, rate: float) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(1, 13, (1000, num_patients)).astype(float)
    of_patient = draw.beta(rate * 7 / 3, (1 - rate) * 7 / 3, images.shape)  # a correlation of .3 inside patients
    events = draw.binomial(images.astype(int), of_patient).astype(float)
    value, influence = ratio(events, images)
    low, high = share_interval(value, error_of(influence), images.sum(1), effective_patients(images))
    assert ((low <= rate) & (rate <= high)).mean() > 0.93
    few = value == 1
    assert few.any() == (num_patients == 10)
    assert (low[few] < 0.9).all()
