"""The table `estimates`: from images to rows, and from rows to arrays."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.config.settings import Settings
from bench.extensions.estimates import from_logits
from bench.extensions.estimates.estimate_rows import MEASURED
from bench.extensions.estimates.known_values import KnownValues, known_values
from bench.extensions.estimates.quantities import QUANTITIES, InternalFinding
from bench.scoring.metrics_of_split import OperatingPoints
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit
from reports.schemas.tables import SCHEMAS

FINDINGS = ("Edema", "Pneumonia")
QUICK = Settings()


def split(dataset: str, name: str, seed: int, num: int = 200) -> ScoredSplit:
    draw = np.random.default_rng(seed)
    state = (draw.random((num, 2)) < 0.3).astype(np.int8)
    state[draw.random((num, 2)) < 0.05] = -1
    ids = np.array([f"{dataset}{i}" for i in range(num)], object)
    return ScoredSplit(
        dataset, name, "report", ids, ids, (draw.normal(size=(num, 2)) + (state == 1)).astype(np.float32), state
    )


def splits() -> list[ScoredSplit]:
    return [split("chexpert", "val", 1), split("chexpert", "test", 2), split("nih", "all", 3), split("brax", "all", 4)]


def estimates_of(scored: list[ScoredSplit], settings: Settings = QUICK) -> pd.DataFrame:
    return score_run("r", FINDINGS, "chexpert", scored, settings).detail["estimates"]


def said(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of estimators."""
    return table[table["estimator"] != MEASURED].reset_index(drop=True)


def test_scoring_adds_a_row_for_each_hospital_finding_and_estimator() -> None:
    table = estimates_of(splits())
    assert tuple(table.columns) == SCHEMAS["estimates"]
    cells = {(d, f, name) for d in ("nih", "brax") for f in FINDINGS for name in from_logits.FROM_LOGITS}
    cells |= {(d, f, MEASURED) for d in ("chexpert", "nih", "brax") for f in FINDINGS}
    assert set(zip(table["dataset"], table["finding"], table["estimator"], strict=True)) == cells
    assert len(table) == len(cells)
    val, nih = splits()[0], splits()[2]
    points = OperatingPoints.choose(val, 2)
    labeled = val.state[:, 0] != -1
    internal = InternalFinding(
        (val.state[labeled, 0] == 1).astype(np.int8), val.logit[labeled, 0].astype(np.float64),
        float(points.threshold[0, 0]), points.fits["platt"][0],
    )  # fmt: skip
    expected = from_logits.cbpe(internal, nih.logit[:, 0].astype(np.float64))
    row = table.query("dataset == 'nih' and finding == 'Edema' and estimator == 'cbpe'").iloc[0]
    for name in QUANTITIES:
        assert row[name] == pytest.approx(expected[name]), name


def test_measured_values_are_those_of_the_table_of_scores() -> None:
    found = score_run("r", FINDINGS, "chexpert", splits(), QUICK)
    measured = found.detail["estimates"].query("estimator == @MEASURED").set_index(["dataset", "finding"])
    scores = found.scores.query(
        "calibrator == 'none' and finding in @FINDINGS and split != 'val' and dataset != 'external'"
    )
    for metric, rule in (("auroc", ""), ("sensitivity", "f1_max"), ("specificity", "f1_max"), ("ece", "")):
        of_metric = scores[(scores["metric"] == metric) & (scores["operating_point"] == rule)]
        rows = of_metric.set_index(["dataset", "finding"])
        assert len(rows) == len(measured) == 6
        assert measured[metric].to_dict() == rows["value"].to_dict()
    rows = scores.query("metric == 'auroc'").set_index(["dataset", "finding"])
    share = rows["num_positive"] / rows["n"]
    assert measured["prevalence"].to_dict() == share.to_dict()
    accuracy = measured["sensitivity"] * share + measured["specificity"] * (1 - share)
    assert measured["accuracy"].to_dict() == pytest.approx(accuracy.to_dict())


@pytest.mark.slow
def test_labels_of_external_hospitals_have_no_effect_on_their_estimates() -> None:
    before = said(estimates_of(splits()))
    for state in (0, 1, -1, -2, -3):
        changed = splits()
        for scored in changed[2:]:
            scored.state[:] = state
        pd.testing.assert_frame_equal(said(estimates_of(changed)), before)
    others = splits()
    others[0].state[:] = np.where(others[0].state == 1, 0, 1)  # labels at internal do have an effect
    assert not said(estimates_of(others)).equals(before)


@pytest.mark.slow
def test_a_finding_with_few_validation_patients_has_no_estimates() -> None:
    few = splits()
    few[0].state[:, 1] = 0
    few[0].state[:9, 1] = 1
    assert set(said(estimates_of(few))["finding"]) == {"Edema"}
    lenient = dataclasses.replace(QUICK, min_count=9)
    assert set(said(estimates_of(few, lenient))["finding"]) == set(FINDINGS)
    assert estimates_of(few[1:]).empty  # no validation split
    assert tuple(estimates_of(few[1:]).columns) == SCHEMAS["estimates"]


def row_of(run_id: str, dataset: str, finding: str, estimator: str, **values: float) -> dict[str, object]:
    return {"run_id": run_id, "dataset": dataset, "finding": finding, "estimator": estimator, **values}


def values_of(rows: list[dict[str, object]], hospitals: list[str]) -> dict[str, KnownValues]:
    table = pd.DataFrame(rows, columns=list(SCHEMAS["estimates"]))
    return known_values(table, ["a", "b"], ["Edema", "Pneumonia"], "chexpert", hospitals)


def test_arrays_have_the_values_of_the_table_in_the_given_order() -> None:
    known_ = values_of(
        [
            row_of("a", "chexpert", "Edema", MEASURED, auroc=0.9),
            row_of("a", "nih", "Edema", MEASURED, auroc=0.8, ece=0.05, prevalence=0.2),
            row_of("b", "brax", "Edema", MEASURED, auroc=0.7),
            row_of("c", "nih", "Edema", MEASURED, auroc=0.4),  # a run that is not asked for
            row_of("a", "vindr", "Edema", MEASURED, auroc=0.5),
            row_of("b", "brax", "Pneumonia", "cbpe", auroc=0.66),
            row_of("a", "nih", "Edema", "atc"),
        ],
        ["brax", "nih"],
    )
    assert set(known_) == set(QUANTITIES)
    nan = np.nan
    assert known_["auroc"].internal == pytest.approx(np.array([[0.9, nan], [nan, nan]]), nan_ok=True)
    expected = np.array([[[nan, nan], [0.7, nan]], [[0.8, nan], [nan, nan]]])
    assert known_["auroc"].truth == pytest.approx(expected, nan_ok=True)
    assert known_["ece"].truth[1, 0, 0] == 0.05
    assert known_["prevalence"].truth[1, 0, 0] == 0.2
    assert list(known_["auroc"].estimates) == ["cbpe"]  # atc has no value
    assert known_["auroc"].estimates["cbpe"][0, 1, 1] == 0.66
    assert np.isfinite(known_["auroc"].estimates["cbpe"]).sum() == 1
    assert known_["ece"].estimates == {}


@pytest.mark.parametrize("estimator", [MEASURED, "atc"])
def test_a_repeated_row_is_refused(estimator: str) -> None:
    row = row_of("a", "nih", "Edema", estimator, auroc=0.5)
    with pytest.raises(ValueError, match="non-unique"):
        values_of([row, row], ["nih"])


def test_no_hospital_gives_empty_arrays() -> None:
    found = values_of([row_of("a", "chexpert", "Edema", MEASURED, auroc=0.9)], [])
    assert found["auroc"].truth.shape == (0, 2, 2)
    assert found["auroc"].internal[0, 0] == 0.9
