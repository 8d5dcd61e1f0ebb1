"""The table `cascade`: sanity and faithfulness checks of a run's heat maps on a few images.

Shapes: N images, C channels, H and W pixels.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.sanity import cascade, deletion_insertion, noise_stability
from bench.models.network import Network
from bench.scoring.bootstrap.intervals import mean_bounds
from reports.schemas.tables import SCHEMAS

LEAST = 5  # minimum number of images for a mean

Rows = list[tuple[str, int, str, str, "pd.Series[float]"]]


def sanity_table(network: Network, x_NCHW: Tensor, finding: int, seed: int, method: str) -> pd.DataFrame:
    """Return the table `cascade`: check, step, stage, metric, value, low, high, n.

    The images must be of different patients, and all must have the finding. check: weights (shuffled weights), noise
    (added to the image) or pixels (deletion and insertion). step: 1, 2, ... for weights, from the head to the stem; 0
    for the other checks. stage: the shuffled modules for weights, the order of the pixels for pixels. metric: spearman,
    ssim, deletion, insertion, or deletion_gain and insertion_gain, which compare the map with a random map (above 0:
    the map is better). A value is the mean over the n images with a finite result; low and high are the bounds of its
    95 % interval over images.
    """
    rows: Rows = []
    for _, group in cascade(network, x_NCHW, finding, seed, method).groupby("step", sort=True):
        step, stage = int(group["step"].iloc[0]), str(group["stage"].iloc[0])
        rows += [("weights", step, stage, metric, group[metric]) for metric in ("spearman", "ssim")]
    noisy = noise_stability(network, x_NCHW, finding, seed, method)
    rows += [("noise", 0, "", metric, noisy[metric]) for metric in ("spearman", "ssim")]
    heat_NHW = upsampled(heat_maps(network, x_NCHW, method, None, [finding]).heat_NKhw, x_NCHW.shape[2])[:, 0]
    with torch.random.fork_rng(devices=[]):
        pixels = deletion_insertion(network, x_NCHW, heat_NHW, finding, seed)
    group_of_order = {str(order): group.set_index("image") for order, group in pixels.groupby("order", sort=True)}
    for order, group in group_of_order.items():
        rows += [("pixels", 0, order, metric, group[metric]) for metric in ("deletion", "insertion")]
    of_heat, of_random = group_of_order["heat"], group_of_order["random"]
    rows.append(("pixels", 0, "heat", "deletion_gain", of_random["deletion"] - of_heat["deletion"]))
    rows.append(("pixels", 0, "heat", "insertion_gain", of_heat["insertion"] - of_random["insertion"]))
    return pd.DataFrame(
        [(*row[:4], *_mean(row[4], np.inf if row[0] == "pixels" else 1.0)) for row in rows],
        columns=list(SCHEMAS["cascade"][3:]),
    )


def _mean(series: "pd.Series[float]", limit: float) -> tuple[float, float, float, int]:
    """Return mean, interval (within ±limit) and number of the finite values; NaN and the number for fewer than LEAST values."""
    values = series.to_numpy(np.float64)
    values = values[np.isfinite(values)]
    if len(values) < LEAST:
        return float("nan"), float("nan"), float("nan"), len(values)
    value = float(values.mean())
    low, high = mean_bounds(value, float(values.std(ddof=1)) / len(values) ** 0.5, len(values))
    return value, max(low, -limit), min(high, limit), len(values)
