"""Operating points, shares below the curve and agreement, against scikit-learn and statsmodels, and by simulation."""

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score, roc_curve
from statsmodels.stats.inter_rater import fleiss_kappa

from bench.extensions.readers.reader_statistics import (
    NONE,
    Answers,
    ReaderPoint,
    at_point,
    curve,
    difference,
    fleiss,
    points,
    references,
    sensitivity_at,
    share_below,
)
from bench.scoring.influence import error_of
from bench.scoring.sample import Sample
from tests.resampled import resampled_error


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
    sample = Sample.of(patients)
    found = points(answer, sample, 10)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for r, point in found.items():
        rows = [i for i in range(answer.shape[1]) if answer[r, i] != NONE and others_majority(answer, r, i) != NONE]
        label, call = [others_majority(answer, r, i) for i in rows], answer[r, rows]
        assert point.rows.tolist() == rows
        assert point.num_undecided == (answer[r] != NONE).sum() - len(rows) > 0
        assert point.value == pytest.approx(
            [recall_score(label, call), recall_score(label, call, pos_label=0), precision_score(label, call)]
        )
        assert ((point.low < point.value) & (point.value < point.high)).all()
    alone = np.where(np.arange(len(patients)) < 20, answer, NONE).astype(np.int8)
    assert points(alone, sample, 10) == {}  # too few patients


def test_a_reader_without_positive_calls_has_no_precision_and_an_interval_of_sensitivity() -> None:
    answer, _, patients = drawn(3, missing=0)
    answer[0] = 0
    point = points(answer, Sample.of(patients), 10)[0]
    assert np.isnan(point.value[2])
    assert (point.value[0], point.value[1]) == (0, 1)
    assert point.high[0] > 0.01


def test_the_curve_of_the_network_equals_scikit_learn() -> None:
    answer, score, patients = drawn(4)
    point = points(answer, Sample.of(patients), 10)[1]
    fpr, tpr = curve(point, score)
    theirs = roc_curve(point.reference, score[point.rows], drop_intermediate=False)
    rate = np.array([0.0, 0.07, 0.3, point.false_positive_rate, 1.0])
    expected = [max(np.interp(f, *theirs[:2]), theirs[1][theirs[0] <= f + 1e-12].max()) for f in rate]
    assert sensitivity_at(rate, fpr, tpr) == pytest.approx(expected)
    assert at_point(point, score, Sample.of(patients))[0] == pytest.approx(expected[3])


def test_readers_strictly_below_the_curve_count_and_the_interval_of_their_share_counts_the_clear_ones() -> None:
    """Of five intervals that hold together, each is 2.576 / 1.960 times as wide (normal quantiles of .995 and .975)."""
    clearly, barely, on, above, unknown = (
        (0.3, 0.1, 0.5),
        (0.3, 0.01, 0.6),
        (0.0, -0.1, 0.1),
        (-0.2, -0.3, -0.1),
        (0.1, np.nan, np.nan),
    )
    num, share, low, high = share_below(np.array([clearly, barely, on, above, unknown]))
    assert (num, share) == (3, pytest.approx(0.6))
    assert (low, high) == (pytest.approx(0.2), pytest.approx(0.8))  # only `clearly`; all but `above`


def test_perfect_readers_and_a_perfect_network_have_a_difference_with_an_interval() -> None:
    """Twelve equal patients with the finding have no influence; the rule of three gives a bound of about 3 / 12."""
    truth = np.arange(40) < 12
    answer, patients = np.tile(truth, (3, 1)).astype(np.int8), np.arange(40).astype(str).astype(object)
    sample = Sample.of(patients)
    point = points(answer, sample, 10)[0]
    value, low, high = difference(point, *at_point(point, truth.astype(float), sample))
    assert value == 0
    assert low == -1  # without a false alarm of the reader, nothing is known of the curve at a lower rate
    assert 0.2 < high < 0.45
    assert share_below(np.array([[value, low, high]] * 3)) == (0, 0.0, 0.0, 1.0)
    assert fleiss(answer)[0] == pytest.approx(1)


def test_a_network_that_repeats_a_reader_is_on_the_point_of_this_reader() -> None:
    answer, _, patients = drawn(5, missing=0)
    sample = Sample.of(patients)
    point = points(answer, sample, 10)[2]
    value, influence = at_point(point, answer[2].astype(float), sample)
    assert value == pytest.approx(point.value[0])
    np.testing.assert_allclose(influence, point.influence, atol=1e-9)
    assert share_below(difference(point, value, influence)[None])[:2] == (0, 0.0)


@pytest.mark.slow
def test_standard_errors_equal_those_of_resampled_patients() -> None:
    answer, score, patients = drawn(8, num=900)
    sample = Sample.of(patients)
    point = points(answer, sample, 10)[0]
    _, of_network = at_point(point, score, sample)

    def rates(rows: np.ndarray) -> tuple[float, ...]:
        chosen = answer[:, rows]
        again = points(chosen, Sample.of(patients[rows]), 10)[0]
        network = float(sensitivity_at(np.array([again.false_positive_rate]), *curve(again, score[rows]))[0])
        return *again.value, network, network - again.value[0]

    expected = resampled_error(rates, sample.patient)
    found = [
        *(error_of(sample.sums(of, point.rows)) for of in _of_rates(point)),
        *(error_of(of) for of in (of_network, of_network - point.influence)),
    ]
    assert found / expected == pytest.approx(np.ones(5), abs=0.1)


def _of_rates(point: ReaderPoint) -> tuple[np.ndarray, ...]:
    """Return the influences of the images on sensitivity, specificity and precision, by their formula."""
    label, called = point.reference, point.called
    parts = ((label, called & label), (~label, ~called & ~label), (called, called & label))
    return tuple((right - of * value) / of.sum() for (of, right), value in zip(parts, point.value, strict=True))


def test_fleiss_kappa_equals_statsmodels() -> None:
    answer, *_ = drawn(6, missing=0)
    table = np.stack([(answer == 0).sum(0), (answer == 1).sum(0)], 1)
    kappa, num, most = fleiss(answer)
    assert (num, most) == (answer.shape[1], 5)
    assert kappa == pytest.approx(fleiss_kappa(table))


def test_fleiss_kappa_uses_images_with_the_most_frequent_number_of_answers_and_is_unknown_if_all_agree() -> None:
    answer = np.array([[1, 0, 1, 1], [1, 0, 0, NONE], [0, 0, 1, NONE]], np.int8)
    kappa, num, most = fleiss(answer)
    assert (num, most) == (3, 3)
    assert kappa == pytest.approx(fleiss_kappa(np.array([[1, 2], [3, 0], [1, 2]])))
    assert np.isnan(fleiss(np.ones((3, 4), np.int8))[0])
    assert fleiss(np.array([[1, NONE], [NONE, 0]], np.int8))[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "images"), [(0.5, 1), (0.15, 1), (0.5, 3)])
def test_intervals_of_differences_and_shares_contain_the_truth(noise: float, images: int) -> None:
    """60 patients, five readers. Percentiles held the difference in 44 to 81 %, the share in 0 to 35 %.

    Of the variance of severity and of each error, 90 % is that of the patient: three images of a patient count little more than one.
    """

    def world(seed: int, num: int) -> np.ndarray:
        """Return differences [R, 3]."""
        draw = np.random.default_rng(seed)
        patients = np.repeat(np.arange(num, dtype=np.int32), images)
        of_patient, of_image = draw.normal(size=(7, num)), draw.normal(size=(7, num * images))
        severity, error, *errors = np.sqrt(0.9) * of_patient[:, patients] + np.sqrt(0.1) * of_image
        answer = (0.5 + severity + noise * np.array(errors) > np.array([[0.7], [0.9], [1], [1.1], [1.3]])).astype(
            np.int8
        )
        score = severity + noise * error
        sample = Sample.of(patients.astype(str).astype(object), str(seed))
        found = points(answer, sample, 5).values()
        return np.stack([difference(point, *at_point(point, score, sample)) for point in found])

    true = world(0, 100_000)
    share = share_below(true)[1]
    inside, shares = [], []
    for seed in range(1, 121):
        drawn = world(seed, 60)
        inside += ((drawn[:, 1] <= true[:, 0]) & (true[:, 0] <= drawn[:, 2])).tolist()
        _, _, least, most = share_below(drawn)
        shares.append(least <= share <= most)
    assert np.mean(inside) > 0.9
    assert np.mean(shares) > 0.95
