"""The table `randomization`: how similar heat maps stay if the network's weights are shuffled.

If a heat map stays the same, the map shows the image and not the network. Source: Adebayo et al. 2018, arXiv:1810.03292;
in that paper, the weights are drawn again. Shapes: N images, C channels, H and W pixels of an image, h and w cells of a map.
"""

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from bench.extensions.heat_maps.gradcam import heat_maps
from bench.models.network import Network
from bench.scoring.intervals import mean_bounds
from harmonize.seeds import seed_for

LEAST = 5  # minimum number of images for a mean


def randomization(network: Network, x_NCHW: Tensor, finding: int, seed: int) -> NDArray[np.float64]:
    """Return the rank correlation [N] of a finding's maps before and after all weights of the backbone are shuffled.

    `finding`: index of the finding. 1 means equal maps; about 0 means unrelated maps. The values in each weight tensor are
    permuted, so their distribution stays. The function changes only a copy of the network.
    """
    shuffled = deepcopy(network)
    draw = torch.Generator().manual_seed(seed_for(seed, "randomization"))
    with torch.no_grad():
        for weight in shuffled.backbone.parameters():
            order = torch.randperm(weight.numel(), generator=draw).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    original_Nhw, other_Nhw = (heat_maps(each, x_NCHW, [finding]).heat_NKhw[:, 0] for each in (network, shuffled))
    return similarity(original_Nhw, other_Nhw)


def similarity(original_Nhw: Tensor, other_Nhw: Tensor) -> NDArray[np.float64]:
    """Return the rank correlation [N] of two maps of each image: NaN if the original is constant, else 0 if the other is."""
    originals, others = (maps.flatten(1).double().cpu().numpy() for maps in (original_Nhw, other_Nhw))
    correlation = np.zeros(len(originals))
    for i, (original, other) in enumerate(zip(originals, others, strict=True)):
        if np.ptp(original) == 0:
            correlation[i] = np.nan
        elif np.ptp(other) > 0:
            correlation[i] = spearmanr(original, other).statistic
    return correlation


def mean_of_images(values_N: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """Return mean, 95 % interval over images and number of the finite values; NaN and the number for fewer than LEAST values."""
    values = values_N[np.isfinite(values_N)]
    if len(values) < LEAST:
        return float("nan"), float("nan"), float("nan"), len(values)
    value = float(values.mean())
    low, high = mean_bounds(value, float(values.std(ddof=1)) / len(values) ** 0.5, len(values))
    return value, max(low, -1.0), min(high, 1.0), len(values)
