"""The table `attention`: means of heat-map measurements over images, with intervals over patients.

No function uses torch. Energy is the share of a heat map's sum that is inside a region of the image. Area is the
region's share of the image.

Shapes: N images, P patients, B replicates.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import effective_patients
from bench.scoring.bootstrap.intervals import EQUAL, deviation, enough, mean_bounds, share_interval
from bench.scoring.bootstrap.resamples import FOR_DETAIL, Resamples
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
    region does not dominate. Images of one patient are resampled together. With fewer than LEAST patients, the value
    and its interval are NaN.
    """
    if measures.empty:
        return pd.DataFrame(columns=list(SCHEMAS["attention"]))
    resamples = Resamples.draw(measures["patient_id"].to_numpy(object), FOR_DETAIL, dataset)
    weight_BP = np.concatenate(list(resamples.weight.transpose(0, 2, 1)))[: resamples.num].astype(np.float64)
    column = {name: measures[name].to_numpy(np.float64) for name in MEASURES[4:]}
    finding_N, map_source_N, region_N = (measures[name].to_numpy(str) for name in ("finding", "by", "region"))
    rows = []
    for map_source, region in sorted(set(zip(map_source_N.tolist(), region_N.tolist(), strict=True))):
        group = np.flatnonzero((map_source_N == map_source) & (region_N == region))
        of_finding = {name: group[finding_N[group] == name] for name in np.unique(finding_N[group])}
        for finding, chosen in (*of_finding.items(), (ALL, group)):
            code, values = resamples.patient[chosen], {name: value[chosen] for name, value in column.items()}
            for metric, value, drawn, chance, code_of_maps in _metrics(values, code, map_source, region, weight_BP):
                of_patients = np.bincount(code_of_maps)
                patients = int(np.count_nonzero(of_patients))
                bounds = _bounds(metric, value, drawn, of_patients)
                numbers = (value, *bounds) if patients >= LEAST else (np.nan,) * 3
                name = (run_id, dataset, str(finding), map_source, region, metric)
                rows.append((*name, *numbers, len(code_of_maps), patients, chance))
    return pd.DataFrame(rows, columns=list(SCHEMAS["attention"]))


def _bounds(metric: str, value: float, replicates: Array, of_patients: NDArray[np.intp]) -> tuple[float, float]:
    """Return the interval of a metric: `share_interval` for SHARES or if no patient differs. of_patients [P]: numbers of maps."""
    error = error_of(replicates, num_patients := int(np.count_nonzero(of_patients)))
    if metric != "enrichment" and (metric in SHARES or error < EQUAL):
        sizes = np.array([[of_patients.sum()], [effective_patients(of_patients)]], np.float64)
        bounds = np.stack(share_interval(np.array([value]), replicates[None], *sizes))[:, 0].tolist()
        return bounds[0], bounds[1]
    low, high = mean_bounds(value, error, num_patients)
    return max(low, 0.0), high if metric == "enrichment" else min(high, 1.0)


def error_of(replicates: Array, num_patients: int) -> float:
    """Return the standard error of a mean from replicates [B] over patients; NaN for one patient or if more than 5 % are unknown."""
    known = num_patients > 1 and enough(replicates[None])[0]
    # the variance of resampled patients is too small by this factor
    return float(deviation(replicates)) * (num_patients / (num_patients - 1)) ** 0.5 if known else float("nan")


def _metrics(
    values: Mapping[str, Array], code: NDArray[np.int32], map_source: str, region: str, weight_BP: Array
) -> Iterable[tuple[str, float, Array, float, NDArray[np.int32]]]:
    """Yield (name, value, replicates [B], chance level, `code` of the maps) of each metric for one map source and region.

    `values`: measurement -> values [N]. `code` [N]: index of each image's patient.
    """
    weight_BN, nan = weight_BP[:, code], float("nan")
    of_truth = (OVERLAPS if map_source == NETWORK else BASELINE) if region == TRUTH else ()
    total_B, area = weight_BN.sum(1), values["area"]
    for metric in (*["empty"] * (map_source == NETWORK), *of_truth) if of_truth else ():
        chance = values["near"] if metric == "hit" else nan
        with np.errstate(invalid="ignore", divide="ignore"):
            replicates = (weight_BN @ values[metric]) / total_B
        yield metric, float(values[metric].mean()), replicates, float(np.mean(chance)), code
    nonempty = values["empty"] == 0
    if nonempty.any():
        code, inside, share = code[nonempty], values["energy"][nonempty], area[nonempty]
        weight_BN = weight_BP[:, code]
        with np.errstate(invalid="ignore", divide="ignore"):
            inside_B, share_B = weight_BN @ inside, weight_BN @ share
            mean_area = float(share.mean())
            yield "energy", float(inside.mean()), inside_B / weight_BN.sum(1), mean_area, code
            yield "enrichment", float(inside.mean() / mean_area) if mean_area else nan, inside_B / share_B, 1.0, code
