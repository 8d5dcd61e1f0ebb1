import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scoring.delong import areas, of_placements
from bench.scoring.metrics import auprc, auroc
from bench.scoring.ranking import Column, falling

SCORES = st.lists(st.sampled_from([-3.0, -0.5, -0.0, 0.0, 1e-30, 0.25, 0.5, 7.0]), max_size=40)


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=60) | SCORES)
def test_falling_order_is_that_of_a_stable_sort(values: list[float]) -> None:
    score = np.array(values, np.float32)
    np.testing.assert_array_equal(falling(score), np.argsort(-score, kind="stable"))
    np.testing.assert_array_equal(falling(score.astype(np.float64)), np.argsort(-score, kind="stable"))


@settings(deadline=None)  # the first example compiles
@given(SCORES.filter(bool))
def test_a_sorted_column_tells_what_the_plain_metrics_tell(values: list[float]) -> None:
    score = np.array(values, np.float32)
    draw = np.random.default_rng(len(values))
    label, patient = draw.integers(-1, 2, len(score)).astype(np.int8), draw.integers(0, 9, len(score)).astype(np.int32)
    mask = draw.random(len(score)) < 0.7
    for column, chosen in (
        (Column.of(patient, label, score), label >= 0),
        (Column.of(patient, label, score).within(mask), (label >= 0) & mask),
    ):
        known = label[chosen], score[chosen]
        np.testing.assert_array_equal(column.areas(), (auroc(*known) if chosen.any() else np.nan, auprc(*known)))
        called = column.counted(column.reaching(np.array([0.25])))[0]
        assert called.tolist() == [int((known[0][known[1] >= 0.25] == sign).sum()) for sign in (0, 1)]
        over, under = column.placements()
        if len(over) and len(under):
            shares = over[:, None] / len(under), under[:, None] / len(over)
            found = of_placements(column.positive, *shares, column.patient)
            expected = areas(known[0], known[1][:, None], patient[chosen])
            np.testing.assert_allclose(found.value, expected.value, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found.covariance, expected.covariance, rtol=0, atol=1e-12)
