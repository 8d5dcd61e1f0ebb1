"""The bootstrap equals scikit-learn and plain loops on copied rows."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.scoring import calibration_metrics, metrics
from bench.scoring.bootstrap import bootstrap, calibration_errors
from bench.scoring.bootstrap.kernels import sum_segments
from bench.scoring.bootstrap.resamples import FOR_DETAIL, LANES, Resamples
from bench.scoring.bootstrap.sort_scores import labeled_rows
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.calibration_metrics import ERRORS, BinnedProbabilities
from bench.scoring.calibrators import sigmoid
from bench.scoring.metrics_of_split import AS_GIVEN, Key, OperatingPoints, measure
from bench.scoring.scored_split import ScoredSplit, Settings
from bench.scoring.smooth_calibration import reliability_rows
from benchmarks import columns
from tests.nonempty import nonempty


def cohort(seed: int, num: int = 300, distinct: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return patient ids [N], labels [N, 3] with dropped images, scores [N, 3]; distinct > 0 makes ties."""
    generator = np.random.default_rng(seed)
    patient = np.array([f"p{i}" for i in generator.integers(0, num // 3, num)], object)
    label = (generator.random((num, 3)) < [0.1, 0.5, 0.3]).astype(np.int8)
    score = (generator.normal(size=(num, 3)) + label).astype(np.float32)
    if distinct:
        score = np.round(score * distinct) / distinct
    label[generator.random((num, 3)) < [0.0, 0.3, 0.1]] = -1  # different images are dropped for each finding
    return patient, label, score


def plain_loop(
    metric: Callable[[np.ndarray, np.ndarray], float], resamples: Resamples, label: np.ndarray, score: np.ndarray
) -> np.ndarray:
    out = np.full((label.shape[1], resamples.num), np.nan)
    for column in range(label.shape[1]):
        for replicate in range(resamples.num):
            rows = np.repeat(np.arange(len(label)), resamples.counts(replicate))
            rows = rows[label[rows, column] >= 0]
            y = label[rows, column]
            if 0 < y.sum() < len(y):
                out[column, replicate] = metric(y, score[rows, column])
    return out


@pytest.mark.parametrize(("distinct", "num"), [(0, 20), (10, 70), (1, 20)])
def test_rank_metrics_equal_scikit_learn_on_the_resampled_rows(distinct: int, num: int) -> None:
    patient, label, score = cohort(1, distinct=distinct)
    resamples = Resamples.draw(patient, num, "twin")
    auroc, auprc = bootstrap.rank_metrics(resamples, label, score)
    np.testing.assert_allclose(auroc, plain_loop(roc_auc_score, resamples, label, score), rtol=0, atol=1e-12)
    np.testing.assert_allclose(auprc, plain_loop(average_precision_score, resamples, label, score), rtol=0, atol=1e-12)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0, 1, -1]), st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0])),
        min_size=1,
        max_size=25,
    )
)
def test_rank_metrics_equal_scikit_learn_on_any_small_cohort(rows: list[tuple[int, int, float]]) -> None:
    patient = np.array([row[0] for row in rows], object)
    label, score = np.array([[row[1]] for row in rows], np.int8), np.array([[row[2]] for row in rows])
    resamples = Resamples.draw(patient, 5, "small")
    auroc, auprc = bootstrap.rank_metrics(resamples, label, score)
    np.testing.assert_allclose(auroc, plain_loop(roc_auc_score, resamples, label, score), rtol=0, atol=1e-12)
    np.testing.assert_allclose(auprc, plain_loop(average_precision_score, resamples, label, score), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("num_patients", "max_count"), [(40, 255), (3000, 9), (3000, 255)]
)  # the last case has more pairs than 32 bits can count
def test_patients_drawn_many_times_are_counted_exactly(num_patients: int, max_count: int) -> None:
    draw = np.random.default_rng(7)
    patient = np.repeat(np.arange(num_patients), 5).astype(np.int32)
    label = (draw.random((len(patient), 1)) < 0.6).astype(np.int8)
    score = (draw.normal(size=label.shape) + label).astype(np.float32)
    weight = np.zeros((1, num_patients, LANES), np.uint8)
    weight[0, :, :3] = draw.integers(0, max_count + 1, (num_patients, 3))
    weight[0, 0] = max_count
    resamples = Resamples(patient, weight, 3, 0)
    auroc, auprc = bootstrap.rank_metrics(resamples, label, score)
    np.testing.assert_allclose(auroc, plain_loop(roc_auc_score, resamples, label, score), rtol=0, atol=1e-12)
    np.testing.assert_allclose(auprc, plain_loop(average_precision_score, resamples, label, score), rtol=0, atol=1e-12)


@pytest.mark.parametrize("distinct", [0, 10])
def test_auroc_and_counts_without_auprc_are_the_same(distinct: int) -> None:
    patient, label, score = cohort(6, distinct=distinct)
    resamples = Resamples.draw(patient, 70, "twin")
    column = Column.of(resamples.patient, label[:, 1], score[:, 1])
    cut = [0, len(column.rows)]
    both, alone = (bootstrap.column_metrics(resamples, column, cut, with_auprc) for with_auprc in (True, False))
    np.testing.assert_array_equal(alone.auroc, both.auroc)
    np.testing.assert_array_equal(alone.reached, both.reached)
    assert alone.auprc.size == 0
    assert np.isfinite(both.auprc).all()


@pytest.mark.parametrize("num_values", [1, 3])
def test_sums_of_segments_equal_products_of_matrices(num_values: int) -> None:
    draw = np.random.default_rng(7)
    start = np.cumsum([0, 1, 2, 3, 4, 5, 9])  # the last block of a segment has one to four images
    num = int(start[-1])
    patient, value = draw.integers(0, 11, num).astype(np.int32), draw.normal(size=(num_values, num))
    weight = draw.integers(0, 256, (11, LANES)).astype(np.uint8)
    weight.flags.writeable = False  # as in `Resamples`; numba would compile the function again for writable weights
    sums = np.zeros((len(start) - 1, num_values, LANES))
    sum_segments(patient, start, value, weight, sums)
    for s, (first, stop) in nonempty(enumerate(pairwise(start))):
        np.testing.assert_allclose(sums[s], value[:, first:stop] @ weight[patient[first:stop]], rtol=1e-12, atol=1e-10)


def test_calibration_metrics_equal_the_loop() -> None:
    patient, label, score = cohort(2)
    prob = 1 / (1 + np.exp(-score.astype(np.float64)))
    resamples = Resamples.draw(patient, 70, "twin")
    found = columns.calibration_metrics(resamples, label, prob)
    assert set(found) == set(ERRORS)
    for name in ("ece", "mce", "nll", "brier", "brier_reliability", "brier_resolution", "brier_uncertainty"):
        metric = getattr(metrics if name == "brier" else calibration_metrics, name)
        np.testing.assert_allclose(found[name], plain_loop(metric, resamples, label, prob), rtol=0, atol=1e-12)


def test_headline_errors_of_later_replicates_equal_those_of_the_full_table() -> None:
    patient, label, score = cohort(4)
    prob = 1 / (1 + np.exp(-score.astype(np.float64)))
    resamples = Resamples.draw(patient, 150, "twin")
    all_errors = columns.calibration_metrics(resamples, label, prob)
    for k in nonempty(range(label.shape[1])):
        rows = labeled_rows(label[:, k])
        images = resamples.patient[rows], label[rows, k] == 1, [BinnedProbabilities.of(prob[rows, k], 15)]
        errors = calibration_errors.Errors.of(*images, 15, len(resamples.weight), 1)
        classes = [np.bincount(images[0], images[1] == label, resamples.num_patients) for label in (False, True)]
        for tile in range(len(resamples.weight)):
            errors.fill(tile, resamples.tile(tile), np.stack(classes) @ resamples.tile(tile))
        for name, replicates in errors.later_headlines(150 - LANES).items():
            np.testing.assert_allclose(replicates, all_errors[name][k, LANES:], rtol=0, atol=1e-12)


def test_a_finding_without_a_fitted_calibrator_has_no_calibrated_errors() -> None:
    """A finding without a positive image on validation has no calibrator."""
    patient, label, score = cohort(3)
    image, none = np.array([f"i{i}" for i in range(len(patient))], object), label.copy()
    none[:, 0] = 0
    settings = Settings(num_resamples=70, min_count=1)
    points = OperatingPoints.choose(ScoredSplit("internal", "val", "report", image, patient, score, none), 3)
    found = measure(
        ScoredSplit("external", "test", "report", image, patient, score, label),
        points,
        settings,
        only=Key("ece", "platt"),
    )
    assert np.isnan(found.value[Key("ece", "platt")][0])
    assert np.isfinite(found.value[Key("ece", "platt")][1:]).all()


def test_later_replicates_have_the_errors_of_uncalibrated_outputs() -> None:
    draw = np.random.default_rng(9)
    num = 700
    label = (draw.random((num, 2)) < 0.4).astype(np.int8)
    logit = (3 * draw.normal(size=label.shape) + 2 * label).astype(
        np.float32
    )  # far from calibrated, so a calibrator changes much
    patient = np.array([f"p{i}" for i in draw.integers(0, 400, num)], object)
    image = np.array([f"i{i}" for i in range(num)], object)
    split = ScoredSplit("external", "test", "report", image, patient, logit, label)
    settings = Settings(num_resamples=FOR_DETAIL + 70, min_count=1)
    found = measure(split, OperatingPoints.choose(split, 2), settings)
    expected = columns.calibration_metrics(found.resamples, found.label, sigmoid(logit))
    for name in calibration_metrics.HEADLINES:
        np.testing.assert_allclose(found.replicates[Key(name)], expected[name], rtol=0, atol=1e-12)
    assert not np.allclose(found.replicates[Key("ece", "isotonic")], expected["ece"][:, :FOR_DETAIL], atol=0.01)


def test_errors_of_eleven_findings_equal_those_of_each_finding_alone() -> None:
    draw = np.random.default_rng(8)
    num, num_findings = 400, 11
    patient = np.array([f"p{i}" for i in draw.integers(0, 150, num)], object)
    state = (draw.random((num, num_findings)) < 0.4).astype(np.int8)
    logit = (draw.normal(size=state.shape) + state).astype(np.float32)
    state[:, 3] = -1
    split = ScoredSplit(
        "external", "test", "report", np.array([f"i{i}" for i in range(num)], object), patient, logit, state
    )
    settings = Settings(num_resamples=FOR_DETAIL + 70, min_count=1)
    found = measure(split, None, settings)
    resamples = found.resamples
    expected = columns.calibration_metrics(resamples, found.label, sigmoid(logit))
    prob = sigmoid(logit)[state >= 0]
    place = np.minimum((prob * 15).astype(int), 14)
    points = np.array([row[3:6] for row in reliability_rows("r", found, 15) if row[2] == AS_GIVEN])
    assert points[:, 0].tolist() == list(range(15))
    np.testing.assert_array_equal(points[:, 2], np.bincount(place, minlength=15))
    np.testing.assert_allclose(points[:, 1], np.bincount(place, prob) / np.bincount(place), rtol=1e-12)
    for name in ("brier", "ece", "nll"):
        drawn = found.replicates[Key(name, "none")]
        np.testing.assert_allclose(drawn, expected[name][:, : drawn.shape[1]], rtol=0, atol=1e-12)
        assert np.isnan(drawn[3]).all()
        assert np.isfinite(drawn[10]).all()


def test_the_equal_mass_error_keeps_the_bins_of_the_sample_in_every_replicate() -> None:
    patient, label, score = cohort(5, distinct=10)
    prob = 1 / (1 + np.exp(-score.astype(np.float64)))
    resamples = Resamples.draw(patient, 70, "twin")
    found = columns.calibration_metrics(resamples, label, prob)["ace"]
    for column in range(3):
        rows = np.flatnonzero(label[:, column] >= 0)
        where = calibration_metrics.equal_mass_bin_of(prob[rows, column])
        for replicate in range(70):
            weight = resamples.counts(replicate)[rows].astype(float)
            gaps = [
                abs(
                    np.average(
                        label[rows, column][where == b] - prob[rows, column][where == b], weights=weight[where == b]
                    )
                )
                for b in np.unique(where)
                if weight[where == b].any()
            ]
            assert found[column, replicate] == pytest.approx(np.mean(gaps), abs=1e-12)


def test_calls_equal_the_loop_for_thresholds_in_any_order() -> None:
    patient, label, score = cohort(3, distinct=10)
    threshold = np.array([[0.5, 1.0, 0.2], [-0.5, 1.0, np.nan], [9.0, -0.3, 0.1]])
    resamples = Resamples.draw(patient, 70, "twin")
    found = columns.calls(resamples, label, score, threshold)
    for name in nonempty(bootstrap.CALL_METRICS):
        for rule in range(3):
            metric = getattr(metrics, name)
            called = score.astype(np.float64) >= threshold[rule]
            expected = plain_loop(metric, resamples, label, called)
            expected[np.isnan(threshold[rule])] = np.nan
            np.testing.assert_allclose(found[name][rule], expected, rtol=0, atol=1e-12)


def test_counts_beyond_32_bits_stay_exact() -> None:
    # 60,000 x 60,000 pairs: twice this number, times the count of a patient, overflows int32
    num = 120_000
    patient = np.arange(num) % 3
    label = (np.arange(num) % 2).astype(np.int8)[:, None]
    score = np.random.default_rng(0).integers(0, 50, (num, 1)).astype(np.float32)
    resamples = Resamples.draw(patient, 3, "large")
    auroc, _ = bootstrap.rank_metrics(resamples, label, score)
    np.testing.assert_allclose(auroc, plain_loop(roc_auc_score, resamples, label, score), rtol=0, atol=1e-12)
