"""B14: the logistic regressions of a linear probe, for all findings and penalties.

The gate compares weights with those of scikit-learn's LogisticRegression.
"""

import time

import numpy as np
import torch
from numpy.typing import NDArray

from bench.training.logistic_regression import logistic_regressions
from bench.training.probe import PENALTIES
from benchmarks.harness import Benchmark, Measured, check, interleaved, spread


def examples(
    num_images: int, num_features: int, num_findings: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return correlated features, labels of findings with a prevalence of 3 to 50 %, and a mask of the known labels."""
    rng = np.random.default_rng(0)
    basis_DD = np.linalg.qr(rng.normal(size=(num_features, num_features)))[0]
    basis_DD *= np.arange(1, num_features + 1) ** -0.5  # a few directions have most of the variance, as in networks
    feature_ND = rng.standard_normal((num_images, num_features), np.float32) @ basis_DD.astype(np.float32)
    logit_NK = feature_ND @ rng.normal(size=(num_features, num_findings))
    logit_NK = 1.5 * logit_NK / logit_NK.std(0) + np.linspace(-4.5, 0, num_findings)
    label_NK = rng.random((num_images, num_findings)) < 1 / (1 + np.exp(-logit_NK))
    known_NK = rng.random((num_images, num_findings)) < rng.uniform(0.3, 1.0, num_findings)
    return feature_ND, label_NK.astype(np.float32), known_NK.astype(np.float32)


def regressions(quick: bool) -> Measured:
    """Return the CPU seconds of all regressions."""
    from sklearn.linear_model import LogisticRegression

    torch.set_num_threads(1)
    feature_ND, label_NK, known_NK = examples(*((3_000, 64, 3) if quick else (50_000, 768, 9)))
    solved = logistic_regressions(feature_ND, label_NK, known_NK, PENALTIES)
    used_ND = feature_ND[(known_NK > 0).any(1)].astype(float)
    mean_D, std_D = used_ND.mean(0), used_ND.std(0)
    worst, began = 0.0, time.process_time()
    compared = [(solution, k) for solution in (solved[0], solved[-1]) for k in (0, label_NK.shape[1] - 1)]
    for solution, k in compared:
        known_N = known_NK[:, k] > 0
        peer = LogisticRegression(
            C=1 / (solution.penalty * known_N.sum()), solver="newton-cholesky", tol=1e-10, max_iter=1000
        )
        peer.fit((feature_ND[known_N] - mean_D) / std_D, label_NK[known_N, k])
        worst = max(worst, float(np.abs(solution.weight_KD[k] * std_D - peer.coef_[0]).max()))
    seconds = (time.process_time() - began) / len(compared) * len(PENALTIES) * label_NK.shape[1]
    gate = check(worst <= 1e-4, f"largest difference of a weight from scikit-learn's: {worst:.1g}")
    spent = interleaved(
        {"ours": lambda: logistic_regressions(feature_ND, label_NK, known_NK, PENALTIES)}, 2 if quick else 5
    )
    note = f"one thread; scikit-learn (newton-cholesky) needs {seconds:.3g} CPU s (extrapolated from {len(compared)} of its fits)"
    return spread(spent["ours"], gate, note)


BENCHMARKS = (
    Benchmark(
        "B14",
        "logistic regressions of a linear probe: 50,000 images, 768 features, 9 findings, 3 penalties",
        "-",
        "<= 10",
        regressions,
        "CPU s",
    ),
)
