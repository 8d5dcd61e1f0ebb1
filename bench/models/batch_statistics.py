"""Batch-norm statistics that are computed anew: of weights that were averaged, or of the images that are predicted."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from bench.inputs.batches import BatchReader
from bench.models.network import Network
from bench.models.predict import ExactFloat32, images_per_pass
from harmonize.seeds import stream

NUM_IMAGES = 4096  # maximum number of images for the statistics of a hospital


@contextmanager
def fresh_statistics(layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Delete the statistics of layers, and let the forward passes in the block compute them anew.

    The new statistics are the plain means over these passes, not moving means. The layers must be in training mode.
    """
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # None selects the plain mean
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@torch.no_grad()
def with_statistics_of(
    network: Network, normalizer: Callable[[Tensor], Tensor], reader: BatchReader, rows: NDArray[np.int64], seed: int
) -> Network:
    """Return a copy of a network whose batch norms have the mean and variance of the cached images at `rows`.

    Of more than NUM_IMAGES images, NUM_IMAGES are drawn by `seed`. Mean and variance are those of batches of drawn images,
    averaged over the batches. All weights stay as they are, and labels are not used. With fewer than two images, the copy
    keeps the statistics of training. Source: Nado et al. 2020, arXiv:2006.10963; Schneider et al. 2020, arXiv:2006.16971,
    with all weight on the new statistics.
    """
    changed = deepcopy(network).eval()
    if len(rows) < 2:
        return changed
    layers = changed.batch_norms
    for layer in layers:
        layer.train()
    drawn = stream(seed, "test-time statistics").permutation(rows)[:NUM_IMAGES]
    size = images_per_pass(64, reader.images.shape[-1])
    # batches of about equal size, with at least two images: batch norm cannot compute the variance of a single image
    batches = np.array_split(drawn, min(math.ceil(len(drawn) / size), len(drawn) // 2))
    with fresh_statistics(layers), ExactFloat32(), reader.prefetch(batches):
        for batch in batches:
            changed.outputs(normalizer(reader(batch)).contiguous(memory_format=torch.channels_last))
    return changed.eval()
