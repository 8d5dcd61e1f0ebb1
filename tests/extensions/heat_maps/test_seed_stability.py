"""Similarity of heat maps over seeds: known values, empty maps, missing images, and coverage of the interval."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from bench.extensions.heat_maps.seed_stability import MAP_COLUMNS, map_row, similarities, stability, summarize
from reports.schemas.tables import SCHEMAS

Heats = NDArray[np.float32]
SIDE = 7


def heats(seed: int, num: int = 60) -> Heats:
    """Return independent random maps [num, 7, 7]."""
    return np.random.default_rng(seed).random((num, SIDE, SIDE)).astype(np.float32)


def table(heat_NHW: Heats, dataset: str = "a", finding: str = "Edema") -> pd.DataFrame:
    """Return the stored maps of a run: one image per patient."""
    rows = [map_row(dataset, finding, f"i{n}", f"p{n}", heat) for n, heat in enumerate(heat_NHW)]
    return pd.DataFrame(rows, columns=list(MAP_COLUMNS))


def row(of: pd.DataFrame, dataset: str = "a", finding: str = "all") -> "pd.Series[float]":
    """Return one row of the table `map_stability`."""
    return of[(of["dataset"] == dataset) & (of["finding"] == finding)].iloc[0]


def test_identical_maps_have_similarity_1_whatever_their_scale() -> None:
    maps = heats(0)
    result = stability({"r": [table(maps), table(100 * maps), table(0.01 * maps)]}.items(), "a")
    assert (*result.columns,) == SCHEMAS["map_stability"]
    # nothing varies, so nothing is known of other patients
    assert row(result)[["value", "low", "high"]].tolist() == pytest.approx([1, np.nan, np.nan], nan_ok=True)
    assert abs(row(result)["other"]) < 0.1
    assert row(result)[["n", "num_patients", "num_seeds"]].tolist() == [60, 60, 3]


def test_independent_maps_have_similarity_0_and_an_interval_that_contains_it() -> None:
    result = row(stability({"r": [table(heats(0, 200)), table(heats(1, 200))]}.items(), "a"))
    assert result["low"] < 0 < result["high"]
    assert abs(result["value"]) < 0.05
    assert result["high"] - result["low"] < 0.1


def test_maps_that_never_depend_on_the_image_are_as_similar_between_images() -> None:
    same_map = np.repeat(heats(0, 1), 30, axis=0)
    result = row(stability({"r": [table(same_map), table(same_map)]}.items(), "a"))
    assert result[["value", "other"]].tolist() == pytest.approx([1, 1])


def test_a_similarity_is_the_mean_rank_correlation_over_pairs_of_runs() -> None:
    maps = [heats(seed, 4) for seed in range(3)]
    found = similarities([table(m) for m in maps]).set_index("image_id")
    for n in range(4):
        pairs = [spearmanr(maps[a][n].ravel(), maps[b][n].ravel()).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
        # maps are stored as float16, so that a few cells are equal
        assert found.loc[f"i{n}", "same"] == pytest.approx(np.mean(pairs), abs=1e-3)


def test_an_empty_map_counts_as_0_and_two_empty_maps_do_not_count() -> None:
    first, second = heats(0, 10), heats(0, 10)
    first[:4] = 0
    second[:2] = 0
    found = similarities([table(first), table(second)])["same"].to_numpy()
    assert np.isnan(found[:2]).all()
    assert (found[2:4] == 0).all()
    assert found[4:] == pytest.approx(1)
    assert row(stability({"r": [table(first), table(second)]}.items(), "a"))["n"] == 8


def test_only_images_of_every_run_count_and_few_patients_have_no_value() -> None:
    maps = heats(0, 8)
    fewer = table(maps).iloc[2:]
    result = row(stability({"r": [table(maps), fewer.sample(frac=1, random_state=0)]}.items(), "a"))
    assert (result["n"], result["value"]) == (6, pytest.approx(1))
    assert np.isnan(row(stability({"r": [table(maps), table(maps).iloc[:4]]}.items(), "a"))["value"])
    assert stability({"r": [table(maps), table(maps).iloc[:0]]}.items(), "a").empty
    assert stability({}.items(), "a").empty


def test_only_runs_that_leave_out_the_same_hospital_are_compared() -> None:
    """Fold 1 leaves out b, fold 2 leaves out c; seeds agree within a fold, and the folds have nothing in common."""
    folds = [
        pd.concat([table(heats(seed, 30), "pool"), table(heats(10 + seed, 20), left_out)])
        for seed, left_out in enumerate("bc")
    ]
    result = stability([("r", [fold, fold]) for fold in folds], "pool")
    assert {str(name) for name in result["dataset"]} == {"pool", "b", "c", "external"}
    assert result["value"].to_numpy() == pytest.approx(1)
    assert row(result, "pool")[["n", "num_patients", "num_seeds"]].tolist() == [60, 30, 2]
    assert row(result, "b")["n"] == 20


def test_the_external_mean_gives_each_hospital_the_same_weight() -> None:
    maps = heats(0, 40)
    first = pd.concat([table(maps), table(maps, "b"), table(maps[:20], "c")])
    second = pd.concat([table(maps), table(heats(6, 40), "b"), table(heats(5, 20), "c")])
    result = stability({"r": [first, second]}.items(), "a")
    expected = (row(result, "b")["value"] + row(result, "c")["value"]) / 2
    assert row(result, "external")["value"] == pytest.approx(expected)
    assert row(result, "external")["low"] < expected < row(result, "external")["high"]


def test_the_external_mean_has_no_interval_if_a_hospital_has_none() -> None:
    same, first, second = heats(0, 40), heats(1, 40), heats(2, 40)
    tables = [pd.concat([table(same, "b"), table(maps, "c")]) for maps in (first, second)]
    result = stability({"r": tables}.items(), "a")
    assert np.isnan(row(result, "b")["low"])  # its maps are identical
    assert np.isfinite(row(result, "c")["low"])
    assert np.isfinite(row(result, "external")["value"])
    assert row(result, "external")[["low", "high"]].isna().all()


def test_the_bounds_of_a_similarity_are_correlations() -> None:
    same = np.array([1, 1, 1, 1, 0.2])
    frame = pd.DataFrame({"finding": "Edema", "patient_id": list("vwxyz"), "same": same, "other": 0.0})
    rows = list(summarize(pd.concat([frame.assign(dataset=name) for name in "bc"]), "a"))
    half = 2.776445 * same.std(ddof=1) / 5**0.5  # Student's quantile with 4 degrees of freedom
    assert [rows[0][k] for k in (2, 3, 4)] == pytest.approx([0.84, 0.84 - half, 1], abs=0.05)
    external = rows[-1]
    assert external[0] == "external"
    # the half width of a hospital is that of its interval before the bound at 1
    assert [external[k] for k in (2, 3, 4)] == pytest.approx([0.84, 0.84 - half / 2**0.5, 1], abs=0.03)


@pytest.mark.slow
def test_the_interval_contains_the_true_mean_in_most_samples_although_maps_of_a_patient_are_alike() -> None:
    generator, covered, narrow = np.random.default_rng(0), 0, 0
    num, patients, per_patient, truth = 300, 40, 4, 0.5
    names = np.repeat([f"p{i:02}" for i in range(patients)], per_patient)
    for _ in range(num):
        patient_effect = np.repeat(generator.normal(0, 0.2, patients), per_patient)
        same = truth + patient_effect + generator.normal(0, 0.1, len(names))
        frame = pd.DataFrame({"dataset": "a", "finding": "Edema", "patient_id": names, "same": same, "other": 0.0})
        _, _, value, low, high, *_ = next(iter(summarize(frame, "a")))
        covered += low <= truth <= high
        half = 1.96 * same.std() / np.sqrt(len(same))  # the interval of independent maps
        narrow += value - half <= truth <= value + half
    assert 0.91 <= covered / num <= 0.985
    assert narrow / num < 0.8
