"""Operating points, shares below the curve and agreement, against scikit-learn and statsmodels, and by simulation."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, precision_score, recall_score, roc_curve
from statsmodels.stats.inter_rater import fleiss_kappa

from bench.extensions.readers.reader_statistics import (
    NONE,
    Answers,
    cohen,
    curve,
    fleiss,
    pairwise,
    points,
    precision_at,
    references,
    sensitivity_at,
    share_below,
    weights,
)


def drawn(seed: int, readers: int = 5, num: int = 240, missing: float = 0.1) -> tuple[Answers, np.ndarray, np.ndarray]:
    """Return answers [R, N] with gaps, the score [N] of a network with many ties, and patient ids: two images of each."""
    draw = np.random.default_rng(seed)
    truth = np.repeat(draw.random(num // 2) < 0.4, 2)
    called = draw.random((readers, num)) < np.where(truth, 0.8, 0.15)
    answer = np.where(draw.random(called.shape) < missing, NONE, called).astype(np.int8)
    score = np.round(draw.normal(size=num) + 1.2 * truth, 1)
    return answer, score, np.array([f"p{i // 2}" for i in range(num)], object)


def others_majority(answer: Answers, reader: int, image: int) -> int:
    votes = [int(answer[r, image]) for r in range(len(answer)) if r != reader and answer[r, image] != NONE]
    return NONE if 2 * sum(votes) == len(votes) else int(2 * sum(votes) > len(votes))


def test_the_reference_of_a_reader_is_the_majority_of_the_other_readers() -> None:
    answer, *_ = drawn(1)
    expected = [[others_majority(answer, r, i) for i in range(answer.shape[1])] for r in range(len(answer))]
    assert references(answer).tolist() == expected
    assert NONE in references(answer)  # ties occur


def test_rates_of_readers_equal_scikit_learn_and_lie_in_their_intervals() -> None:
    answer, _, patients = drawn(2)
    patient, weight = weights(patients, "a")
    found = points(answer, patient, weight, 10)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for r, point in found.items():
        rows = [i for i in range(answer.shape[1]) if answer[r, i] != NONE and others_majority(answer, r, i) != NONE]
        label, call = [others_majority(answer, r, i) for i in rows], answer[r, rows]
        assert point.rows.tolist() == rows
        assert point.value == pytest.approx(
            [recall_score(label, call), recall_score(label, call, pos_label=0), precision_score(label, call)]
        )
        assert ((point.low < point.value) & (point.value < point.high)).all()
        assert point.sensitivity[1:].std() > 0
    alone = np.where(np.arange(len(patients)) < 20, answer, NONE).astype(np.int8)
    assert points(alone, patient, weight, 10) == {}  # too few patients


def test_a_reader_without_positive_calls_has_no_precision_and_an_interval_of_sensitivity() -> None:
    answer, _, patients = drawn(3, missing=0)
    answer[0] = 0
    point = points(answer, *weights(patients, "a"), 10)[0]
    assert np.isnan(point.value[2])
    assert (point.value[0], point.value[1]) == (0, 1)
    assert point.high[0] > 0.01


def test_the_curve_of_the_network_equals_scikit_learn_also_with_repeated_images() -> None:
    answer, score, patients = drawn(4)
    patient, weight = weights(patients, "a")
    point = points(answer, patient, weight, 10)[1]
    fpr, tpr, precision = curve(point, score)
    for b in (0, 1, 17):
        times = weight[b, point.rows]
        theirs = roc_curve(point.reference, score[point.rows], sample_weight=times, drop_intermediate=False)
        rate = np.array([0.0, 0.07, 0.3, point.false_positive_rate[b], 1.0])
        expected = [max(np.interp(f, *theirs[:2]), theirs[1][theirs[0] <= f + 1e-12].max()) for f in rate]
        shape = (len(rate), fpr.shape[1])
        assert sensitivity_at(rate, *(np.broadcast_to(of[b], shape) for of in (fpr, tpr))) == pytest.approx(expected)
    called = score[point.rows] >= np.sort(score[point.rows])[-30]
    at = recall_score(point.reference, called)
    assert precision_at(np.array([at]), tpr[0], precision[0])[0] == pytest.approx(
        precision_score(point.reference, called)
    )


def test_readers_strictly_below_the_curve_count_and_a_reader_on_the_curve_does_not() -> None:
    reader = np.array([[0.5, 0.5, 0.9], [0.7, 0.7, 0.7], [0.9, 0.9, 0.9], [np.nan] * 3])
    num, share, low, high = share_below(reader, np.full((4, 3), 0.7))
    assert (num, share) == (1, pytest.approx(1 / 3))
    assert 0 <= low < 0.05
    assert high == pytest.approx(1 / 3, abs=0.01)


def test_a_network_that_repeats_a_reader_is_on_the_point_of_this_reader() -> None:
    answer, _, patients = drawn(5, missing=0)
    point = points(answer, *weights(patients, "a"), 10)[2]
    fpr, tpr, _ = curve(point, answer[2].astype(float))
    at = sensitivity_at(point.false_positive_rate, fpr, tpr)
    np.testing.assert_allclose(at, point.sensitivity, atol=1e-9)
    assert share_below(point.sensitivity[None], at[None])[:2] == (0, 0.0)


def test_kappas_equal_scikit_learn_and_statsmodels() -> None:
    answer, _, patients = drawn(6, missing=0)
    patient, weight = weights(patients, "a")
    table = np.stack([(answer == 0).sum(0), (answer == 1).sum(0)], 1)
    kappa, num, most = fleiss(answer, weight)
    assert (num, most) == (answer.shape[1], 5)
    assert kappa[0] == pytest.approx(fleiss_kappa(table))
    assert kappa[9] == pytest.approx(fleiss_kappa(np.repeat(table, weight[9].astype(int), axis=0)))
    gaps, *_ = drawn(7, missing=0.2)
    both = (gaps[0] != NONE) & (gaps[1] != NONE)
    assert cohen(gaps[0], gaps[1]) == pytest.approx(cohen_kappa_score(gaps[0][both], gaps[1][both]))
    assert len(pairwise(gaps, patient, 10)) == 10
    assert pairwise(gaps, patient, 1000) == []


def test_fleiss_kappa_uses_images_with_the_most_frequent_number_of_answers_and_is_unknown_if_all_agree() -> None:
    answer = np.array([[1, 0, 1, 1], [1, 0, 0, NONE], [0, 0, 1, NONE]], np.int8)
    kappa, num, most = fleiss(answer, np.ones((1, 4)))
    assert (num, most) == (3, 3)
    assert kappa[0] == pytest.approx(fleiss_kappa(np.array([[1, 2], [3, 0], [1, 2]])))
    assert np.isnan(fleiss(np.ones((3, 4), np.int8), np.ones((1, 4)))[0][0])
    assert fleiss(np.array([[1, NONE], [NONE, 0]], np.int8), np.ones((1, 2)))[1] == 0


@pytest.mark.slow
def test_intervals_of_differences_and_shares_contain_the_truth() -> None:
    def world(seed: int, patients: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sensitivities of readers and of the network at the readers' points; three readers differ in skill."""
        draw = np.random.default_rng(seed)
        truth = np.repeat(draw.random(patients) < 0.4, 2)
        hit, alarm = np.array([0.6, 0.75, 0.9])[:, None], np.array([0.1, 0.1, 0.1])[:, None]
        answer = (draw.random((3, len(truth))) < np.where(truth, hit, alarm)).astype(np.int8)
        ids = np.repeat(np.arange(patients), 2).astype(str).astype(object)
        score = draw.normal(size=len(truth)) + 1.9 * truth + np.repeat(draw.normal(size=patients), 2) / 2
        found = points(answer, *weights(ids, str(seed)), 10)
        at = [sensitivity_at(point.false_positive_rate, *curve(point, score)[:2]) for point in found.values()]
        return np.stack([point.sensitivity for point in found.values()]), np.stack(at)

    large = [of[:, 0] for of in world(0, 40_000)]
    true_difference, true_share = large[1] - large[0], float((large[1] > large[0]).mean())
    assert 0 < true_share < 1
    inside, shares = [], []
    for seed in range(1, 81):
        reader, network = world(seed, 150)
        low, high = np.nanpercentile((network - reader)[:, 1:], (2.5, 97.5), axis=1)
        inside += ((low <= true_difference) & (true_difference <= high)).tolist()
        _, _, low, high = share_below(reader, network)
        shares.append(low <= true_share <= high)
    assert np.mean(inside) > 0.9
    assert np.mean(shares) > 0.9
