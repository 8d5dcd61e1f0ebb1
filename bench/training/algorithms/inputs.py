"""Algorithms that change the images or the targets of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.training.algorithms.batch import Batch

Pair = tuple[int, int, float]  # indices of two groups, and the weight of the first


def mixup(batch: Batch, alpha: float) -> Tensor:
    """Return the loss of images that are mixed with images of another group.

    The groups are put in a random circle, and each group is mixed with the next. The weight of the first image is drawn from
    Beta(alpha, alpha), once for each pair of groups. With one group, its images are mixed with themselves and stay as they are.
    Source: Zhang et al. 2018, arXiv:1710.09412; between groups: Xu et al. 2020, arXiv:1912.01805, as in DomainBed.
    """
    draw = batch.new_generator()
    order = draw.permutation(list(batch.rows_of_group)).tolist()
    following = [*order[1:], order[0]]
    return mixed_loss(batch, [(a, b, float(draw.beta(alpha, alpha))) for a, b in zip(order, following, strict=True)])


def mixed_loss(batch: Batch, pairs: Sequence[Pair]) -> Tensor:
    """Return the mean over the pairs of groups of w L(z, y_a) + (1 - w) L(z, y_b); z: outputs of the images w x_a + (1 - w) x_b.

    If two groups have different numbers of images, the last images of the larger group are not used.
    """
    rows = [_paired(batch, a, b) for a, b, _ in pairs]
    x_NCHW = torch.cat(
        [w * batch.x_NCHW[a] + (1 - w) * batch.x_NCHW[b] for (a, b), (_, _, w) in zip(rows, pairs, strict=True)]
    )
    outputs = torch.split(batch.forward(x_NCHW), [len(a) for a, _ in rows])
    losses = [
        w * batch.training_loss(output_NO, batch.index_N[a])
        + (1 - w) * batch.training_loss(output_NO, batch.index_N[b])
        for output_NO, (a, b), (_, _, w) in zip(outputs, rows, pairs, strict=True)
    ]
    return torch.stack(losses).mean()


def _paired(batch: Batch, first: int, second: int) -> tuple[Tensor, Tensor]:
    """Return equally many rows of two groups."""
    a, b = batch.rows_of_group[first], batch.rows_of_group[second]
    num = min(len(a), len(b))
    return a[:num], b[:num]
