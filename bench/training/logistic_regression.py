"""Logistic regressions with an L2 penalty for several findings at once, each on the images with a label of this finding.

Legend: N images, K findings, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

_MOST_ROWS = 8192  # images from which the curvature of the loss is estimated; a better estimate only saves iterations
_TOLERANCE = 1e-6  # largest absolute gradient at the solution, in coordinates in which the curvature is about 1
_LARGE = 20_000_000  # number of values from which the features are kept in float32


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """The solution for one penalty: logit_NK = feature_ND @ weight_KD.T + bias_K."""

    penalty: float
    weight_KD: NDArray[np.float64]
    bias_K: NDArray[np.float64]
    evaluations: int  # number of computed gradients

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
    converted to the given features. Targets are in [0, 1]; weight 0 excludes a pair of image and finding. L-BFGS works
    in coordinates in which the estimated curvature of the loss is 1, so about ten gradients per penalty are enough.
    Large matrices of features stay in float32, which halves the time.
    """
    used = (weight_NK > 0).any(1)
    x_ND = torch.from_numpy(feature_ND[used]).double()
    t_NK, w_NK = (torch.from_numpy(values[used]).double() for values in (target_NK, weight_NK))
    t_NK = torch.where(w_NK > 0, t_NK, 0.0)
    mean_D, std_D = x_ND.mean(0), x_ND.std(0, correction=0)
    std_D = torch.where(std_D > 1e-12, std_D, 1.0)
    x_ND = (x_ND - mean_D) / std_D
    present_K, all_K = (w_NK * t_NK).sum(0), w_NK.sum(0)
    learnt_K = ((w_NK > 0) & (t_NK > 0.5)).any(0) & ((w_NK > 0) & (t_NK < 0.5)).any(0)
    share_NK = torch.where(learnt_K, w_NK / all_K.clamp(min=1e-12), 0.0)
    variance_K = (share_NK * t_NK).sum(0)
    variance_K = (variance_K * (1 - variance_K)).clamp(min=1e-6)
    sample = x_ND[:: max(1, len(x_ND) // _MOST_ROWS)]
    gram_DD = sample.T @ sample / max(1, len(sample))
    constant_K = ((present_K + 1) / (all_K - present_K + 1)).log()
    num_findings, num_features = t_NK.shape[1], x_ND.shape[1]
    if x_ND.numel() > _LARGE:
        x_ND = x_ND.float()
    beta_KD, bias_K = torch.zeros(num_findings, num_features).double(), torch.where(learnt_K, constant_K, 0.0)
    found = []
    for penalty in penalties:
        eye_DD = torch.eye(num_features).double()
        factor_KDD = torch.linalg.cholesky(variance_K[:, None, None] * gram_DD + penalty * eye_DD)
        scale_K = variance_K.sqrt()

        def unpack(
            u: NDArray[np.float64], factor: Tensor = factor_KDD, scale: Tensor = scale_K
        ) -> tuple[Tensor, Tensor]:
            u_KX = torch.from_numpy(u).view(num_findings, num_features + 1)
            beta = torch.linalg.solve_triangular(factor.mT, u_KX[:, :-1, None], upper=True)[..., 0]
            return beta, u_KX[:, -1] / scale

        def objective(
            u: NDArray[np.float64], penalty: float = penalty, factor: Tensor = factor_KDD, scale: Tensor = scale_K
        ) -> tuple[float, NDArray[np.float64]]:
            beta, bias = unpack(u)
            z_NK = (x_ND @ beta.T.to(x_ND.dtype)).double() + bias
            loss = (share_NK * (torch.logaddexp(z_NK, torch.zeros(()).double()) - t_NK * z_NK)).sum()
            residual_NK = share_NK * (z_NK.sigmoid() - t_NK)
            slope_KD = (residual_NK.T.to(x_ND.dtype) @ x_ND).double() + penalty * beta
            slope_u = torch.linalg.solve_triangular(factor, slope_KD[..., None], upper=False)[..., 0]
            gradient = torch.cat([slope_u, (residual_NK.sum(0) / scale)[:, None]], 1)
            return float(loss + penalty / 2 * beta.square().sum()), gradient.flatten().numpy()

        start = torch.cat([(factor_KDD.mT @ beta_KD[..., None])[..., 0], (bias_K * scale_K)[:, None]], 1)
        result = minimize(
            objective,
            start.flatten().numpy(),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": _TOLERANCE, "ftol": 1e-12, "maxiter": 1000, "maxcor": 20},
        )
        beta_KD, bias_K = unpack(result.x)
        weight_KD = beta_KD / std_D
        offset_K = torch.where(learnt_K, bias_K - weight_KD @ mean_D, constant_K)
        found.append(Regression(penalty, weight_KD.numpy(), offset_K.numpy(), int(result.nfev)))
    return found
