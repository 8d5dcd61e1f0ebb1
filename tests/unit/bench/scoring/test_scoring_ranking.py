import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scoring.column import Column, falling
from bench.scoring.delong import areas, of_column
from bench.scoring.metrics import auprc, auroc

SCORES = st.lists(st.sampled_from([-3.0, -0.5, -0.0, 0.0, 1e-30, 0.25, 0.5, 7.0]), max_size=40)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=60) | SCORES)
def test_falling_sorts_stably(values: list[float]) -> None:
    score = np.array(values, np.float32)
    np.testing.assert_array_equal(falling(score), np.argsort(-score, kind="stable"))
    np.testing.assert_array_equal(falling(score.astype(np.float64)), np.argsort(-score, kind="stable"))


@pytest.mark.slow
@given(SCORES.filter(bool))
def test_a_sorted_column_has_the_plain_metrics(values: list[float]) -> None:
    score = np.array(values, np.float32)
    draw = np.random.default_rng(len(values))
    label, patient = draw.integers(-1, 2, len(score)).astype(np.int8), draw.integers(0, 9, len(score)).astype(np.int32)
    column, chosen = Column.of(patient, label, score), label >= 0
    known = label[chosen], score[chosen]
    found = column.auroc()[0], column.average_precision()[0]
    np.testing.assert_allclose(found, (auroc(*known) if chosen.any() else np.nan, auprc(*known)), rtol=0, atol=1e-12)
    called = column.counted(column.reaching(np.array([0.25])))[0]
    assert called.tolist() == [int((known[0][known[1] >= 0.25] == sign).sum()) for sign in (0, 1)]
    for areas_found, clusters in zip(of_column(column), (None, patient[chosen]), strict=True):
        expected = areas(known[0], known[1][:, None], clusters)
        np.testing.assert_allclose(areas_found.value, expected.value, rtol=0, atol=1e-12)
        np.testing.assert_allclose(areas_found.covariance, expected.covariance, rtol=0, atol=1e-12)


@given(SCORES.filter(bool))
def test_a_column_within_a_group_is_that_of_its_images_alone(values: list[float]) -> None:
    score = np.array(values, np.float32)
    draw = np.random.default_rng(len(values))
    label, patient = draw.integers(-1, 2, len(score)).astype(np.int8), draw.integers(0, 9, len(score)).astype(np.int32)
    mask = draw.random(len(score)) < 0.5
    column = Column.of(patient, label, score)
    within, alone = column.within(mask[column.rows]), Column.of(patient[mask], label[mask], score[mask])
    for name in ("patient", "score", "positive", "last"):
        np.testing.assert_array_equal(getattr(within, name), getattr(alone, name))
    np.testing.assert_array_equal(within.rows, np.flatnonzero(mask)[alone.rows])


@given(
    st.lists(st.sampled_from([-2.5, -0.1, 0.0, 0.1, 3.0]), max_size=12),
    st.lists(st.sampled_from([-np.inf, -2.5, -0.1, float(np.float32(0.1)), 0.1, 0.2, 9.0, np.inf]), max_size=6),
)
def test_scores_are_compared_with_thresholds_without_rounding(scores: list[float], thresholds: list[float]) -> None:
    score = np.array(scores, np.float32)
    column = Column.of(np.zeros(len(score), np.int32), np.ones(len(score), np.int8), score)
    expected = [int((score.astype(np.float64) >= threshold).sum()) for threshold in thresholds]
    assert column.reaching(np.array(thresholds, np.float64)).tolist() == expected
