"""B15: CPU time of the linear probes of one encoder: 50,000 images, 768 features, nine findings, three penalties.

A gate checks that the weights equal those of scikit-learn. scikit-learn fits one finding at a time; its time for the first
finding is multiplied by nine.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, peer, spread

IMAGES, FEATURES, FINDINGS = 50_000, 768, 9
TOLERANCE = 1e-4  # of a weight, for features with mean 0 and standard deviation 1
Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@cache
def data(num_images: int, num_features: int) -> Arrays:
    """Return features with decreasing variances along random directions, labels, and weights: a tenth has no label."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(num_features, num_features)).astype(np.float32) / num_features**0.5
    spread_D = np.geomspace(1, 0.03, num_features).astype(np.float32)
    feature_ND = (rng.standard_normal((num_images, num_features), np.float32) * spread_D) @ directions
    logit_NK = feature_ND @ rng.normal(size=(num_features, FINDINGS)).astype(np.float32)
    logit_NK = 1.5 * logit_NK / logit_NK.std(0) - np.linspace(1, 3, FINDINGS)
    target_NK = (rng.random(logit_NK.shape) < 1 / (1 + np.exp(-logit_NK))).astype(np.float32)
    weight_NK = (rng.random(logit_NK.shape) < 0.9).astype(np.float32)
    weight_NK[:, 0] = 1  # the finding that scikit-learn fits has all labels, so both scale the features in the same way
    return feature_ND, target_NK, weight_NK


def ours(arrays: Arrays) -> list[Any]:
    """Return our regressions of all findings for each penalty."""
    import torch

    from bench.training.logistic_regression import logistic_regressions
    from bench.training.probe import PENALTIES

    torch.set_num_threads(1)
    return list(logistic_regressions(*arrays, PENALTIES))


def theirs(arrays: Arrays) -> list[NDArray[np.float64]]:
    """Return scikit-learn's weights of the first finding for each penalty, each penalty started from the one before."""
    linear_model = peer("sklearn.linear_model", "scikit-learn")
    from bench.training.probe import PENALTIES

    feature_ND, target_NK, _ = arrays
    x_ND = feature_ND.astype(np.float64)
    x_ND = (x_ND - x_ND.mean(0)) / x_ND.std(0)
    model = linear_model.LogisticRegression(solver="newton-cholesky", tol=1e-6, warm_start=True)
    weights = []
    for penalty in PENALTIES:
        model.set_params(C=1 / (penalty * len(x_ND)))
        weights.append(model.fit(x_ND, target_NK[:, 0]).coef_[0].copy())
    return weights


def arrays_of(quick: bool) -> Arrays:
    """Return the data of the benchmark, or a small part for a smoke test."""
    return data(2_000, 32) if quick else data(IMAGES, FEATURES)


def gate(arrays: Arrays) -> str:
    """Compare the weights of the first finding for all penalties."""
    std_D = arrays[0].astype(np.float64).std(0)
    pairs = zip(ours(arrays), theirs(arrays), strict=True)
    difference = max(float(np.abs(a.weight_KD[0] * std_D - b).max()) for a, b in pairs)
    return check(difference <= TOLERANCE, f"largest difference of a weight from scikit-learn's: {difference:.1e}")


def seconds(quick: bool) -> Measured:
    """Return our CPU seconds."""
    arrays = arrays_of(quick)
    text = gate(arrays)
    spent = interleaved({"ours": lambda: ours(arrays)}, 1 if quick else 5)
    return spread(spent["ours"], text, "one thread; nine findings and three penalties together")


def ratio(quick: bool) -> Measured:
    """Return scikit-learn's time divided by ours."""
    arrays = arrays_of(quick)
    text = gate(arrays)
    spent = interleaved({"ours": lambda: ours(arrays), "peer": lambda: theirs(arrays)}, 1 if quick else 3)
    whole = [FINDINGS * one for one in spent["peer"]]
    note = f"CPU time: peer {np.median(whole):.0f} s (extrapolated from one finding), ours {np.median(spent['ours']):.1f} s"
    return compared(whole, spent["ours"], text, note)


WHAT = "linear probes: 50,000 images, 768 features, nine findings, three penalties"
BENCHMARKS = (
    Benchmark("B15", WHAT, "-", "<= 12", seconds, "units"),
    Benchmark("B15", WHAT, "scikit-learn", "", ratio),
)
