"""Algorithms that make the features of the groups alike: the mean loss of the groups plus a distance of their features.

The distance is the mean over all pairs of groups. Each algorithm equals that of DomainBed
(https://github.com/facebookresearch/DomainBed), with the loss of the run in place of the cross-entropy.
Legend: N and M images, D features.
"""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from bench.training.algorithms.batch import Batch

WIDTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)  # factors g of the kernels exp(-g |x - y|^2) of MMD


def coral(batch: Batch, weight: float) -> Tensor:
    """Return the loss with the distance of means and covariances of the features.

    Source: Sun and Saenko 2016, arXiv:1607.01719; DomainBed adds the distance of the means, and divides by the number of features
    and by its square.
    """
    return _matched(batch, weight, mean_and_covariance_distance)


def mmd(batch: Batch, weight: float) -> Tensor:
    """Return the loss with the maximum mean discrepancy of the features.

    Source: Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html, equation 5; Li et al. 2018,
    doi:10.1109/CVPR.2018.00566.
    """
    return _matched(batch, weight, kernel_distance)


def mean_and_covariance_distance(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Return the mean square difference of the means plus that of the covariances of two groups."""
    means = (x_ND.mean(0) - y_MD.mean(0)).square().mean()
    return means + (_covariance(x_ND) - _covariance(y_MD)).square().mean()


def kernel_distance(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two groups, with the sum of Gaussian kernels of seven widths."""
    return _kernel(x_ND, x_ND).mean() + _kernel(y_MD, y_MD).mean() - 2 * _kernel(x_ND, y_MD).mean()


def _matched(batch: Batch, weight: float, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the mean loss of the groups plus `weight` times the mean distance of two groups."""
    output_NO, feature_ND = batch.outputs_and_features()
    pairs = list(combinations(batch.rows_of_group.values(), 2))
    loss = batch.group_losses(output_NO).mean()
    if not pairs:
        return loss
    return loss + weight * torch.stack([distance(feature_ND[a], feature_ND[b]) for a, b in pairs]).mean()


def _covariance(x_ND: Tensor) -> Tensor:
    """Return the covariance of the features [D, D], divided by N - 1."""
    centered_ND = x_ND - x_ND.mean(0)
    return centered_ND.T @ centered_ND / (len(x_ND) - 1)


def _kernel(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Return the sum of the kernels of each pair of images [N, M]."""
    products_NM = x_ND @ y_MD.T
    square_NM = x_ND.square().sum(1)[:, None] + y_MD.square().sum(1)[None] - 2 * products_NM
    square_NM = square_NM.clamp(min=1e-30)
    return torch.stack([(-width * square_NM).exp() for width in WIDTHS]).sum(0)
