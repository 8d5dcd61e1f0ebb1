"""Curves at 30 points compared with those of scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_curve, recall_score, roc_curve

from bench.scoring.column import Column
from bench.scoring.curves import FALSE_POSITIVE_RATES, POINTS, RECALLS, THRESHOLDS, heights


def column(label: np.ndarray, score: np.ndarray) -> Column:
    return Column.of(np.arange(len(label), dtype=np.int32), label.astype(np.int8), score.astype(np.float32))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_every_point_lies_on_the_curve_that_scikit_learn_draws(images: list[tuple[bool, int]]) -> None:
    label, score = np.array([p for p, _ in images], int), np.array([s for _, s in images], float)
    drawn = heights(column(label, score))
    if label.min() == label.max():
        assert all(np.isnan(y).all() for y in drawn.values())
        return
    alarms, found, _ = roc_curve(label, score, drop_intermediate=False)
    for x, y in zip(FALSE_POSITIVE_RATES, drawn["roc"], strict=True):
        at = np.flatnonzero(alarms <= x)[-1]
        after = min(at + 1, len(alarms) - 1)
        width = alarms[after] - alarms[at]
        expected = found[at] + (found[after] - found[at]) * ((x - alarms[at]) / width if width else 0.0)
        assert y == pytest.approx(expected)
    precision, recall, thresholds = precision_recall_curve(label, score)
    for x, y in zip(RECALLS, drawn["pr"], strict=True):
        fits = np.flatnonzero(recall[: len(thresholds)] >= max(x - 1e-9, 1e-9))
        assert y == pytest.approx(precision[fits[-1]])  # the highest threshold that finds that share, at 0 any
    for k, threshold in enumerate(np.log(THRESHOLDS / (1 - THRESHOLDS))):
        called = score.astype(np.float32) >= threshold
        assert drawn["f1"][k] == pytest.approx(f1_score(label, called))
        assert drawn["sensitivity"][k] == pytest.approx(recall_score(label, called))
        assert drawn["specificity"][k] == pytest.approx(recall_score(label, called, pos_label=0))


def test_a_perfect_and_a_reversed_order_give_the_extreme_curves() -> None:
    label = np.array([1, 1, 0, 0, 0])
    perfect = heights(column(label, np.array([5.0, 4, 3, 2, 1])))
    np.testing.assert_array_equal(perfect["roc"], np.ones(POINTS))
    np.testing.assert_array_equal(perfect["pr"], np.ones(POINTS))
    reversed_ = heights(column(label, np.array([1.0, 2, 3, 4, 5])))
    assert reversed_["roc"][-2] == 0
    assert reversed_["pr"][-1] == pytest.approx(2 / 5)
