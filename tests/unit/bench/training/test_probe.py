"""The logistic regression of a probe against scikit-learn's, and the choice of its images."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bench.training.logistic_regression import logistic_regressions
from bench.training.probe import PENALTIES, few_shots
from tests.nonempty import nonempty

N, D, K = 400, 24, 4


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return correlated features of different scales, labels, and weights with other missing labels for each finding."""
    rng = np.random.default_rng(seed)
    feature_ND = rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) * np.geomspace(0.01, 100, D) + rng.normal(size=D)
    feature_ND[:, 3] = 1.5  # a constant feature
    logit_NK = (feature_ND - feature_ND.mean(0)) / feature_ND.std(0).clip(1e-6) @ rng.normal(size=(D, K)) / 3 + [
        0,
        -1,
        -2,
        1,
    ]
    target_NK = (rng.random((N, K)) < 1 / (1 + np.exp(-logit_NK))).astype(np.float32)
    weight_NK = (rng.random((N, K)) < [0.9, 0.5, 1.0, 0.3]).astype(np.float32)
    target_NK[weight_NK == 0] = np.nan
    return feature_ND.astype(np.float32), target_NK, weight_NK


def test_each_finding_has_the_coefficients_of_scikit_learn_on_its_labeled_images() -> None:
    feature_ND, target_NK, weight_NK = data()
    weight_NK[target_NK[:, 0] == 1, 0] *= 2.5  # images may count more than once
    used = (weight_NK > 0).any(1)
    mean_D, std_D = feature_ND[used].astype(float).mean(0), feature_ND[used].astype(float).std(0)
    std_D[std_D < 1e-6] = 1.0
    found = logistic_regressions(feature_ND, target_NK, weight_NK, PENALTIES)
    assert [r.penalty for r in found] == list(PENALTIES)
    for regression in found:
        for k in range(K):
            rows = weight_NK[:, k] > 0
            reference = LogisticRegression(
                C=1 / (regression.penalty * float(weight_NK[rows, k].sum())), tol=1e-10, max_iter=10_000
            )
            x = (feature_ND[rows].astype(float) - mean_D) / std_D
            reference.fit(x, target_NK[rows, k], sample_weight=weight_NK[rows, k])
            np.testing.assert_allclose(regression.weight_KD[k] * std_D, reference.coef_[0], atol=1e-4)
            np.testing.assert_allclose(
                regression.logits(feature_ND)[rows, k], reference.decision_function(x), atol=1e-3
            )


def test_targets_between_0_and_1_count_as_shares_of_an_image() -> None:
    feature_ND, target_NK, _ = data()
    soft_NK = np.nan_to_num(target_NK[:, :1], nan=0.3).clip(0.1, 0.8)
    soft = logistic_regressions(feature_ND, soft_NK, np.ones((N, 1), np.float32), [0.01])[0]
    twice = np.concatenate([feature_ND, feature_ND])
    label = np.concatenate([np.ones((N, 1)), np.zeros((N, 1))]).astype(np.float32)
    weight = np.concatenate([soft_NK, 1 - soft_NK]).astype(np.float32)
    hard = logistic_regressions(twice, label, weight, [0.01])[0]
    np.testing.assert_allclose(soft.logits(feature_ND), hard.logits(feature_ND), atol=1e-4)


def test_a_finding_with_one_class_has_a_constant_finite_logit() -> None:
    feature_ND, target_NK, weight_NK = data()
    target_NK[:, 1], weight_NK[:, 2] = 0.0, 0.0
    for regression in nonempty(logistic_regressions(feature_ND, target_NK, weight_NK, PENALTIES)):
        logit_NK = regression.logits(feature_ND)
        assert np.isfinite(logit_NK).all()
        assert np.ptp(logit_NK[:, 1:3], axis=0).tolist() == [0.0, 0.0]
        assert np.ptp(logit_NK[:, 0]) > 0


def test_more_features_than_images_are_no_problem() -> None:
    feature_ND, target_NK, weight_NK = (values[:12] for values in data())
    for regression in nonempty(logistic_regressions(feature_ND, target_NK, weight_NK, PENALTIES)):
        assert np.isfinite(regression.logits(feature_ND)).all()


@pytest.mark.parametrize("seed", range(3))
def test_shots_are_images_of_both_classes_and_few_shots_are_among_more(seed: int) -> None:
    _, target_NK, weight_NK = data(seed)
    previous = np.zeros((N, K), bool)
    for shots in (1, 10, 30, N):
        kept = few_shots(target_NK, weight_NK, shots, seed) > 0
        kept_labels = kept & (weight_NK > 0)
        for k in range(K):
            for label in (0, 1):
                available = int(((weight_NK[:, k] > 0) & (target_NK[:, k] == label)).sum())
                assert int((kept_labels[:, k] & (target_NK[:, k] == label)).sum()) == min(shots, available)
        assert (kept | ~previous).all()
        previous = kept
    assert (previous == (weight_NK > 0)).all()
    assert (few_shots(target_NK, weight_NK, 10, seed) != few_shots(target_NK, weight_NK, 10, seed + 1)).any()
