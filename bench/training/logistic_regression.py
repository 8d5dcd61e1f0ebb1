"""Logistic regressions with an L2 penalty, one for each finding, on the images with a label of this finding.

Legend: N images, K findings, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """The solution for one penalty: logit_NK = feature_ND @ weight_KD.T + bias_K."""

    penalty: float
    weight_KD: NDArray[np.float64]
    bias_K: NDArray[np.float64]
    passes: int  # Newton steps of all findings

    def logits(self, feature_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logit_NK."""
        return (feature_ND @ self.weight_KD.T + self.bias_K).astype(np.float32)


def logistic_regressions(
    feature_ND: NDArray[np.float32],
    target_NK: NDArray[np.float32],
    weight_NK: NDArray[np.float32],
    penalties: Sequence[float],
) -> list[Regression]:
    """Return the regressions of all findings for each penalty, in the order of `penalties`.

    For each finding, the solution minimizes the weighted mean cross-entropy plus penalty / 2 times the squared norm of
    the weights; the bias has no penalty. The weights refer to features with mean 0 and standard deviation 1, and are then
    converted to the given features. Targets are in [0, 1]; weight 0 excludes a pair of image and finding. A finding
    without present or without absent images gets weights 0 and a constant logit. Each penalty starts from the solution
    of the penalty before.
    """
    used_ND = feature_ND[(weight_NK > 0).any(1)]
    mean_D, std_D = used_ND.mean(0, np.float64), used_ND.std(0, np.float64)
    std_D = np.where(std_D > 1e-12, std_D, 1.0)
    # the number of threads changes the last bits, so the regressions use the number of the run
    with threadpool_limits(torch.get_num_threads()):
        fits = [
            _fits((feature_ND[labeled] - mean_D) / std_D, target_NK[labeled, k], weight_NK[labeled, k], penalties)
            for k, labeled in enumerate((weight_NK > 0).T)
        ]
    found = []
    for penalty, of_findings in zip(penalties, zip(*fits, strict=True), strict=True):
        coefficient_KD, bias_K, steps_K = (np.array(column) for column in zip(*of_findings, strict=True))
        weight_KD = coefficient_KD / std_D
        found.append(Regression(penalty, weight_KD, bias_K - weight_KD @ mean_D, int(steps_K.sum())))
    return found


def _fits(
    x_ND: NDArray[np.float64], target_N: NDArray[np.float32], weight_N: NDArray[np.float32], penalties: Sequence[float]
) -> list[tuple[NDArray[np.float64], float, int]]:
    """Return coefficients [D], bias and Newton steps of one finding for each penalty, from its labeled images."""
    from sklearn.linear_model import LogisticRegression

    present, total = float((weight_N * target_N).sum(dtype=np.float64)), float(weight_N.sum(dtype=np.float64))
    if not ((target_N > 0.5).any() and (target_N < 0.5).any()):
        return [(np.zeros(x_ND.shape[1]), float(np.log((present + 1) / (total - present + 1))), 0)] * len(penalties)
    # a target t counts as t of a present and 1 - t of an absent image
    label = np.repeat([1, 0], len(x_ND))
    share = np.concatenate([weight_N * target_N, weight_N * (1 - target_N)])
    rows = np.flatnonzero(share)
    x_ND, label, share = x_ND[rows % len(x_ND)], label[rows], share[rows]
    model = LogisticRegression(solver="newton-cholesky", tol=1e-6, warm_start=True)
    found = []
    for penalty in penalties:
        model.set_params(C=1 / (penalty * total)).fit(x_ND, label, sample_weight=share)
        found.append((model.coef_[0].copy(), float(model.intercept_[0]), int(model.n_iter_[0])))
    return found
