import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scoring.delong import areas
from bench.scoring.metrics import auroc

LABEL = np.array([0, 0, 1, 1, 0, 1, 0, 1, 0, 0], np.int8)
FIRST = np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.7, 0.5, 0.5, 0.05, 0.3])
SECOND = np.array([0.2, 0.3, 0.6, 0.7, 0.1, 0.9, 0.6, 0.4, 0.3, 0.2])


def test_a_worked_example_of_two_scores_on_ten_images() -> None:
    found = areas(LABEL, np.stack([FIRST, SECOND], axis=1))
    assert found.value == pytest.approx([0.8958333, 0.9375], abs=1e-7)
    assert found.covariance[[0, 1, 0], [0, 1, 1]] == pytest.approx([0.0108218, 0.0054977, 0.0046875], abs=1e-7)
    assert found.p_of_difference() == pytest.approx(0.6171, abs=1e-4)


def test_the_interval_uses_the_delta_method_on_the_logit() -> None:
    """.8958333 with standard error sqrt(.0108218): logit 2.15176, its error .104028 / (.8958333 x .1041667) = 1.114779."""
    low, high = areas(LABEL, FIRST[:, None]).interval()
    assert low.item() == pytest.approx(1 / (1 + math.exp(-(2.15176 - 1.959964 * 1.114779))), abs=1e-5)
    assert high.item() == pytest.approx(1 / (1 + math.exp(-(2.15176 + 1.959964 * 1.114779))), abs=1e-5)


def slowly(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return DeLong's covariance from the matrix of all pairs."""
    pairs = [s[label == 1][:, None] - s[label == 0] for s in score.T]
    won = np.array([(p > 0) + 0.5 * (p == 0) for p in pairs])
    return np.cov(won.mean(2)) / (label == 1).sum() + np.cov(won.mean(1)) / (label == 0).sum()


labelled = st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=30)


@settings(max_examples=80)
@given(labelled)
def test_ranks_give_the_covariance_of_all_pairs_with_ties(rows: list[tuple[bool, int, int]]) -> None:
    label, score = np.array([row[0] for row in rows], np.int8), np.array([row[1:] for row in rows], float)
    found = areas(label, score)
    if not 0 < label.sum() < len(label):
        assert np.isnan(found.value).all()
    else:
        assert found.value == pytest.approx([auroc(label, s) for s in score.T])
        if 2 <= label.sum() <= len(label) - 2:
            np.testing.assert_allclose(found.covariance, slowly(label, score), atol=1e-12)
        else:
            assert np.isnan(found.covariance).all()


@settings(max_examples=50)
@given(labelled, st.randoms())
def test_one_image_per_patient_gives_delongs_variance_in_any_order(
    rows: list[tuple[bool, int, int]], mixer: object
) -> None:
    label, score = np.array([row[0] for row in rows], np.int8), np.array([row[1:] for row in rows], float)
    order = list(range(len(rows)))
    mixer.shuffle(order)  # type: ignore[attr-defined]
    plain, clustered = areas(label, score), areas(label[order], score[order], np.arange(len(rows)))
    np.testing.assert_allclose(plain.covariance, clustered.covariance, atol=1e-12)


def test_images_of_one_patient_that_agree_count_as_one() -> None:
    """With six copies of each image, DeLong's variance counts six times the images; Obuchowski's variance does not change."""
    generator = np.random.default_rng(0)
    label = (generator.random(200) < 0.3).astype(np.int8)
    score = generator.normal(size=(200, 1)) + label[:, None]
    once = areas(label, score).covariance.item()
    patient = np.repeat(np.arange(200), 6)
    copied, clustered = areas(label[patient], score[patient]), areas(label[patient], score[patient], patient)
    assert copied.covariance.item() == pytest.approx(once / 6, rel=0.02)
    assert clustered.covariance.item() == pytest.approx(once, rel=1e-9)


def test_the_clustered_variance_equals_that_of_repeated_samples() -> None:
    generator = np.random.default_rng(1)
    found, guessed = [], []
    for _ in range(300):
        patient = np.repeat(np.arange(60), 4)
        effect = generator.normal(size=60)[patient]
        label = (generator.random(240) < 0.4).astype(np.int8)
        area = areas(label, (label + effect + generator.normal(0, 0.5, 240))[:, None], patient)
        found.append(area.value.item())
        guessed.append(area.covariance.item())
    assert np.mean(guessed) == pytest.approx(np.var(found), rel=0.2)


def test_unusable_input_gives_nan_and_equal_scores_give_p_1() -> None:
    assert math.isnan(areas(np.zeros(0, np.int8), np.zeros((0, 2))).p_of_difference())
    assert math.isnan(areas(LABEL, np.stack([FIRST, SECOND], 1), np.zeros(10, int)).p_of_difference())
    assert areas(LABEL, np.stack([FIRST, FIRST], 1)).p_of_difference() == 1.0
    constant = areas(LABEL, np.zeros((10, 1)))
    assert constant.value.item() == 0.5
    assert constant.covariance.item() == 0
    assert [bound.item() for bound in constant.interval()] == [0.5, 0.5]
    perfect = areas(LABEL, LABEL[:, None].astype(float))
    assert perfect.value.item() == 1.0
    assert np.isnan(perfect.interval()).all(), "no logit, no interval"
    with pytest.raises(ValueError, match="1 of 10"):
        areas(LABEL, np.where(FIRST == 0.8, np.nan, FIRST)[:, None])
