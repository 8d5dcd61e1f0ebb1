import math

import numpy as np
import pytest
from scipy.stats import rankdata

from bench.scoring import metrics
from bench.scoring.thresholds import GRID, RULES, f1_grid, f1_max, sens_90, youden

LABEL = np.array([0, 0, 1, 1, 0, 1, 0, 1, 0, 0], np.int8)
PROB = np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.7, 0.5, 0.5, 0.05, 0.3])


def test_ranking_metrics_of_a_worked_example() -> None:
    assert metrics.auroc(LABEL, PROB) == pytest.approx(0.8958333, abs=1e-7)
    assert metrics.auprc(LABEL, PROB) == pytest.approx(0.8541667, abs=1e-7)
    assert metrics.brier(LABEL, PROB) == pytest.approx(0.1355, abs=1e-12)


def test_thresholds_of_a_worked_example() -> None:
    assert f1_max(LABEL, PROB) == youden(LABEL, PROB) == 0.35
    called = PROB >= 0.35
    assert metrics.f1(LABEL, called) == pytest.approx(0.8)
    assert metrics.sensitivity(LABEL, called) + metrics.specificity(LABEL, called) - 1 == pytest.approx(2 / 3)
    assert metrics.confusion(LABEL, called) == metrics.Confusion(4, 2, 0, 4)


def test_of_equally_good_thresholds_the_highest_is_chosen() -> None:
    # calling one or all three gives F1 2/3 and 4/5; swapping makes both Youden candidates equal
    assert youden(np.array([1, 0, 1, 0]), np.array([4.0, 3.0, 2.0, 1.0])) == 4.0
    assert f1_max(np.array([1, 0, 0, 1]), np.array([4.0, 3.0, 2.0, 1.0])) == 4.0


def test_sens_90_calls_exactly_nine_of_ten_positives() -> None:
    label = np.array([1] * 10 + [0], np.int8)
    score = np.append(np.arange(10, 0, -1), 0).astype(np.float32)
    assert sens_90(label, score) == 2.0
    assert sens_90(label[[0, 1, 10]], score[[0, 1, 10]]) == 9.0


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1]])
def test_a_single_class_has_no_ranking_metric_and_no_threshold(label: list[int]) -> None:
    y, score = np.array(label, np.int8), np.array([0.1, 0.2, 0.3])
    assert math.isnan(metrics.auroc(y, score))
    assert math.isnan(metrics.auprc(y, score))
    assert all(math.isnan(rule(y, score)) for rule in RULES.values())


def test_no_images_give_nan_everywhere() -> None:
    label, score = np.zeros(0, np.int8), np.zeros(0)
    assert all(math.isnan(metric(label, score)) for metric in (metrics.auroc, metrics.auprc, metrics.brier))
    assert all(math.isnan(rule(label, score)) for rule in RULES.values())


def test_precision_without_a_call_is_nan_and_f1_is_zero() -> None:
    nobody = np.zeros(10, bool)
    assert math.isnan(metrics.precision(LABEL, nobody))
    assert metrics.f1(LABEL, nobody) == metrics.sensitivity(LABEL, nobody) == 0.0
    assert math.isnan(metrics.specificity(np.ones(3, np.int8), np.zeros(3, bool)))


def test_nonfinite_scores_are_rejected_with_their_number() -> None:
    bad = PROB.copy()
    bad[[1, 4]] = np.nan, np.inf
    for function in (metrics.auroc, metrics.auprc, metrics.brier, *RULES.values()):
        with pytest.raises(ValueError, match="2 of 10"):
            function(LABEL, bad)


def test_npv_of_a_worked_example() -> None:
    called = PROB >= 0.45
    assert metrics.npv(LABEL, called) == pytest.approx(5 / 6)
    assert math.isnan(metrics.npv(LABEL, np.ones(10, bool)))


def test_the_grid_rule_is_the_best_of_91_probabilities_and_the_highest_of_equals() -> None:
    generator = np.random.default_rng(0)
    for scale in (0.2, 1.0, 4.0):
        label = (generator.random(200) < 0.3).astype(np.int8)
        logit = (scale * (generator.normal(size=200) + 2 * label - 1)).round(2)
        candidates = np.log(GRID / (1 - GRID))
        scores = [metrics.f1(label, logit >= t) for t in candidates]
        assert (
            f1_grid(label, logit) == candidates[np.flatnonzero(np.isclose(scores, max(scores), rtol=0, atol=1e-12))[-1]]
        )
    assert len(GRID) == 91
    assert (GRID[0], GRID[-1]) == (0.05, 0.95)
    assert f1_grid(LABEL, np.log(PROB / (1 - PROB))) == pytest.approx(np.log(0.35 / 0.65))


def test_average_ranks_are_those_of_scipy_in_each_column_and_with_ties() -> None:
    values = np.random.default_rng(0).integers(0, 9, (40, 3)).astype(np.float32)
    assert metrics.average_ranks(values).tolist() == rankdata(values, axis=0).tolist()
    assert metrics.average_ranks(values[:, 0]).tolist() == rankdata(values[:, 0]).tolist()
