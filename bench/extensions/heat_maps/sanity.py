"""Sanity and faithfulness checks of heat maps: weight randomization, deletion and insertion, and stability under noise.

If a heat map stays the same when the network's weights are shuffled, the map shows the image and not the network. A map
is faithful if the pixels with its highest values change the prediction more than the pixels with the highest values of
a random map. Every check has a reference for comparison: the original map or a random map.

Arguments of the checks: `finding` is the index of a finding. `stage` is the index of the feature maps
(`stages.stages`); None means the last maps of at least 4 x 4 pixels.

Shapes: N images, C channels, H and W pixels of an image, h and w pixels of a heat map.
"""

from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import conv2d, pad

from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.localization import center_prior
from bench.extensions.heat_maps.stages import frozen, modules_by_depth
from bench.models.network import Network
from harmonize.seeds import seed_for

STEPS = 20  # number of steps of deletion and insertion
BLUR = 0.1  # standard deviation of the Gaussian that blurs an image, as a share of the image's width
CELLS = 7  # rows and columns of a random map, as coarse as most heat maps
NOISE = 0.1  # standard deviation of the input noise, as a share of the image's standard deviation


def cascade(
    network: Network, x_NCHW: Tensor, finding: int, seed: int, method: str = "gradcam", stage: int | None = None
) -> pd.DataFrame:
    """Return how similar a finding's maps stay to the original maps while weights are shuffled from the head to the stem.

    Each step shuffles further modules. Columns: step (1 = only the head), stage (name of the modules that this step
    shuffles), image (0 to N - 1), and the columns spearman, ssim and empty of the function `similarity`. A similarity
    of 1 means equal maps; about 0 means unrelated maps. The values in each weight tensor are permuted, so their
    distribution stays. The function changes only a copy of the network. Source: Adebayo et al. 2018, arXiv:1810.03292;
    in that paper, the weights are drawn again.
    """
    original = heat_maps(network, x_NCHW, method, stage, [finding]).heat_NKhw[:, 0]
    shuffled, draw = deepcopy(network), torch.Generator().manual_seed(seed_for(seed, "cascade"))
    rows: list[pd.DataFrame] = []
    for step, (name, modules) in enumerate(modules_by_depth(shuffled, *x_NCHW.shape[2:]).items(), 1):
        with torch.no_grad():
            for module in modules:
                for weight in module.parameters(recurse=False):
                    order = torch.randperm(weight.numel(), generator=draw).to(weight.device)
                    weight.copy_(weight.flatten()[order].view_as(weight))
        heat_Nhw = heat_maps(shuffled, x_NCHW, method, stage, [finding]).heat_NKhw[:, 0]
        rows.append(similarity(original, heat_Nhw, x_NCHW.shape[2]).assign(step=step, stage=name))
    return pd.concat(rows, ignore_index=True)[["step", "stage", "image", "spearman", "ssim", "empty"]]


def noise_stability(
    network: Network, x_NCHW: Tensor, finding: int, seed: int, method: str = "gradcam", stage: int | None = None
) -> pd.DataFrame:
    """Return the similarity between a finding's maps with and without weak input noise.

    The columns are those of the function `similarity`. The noise is Gaussian. Its standard deviation is a tenth of the
    image's standard deviation, and all channels get the same noise.
    """
    draw = torch.Generator().manual_seed(seed_for(seed, "noise"))
    noise = torch.randn(len(x_NCHW), 1, *x_NCHW.shape[2:], generator=draw).to(x_NCHW)
    noisy = x_NCHW + NOISE * x_NCHW.std((1, 2, 3), keepdim=True) * noise
    first, second = (heat_maps(network, x, method, stage, [finding]).heat_NKhw[:, 0] for x in (x_NCHW, noisy))
    return similarity(first, second, x_NCHW.shape[2])


def deletion_insertion(
    network: Network, x_NCHW: Tensor, heat_NHW: Tensor, finding: int, seed: int, steps: int = STEPS
) -> pd.DataFrame:
    """Return deletion and insertion scores: how a finding's probability changes when pixels are blurred or restored.

    Columns: image, order, deletion, insertion. Deletion blurs the original image; insertion restores a blurred image.
    Each of `steps` steps changes an equal share of the pixels. There are three orders of the pixels. heat: highest
    values of the map first. random: highest values of a random map of 7 x 7 cells first. centre: from the center
    outwards. A score is the area under the probability curve, divided by the probability of the original image. A
    faithful map has a lower deletion and a higher insertion score than a random map. For a map that is zero everywhere,
    the scores of the order heat are NaN. heat_NHW has the size of the images. Source: Petsiuk et al. 2018,
    arXiv:1806.07421.
    """
    num, height, width = len(x_NCHW), *x_NCHW.shape[2:]
    draw = torch.Generator().manual_seed(seed_for(seed, "deletion"))
    coarse = torch.rand(num, 1, CELLS, CELLS, generator=draw)
    map_of_order = {
        "heat": heat_NHW.to(x_NCHW),
        "random": upsampled(coarse, (height, width))[:, 0].to(x_NCHW),
        "centre": torch.from_numpy(center_prior(height, width)).to(x_NCHW).expand(num, -1, -1),
    }
    # random order of pixels with equal values
    ties = torch.rand(num, height * width, generator=draw).to(x_NCHW.device).argsort(1)
    blurred_NCHW = blurred(x_NCHW, BLUR * width)
    rows = []
    with frozen(network), torch.inference_mode():
        p_original, p_blurred = (network(x)[:, finding].double().sigmoid() for x in (x_NCHW, blurred_NCHW))
        for order, heat in map_of_order.items():
            hottest = heat.flatten(1).gather(1, ties).argsort(dim=1, descending=True, stable=True)
            rank_NHW = ties.gather(1, hottest).argsort(1).view(num, 1, height, width)
            p_deleted, p_inserted = [p_original], [p_blurred]
            for step in range(1, steps):
                first = rank_NHW < step * height * width / steps
                for probability, x in (
                    (p_deleted, torch.where(first, blurred_NCHW, x_NCHW)),
                    (p_inserted, torch.where(first, x_NCHW, blurred_NCHW)),
                ):
                    probability.append(network(x)[:, finding].double().sigmoid())
            areas = [
                torch.trapezoid(torch.stack([*p, last]), dx=1 / steps, dim=0) / p_original
                for p, last in ((p_deleted, p_blurred), (p_inserted, p_original))
            ]
            unordered = (heat.flatten(1) <= 0).all(1) if order == "heat" else torch.zeros(num, dtype=torch.bool)
            values = [torch.where(unordered.to(area.device), torch.nan, area).cpu().numpy() for area in areas]
            rows.append(
                pd.DataFrame({"image": range(num), "order": order, "deletion": values[0], "insertion": values[1]})
            )
    return pd.concat(rows, ignore_index=True)


def blurred(x_NCHW: Tensor, sigma: float) -> Tensor:
    """Return images smoothed by a Gaussian with a standard deviation of `sigma` pixels; edge pixels are replicated."""
    kernel = _gaussian(sigma, int(np.ceil(3 * sigma))).to(x_NCHW)
    half, channels = len(kernel) // 2, x_NCHW.shape[1]
    smooth = pad(x_NCHW, (half, half, half, half), mode="replicate")
    for shape in ((-1, 1), (1, -1)):
        smooth = conv2d(smooth, kernel.view(1, 1, *shape).expand(channels, -1, -1, -1), groups=channels)
    return smooth


def similarity(original_Nhw: Tensor, other_Nhw: Tensor, size: int) -> pd.DataFrame:
    """Return the similarity of two maps of each image, the original map and the other map, one row per image.

    Columns: image, spearman, ssim, empty. spearman: rank correlation of the values; NaN if the original map is
    constant, else 0 if the other map is constant. ssim: structural similarity, after both maps are scaled to maximum 1
    and resized to `size` x `size` pixels; NaN if the original map is zero everywhere. empty: True if the other map is
    zero everywhere.
    """
    displayed = [upsampled(_by_max(heat)[:, None], size)[:, 0] for heat in (original_Nhw, other_Nhw)]
    similar = ssim(*displayed)
    rows = []
    originals, others = (maps.flatten(1).double().cpu().numpy() for maps in (original_Nhw, other_Nhw))
    for k, (a, b) in enumerate(zip(originals, others, strict=True)):
        spearman = np.nan if np.ptp(a) == 0 else 0.0 if np.ptp(b) == 0 else float(spearmanr(a, b).statistic)
        rows.append((k, spearman, similar[k] if a.any() else np.nan, not b.any()))
    return pd.DataFrame(rows, columns=["image", "spearman", "ssim", "empty"])


def ssim(first_NHW: Tensor, second_NHW: Tensor) -> NDArray[np.float64]:
    """Return the mean structural similarity [N] of images with values from 0 to 1 and sides of at least 11 pixels.

    The windows are Gaussian with a standard deviation of 1.5 pixels. K1 = 0.01 and K2 = 0.03 are the constants of the
    source: Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    a, b = first_NHW[:, None].double(), second_NHW[:, None].double()
    kernel = _gaussian(1.5, 5).to(a)

    def mean(x: Tensor) -> Tensor:
        return conv2d(conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, covariance = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    local = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    similarity_N: NDArray[np.float64] = local.mean((1, 2, 3)).cpu().numpy()
    return similarity_N


def _gaussian(sigma: float, half: int) -> Tensor:
    kernel = torch.exp(-(torch.arange(-half, half + 1, dtype=torch.float64) ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


def _by_max(heat_Nhw: Tensor) -> Tensor:
    """Return maps scaled to maximum 1; an empty map stays zero."""
    largest = heat_Nhw.amax((1, 2), keepdim=True)
    return torch.where(largest > 0, heat_Nhw / largest, 0.0)
