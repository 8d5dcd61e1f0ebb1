"""Batch-norm statistics of the images that are predicted, in place of those of training.

Source: Nado et al. 2020, arXiv:2006.10963; Schneider et al. 2020, arXiv:2006.16971, with all weight on the new statistics.
"""

import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.inputs.batches import BatchReader
from bench.models.network import Network
from bench.models.predict import ExactFloat32, images_per_pass
from harmonize.seeds import stream

NUM_IMAGES = 4096  # maximum number of images for the statistics of a hospital


@torch.no_grad()
def with_statistics_of(
    network: Network, normalizer: Callable[[Tensor], Tensor], reader: BatchReader, rows: NDArray[np.int64], seed: int
) -> Network:
    """Return a copy of a network whose batch norms have the mean and variance of the cached images at `rows`.

    Of more than NUM_IMAGES images, NUM_IMAGES are drawn by `seed`. Mean and variance are those of batches of drawn images,
    averaged over the batches. All weights stay as they are, and labels are not used. With fewer than two images, the copy
    keeps the statistics of training.
    """
    changed = deepcopy(network).eval()
    if len(rows) < 2:
        return changed
    layers = changed.batch_norms
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    drawn = stream(seed, "test-time statistics").permutation(rows)[:NUM_IMAGES]
    size = images_per_pass(64, reader.images.shape[-1])
    # batches of about equal size, with at least two images: batch norm cannot compute the variance of a single image
    batches = np.array_split(drawn, min(math.ceil(len(drawn) / size), len(drawn) // 2))
    with ExactFloat32(), reader.prefetch(batches):
        for batch in batches:
            changed.outputs(normalizer(reader(batch)).contiguous(memory_format=torch.channels_last))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return changed.eval()
