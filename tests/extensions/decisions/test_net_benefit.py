import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from bench.config.settings import Settings
from bench.extensions.decisions.calls import CURVE
from bench.extensions.decisions.net_benefit import MEASURES, intervals_of, measures_of
from bench.scoring.influence import error_of
from bench.scoring.metrics_of_split import OperatingPoints
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from benchmarks import benefits
from reports.schemas.tables import SCHEMAS
from tests.extensions.decisions.plain_net_benefit import net_benefit
from tests.nonempty import nonempty
from tests.resampled import resampled_error
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, part, parts

ORACLE = json.loads((Path(__file__).parents[2] / "oracles" / "net_benefit.json").read_text())


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "chexpert", parts(), QUICK)


def test_macros_and_external_means_have_estimates(scored: RunScores) -> None:
    names = {name.removeprefix("net_benefit/") for name in scored.estimates if name.startswith("net_benefit/")}
    assert names == {"chexpert", "nih", "vindr", "external", *(f"external/{finding}" for finding in FINDINGS)}


def numbers(table: pd.DataFrame, **where: str) -> pd.DataFrame:
    return table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]


def platt_of(splits: list[ScoredSplit], split: ScoredSplit, k: int) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Return the scored labels and the Platt-scaled probabilities of finding k; the first split sets the calibrator."""
    label = split.labels()[:, k]
    fit = OperatingPoints.choose(splits[0], len(FINDINGS)).fits["platt"][k]
    return label[label >= 0], fit.apply(split.logit[label >= 0, k])


@pytest.mark.parametrize("case", ORACLE["cases"])
def test_net_benefit_equals_the_values_of_dcurves(case: dict[str, list[float]]) -> None:
    label, prob = np.array(case["label"], np.int8), np.array(case["prob"])
    for threshold, model, of_all in nonempty(
        zip(ORACLE["thresholds"], case["net_benefit"], case["treat_all"], strict=True)
    ):
        assert net_benefit(label, prob, threshold) == pytest.approx(model, abs=1e-12)
        assert net_benefit(label, np.ones(len(label)), threshold) == pytest.approx(of_all, abs=1e-12)


def test_measures_of_counts_equal_the_values_of_dcurves() -> None:
    case, threshold = ORACLE["cases"][1], np.array(ORACLE["thresholds"])
    label, prob = np.array(case["label"]), np.array(case["prob"])
    called = np.array([[np.sum((prob >= t) & (label == y)) for y in (0, 1)] for t in threshold], float)
    total = np.array([np.sum(label == y) for y in (0, 1)], float)
    benefit, standardized, over_all = measures_of(called, total, threshold)
    np.testing.assert_allclose(benefit, case["net_benefit"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(benefit - over_all, case["treat_all"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(standardized * label.mean(), case["net_benefit"], atol=1e-12, rtol=0)


def test_tables_have_the_columns_of_the_report(scored: RunScores) -> None:
    for name in ("net_benefit", "decision_curves", "workload"):
        assert tuple(scored.detail[name].columns) == SCHEMAS[name]
    assert set(scored.detail["net_benefit"]["dataset"]) == {"chexpert", "nih", "vindr", "external"}


def check_curves(splits: list[ScoredSplit]) -> None:
    """Compare each decision curve of the splits behind the first with the definition of net benefit."""
    curves = score_run("abc", FINDINGS, "chexpert", splits, QUICK).detail["decision_curves"]
    for split in splits[1:]:
        for k, finding in enumerate(FINDINGS):
            rows = numbers(curves, dataset=split.dataset, finding=finding)
            label, prob = platt_of(splits, split, k)
            if not len(label):
                assert rows.empty
                continue
            expected = [net_benefit(label, prob, t) for t in CURVE]
            np.testing.assert_allclose(rows["threshold"], CURVE)
            np.testing.assert_allclose(rows["value"], expected, atol=1e-12)
            np.testing.assert_allclose(rows["standardized"], np.array(expected) / label.mean(), atol=1e-12)
            of_all = [net_benefit(label, np.ones(len(label)), t) for t in CURVE]
            np.testing.assert_allclose(rows["treat_all"], of_all, atol=1e-12)


def test_a_curve_has_the_net_benefit_at_each_threshold() -> None:
    check_curves(parts())


def test_a_curve_is_right_with_ties_and_with_a_calibrator_that_reverses_the_order() -> None:
    splits = [replace(split, logit=split.logit.round(1)) for split in parts()]
    splits[0] = replace(splits[0], logit=splits[0].logit * np.array([1, -1, 1], np.float32))
    check_curves(splits)


def test_the_stated_threshold_is_the_share_of_internal_validation_images(scored: RunScores) -> None:
    splits, table = parts(), scored.detail["net_benefit"]
    for k, finding in enumerate(FINDINGS):
        shares = splits[0].labels()[:, k]
        stated = float((shares[shares >= 0] == 1).mean())
        rows = numbers(table, finding=finding)
        np.testing.assert_allclose(rows["threshold"], stated)
        label, prob = platt_of(splits, splits[3], k)
        [row] = numbers(rows, dataset="vindr", metric="net_benefit").to_dict("records")
        assert row["value"] == pytest.approx(net_benefit(label, prob, stated), abs=1e-12)
        assert row["low"] <= row["value"] <= row["high"]


def test_intervals_combine_those_of_the_shares_of_which_a_measure_consists() -> None:
    """Shares whose patients have no influence have the intervals of independent images, which statsmodels has, too."""
    counts, total, t = np.array([[30.0, 12.0]]), np.array([180.0, 20.0]), np.array([0.2])
    called, of_all = (np.repeat(numbers[..., None] / 11, 11, -1) for numbers in (counts, total))  # of 11 equal patients
    low, high = intervals_of(called, of_all, t, np.array([200.0, 200.0]))[0][..., 0]
    ends = {n: np.array(proportion_confint(n, 200, method="agresti_coull")) for n in (12, 30, 8, 150)}
    tp, fp, fn, tn = ([n / 200, *ends[n]] for n in (12, 30, 8, 150))
    benefit, over_all = tp[0] - fp[0] / 4, tn[0] / 4 - fn[0]
    expected = [
        benefit - np.hypot(tp[0] - tp[1], (fp[2] - fp[0]) / 4),
        benefit + np.hypot(tp[2] - tp[0], (fp[0] - fp[1]) / 4),
        over_all - np.hypot((tn[0] - tn[1]) / 4, fn[2] - fn[0]),
        over_all + np.hypot((tn[2] - tn[0]) / 4, fn[0] - fn[1]),
    ]
    assert [low[0], high[0], low[2], high[2]] == pytest.approx(expected, abs=1e-9)


def images_of(num: int, shares: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return counts of calls [1, 2, P] and of all images [2, P] of P patients with 1 to 3 images of one kind: FP, TP, TN, FN."""
    images = draw.integers(1, 4, num)
    kind = np.eye(4)[draw.choice(4, num, p=shares)].T * images
    return np.stack([kind[:2]]), kind[:2] + kind[2:]


@pytest.mark.slow
def test_standard_errors_equal_those_of_resampled_patients() -> None:
    draw, t = np.random.default_rng(0), np.array([0.1, 0.3])
    called, total = images_of(400, np.array([0.2, 0.2, 0.5, 0.1]), draw)
    called = np.repeat(called, 2, 0)
    influence = intervals_of(called, total, t, np.array([800.0, 350.0]))[1]
    assert influence.sum(-1) == pytest.approx(np.zeros((3, 2)), abs=1e-12)
    expected = resampled_error(
        lambda rows: measures_of(called[..., rows].sum(-1), total[:, rows].sum(-1), t), np.arange(400)
    )
    assert error_of(influence) / expected == pytest.approx(np.ones((3, 2)), abs=0.1)


def test_intervals_with_many_images_are_normal() -> None:
    called, total = images_of(40_000, np.array([0.05, 0.16, 0.7, 0.09]), np.random.default_rng(0))
    t = np.array([0.3])
    value = measures_of(called.sum(-1), total.sum(-1), t)
    num = total.sum()
    (low, high), influence = intervals_of(called, total, t, np.array([num, num**2 / (total.sum(0) ** 2).sum()]))
    half = 1.959963984540054 * error_of(influence)
    np.testing.assert_allclose(low, value - half, atol=0.06 * half.max())
    np.testing.assert_allclose(high, value + half, atol=0.06 * half.max())


def test_no_interval_has_zero_width_and_standardized_net_benefit_is_at_most_1() -> None:
    patients = np.eye(4)[np.repeat(np.arange(4), [300, 1, 1, 1])].T  # one patient for each kind of image but one
    for false, found in ((0, 0), (0, 5), (995, 5), (995, 0), (2, 0)):
        kinds = np.array([995 - false, false, 5 - found, found], float)
        images = patients * (kinds / patients.sum(1))[:, None]
        called, total = images[None, [1, 3]], np.stack([images[:2].sum(0), images[2:].sum(0)])
        bounds = intervals_of(called, total, np.array([0.2]), np.array([1000.0, 300.0]))[0][..., 0]
        value = measures_of(called.sum(-1), total.sum(-1), np.array([0.2]))[:, 0]
        assert (bounds[1] - bounds[0] > 1e-4).all()
        assert (bounds[0] <= value).all()
        assert (value <= bounds[1]).all()
        assert bounds[1, MEASURES.index("standardized")] <= 1


def test_a_measure_without_images_without_positives_or_without_a_threshold_has_no_interval() -> None:
    none, negative = np.zeros((2, 5)), np.array([[9.0] * 5, [0.0] * 5])
    t, sizes = np.array([0.2]), np.array([9.0, 9.0])
    assert np.isnan(intervals_of(none[None], none, t, np.zeros(2))[0]).all()
    assert np.isnan(intervals_of(np.full((1, 2, 5), np.nan), negative, np.array([np.nan]), sizes)[0]).all()
    bounds = intervals_of(none[None], negative, t, sizes)[0][..., 0]
    assert np.isnan(bounds).tolist() == [[False, True, False]] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "num_patients", "prevalence", "t", "normal"),
    [("1 to 30", 300, 0.05, 0.05, 0.85), ("1", 1000, 0.005, 0.2, 0.6), ("1 to 30", 150, 0.25, 0.1, 0.92)],
)
def test_intervals_hold_with_unequal_clusters_and_with_few_positives(
    kind: str, num_patients: int, prevalence: float, t: float, normal: float
) -> None:
    draw = np.random.default_rng(3)
    called, total, sizes, true = benefits.hospital(draw, kind, num_patients, prevalence, np.array([t]), 0.3, 400)
    bounds, error = (of[..., 0] for of in benefits.intervals(called, total, np.array([t]), sizes))
    covered = ((bounds[:, 0] <= true[:, 0]) & (true[:, 0] <= bounds[:, 1])).mean(0)
    assert (covered >= 0.91).all()
    values = benefits.values_of(called, total, np.array([t]))[:, 0, 0]
    assert (np.abs(values - true[0, 0]) <= 1.96 * error[:, 0]).mean() < normal  # a normal interval


def test_macro_and_external_are_unweighted_means_over_the_findings_of_the_gap(scored: RunScores) -> None:
    rows = numbers(scored.detail["net_benefit"], metric="net_benefit").set_index(["dataset", "finding"])["value"]
    both = FINDINGS[:2]  # NIH does not score the third
    macros = {
        dataset: np.mean([rows[dataset, finding] for finding in of_macro])
        for dataset, of_macro in (("chexpert", FINDINGS), ("nih", both), ("vindr", both))
    }
    for dataset, macro in macros.items():
        assert rows[dataset, "macro"] == pytest.approx(macro, abs=1e-12)
    assert rows["external", "macro"] == pytest.approx((macros["nih"] + macros["vindr"]) / 2, abs=1e-12)
    assert rows["external", "Lung Lesion"] == pytest.approx(rows["vindr", "Lung Lesion"], abs=1e-12)
    table = numbers(scored.detail["net_benefit"], finding="macro", metric="net_benefit").set_index("dataset")
    for end in ("low", "high"):
        first, second = (abs(table["value"][name] - table[end][name]) for name in ("nih", "vindr"))
        distance = np.hypot(first, second) / 2  # independent patients
        assert abs(table["value"]["external"] - table[end]["external"]) == pytest.approx(distance, rel=1e-5)


def test_a_finding_without_positives_has_no_value_but_its_counts() -> None:
    splits = parts()
    splits[3].state[:, 0] = 0
    table = score_run("abc", FINDINGS, "chexpert", splits, QUICK).detail
    rows = numbers(table["net_benefit"], dataset="vindr", finding=FINDINGS[0])
    assert rows["value"].isna().all()
    assert (rows["num_positive"] == 0).all()
    assert (rows["n"] == 300).all()
    for name in ("decision_curves", "workload"):
        assert numbers(table[name], dataset="vindr", finding=FINDINGS[0]).empty
    external = numbers(table["net_benefit"], dataset="external", finding=FINDINGS[0], metric="net_benefit")
    nih = numbers(table["net_benefit"], dataset="nih", finding=FINDINGS[0], metric="net_benefit")
    assert external["value"].item() == pytest.approx(nih["value"].item(), abs=1e-12)


def test_a_calibrator_that_cannot_be_fitted_gives_no_threshold_and_no_value() -> None:
    splits = parts()
    splits[0].state[:, 1] = 1
    table = score_run("abc", FINDINGS, "chexpert", splits, QUICK).detail
    rows = numbers(table["net_benefit"], finding=FINDINGS[1])
    assert rows[["threshold", "value", "low", "high"]].isna().all(axis=None)
    for name in ("decision_curves", "workload"):
        assert numbers(table[name], finding=FINDINGS[1]).empty
    assert numbers(table["net_benefit"], finding="macro")["num_findings"].isin([1, 2]).all()


def test_without_a_validation_split_nothing_is_decided() -> None:
    table = score_run("abc", FINDINGS, "chexpert", parts()[1:], QUICK).detail
    assert table["net_benefit"]["value"].isna().all()
    assert all(table[name].empty for name in ("decision_curves", "workload"))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.5]))
def test_net_benefit_is_at_most_the_prevalence_and_at_least_that_of_treating_none_correctly(
    seed: int, t: float
) -> None:
    draw = np.random.default_rng(seed)
    label, prob = (draw.random(30) < 0.3).astype(np.int8), draw.random(30)
    value = net_benefit(label, prob, t)
    assert -t / (1 - t) <= value <= label.mean()
    assert net_benefit(label, label.astype(float), t) == pytest.approx(label.mean())
    assert net_benefit(label, np.zeros(30), t) == 0


def test_a_network_no_better_than_chance_has_an_interval_that_includes_the_better_alternative() -> None:
    splits = [
        replace(split, logit=np.zeros_like(split.logit))
        for split in (part("a", "val", 1), part("a", "test", 2), part("b", "all", 3))
    ]
    table = score_run("abc", FINDINGS, "a", splits, Settings()).detail["net_benefit"]
    rows = table[table["finding"] != "macro"].pivot_table(
        index=["dataset", "finding"], columns="metric", values="value"
    )
    # a constant probability treats all images or none
    assert (np.isclose(rows["net_benefit"], 0) | np.isclose(rows["over_all"], 0)).all()
