"""Logistic regressions with an L2 penalty for several findings at once, each on the images with a label of this finding.

Newton's method solves all findings together. Conjugate gradients solve the equations of each step, so each product of
matrices reads the features once for all findings. The conjugate gradients are preconditioned by an estimated Hessian
(the second derivatives of the loss), so few products are enough.

Legend: N images, K findings, D features, X = D + 1 coefficients of a finding: the weights, then the bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TOLERANCE = 2e-5  # largest estimated error of a weight, for features with standard deviation 1
_MOST_STEPS = 100  # Newton steps for one penalty; usually 5 are enough
_MOST_PRODUCTS = 30  # products with the Hessian in one Newton step
_SHARE_LEFT = 0.1  # a Newton step ends when the conjugate gradients have reduced its error to this share
_MOST_ROWS = 8192  # images from which the preconditioner is estimated; its accuracy affects only the time
_CHUNK = 512  # images in one product of matrices; sums over chunks are in float64
_LARGE = 20_000_000  # number of values from which the features are kept in float32


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """The solution for one penalty: logit_NK = feature_ND @ weight_KD.T + bias_K."""

    penalty: float
    weight_KD: NDArray[np.float64]
    bias_K: NDArray[np.float64]
    passes: int  # number of times that all features were read

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
    of the penalty before. Large matrices of features stay in float32.
    """
    used_N = (weight_NK > 0).any(1)
    x_NX, mean_D, std_D = _standardized(feature_ND[used_N])
    target_NK = np.where(weight_NK > 0, target_NK, 0)[used_N]
    t_NK, w_NK = torch.from_numpy(target_NK).double(), torch.from_numpy(weight_NK[used_N]).double()
    present_K, all_K = (w_NK * t_NK).sum(0), w_NK.sum(0)
    constant_K = ((present_K + 1) / (all_K - present_K + 1)).log()
    labeled_NK = w_NK > 0
    learnt_K = (labeled_NK & (t_NK > 0.5)).any(0) & (labeled_NK & (t_NK < 0.5)).any(0)
    problem = _Problem(x_NX, t_NK[:, learnt_K], (w_NK / all_K.clamp(min=1e-12))[:, learnt_K])
    beta_XK = torch.zeros(x_NX.shape[1], int(learnt_K.sum())).double()
    beta_XK[-1] = constant_K[learnt_K]
    found, hessians = [], problem.first_hessians()
    for penalty in penalties:
        beta_XK, hessians, passes = problem.solve(beta_XK, penalty, hessians)
        weight_KD, bias_K = torch.zeros(len(learnt_K), len(mean_D)).double(), constant_K.clone()
        weight_KD[learnt_K] = beta_XK[:-1].T / std_D
        bias_K[learnt_K] = beta_XK[-1] - weight_KD[learnt_K] @ mean_D
        found.append(Regression(penalty, weight_KD.numpy(), bias_K.numpy(), passes))
    return found


def _standardized(feature_ND: NDArray[np.float32]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features with mean 0 and standard deviation 1 and a last column of ones; and means and deviations."""
    num_images, num_features = feature_ND.shape
    chunks = [slice(start, start + _CHUNK) for start in range(0, num_images, _CHUNK)]
    given = torch.from_numpy(feature_ND)
    x_NX = torch.ones(num_images, num_features + 1, dtype=torch.float32 if given.numel() > _LARGE else torch.float64)
    mean_D, variance_D = torch.zeros(num_features).double(), torch.zeros(num_features).double()
    for chunk in chunks:
        mean_D += given[chunk].double().sum(0) / num_images
    for chunk in chunks:
        variance_D += (given[chunk].double() - mean_D).square().sum(0) / num_images
    std_D = variance_D.sqrt()
    std_D = torch.where(std_D > 1e-12, std_D, 1.0)
    for chunk in chunks:
        x_NX[chunk, :-1] = ((given[chunk].double() - mean_D) / std_D).to(x_NX.dtype)
    return x_NX, mean_D, std_D


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The data of all findings that can be learnt."""

    x_NX: Tensor  # float32 or float64
    target_NK: Tensor  # in [0, 1]
    share_NK: Tensor  # weight of an image in the loss of a finding; the sum for each finding is 1

    def solve(
        self, beta_XK: Tensor, penalty: float, hessians: Sequence[Tensor]
    ) -> tuple[Tensor, Sequence[Tensor], int]:
        """Return the coefficients for a penalty, the Hessians to begin the next penalty with, and the number of passes."""
        penalty_X1 = torch.full((len(beta_XK), 1), penalty).double()
        penalty_X1[-1] = 0.0
        precondition = _preconditioner(hessians, penalty_X1)
        loss_K, gradient_XK, curvature_NK = self.derivatives(beta_XK, penalty_X1)
        passes = 1
        for _ in range(_MOST_STEPS):
            z_XK = precondition(gradient_XK)
            # the error of a weight is at most about the Newton decrement divided by the root of the penalty
            decrement_K = (gradient_XK * z_XK).sum(0).clamp(min=0).sqrt()
            if not len(decrement_K) or float(decrement_K.max()) <= _TOLERANCE * penalty**0.5:
                break
            if len(hessians) == 1 and float(decrement_K.max()) < _SHARE_LEFT:
                hessians = [self.hessian(curvature_NK[:, k]) for k in range(curvature_NK.shape[1])]
                precondition = _preconditioner(hessians, penalty_X1)
            step_XK, products = self.newton_step(gradient_XK, curvature_NK, penalty_X1, precondition)
            passes += products
            before_K, moved_XK = loss_K, beta_XK + step_XK
            loss_K, gradient_XK, curvature_NK = self.derivatives(moved_XK, penalty_X1)
            passes += 1
            while (worse_K := loss_K > before_K + 1e-8 * before_K.clamp(min=1.0)).any():
                step_XK = torch.where(worse_K, step_XK / 2, step_XK)
                moved_XK = beta_XK + step_XK
                loss_K, gradient_XK, curvature_NK = self.derivatives(moved_XK, penalty_X1)
                passes += 1
            beta_XK = moved_XK
        return beta_XK, hessians, passes

    def derivatives(self, beta_XK: Tensor, penalty_X1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss [K], gradient [X, K], and each image's weight [N, K] in the Hessian."""
        loss_K, curvature_NK = (penalty_X1 * beta_XK.square()).sum(0) / 2, torch.empty_like(self.share_NK)

        def residual(z_NK: Tensor, chunk: slice) -> Tensor:
            z_NK = z_NK.double()
            share_NK, target_NK, probability_NK = self.share_NK[chunk], self.target_NK[chunk], z_NK.sigmoid()
            loss_K.add_((share_NK * (torch.logaddexp(z_NK, torch.zeros(()).double()) - target_NK * z_NK)).sum(0))
            curvature_NK[chunk] = share_NK * probability_NK * (1 - probability_NK)
            return share_NK * (probability_NK - target_NK)

        gradient_XK = self.back_projected(beta_XK, residual) + penalty_X1 * beta_XK
        return loss_K, gradient_XK, curvature_NK

    def newton_step(
        self, gradient_XK: Tensor, curvature_NK: Tensor, penalty_X1: Tensor, precondition: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, int]:
        """Return minus the inverse Hessian times the gradient, by conjugate gradients, and the number of products."""
        curvature_NK = curvature_NK.to(self.x_NX.dtype)
        step_XK, residual_XK = torch.zeros_like(gradient_XK), -gradient_XK
        z_XK = precondition(residual_XK)
        first_K = norm_K = (residual_XK * z_XK).sum(0)
        direction_XK = z_XK
        for products in range(1, _MOST_PRODUCTS + 1):  # noqa: B007  (returned)
            image_XK = self.back_projected(direction_XK, lambda z_NK, chunk: z_NK * curvature_NK[chunk])
            image_XK += penalty_X1 * direction_XK
            length_K = norm_K / (direction_XK * image_XK).sum(0).clamp(min=1e-300)
            step_XK = step_XK + length_K * direction_XK
            residual_XK = residual_XK - length_K * image_XK
            z_XK = precondition(residual_XK)
            last_K, norm_K = norm_K, (residual_XK * z_XK).sum(0)
            if bool((norm_K <= _SHARE_LEFT**2 * first_K).all()):
                break
            direction_XK = z_XK + norm_K / last_K.clamp(min=1e-300) * direction_XK
        return step_XK, products

    def back_projected(self, beta_XK: Tensor, function: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Return x.T @ function(x @ beta), computed in chunks of images; `function` also gets the chunk's images."""
        beta_XK, total_XK = beta_XK.to(self.x_NX.dtype), torch.zeros_like(beta_XK)
        for start in range(0, len(self.x_NX), _CHUNK):
            x_NX = self.x_NX[start : start + _CHUNK]
            value_NK = function(x_NX @ beta_XK, slice(start, start + _CHUNK))
            total_XK += x_NX.T @ value_NK.to(x_NX.dtype)
        return total_XK

    def first_hessians(self) -> Sequence[Tensor]:
        """Return one matrix for all findings: the Hessian at coefficients 0 with equal weights of all images."""
        num_images = max(1, len(self.x_NX))
        return [self.hessian(torch.full((len(self.x_NX),), 0.25 / num_images).double())]

    def hessian(self, curvature_N: Tensor) -> Tensor:
        """Return the sum of the images' outer products, weighted by `curvature_N`, as [X, X].

        Of many images, the sum is estimated from a systematic sample, in which the number of draws of an image is
        proportional to its weight.
        """
        if len(curvature_N) <= _MOST_ROWS:
            x_NX = self.x_NX * curvature_N.sqrt()[:, None].to(self.x_NX.dtype)
            return x_NX.T @ x_NX
        total_N = curvature_N.cumsum(0)
        places = (torch.arange(_MOST_ROWS).double() + 0.5) / _MOST_ROWS * total_N[-1]
        x_NX = self.x_NX[torch.searchsorted(total_N, places).clamp(max=len(total_N) - 1)]
        return x_NX.T @ x_NX * float(total_N[-1] / _MOST_ROWS)


def _preconditioner(hessians: Sequence[Tensor], penalty_X1: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that solves (Hessian + penalty) z = v for each finding; one Hessian serves all findings.

    The solutions are in float32: an exact inverse is not needed.
    """
    factors = []
    for hessian_XX in hessians:
        matrix_XX = hessian_XX.double() + torch.diag(penalty_X1[:, 0] + 1e-9)
        factors.append(torch.linalg.cholesky(matrix_XX).float())
    factor_KXX = torch.stack(factors)

    def solve(v_XK: Tensor) -> Tensor:
        if len(factor_KXX) == 1:
            return torch.cholesky_solve(v_XK.float(), factor_KXX[0]).double()
        return torch.cholesky_solve(v_XK.T[..., None].float(), factor_KXX)[..., 0].T.double()

    return solve
