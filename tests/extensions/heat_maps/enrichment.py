"""Enrichment of one heat map, as a reference for the table of mean enrichments."""

import numpy as np
from numpy.typing import NDArray

from bench.extensions.heat_maps.localization import energy


def enrichment(heat: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Compute the energy in the mask over the mask's share of the image: 1 is chance, NaN without a mask."""
    area = float(mask.mean())
    return energy(heat, mask) / area if area else float("nan")
