"""Similarity of the heat maps of one recipe over its seeds: the table `map_stability`. This module does not use torch.

A recipe is a configuration without its seed. Two runs of a recipe differ only in the seed, so their maps of the same
image and finding should be alike. Similarity is Spearman's rank correlation over the cells (pixels) of two maps, which
does not depend on the scale of a map. Arun et al. 2021 (doi:10.1148/ryai.2021200267) call this property repeatability
and measure it with the structural similarity. The windows of the structural similarity have 11 x 11 pixels and are
larger than most maps, so this module uses ranks.

Shapes: M maps, R runs, P cells of a map, B replicates. In weight_BP, P is the number of patients.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.heat_maps.summary import ALL, LEAST, error_of
from bench.scoring.bootstrap.intervals import mean_bounds
from bench.scoring.bootstrap.resamples import FOR_DETAIL, Resamples
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.metrics import average_ranks
from reports.schemas.tables import SCHEMAS

MAPS = "sampled_maps"  # name of the stored table of maps; a report does not contain this table
FILE = f"{MAPS}.parquet"
KEY = ["dataset", "finding", "image_id"]
# heat: bytes of the map as float16, one row of the map after another; the values are divided by the maximum of the map
MAP_COLUMNS = (*KEY, "patient_id", "height", "width", "heat")

Array = NDArray[np.float64]


def map_row(
    dataset: str, finding: str, image_id: str, patient_id: str, heat_hw: NDArray[np.float32]
) -> tuple[object, ...]:
    """Return the row of one map as a tuple with the values of MAP_COLUMNS."""
    largest = float(heat_hw.max())
    scaled = (heat_hw / largest if largest > 0 else heat_hw).astype(np.float16)
    return (dataset, finding, image_id, patient_id, *heat_hw.shape, scaled.tobytes())


def stability(maps_of_recipes: Iterable[tuple[str, Sequence[pd.DataFrame]]], internal: str) -> pd.DataFrame:
    """Return the table `map_stability`: how similar the maps of a recipe are over its seeds.

    `maps_of_recipes` has pairs of a recipe id and the tables of the recipe's runs, with the columns MAP_COLUMNS. A
    recipe of a leave-one-out grid has a pair for each left-out hospital, because only runs on the same hospitals differ
    in nothing but the seed. A pair with only one table gives no rows.
    """
    folds_of: dict[str, list[pd.DataFrame]] = {}
    num_seeds: dict[str, int] = {}
    for recipe, tables in maps_of_recipes:
        if len(tables) > 1:
            folds_of.setdefault(recipe, []).append(similarities(tables))
            num_seeds[recipe] = max(len(tables), num_seeds.get(recipe, 0))
    rows: list[tuple[object, ...]] = []
    for recipe, folds in folds_of.items():
        together = pd.concat(folds, ignore_index=True) if len(folds) > 1 else folds[0]
        rows += [(recipe, *row, num_seeds[recipe]) for row in summarize(together, internal)]
    return pd.DataFrame(rows, columns=list(SCHEMAS["map_stability"]))


def similarities(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the similarities of the maps that every run has, one row per image and finding.

    Columns: dataset, finding, image_id, patient_id, same, other. `same` is the rank correlation of two runs' maps of
    this image, averaged over all pairs of runs. `other` is the control: the same average for one run's map of this
    image and another run's map of the next image with the same finding. So `other` shows how alike maps of different
    images are. If one of two maps is constant (for example, empty), their correlation counts as 0. If both maps are
    constant, their correlation is NaN.
    """
    indexed = [table.set_index([*KEY, "height", "width"]).sort_index() for table in tables]
    common = indexed[0].index
    for table in indexed[1:]:
        common = common.intersection(table.index)
    common = common.sort_values()
    aligned = [table.loc[common] for table in indexed]
    rows = []
    of_finding = common.to_frame(index=False).groupby(["dataset", "finding", "height", "width"], sort=True)
    for _, group in of_finding:
        num_cells = int(group["height"].iloc[0]) * int(group["width"].iloc[0])
        unit_RMP = [_unit_ranks(table["heat"].iloc[group.index], num_cells) for table in aligned]
        pairs = list(combinations(range(len(tables)), 2))
        same_M = _mean([_correlation(unit_RMP[a], unit_RMP[b]) for a, b in pairs])
        other_M = np.full(len(group), np.nan)
        if len(group) > 1:
            next_RMP = [np.roll(unit_MP, -1, axis=0) for unit_MP in unit_RMP]
            both_ways = [*pairs, *((b, a) for a, b in pairs)]
            other_M = _mean([_correlation(unit_RMP[a], next_RMP[b]) for a, b in both_ways])
        frame = group[KEY].assign(same=same_M, other=other_M)
        rows.append(frame.assign(patient_id=aligned[0]["patient_id"].iloc[group.index].to_numpy()))
    columns = [*KEY, "patient_id", "same", "other"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def summarize(similarity: pd.DataFrame, internal: str) -> Iterable[tuple[object, ...]]:
    """Yield rows (dataset, finding, value, low, high, other, n, num_patients).

    There is a row for each finding, and one for the maps of all findings together (finding ALL). `value` and `other`
    are the means of the columns `same` and `other` over the n maps. low and high are the bounds of the value's 95 %
    interval over patients; all maps of a patient are resampled together. dataset "external" is the unweighted
    mean over the external cohorts; its bounds are NaN if those of a cohort are. With fewer than LEAST patients, value,
    low, high and other are NaN.
    """
    external: dict[str, list[tuple[float, float, float, int, int]]] = {}
    for dataset, rows in similarity.dropna(subset=["same"]).groupby("dataset", sort=True):
        resamples = Resamples.draw(rows["patient_id"].to_numpy(object), FOR_DETAIL, f"map stability {dataset}")
        weight_BP = np.concatenate(list(resamples.weight.transpose(0, 2, 1)))[: resamples.num].astype(np.float64)
        coded = rows.assign(code=resamples.patient)
        for finding, of_finding in (*coded.groupby("finding", sort=True), (ALL, coded)):
            num_patients = int(of_finding["code"].nunique())
            value, replicates, other = np.nan, np.full(resamples.num, np.nan), np.nan
            if num_patients >= LEAST:
                same_M = of_finding["same"].to_numpy(np.float64)
                weight_BM = weight_BP[:, of_finding["code"].to_numpy()]
                with np.errstate(invalid="ignore"):
                    replicates = weight_BM @ same_M / weight_BM.sum(1)
                value, other = float(same_M.mean()), float(of_finding["other"].mean())
            low, high = mean_bounds(value, error_of(replicates, num_patients), num_patients)
            if num_patients >= LEAST and dataset != internal:
                external.setdefault(str(finding), []).append(
                    (value, high - value, other, len(of_finding), num_patients)
                )
            num = len(of_finding)
            yield str(dataset), str(finding), value, max(low, -1.0), min(high, 1.0), other, num, num_patients
    for finding, cohorts in external.items():
        values, halves, others, nums, patients = zip(*cohorts, strict=True)
        value = float(np.mean(values))
        half = float(np.linalg.norm(halves)) / len(halves)
        bounds = max(value - half, -1.0), min(value + half, 1.0)
        yield EXTERNAL, finding, value, *bounds, float(np.mean(others)), sum(nums), sum(patients)


def _unit_ranks(heats: "pd.Series[bytes]", num_cells: int) -> Array:
    """Return the unit ranks [M, P] of M maps with P cells: ranks of a map's cells, centered and scaled to norm 1.

    The unit ranks of a constant map are 0. The rank correlation of two maps is the dot product of their unit ranks.
    """
    heat_MP = np.frombuffer(b"".join(heats), np.float16).reshape(len(heats), num_cells)
    rank_MP = average_ranks(heat_MP.astype(np.float64).T).T.copy()
    rank_MP -= rank_MP.mean(1, keepdims=True)
    norm = np.linalg.norm(rank_MP, axis=1, keepdims=True)
    return np.asarray(np.divide(rank_MP, norm, out=np.zeros_like(rank_MP), where=norm > 0))


def _correlation(first_MP: Array, second_MP: Array) -> Array:
    """Return the rank correlation [M] of M pairs of maps, from the unit ranks of the first and of the second maps.

    The correlation is 0 if one map of a pair is constant, NaN if both maps are constant.
    """
    correlation: Array = (first_MP * second_MP).sum(1)
    return np.where(first_MP.any(1) | second_MP.any(1), correlation, np.nan)


def _mean(correlations: Sequence[Array]) -> Array:
    """Return the mean correlation [M] of each map over the pairs of runs.

    NaN values are ignored; the mean is NaN if all values are NaN.
    """
    pairs = np.stack(correlations)
    num = np.isfinite(pairs).sum(0)
    return np.asarray(np.divide(np.nansum(pairs, axis=0), num, out=np.full(pairs.shape[1], np.nan), where=num > 0))
