"""Sample the images of a cohort so that a finding and a property of the image have a stated odds ratio."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cohorts.cohort_choice import Confound
from harmonize.cohorts.splits import position
from harmonize.errors import DatasetError
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT

# entries of the flow, which count the images that `confounded` removes: label or value not stated; left out by sampling
UNKNOWN, SAMPLED_OUT = "without_label_or_level", "sampled_out"
_UNKNOWN_LEVELS = ("", "UNKNOWN", "FRONTAL")  # FRONTAL: AP or PA is not stated


def confounded(
    table: pd.DataFrame, state: "pd.Series[int]", confound: Confound, flow: dict[str, int], where: str
) -> NDArray[np.bool_]:
    """Return the mask of the images to keep; `flow` gets the numbers of removed images.

    The property is a column such as view, and the level is one of its values, such as AP. Images are removed if their
    label of the finding is uncertain or null, or if their value of the property is not stated. The other images form
    four combinations: with or without the finding, with the level or with another value. If the odds ratio is too high,
    images are removed from two combinations: finding and level, neither finding nor level. If the odds ratio is too
    low, images are removed from the other two. Both combinations lose the same share of images, selected at random.

    state: label states of the finding, one per row. where: location that the error message shows. Raises DatasetError
    if a combination has no image, before or after sampling.
    """
    level = table[confound.column].to_numpy(str)
    has_finding, has_level = (state == PRESENT).fillna(False).to_numpy(bool), level == confound.level
    is_absent = state.isin([ABSENT, NOT_MENTIONED]).to_numpy(bool)
    is_known = (has_finding | is_absent) & ~np.isin(level, _UNKNOWN_LEVELS)
    masks = {pair: is_known & (has_finding == pair[0]) & (has_level == pair[1]) for pair in np.ndindex(2, 2)}
    counts = {pair: int(mask.sum()) for pair, mask in masks.items()}
    _check_filled(counts, confound, where)
    odds_ratio = counts[1, 1] * counts[0, 0] / (counts[1, 0] * counts[0, 1])
    share = math.sqrt(min(odds_ratio / confound.odds_ratio, confound.odds_ratio / odds_ratio))
    # the hash of an image id is a random number that does not depend on the other images
    hashes = np.array([position(f"confound {confound.seed} {image}") for image in table["image_id"]])
    is_kept = is_known.copy()
    for pair, mask in masks.items():
        if (pair[0] == pair[1]) == (odds_ratio > confound.odds_ratio):
            rows = np.flatnonzero(mask)
            counts[pair] = round(share * len(rows))
            is_kept[rows[np.argsort(hashes[rows], kind="stable")[counts[pair] :]]] = False
    _check_filled(counts, confound, where)
    flow[UNKNOWN], flow[SAMPLED_OUT] = int((~is_known).sum()), int((is_known & ~is_kept).sum())
    return is_kept


def _check_filled(counts: dict[tuple[int, ...], int], confound: Confound, where: str) -> None:
    """Raise DatasetError if a combination of finding and level has no image."""
    for (finding, level), number in counts.items():
        if not number:
            words = f"{'with' if finding else 'without'} {confound.finding} and {'' if level else 'not '}of {confound.column} {confound.level}"
            fix = "choose another finding, level or odds ratio"
            raise DatasetError(f"the odds ratio cannot be sampled: no image is left {words}", f"{where}: confound", fix)
