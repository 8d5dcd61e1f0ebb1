"""The score of a run on the images of a hospital that it had not seen, if a list names the seen images.

Shapes: N images, K findings.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.area_intervals import mean_interval
from bench.scoring.influence import Influence
from bench.scoring.means import UNKNOWN, Macro, macro
from bench.scoring.metrics_of_split import AUROC, labels_and_counts, measure
from bench.scoring.sample import Sample
from bench.scoring.scored_split import ScoredSplit


class CleanScore(NamedTuple):
    """Macro AUROC on the clean images, with its 95 % interval over patients, and the numbers behind it."""

    value: float
    low: float
    high: float
    n: int  # clean images
    num_findings: int


def clean_macro(
    scored: ScoredSplit, seen: Collection[str], internal_test: ScoredSplit | None, settings: Settings
) -> tuple[Macro, int]:
    """Return the macro AUROC of a split without the images in `seen`, and the number of remaining images.

    The macro is over findings that the internal test split scores, too, as every external macro.
    """
    clean = without_images(scored, seen)
    if not len(clean.image_id):
        return Macro(np.nan, Influence({})), 0
    used = _scored_findings(internal_test, settings) if internal_test else None
    return macro(measure(clean, None, settings, only=AUROC), AUROC, used), len(clean.image_id)


def clean_score(macros: Sequence[tuple[Macro, int]]) -> CleanScore:
    """Return the mean over the runs of a recipe; `macros` are the results of `clean_macro`."""
    values = np.array([macro.value for macro, _ in macros])
    value = float(np.mean(values[np.isfinite(values)])) if np.isfinite(values).any() else float("nan")
    bounds = np.array([macro.bounds or UNKNOWN for macro, _ in macros]).T
    # the runs share their patients
    low, high = mean_interval(AUROC.metric, values, bounds, np.ones((len(values), len(values))))
    num_findings = min(macro.sizes.num_findings for macro, _ in macros)
    return CleanScore(value, low, high, min(num for _, num in macros), num_findings)


def without_images(scored: ScoredSplit, images: Collection[str]) -> ScoredSplit:
    """Return the split without some images."""
    kept = ~np.isin(scored.image_id.astype(str), list(images))
    columns = {name: getattr(scored, name)[kept] for name in ("image_id", "patient_id", "logit", "state")}
    return replace(scored, **columns, patient_groups=None)


def _scored_findings(scored: ScoredSplit, settings: Settings) -> NDArray[np.bool_]:
    """Return for each finding [K] whether the split has enough patients to score it."""
    return labels_and_counts(scored, Sample.of(scored.patient_id, scored.name), settings.min_count)[1].available
