"""The macro of each external hospital over one set of findings, also if the hospital does not score all of them.

Hospitals label different findings. A mean over the findings that each of them scores would mix the hospitals with the findings.
So the score a of hospital h and finding k is split into a = m + u(h) + f(k) by least squares over all scored cells, and the macro of
a hospital is m + u(h) + the mean of f: its own mean if it scores all findings; otherwise, the findings that it lacks are estimated
from the other hospitals. An area or a share is limited to its range; a loss or an error outside its range is unknown, because the
split does not hold for it: it depends on the prevalence. The mean of these macros is the estimated marginal mean (least-squares
mean). Source: Searle, Speed and Milliken 1980, doi:10.1080/00031305.1980.10483031.
Shapes: H hospitals, K findings.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import mean_interval
from bench.scoring.influence import Influence, correlations
from bench.scoring.means import Macro, macro
from bench.scoring.metric_bounds import bounds_of
from bench.scoring.metrics_of_split import AUROC, Key, SplitMetrics
from reports.schemas.common_findings import Mask, averaged_findings

Array = NDArray[np.float64]


def weights(scored_HK: Mask) -> Array:
    """Return the weights of the cells [H, H, K] in the macro of each hospital; NaN for a hospital whose macro cannot be estimated.

    scored_HK: the scored cells; a finding that no hospital scores is left out.

    >>> (weights(np.array([[1, 1], [1, 0]], bool)).round(2) + 0.0).tolist()
    [[[0.5, 0.5], [0.0, 0.0]], [[-0.5, 0.5], [1.0, 0.0]]]
    """
    num_hospitals, num_findings = scored_HK.shape
    hospital, finding = np.nonzero(scored_HK)
    design = np.concatenate([np.eye(num_hospitals)[hospital], np.eye(num_findings)[finding]], 1)
    known = scored_HK.any(0)
    wanted = np.concatenate([np.eye(num_hospitals), np.tile(known / max(known.sum(), 1), (num_hospitals, 1))], 1)
    inverse = np.linalg.pinv(design)
    of_cells = np.zeros((num_hospitals, num_hospitals, num_findings))
    of_cells[:, hospital, finding] = wanted @ inverse
    estimable = np.abs(wanted @ inverse @ design - wanted).max(1) < 1e-9
    of_cells[~estimable | ~scored_HK.any(1)] = np.nan
    return of_cells


def complete(scored_HK: Mask) -> Mask:
    """Return the hospitals [H] that score every finding that any hospital scores; their macros are plain means."""
    return np.asarray((scored_HK | ~scored_HK.any(0)).all(1))


def findings_of_means(internal: SplitMetrics | None, external: Sequence[SplitMetrics], key: Key = AUROC) -> Mask | None:
    """Return the findings [K] of the mean over external hospitals, none if there are too few; None without an external hospital."""
    if not external:
        return None
    scored_HK = np.isfinite(np.stack([split.value[key] for split in external]))
    inside = np.isfinite(internal.value[key]) if internal else np.ones(scored_HK.shape[1], bool)
    return averaged_findings(scored_HK, inside)


def hospital_macros(
    key: Key, external: Sequence[SplitMetrics], used: Mask | None, inside: Mask | None = None
) -> list[Macro]:
    """Return the macro of a metric at each external hospital over the findings `used` [K] of the mean.

    If there are none, the hospitals are not compared: each has the findings that it and the internal test split score (inside [K]).
    """
    plain = [macro(split, key, used if used is None or used.any() else inside) for split in external]
    if used is None or not used.any():
        return plain
    value_HK = np.where(used, np.stack([split.value[key] for split in external]), np.nan)
    scored_HK: Mask = np.asarray(np.isfinite(value_HK))
    whole = complete(scored_HK)
    if whole.all():
        return plain
    of_cells = weights(scored_HK)
    return [
        of_hospital if whole[h] else _estimated(key, external, of_hospital, of_cells[h])
        for h, of_hospital in enumerate(plain)
    ]


def _estimated(key: Key, external: Sequence[SplitMetrics], plain: Macro, weight_HK: Array) -> Macro:
    """Return a macro that is a weighted sum of the cells of all hospitals, with the sizes of the hospital's own macro."""
    if np.isnan(weight_HK).any():
        return Macro(np.nan, plain.influence)
    used_findings = [np.flatnonzero(w_K) for w_K in weight_HK]
    weights_of_used = [w_K[used] for w_K, used in zip(weight_HK, used_findings, strict=True)]
    parts = [part for part in zip(external, used_findings, weights_of_used, strict=True) if len(part[1])]
    value = np.concatenate([split.value[key][used] for split, used, _ in parts])
    weight = np.concatenate([weight for *_, weight in parts])
    influence = Influence({split.sample.key: weight @ split.influence[key][used] for split, used, weight in parts})
    estimate, (least, most) = float(weight @ value), bounds_of(key.metric)
    bounds, excess = None, 0.0
    if key in external[0].bounds:
        cells = [Influence({split.sample.key: split.influence[key][k]}) for split, used, _ in parts for k in used]
        of_cells = np.concatenate([split.bounds[key][:, used] for split, used, _ in parts], 1)
        bounds = mean_interval(key.metric, value, of_cells, correlations(Influence.stack(cells).covariance), weight)
    elif not least <= estimate <= most:
        return Macro(np.nan, influence, plain.sizes)
    if key in external[0].excess:
        excess = float(weight @ np.concatenate([split.excess[key][used] for split, used, _ in parts]))
    return Macro(min(max(estimate, least), most), influence, plain.sizes, bounds, excess)
