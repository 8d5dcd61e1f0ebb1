import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scoring.bootstrap.bootstrap import group_metrics
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sort_scores import falling
from bench.scoring.bootstrap.sorted_images import Column
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
    np.testing.assert_array_equal(column.areas(), (auroc(*known) if chosen.any() else np.nan, auprc(*known)))
    called = column.counted(column.reaching(np.array([0.25])))[0]
    assert called.tolist() == [int((known[0][known[1] >= 0.25] == sign).sum()) for sign in (0, 1)]
    for areas_found, clusters in zip(
        of_column(column.kind, column.patient, column.placements()), (None, patient[chosen]), strict=True
    ):
        expected = areas(known[0], known[1][:, None], clusters)
        np.testing.assert_allclose(areas_found.value, expected.value, rtol=0, atol=1e-12)
        np.testing.assert_allclose(areas_found.covariance, expected.covariance, rtol=0, atol=1e-12)


@pytest.mark.slow
@given(SCORES.filter(bool))
def test_numbers_of_groups_of_two_attributes_equal_those_of_their_images_alone(values: list[float]) -> None:
    score = np.array(values, np.float32)
    draw = np.random.default_rng(len(values))
    label, patient = draw.integers(-1, 2, len(score)).astype(np.int8), draw.integers(0, 9, len(score)).astype(np.int32)
    code = np.stack([draw.integers(-1, 2, len(score)), draw.integers(2, 5, len(score))]).astype(np.int32)
    all_patients = np.append(patient, np.arange(9))  # nine more images, so that all nine patients occur
    resamples = Resamples.draw(all_patients.astype(str), 70)
    column = Column.of(patient, label, score)
    grouped = column.by_group(code, column.starts(code, 5), int(column.reaching(np.array([0.25]))[0]))
    counts, (replicates, counted) = grouped.tallied(), group_metrics(resamples, grouped)
    num_patients, fewest = grouped.patients(9)
    for group in range(5):
        chosen = (label >= 0) & (code == group).any(0)
        own_label, own_score = label[chosen], score[chosen]
        patients = [set(patient[chosen & (label == sign)]) for sign in (0, 1)]
        assert counts.num[group] == len(own_label)
        assert counts.num_positive[group] == (own_label == 1).sum()
        assert num_patients[group] == len(patients[0] | patients[1])
        assert fewest[group] == min(map(len, patients))
        assert counts.reached[:, group].tolist() == [
            int((own_label[own_score >= 0.25] == sign).sum()) for sign in (0, 1)
        ]
        np.testing.assert_array_equal(counts.auroc[group], auroc(own_label, own_score) if len(own_label) else np.nan)
        for replicate in (0, 69):
            times = resamples.counts(replicate)[: len(score)][chosen]
            again = np.repeat(own_label, times), np.repeat(own_score, times)
            expected = auroc(*again) if len(again[0]) else np.nan
            np.testing.assert_allclose(replicates[group, replicate], expected, rtol=0, atol=1e-12)
            called = [int((again[0][again[1] >= 0.25] == sign).sum()) for sign in (0, 1)]
            assert counted[group, :, :, replicate].tolist() == [called, [int((again[0] == s).sum()) for s in (0, 1)]]


@given(
    st.lists(st.sampled_from([-2.5, -0.1, 0.0, 0.1, 3.0]), max_size=12),
    st.lists(st.sampled_from([-np.inf, -2.5, -0.1, float(np.float32(0.1)), 0.1, 0.2, 9.0, np.inf]), max_size=6),
)
def test_scores_are_compared_with_thresholds_without_rounding(scores: list[float], thresholds: list[float]) -> None:
    score = np.array(scores, np.float32)
    column = Column.of(np.zeros(len(score), np.int32), np.ones(len(score), np.int8), score)
    expected = [int((score.astype(np.float64) >= threshold).sum()) for threshold in thresholds]
    assert column.reaching(np.array(thresholds, np.float64)).tolist() == expected
