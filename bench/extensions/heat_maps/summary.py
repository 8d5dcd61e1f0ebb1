"""The table `attention`: means of heat-map measurements over images, with intervals over patients.

No function uses torch. Energy is the share of a heat map's sum that is inside a region of the image. Area is the
region's share of the image.

Shapes: N images, P patients (or groups of patients, see `Sample`).
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.area_intervals import effective_patients
from bench.scoring.influence import error_of, half_width, ratio
from bench.scoring.intervals import EQUAL, plain_interval, share_interval
from bench.scoring.sample import Sample
from reports.schemas.tables import SCHEMAS

LEAST = 5  # minimum number of patients for a mean
ALL = "all"
NETWORK = "network"  # a source of heat maps; the other sources are the baselines `centre` and `lungs`
TRUTH = "finding"  # the region of a finding's own outline or box
OVERLAPS = ("iou_50", "hit")
BASELINE = ("hit",)  # those of the OVERLAPS that the table has for a baseline map
SHARES = ("hit", "empty")  # each map has 1 or 0

# Columns of a table with one row per image, finding, source of the map (`by`) and region.
# `energy` is NaN for a map that is zero everywhere (`empty` = 1). `near` is the share of the image in or near the
# outline, which is the chance level of `hit`. OVERLAPS and `near` have values only for the region `finding`.
MEASURES = ("finding", "patient_id", "by", "region", "energy", "area", "near", "empty", *OVERLAPS)

Array = NDArray[np.float64]


def summarize(measures: pd.DataFrame, dataset: str, run_id: str) -> pd.DataFrame:
    """Return the rows of `attention` of one run on one cohort, from a table with the columns MEASURES.

    A value is a mean over images. Enrichment is the mean energy divided by the mean area; so an image with a tiny
    region does not dominate. Intervals are over patients. With fewer than LEAST patients, the value
    and its interval are NaN.
    """
    if measures.empty:
        return pd.DataFrame(columns=list(SCHEMAS["attention"]))
    sample = Sample.of(measures["patient_id"].to_numpy(object), dataset)
    column = {name: measures[name].to_numpy(np.float64) for name in MEASURES[4:]}
    finding_N, map_source_N, region_N = (measures[name].to_numpy(str) for name in ("finding", "by", "region"))
    rows = []
    for map_source, region in sorted(set(zip(map_source_N.tolist(), region_N.tolist(), strict=True))):
        group = np.flatnonzero((map_source_N == map_source) & (region_N == region))
        of_finding = {name: group[finding_N[group] == name] for name in np.unique(finding_N[group])}
        for finding, chosen in (*of_finding.items(), (ALL, group)):
            values = {name: value[chosen] for name, value in column.items()}
            for metric, value, of_maps, chance, maps in _metrics(values, map_source, region):
                of_patients = np.bincount(sample.patient[chosen[maps]])
                patients = int(np.count_nonzero(of_patients))
                bounds = _bounds(metric, value, sample.sums(of_maps, chosen[maps]), of_patients)
                numbers = (value, *bounds) if patients >= LEAST else (np.nan,) * 3
                name = (run_id, dataset, str(finding), map_source, region, metric)
                rows.append((*name, *numbers, len(maps), patients, chance))
    return pd.DataFrame(rows, columns=list(SCHEMAS["attention"]))


def _bounds(metric: str, value: float, influence: Array, of_patients: NDArray[np.intp]) -> tuple[float, float]:
    """Return the interval of a metric: `share_interval` for SHARES or if no patient differs. of_patients [P]: numbers of maps."""
    error = error_of(influence)
    if metric != "enrichment" and (metric in SHARES or error < EQUAL):
        sizes = np.array([[of_patients.sum()], [effective_patients(of_patients)]], np.float64)
        bounds = np.stack(share_interval(np.array([value]), error[None], *sizes))[:, 0].tolist()
        return bounds[0], bounds[1]
    low, high = (float(bound) for bound in plain_interval(np.array(value), half_width(influence)))
    return max(low, 0.0), high if metric == "enrichment" else min(high, 1.0)


def _metrics(
    values: Mapping[str, Array], map_source: str, region: str
) -> Iterable[tuple[str, float, Array, float, NDArray[np.intp]]]:
    """Yield (name, value, influences [n], chance level, indices [n] of the maps) of each metric for one map source and region.

    `values`: measurement -> values [N].
    """
    nan, area = float("nan"), values["area"]
    of_truth = ("empty", *OVERLAPS) if map_source == NETWORK else BASELINE
    for metric in of_truth if region == TRUTH else ():
        chance = values["near"] if metric == "hit" else nan
        of_maps = ratio(values[metric], np.ones_like(area))[1]
        yield metric, float(values[metric].mean()), of_maps, float(np.mean(chance)), np.arange(len(area))
    maps = np.flatnonzero(values["empty"] == 0)
    if len(maps):
        inside, share = values["energy"][maps], area[maps]
        mean_area = float(share.mean())
        yield "energy", float(inside.mean()), ratio(inside, np.ones_like(share))[1], mean_area, maps
        enrichment = float(inside.mean() / mean_area) if mean_area else nan
        yield "enrichment", enrichment, ratio(inside, share)[1], 1.0, maps
