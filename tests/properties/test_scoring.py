"""Agreement with scikit-learn, statsmodels and netcal on any input, ties and single classes included."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)
from statsmodels.stats.proportion import proportion_confint

from bench.scoring import calibration_metrics, metrics
from bench.scoring.across_runs.paired_tests import benjamini_hochberg, holm
from bench.scoring.calibrators import fit_platt
from bench.scoring.intervals import LEVEL, wilson
from bench.scoring.thresholds import f1_max, sens_90, youden
from tests import calibration_oracle
from tests.adjusted import adjusted

score = st.one_of(st.integers(-3, 3).map(float), st.floats(-50, 50, width=32))
labelled = st.lists(st.tuples(st.booleans(), score), min_size=1, max_size=40)
probability = st.one_of(st.sampled_from([0.0, 1.0, 0.5, 1 / 3, 1 / 15, 0.2, 0.6]), st.floats(0, 1))
forecasts = st.lists(st.tuples(st.booleans(), probability), min_size=1, max_size=60)
quick = settings(max_examples=80)


def arrays(rows: list[tuple[bool, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row[0] for row in rows], np.int8), np.array([row[1] for row in rows], np.float64)


@quick
@given(labelled)
def test_rank_metrics_equal_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    label, logit = arrays(rows)
    if 0 < label.sum() < len(label):
        assert metrics.auroc(label, logit) == pytest.approx(roc_auc_score(label, logit), abs=1e-12)
        assert metrics.auprc(label, logit) == pytest.approx(average_precision_score(label, logit), abs=1e-12)
    else:
        assert math.isnan(metrics.auroc(label, logit))
        assert math.isnan(metrics.auprc(label, logit))


@quick
@given(labelled)
def test_auroc_depends_on_order_only_and_flips_with_the_sign(rows: list[tuple[bool, float]]) -> None:
    label, logit = arrays(rows)
    if 0 < label.sum() < len(label):
        order = np.unique(logit, return_inverse=True)[1]
        assert metrics.auroc(label, logit) == metrics.auroc(label, np.exp(order / 10) + 3)
        assert metrics.auroc(label, logit) + metrics.auroc(label, -logit) == pytest.approx(1)


@quick
@given(labelled, score)
def test_metrics_of_calls_equal_scikit_learn(rows: list[tuple[bool, float]], threshold: float) -> None:
    label, logit = arrays(rows)
    called = logit >= threshold
    if label.any():
        assert metrics.f1(label, called) == pytest.approx(f1_score(label, called))
        assert metrics.sensitivity(label, called) == pytest.approx(recall_score(label, called))
    if called.any():
        assert metrics.precision(label, called) == pytest.approx(precision_score(label, called))
    if not label.all():
        assert metrics.specificity(label, called) == pytest.approx(recall_score(label, called, pos_label=0))


@quick
@given(labelled)
def test_no_other_threshold_does_better(rows: list[tuple[bool, float]]) -> None:
    label, logit = arrays(rows)
    if not 0 < label.sum() < len(label):
        return
    candidates = np.unique(logit)
    f1 = [metrics.f1(label, logit >= t) for t in candidates]
    balance = [metrics.sensitivity(label, logit >= t) + metrics.specificity(label, logit >= t) for t in candidates]
    enough = [t for t in candidates if metrics.sensitivity(label, logit >= t) >= 0.9 - 1e-12]
    assert f1_max(label, logit) == max(candidates[np.isclose(f1, max(f1), rtol=0, atol=1e-12)])
    assert youden(label, logit) == max(candidates[np.isclose(balance, max(balance), rtol=0, atol=1e-12)])
    assert sens_90(label, logit) == max(enough)


@quick
@given(forecasts, st.integers(1, 20))
def test_calibration_errors_equal_netcal(rows: list[tuple[bool, float]], bins: int) -> None:
    label, prob = arrays(rows)
    found = calibration_metrics.errors(label, prob, bins)
    assert found["ece"] == pytest.approx(calibration_oracle.ece(label, prob, bins), abs=1e-12)
    assert found["mce"] == pytest.approx(calibration_oracle.mce(label, prob, bins), abs=1e-12)
    assert found["nll"] == pytest.approx(log_loss(label, np.clip(prob, 1e-7, 1 - 1e-7), labels=[0, 1]), abs=1e-9)
    assert found["brier"] == pytest.approx(metrics.brier(label, prob), abs=1e-12)
    assert 0 <= found["ace"] <= 1
    assert metrics.brier(label, prob) == pytest.approx(brier_score_loss(label, prob, labels=[0, 1]), abs=1e-12)


@quick
@given(labelled)
def test_platt_is_finite_and_no_worse_than_the_prevalence(rows: list[tuple[bool, float]]) -> None:
    label, logit = arrays(rows)
    line = fit_platt(label, logit)
    if not 0 < label.sum() < len(label):
        assert math.isnan(line.a)
        return
    num_positive, num_negative = label.sum(), (label == 0).sum()
    target = np.where(label == 1, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    constant = np.full(len(logit), np.log(target.mean() / (1 - target.mean())))
    fitted, plain = (float(np.mean(np.logaddexp(0, z) - target * z)) for z in (line.a * logit + line.b, constant))
    assert np.isfinite([line.a, line.b]).all()
    assert fitted <= plain + 1e-9


@quick
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=20))
def test_adjusted_p_values_equal_statsmodels(values: list[float]) -> None:
    p = np.array(values)
    np.testing.assert_allclose(holm(p), adjusted(p, "holm"), rtol=0, atol=1e-12)
    np.testing.assert_allclose(benjamini_hochberg(p), adjusted(p, "fdr_bh"), rtol=0, atol=1e-12)
    missing = np.insert(p, len(p) // 2, np.nan)  # not counted
    np.testing.assert_allclose(np.delete(holm(missing), len(p) // 2), holm(p), rtol=0, atol=0)


@quick
@given(st.lists(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1))
def test_wilson_intervals_equal_statsmodels(pairs: list[tuple[int, int]]) -> None:
    hits, num = np.array(pairs, np.float64).T
    expected = proportion_confint(hits, num, alpha=1 - LEVEL, method="wilson")
    np.testing.assert_allclose(wilson(hits / num, num), expected, rtol=0, atol=1e-12)


@quick
@given(forecasts, st.integers(1, 4), st.randoms())
def test_errors_depend_neither_on_the_order_nor_on_copies_of_all_images(
    rows: list[tuple[bool, float]], copies: int, mixer: object
) -> None:
    label, prob = arrays(rows)
    order = list(range(len(rows))) * copies
    mixer.shuffle(order)  # type: ignore[attr-defined]
    one, many = calibration_metrics.errors(label, prob), calibration_metrics.errors(label[order], prob[order])
    assert one == pytest.approx(many, abs=1e-9)


@quick
@given(forecasts)
def test_equal_mass_bins_do_not_see_an_increasing_transform(rows: list[tuple[bool, float]]) -> None:
    _, prob = arrays(rows)
    order = np.unique(prob, return_inverse=True)[1]
    np.testing.assert_array_equal(
        calibration_metrics.equal_mass_bin_of(prob), calibration_metrics.equal_mass_bin_of(np.exp(order))
    )
