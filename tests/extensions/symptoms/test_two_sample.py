"""The two-sample test of features, and its control: what they find, and how often they reject without a difference."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.extensions.symptoms.two_sample import NUM_HALVINGS, shuffled_control, two_sample_test


def features(num: int, width: int = 24, seed: int = 0) -> NDArray[np.float64]:
    """Return features with correlated columns of different spread, as those of a network."""
    mixing = np.random.default_rng(99).normal(size=(width, width)) * np.linspace(0.2, 3, width)
    return np.random.default_rng(seed).normal(size=(num, width)) @ mixing + 1


def ids(num: int, start: int = 0) -> NDArray[np.str_]:
    return np.array([f"p{number}" for number in range(start, start + num)])


def test_the_two_sample_test_finds_a_shift_and_a_change_of_spread() -> None:
    home = features(120)
    shifted = features(80, seed=1) + 3 * np.eye(24)[0] * home[:, 0].std()
    assert two_sample_test(home, ids(120), shifted, ids(80, 500)).p == 0.001
    wider = 1.8 * (features(80, seed=1) - 1) + 1
    assert two_sample_test(home, ids(120), wider, ids(80, 500)).p == 0.001


@pytest.mark.slow
def test_the_two_sample_test_rejects_equal_distributions_as_often_as_it_states() -> None:
    p = np.array(
        [
            two_sample_test(features(40, 6, 2 * seed), ids(40), features(30, 6, 2 * seed + 1), ids(30, 500)).p
            for seed in range(200)
        ]
    )
    # binomial: 200 tests at .05 have 10 rejections, with a standard deviation of 3.1
    assert (p <= 0.05).sum() <= 20
    assert abs(p.mean() - 0.5) < 0.09


def test_many_images_of_a_patient_do_not_make_the_test_reject() -> None:
    """Images of a patient are alike. A test that counts them as independent would reject in most of these cases."""
    p = []
    for seed in range(60):
        groups = [np.repeat(features(25, 6, 2 * seed + k), 8, axis=0) for k in (0, 1)]
        noise = np.random.default_rng(seed).normal(scale=0.01, size=(2, 200, 6))
        patients = [np.repeat(ids(25, 500 * k), 8) for k in (0, 1)]
        test = two_sample_test(groups[0] + noise[0], patients[0], groups[1] + noise[1], patients[1])
        assert test.patients == (25, 25)
        p.append(test.p)
    assert (np.array(p) <= 0.05).sum() <= 9


@pytest.mark.slow
def test_the_shuffled_control_rejects_as_often_as_it_states() -> None:
    p = np.array([shuffled_control(features(60, 6, seed), ids(60), seed) for seed in range(10)])
    assert p.shape == (10, NUM_HALVINGS)
    assert 0.01 < (p <= 0.05).mean() < 0.1


def test_the_two_sample_test_refuses_few_patients_and_numbers_that_are_not_finite() -> None:
    with pytest.raises(ValueError, match="needs 20 patients, not 19"):
        two_sample_test(features(40), ids(40), features(38), np.repeat(ids(19, 500), 2))
    with pytest.raises(ValueError, match="needs 40 patients, not 39"):
        shuffled_control(features(39), ids(39))
    broken = features(40)
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="features of a two-sample test"):
        two_sample_test(broken, ids(40), features(40), ids(40, 500))
