"""CORAL: features of the groups that have the same means and covariances.

Legend: N and M images, D features.
"""

from itertools import combinations

import torch
from torch import Tensor

from bench.training.algorithms.batch import Batch


def coral(batch: Batch, weight: float) -> Tensor:
    """Return the mean loss of the groups plus `weight` times the mean distance of the features of two groups.

    Source: Sun and Saenko 2016, arXiv:1607.01719, as in DomainBed (https://github.com/facebookresearch/DomainBed), which adds the
    distance of the means, and divides by the number of features and by its square; with the loss of the run in place of the cross-entropy.
    """
    output_NO, feature_ND = batch.outputs_and_features()
    pairs = list(combinations(batch.rows_of_group.values(), 2))
    loss = batch.group_losses(output_NO).mean()
    if not pairs:
        return loss
    distances = [mean_and_covariance_distance(feature_ND[a], feature_ND[b]) for a, b in pairs]
    return loss + weight * torch.stack(distances).mean()


def mean_and_covariance_distance(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """Return the mean square differences of the means and of the covariances of two groups, added."""
    means = (x_ND.mean(0) - y_MD.mean(0)).square().mean()
    return means + (_covariance(x_ND) - _covariance(y_MD)).square().mean()


def _covariance(x_ND: Tensor) -> Tensor:
    """Return the covariance of the features [D, D], divided by N - 1."""
    centered_ND = x_ND - x_ND.mean(0)
    return centered_ND.T @ centered_ND / (len(x_ND) - 1)
