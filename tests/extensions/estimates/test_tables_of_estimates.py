"""The tables `estimates` and `estimators`: from images to rows, from rows to arrays, and the errors of estimators."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from bench.config.registry import Entry
from bench.extensions.estimates import estimate_rows, from_logits
from bench.extensions.estimates.accuracy_of_estimators import estimator_table
from bench.extensions.estimates.estimate_rows import MEASURED
from bench.extensions.estimates.from_hospitals import KnownValues
from bench.extensions.estimates.known_values import known_values
from bench.extensions.estimates.quantities import QUANTITIES, InternalFinding
from bench.scoring.calibrators import Platt
from bench.scoring.metrics_of_split import OperatingPoints
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit, Settings
from harmonize.errors import RegistryError
from reports.schemas.tables import SCHEMAS
from tests.extensions.estimates.hospitals import ENTRIES, entry, known

Array = NDArray[np.float64]
FROM_LOGITS = tuple(each for each in ENTRIES.values() if each.facts["given"] == "logits")
FINDINGS = ("Edema", "Pneumonia")
QUICK = Settings(num_resamples=20, estimators=FROM_LOGITS)


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
    cells = {(d, f, e.name) for d in ("nih", "brax") for f in FINDINGS for e in FROM_LOGITS}
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
    assert estimates_of(splits(), dataclasses.replace(QUICK, estimators=())).empty


INTERNAL = InternalFinding(np.array([1, 0], np.int8), np.array([1.0, -1.0]), 0.0, Platt(1.0, 0.0))
Plug = Callable[[Callable[..., object]], Entry]


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plug]:
    """Make a function importable, and return its registry entry."""
    module = ModuleType("plugged_estimator")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def make(function: Callable[..., object]) -> Entry:
        module.__dict__["mine"] = function
        return Entry("estimators", "mine", "plugged_estimator:mine", {"factor": 0.5}, {"given": "logits"})

    return make


def plugged(plug: Plug, function: Callable[..., object]) -> list[estimate_rows.Row]:
    logit_NK = np.zeros((4, 1), np.float32)
    return estimate_rows.rows("r", ["Edema"], [INTERNAL], "nih", logit_NK, [plug(function)])


def test_an_estimator_of_a_plug_in_gets_its_options(plug: Plug) -> None:
    rows = plugged(plug, lambda internal, logit, factor: {"auroc": factor, "ece": np.nan, "prevalence": len(logit) / 8})
    table = estimate_rows.frame_of(rows)
    assert table.loc[0, ["auroc", "prevalence"]].tolist() == [0.5, 0.5]
    assert table[["ece", "accuracy", "sensitivity", "specificity"]].isna().all(axis=None)


@pytest.mark.parametrize(
    "value", [{"auprc": 0.5}, 0.5, None, {"auroc": None}, {"auroc": "0.5"}, {"auroc": np.zeros(1)}, {"auroc": 1j}]
)
def test_a_result_that_is_no_dict_of_numbers_is_refused(plug: Plug, value: object) -> None:
    with pytest.raises(RegistryError, match="the estimator returned") as error:
        plugged(plug, lambda internal, logit, factor: value)
    assert error.value.where == "estimators.mine"


@pytest.mark.parametrize("value", [-0.01, 1.01, float("inf"), 55])
def test_a_value_that_is_no_share_is_refused(plug: Plug, value: float) -> None:
    with pytest.raises(RegistryError, match="outside 0 to 1"):
        plugged(plug, lambda internal, logit, factor: {"auroc": value})


def test_an_error_of_a_plug_in_names_the_plug_in(plug: Plug) -> None:
    def broken(internal: InternalFinding, logit: Array, factor: float) -> dict[str, float]:
        raise KeyError("age")

    with pytest.raises(RegistryError, match="the estimator failed: KeyError: 'age'") as error:
        plugged(plug, broken)
    assert error.value.where == "estimators.mine"


def test_a_plug_in_that_compares_runs_is_checked_as_well(plug: Plug) -> None:
    def three(internal_of_runs: list[InternalFinding], recipes: list[str], logit: Array, factor: float) -> object:
        return {"accuracy": np.full(3, factor)}

    of_runs = dataclasses.replace(plug(three), facts={"given": "runs"})
    given = [INTERNAL] * 2, ["a", "b"], np.zeros((2, 4))
    with pytest.raises(RegistryError, match=r"the estimator returned the shape \(3,\)"):
        estimate_rows.quantities_of(of_runs, (2,), *given)
    with pytest.raises(RegistryError, match="the estimator failed: TypeError"):
        estimate_rows.quantities_of(of_runs, (2,), INTERNAL)


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
            row_of("a", "nih", "Edema", "em"),
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
    assert list(known_["auroc"].estimates) == ["cbpe"]  # em has no value
    assert known_["auroc"].estimates["cbpe"][0, 1, 1] == 0.66
    assert np.isfinite(known_["auroc"].estimates["cbpe"]).sum() == 1
    assert known_["ece"].estimates == {}


@pytest.mark.parametrize("estimator", [MEASURED, "em"])
def test_a_repeated_row_is_refused(estimator: str) -> None:
    row = row_of("a", "nih", "Edema", estimator, auroc=0.5)
    with pytest.raises(ValueError, match="several rows"):
        values_of([row, row], ["nih"])


def test_no_hospital_gives_empty_arrays() -> None:
    found = values_of([row_of("a", "chexpert", "Edema", MEASURED, auroc=0.9)], [])
    assert found["auroc"].truth.shape == (0, 2, 2)
    assert found["auroc"].internal[0, 0] == 0.9


def all_quantities(values: KnownValues) -> dict[str, KnownValues]:
    return dict.fromkeys(QUANTITIES, values)


def table_of(values: KnownValues, *names: str, replicates: Array | None = None) -> pd.DataFrame:
    images = [500] * len(values.truth)
    return estimator_table(all_quantities(values), [entry(name) for name in names], images, replicates, ["auroc"])


def the_row(table: pd.DataFrame, estimator: str, finding: str) -> pd.Series:
    return table.set_index(["estimator", "finding"]).loc[(estimator, finding)]


def test_the_errors_of_the_table_are_those_of_the_left_out_hospitals() -> None:
    values = known(num_hospitals=5, num_runs=4, num_findings=3, noise=0.02)
    values.truth[2, :, 1] = np.nan
    table = table_of(values, "internal", "mean_gap", "cbpe")
    assert tuple(table.columns) == SCHEMAS["estimators"]
    assert len(table) == 6
    error = np.broadcast_to(values.internal, values.truth.shape) - values.truth
    row = the_row(table, "internal", "all")
    assert row["title"] == "internal value"
    assert row["value"] == pytest.approx(np.nanmean(np.abs(error)))
    assert row["bias"] == pytest.approx(np.nanmean(error))
    assert row["n"] == np.isfinite(error).sum() == 56
    assert row["num_large"] == (np.abs(error) > 0.1).sum() > 0
    macro = np.nanmean(error, 2)
    row = the_row(table, "internal", "macro")
    assert row["value"] == pytest.approx(np.abs(macro).mean())
    assert row["bias"] == pytest.approx(macro.mean())
    assert row["n"] == 20
    gap = np.stack([values.internal + np.nanmean(np.delete(values.truth, h, 0) - values.internal, 0) for h in range(5)])
    gap_macro = np.nanmean(gap - values.truth, 2)
    assert the_row(table, "mean_gap", "macro")["value"] == pytest.approx(np.abs(gap_macro).mean())
    assert row["difference"] == pytest.approx((np.abs(macro) - np.abs(gap_macro)).mean())
    assert the_row(table, "mean_gap", "macro")["difference"] == 0
    truth = np.array([[np.nanmean(values.truth[h, r]) for r in range(4)] for h in range(5)])
    taus = [kendalltau(truth[h] + gap_macro[h], truth[h]).statistic for h in range(5)]
    assert the_row(table, "mean_gap", "macro")["tau"] == pytest.approx(np.mean(taus))


def test_coverage_counts_the_true_values_in_the_intervals() -> None:
    values = known(num_hospitals=7, noise=0.03)
    row = the_row(table_of(values, "mean_gap"), "mean_gap", "all")
    assert 0.7 <= row["coverage"] <= 1
    assert 0 < row["half_width"] < 0.5
    assert 0 <= row["stated"] <= 1
    assert row["num_large_stated"] <= row["num_large"]
    exact = KnownValues(values.internal, np.broadcast_to(values.internal - 0.05, values.truth.shape), {})
    row = the_row(table_of(exact, "mean_gap"), "mean_gap", "all")
    assert row["value"] == pytest.approx(0, abs=1e-12)
    assert row["stated"] == 1
    wide = known(num_hospitals=7, noise=0.3)
    assert the_row(table_of(wide, "mean_gap"), "mean_gap", "all")["stated"] == 0
    assert np.isnan(the_row(table_of(wide, "mean_gap"), "mean_gap", "all")["coverage_stated"])


def test_fewer_than_three_hospitals_give_an_empty_table() -> None:
    for num in (1, 2):
        table = table_of(known(num_hospitals=num), "mean_gap", "internal")
        assert table.empty
        assert tuple(table.columns) == SCHEMAS["estimators"]
    none = KnownValues(known().internal, np.empty((0, 4, 3)), {})
    assert table_of(none, "mean_gap").empty


def test_an_estimator_without_values_has_no_row() -> None:
    assert set(table_of(known(), "mean_gap", "em")["estimator"]) == {"mean_gap"}


def test_intervals_over_patients_contain_the_value_and_need_replicates() -> None:
    values, draw = known(num_hospitals=5, noise=0.02), np.random.default_rng(0)
    noise = 0.01 * draw.normal(size=(5, 4, 300))
    replicates = values.truth.mean(2)[..., None] + noise
    table = table_of(values, "internal", "mean_gap", replicates=replicates)
    for name in ("internal", "mean_gap"):
        row = the_row(table, name, "macro")
        assert row["low"] < row["value"] < row["high"]
    row = the_row(table, "internal", "macro")
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert np.isnan(the_row(table, "mean_gap", "macro")["difference_low"]), "its own differences are all 0"
    without = table_of(values, "internal", "mean_gap")
    assert without[["low", "high", "difference_low", "difference_high"]].isna().all(axis=None)
    pd.testing.assert_series_equal(without["value"], table["value"])
    no_draws = table_of(values, "internal", replicates=np.empty((5, 4, 0)))
    assert no_draws[["low", "high"]].isna().all(axis=None)


def test_an_estimator_with_few_values_is_compared_with_the_mean_gap_on_the_same_cells() -> None:
    values = known(num_hospitals=5, num_runs=4, num_findings=3, noise=0.02)
    few = np.full(values.truth.shape, np.nan)
    few[:2, :, 0] = values.truth[:2, :, 0] + 0.01
    of_logits = {"cbpe": few}
    estimators = [entry("mean_gap"), entry("cbpe")]
    everything = all_quantities(KnownValues(values.internal, values.truth, of_logits))
    table = estimator_table(everything, estimators, [500] * 5, None, ["auroc"])
    row = the_row(table, "cbpe", "macro")
    assert (row["n"], the_row(table, "mean_gap", "macro")["n"]) == (8, 20)
    assert row["value"] == pytest.approx(0.01)
    others = [np.delete(values.truth, h, 0)[:, :, 0] - values.internal[:, 0] for h in range(2)]
    gap = np.stack([values.internal[:, 0] + of.mean(0) for of in others]) - values.truth[:2, :, 0]
    assert row["difference"] == pytest.approx(0.01 - np.abs(gap).mean()), "the finding and hospitals of both"


def test_equal_replicates_of_a_difference_are_no_interval() -> None:
    inside, draw = known(num_runs=2).internal, np.random.default_rng(0)
    truth = np.stack([inside - fall for fall in (0.1, 0.2, 0.3)])
    below = np.full(truth.shape, np.nan)
    below[0] = truth[0] - 0.05  # at this hospital, the mean gap is below the truth, too: both errors move together
    replicates = truth.mean(2)[..., None] + 1e-3 * draw.normal(size=(3, 2, 300))
    everything = all_quantities(KnownValues(inside, truth, {"cbpe": below}))
    table = estimator_table(everything, [entry("mean_gap"), entry("cbpe")], [500] * 3, replicates, ["auroc"])
    row = the_row(table, "cbpe", "macro")
    assert row["difference"] == pytest.approx(0.05 - 0.15)
    assert np.isnan([row["difference_low"], row["difference_high"]]).all()
    assert row["low"] < row["value"] < row["high"]


def test_a_hospital_without_a_replicate_does_not_change_the_interval_to_nan() -> None:
    values, draw = known(num_hospitals=5, noise=0.02), np.random.default_rng(0)
    replicates = values.truth.mean(2)[..., None] + 0.01 * draw.normal(size=(5, 4, 300))
    replicates[0] = np.nan
    row = the_row(table_of(values, "internal", replicates=replicates), "internal", "macro")
    assert row["low"] < row["value"] < row["high"]


def test_the_interval_of_a_mean_absolute_error_ends_at_0() -> None:
    values, draw = known(num_hospitals=5), np.random.default_rng(0)
    exact = KnownValues(values.internal, values.truth, {"cbpe": values.truth + 1e-3})
    replicates = values.truth.mean(2)[..., None] + 0.5 * draw.normal(size=(5, 1, 300))
    row = the_row(
        estimator_table(all_quantities(exact), [entry("cbpe")], [500] * 5, replicates, ["auroc"]), "cbpe", "macro"
    )
    assert 0 == row["low"] < row["value"] < row["high"]


def test_two_runs_have_no_rank_correlation() -> None:
    assert np.isnan(the_row(table_of(known(num_runs=2), "mean_gap"), "mean_gap", "macro")["tau"])
