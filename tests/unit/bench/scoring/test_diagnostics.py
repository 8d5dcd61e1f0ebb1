"""Symptoms of faults: broken outputs are reported, and healthy outputs are not."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, rankdata

from bench.scoring.diagnostics import (
    CONSTANT,
    ORDER,
    Area,
    _gain_deviation,
    among_runs,
    chances,
    constant,
    cross_auroc,
    inverted,
    other_order,
    untrained,
)
from bench.scoring.scored_split import ScoredSplit
from benchmarks.symptoms import FAULTS, false_pages, found_pages
from reports.schemas.tables import INVERTED

FINDINGS = ("Edema", "Pneumonia", "Cardiomegaly", "Lung Lesion")
UNKNOWN = Area(np.nan, np.nan, np.nan, np.nan)


def split(order: tuple[int, ...] = (0, 1, 2, 3), signal: float = 2.0, seed: int = 0) -> ScoredSplit:
    draw = np.random.default_rng(seed)
    state = draw.integers(0, 2, (400, 4)).astype(np.int8)
    logit = (draw.normal(size=(400, 4)) + signal * state)[:, order].astype(np.float32)
    ids = np.arange(400).astype(str).astype(object)
    return ScoredSplit("nih", "test", "report", ids, ids, logit, state)


def test_healthy_outputs_have_no_symptoms() -> None:
    assert constant(split(), FINDINGS) == []
    assert other_order(split(), FINDINGS) == []


def test_outputs_in_another_order_are_reported() -> None:
    (symptom,) = other_order(split((1, 2, 0, 3)), FINDINGS)
    assert symptom.value == pytest.approx(0.75 * 0.42, abs=0.05)
    assert "Edema from the output of Cardiomegaly" in symptom.advice
    assert "Lung Lesion" not in symptom.advice


def test_a_weak_model_is_not_reported_as_misordered() -> None:
    assert all(other_order(split(signal=0.0, seed=seed), FINDINGS) == [] for seed in range(20))


def test_a_dead_output_is_reported() -> None:
    broken = split()
    broken.logit[:, 2] = -3.0
    assert [(s.finding, s.value) for s in constant(broken, FINDINGS)] == [("Cardiomegaly", 1.0)]


def auroc(value: float, low: float, high: float, chance: float = 0.01) -> Area:
    return Area(value, low, high, chance)


def test_a_finding_is_inverted_only_if_its_auroc_is_significant_among_all_aurocs_of_the_run() -> None:
    clear, unclear = auroc(0.4, 0.36, 0.44), auroc(0.45, 0.39, 0.52)
    (symptom,) = inverted({("brax", "Edema"): clear, ("brax", "Pneumonia"): unclear, ("brax", "x"): UNKNOWN})
    # two AUROCs with an interval, and three kinds of symptoms
    assert symptom.p == pytest.approx(norm.cdf(-0.1 / (0.04 / 1.959964)) * 2 * 3, rel=1e-5)
    assert (symptom.finding, symptom.kind) == ("Edema", INVERTED)
    many = {("brax", str(k)): auroc(0.45, 0.41, 0.49) for k in range(3)}
    assert inverted(many) == [], "each interval is below .5, but .05 / 9 is not reached"
    assert len(inverted({("brax", "macro"): clear})) == 1
    assert inverted({("brax", "macro"): clear})[0].finding == "all"


def test_an_interval_that_is_narrower_than_that_of_random_outputs_is_not_believed() -> None:
    assert inverted({("brax", "Edema"): auroc(0.4, 0.39, 0.41, chance=0.08)}) == []


def test_outputs_are_hardly_better_than_chance_only_if_the_auroc_is_clearly_below_a_bound() -> None:
    assert untrained("chexpert", auroc(0.51, 0.47, 0.55))
    assert not untrained("chexpert", auroc(0.51, 0.36, 0.66)), "too few patients to say so"
    assert not untrained("chexpert", auroc(0.56, 0.52, 0.6))
    assert not untrained("chexpert", UNKNOWN)


def test_a_symptom_must_be_significant_among_all_runs_of_the_grid() -> None:
    rows = [("nih", "Edema", INVERTED, 0.4, 0.3, 0.5, 0.004, ""), ("nih", "all", ORDER, 0.1, np.nan, np.nan, 0.04, "")]
    rows += [("nih", "Edema", CONSTANT, 1.0, np.nan, np.nan, np.nan, "")]
    table = pd.DataFrame(rows, columns=["dataset", "finding", "kind", "value", "low", "high", "p", "advice"])
    assert among_runs(table, 1)["kind"].tolist() == [INVERTED, ORDER, CONSTANT]
    assert among_runs(table, 10)["kind"].tolist() == [INVERTED, CONSTANT]
    assert among_runs(table, 10)["p"].tolist()[0] == pytest.approx(0.04)
    assert among_runs(table, 500)["kind"].tolist() == [CONSTANT]


def test_the_deviation_of_random_outputs_is_that_of_the_rank_sum_test() -> None:
    draw = np.random.default_rng(0)
    state = np.repeat([[1], [0]], [7, 40], 0).astype(np.int8)
    ids = np.arange(47).astype(str).astype(object)
    scored = ScoredSplit("nih", "test", "report", ids, ids, draw.normal(size=(47, 1)).astype(np.float32), state)
    ranks = rankdata(draw.normal(size=(4000, 47)), axis=1)
    areas = (ranks[:, :7].sum(1) - 7 * 8 / 2) / (7 * 40)  # Mann and Whitney 1947, doi:10.1214/aoms/1177730491
    assert chances(scored)[0] == pytest.approx(np.std(areas), rel=0.04)
    # five images of each patient, and one patient with six: as 8 positive and negative patients, not 47 images
    patients = (np.arange(47) // 5).astype(str).astype(object)
    clustered = ScoredSplit("nih", "test", "report", ids, patients, scored.logit, state)
    num_positive, num_negative = 7**2 / (5**2 + 2**2), 40**2 / (7 * 5**2 + 3**2 + 2**2)
    expected = (num_positive + num_negative + 1) / (12 * num_positive * num_negative)
    assert chances(clustered)[0] == pytest.approx(expected**0.5)


@pytest.mark.slow
def test_the_gain_of_a_given_order_of_random_correlated_outputs_has_the_deviation_that_the_p_value_uses() -> None:
    draw, gains, stated = np.random.default_rng(0), [], []
    for _ in range(1500):
        shared, sign = draw.normal(size=(300, 1)), np.array([1, -1, 1, 1])
        logit = (draw.normal(size=(300, 4)) + sign * shared).astype(np.float32)
        state = (draw.normal(size=(300, 4)) + sign * draw.normal(size=(300, 1)) > 0.8).astype(np.int8)
        ids = np.arange(300).astype(str).astype(object)
        scored = ScoredSplit("nih", "test", "report", ids, ids, logit, state)
        matrix, indices = cross_auroc(scored)
        moves = [(0, 1), (1, 0)]
        gains.append(sum(matrix[j, k] - matrix[k, k] for k, j in moves) / 4)
        stated.append(_gain_deviation(scored, indices, moves))
    assert np.mean(stated) == pytest.approx(np.std(gains), rel=0.06)


@pytest.mark.slow
def test_pages_without_a_fault_have_no_symptom_although_all_aurocs_are_near_half() -> None:
    wrong, _ = false_pages(0, 0.5, 4, 12)
    assert wrong <= 2  # at most 5 % of pages: 3 or more of 12 have the probability .02


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_planted_fault_of_one_of_500_runs_is_found(fault: str) -> None:
    assert found_pages(0, fault, 0.85, 500, 1280, 3) == 3


def test_cross_auroc_compares_every_output_with_every_finding() -> None:
    matrix, indices = cross_auroc(split((1, 0, 2, 3)))
    assert indices == [0, 1, 2, 3]
    assert matrix[1, 0] > 0.85
    assert matrix[0, 1] > 0.85
    assert matrix[0, 0] < 0.6
