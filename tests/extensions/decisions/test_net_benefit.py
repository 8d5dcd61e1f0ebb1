import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.extensions.decisions.calls import CURVE
from bench.extensions.decisions.net_benefit import SparedAndMissed, measures_of, net_benefit, odds
from bench.scoring.bootstrap.bootstrap import column_metrics
from bench.scoring.bootstrap.intervals import mean_of, mean_over, normal_interval
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.metrics_of_split import OperatingPoints
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit, Settings
from reports.schemas.tables import SCHEMAS
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, part, parts

ORACLE = json.loads((Path(__file__).parents[2] / "oracles" / "net_benefit.json").read_text())


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "chexpert", parts(), QUICK)


def test_macros_and_external_means_have_replicates(scored: RunScores) -> None:
    names = {name.removeprefix("net_benefit/") for name in scored.replicates if name.startswith("net_benefit/")}
    assert names == {"chexpert", "nih", "vindr", "external", *(f"external/{finding}" for finding in FINDINGS)}


def test_an_extension_counts_the_calls_of_its_thresholds_in_the_same_pass_over_the_resamples(scored: RunScores) -> None:
    split = scored.measured[-1]
    for counts, column in zip(split.calls, split.columns, strict=True):
        alone = column_metrics(split.resamples, column, counts.cut, with_auprc=False).reached
        np.testing.assert_array_equal(counts.reached[..., 1:], alone)


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
    for threshold, model, of_all in zip(ORACLE["thresholds"], case["net_benefit"], case["treat_all"], strict=True):
        assert net_benefit(label, prob, threshold) == pytest.approx(model, abs=1e-12)
        assert net_benefit(label, np.ones(len(label)), threshold) == pytest.approx(of_all, abs=1e-12)


def test_measures_of_counts_equal_the_values_of_dcurves() -> None:
    case, threshold = ORACLE["cases"][1], np.array(ORACLE["thresholds"])
    label, prob = np.array(case["label"]), np.array(case["prob"])
    called = np.array([[[np.sum((prob >= t) & (label == y))] for y in (0, 1)] for t in threshold], float)
    total = np.array([[np.sum(label == y)] for y in (0, 1)], float)
    benefit, standardized, over_all = measures_of(called, total, threshold)[..., 0]
    np.testing.assert_allclose(benefit, case["net_benefit"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(benefit - over_all, case["treat_all"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(standardized * label.mean(), case["net_benefit"], atol=1e-12, rtol=0)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_threshold_that_is_no_probability_between_0_and_1_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        odds(threshold)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        net_benefit(np.array([0, 1]), np.array([0.1, 0.9]), threshold)


def test_tables_have_the_columns_of_the_report(scored: RunScores) -> None:
    for name in ("net_benefit", "decision_curves", "workload", "probabilities"):
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


def test_intervals_are_normal_with_the_deviation_over_resampled_patients(scored: RunScores) -> None:
    splits, stated = parts(), scored.detail["net_benefit"]["threshold"].iloc[0]
    split, state = splits[3], splits[3].labels()[:, 0]
    resamples = Resamples.draw(split.patient_id, QUICK.num_resamples, split.name, QUICK.seed)
    fit = OperatingPoints.choose(splits[0], len(FINDINGS)).fits["platt"][0]
    prob = fit.apply(split.logit[:, 0])
    drawn = []
    for replicate in range(QUICK.num_resamples):
        rows = np.repeat(np.arange(len(state)), resamples.counts(replicate))
        rows = rows[state[rows] >= 0]
        drawn.append(net_benefit(state[rows], prob[rows], stated))
    [row] = numbers(scored.detail["net_benefit"], dataset="vindr", finding=FINDINGS[0], metric="net_benefit").to_dict(
        "records"
    )
    half = 1.959963984540054 * np.std(drawn, ddof=1)
    assert [row["low"], row["high"]] == pytest.approx([row["value"] - half, row["value"] + half], abs=1e-12)


def test_the_difference_from_treating_all_has_a_normal_interval_with_many_images_and_a_skewed_one_with_few() -> None:
    draw, threshold = np.random.default_rng(0), np.array([0.2])

    def bounds(spared: float, missed: float, num: int) -> tuple[float, float, float, float]:
        counts = draw.multinomial(num, [spared, missed, 1 - spared - missed], 2000)[:, :2] / num
        shares = np.concatenate([[[spared, missed]], counts]).T[:, None]  # [2, 1, 1 + B]
        low, high = SparedAndMissed(shares, np.array([num]), np.array([num])).interval(threshold)
        value = 0.25 * shares[0] - shares[1]
        normal = normal_interval(value[:, 0], value[:, 1:])
        return float(low[0]), float(high[0]), float(normal[0][0]), float(normal[1][0])

    low, high, normal_low, normal_high = bounds(0.4, 0.1, 20_000)
    assert [low, high] == pytest.approx([normal_low, normal_high], abs=0.05 * (normal_high - normal_low))
    low, high, normal_low, normal_high = bounds(0.5, 0.005, 200)
    center = 0.25 * 0.5 - 0.005
    assert center - low > 1.1 * (high - center)  # more images may be missed than were seen
    assert low < normal_low


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_means_of_many_numbers_equal_the_mean_of_each(seed: int, num: int) -> None:
    draw = np.random.default_rng(seed)
    numbers = draw.normal(size=(num, 2, 3, 41))
    numbers[draw.random(numbers.shape) < 0.02] = np.nan
    found = mean_over(numbers)
    for index in np.ndindex(2, 3):
        center, replicates = mean_of(numbers[(slice(None), *index)][:, 0], numbers[(slice(None), *index)][:, 1:])
        np.testing.assert_array_equal(found[index], np.append(center, replicates))


def test_macro_and_external_are_unweighted_means_over_the_findings_of_the_gap(scored: RunScores) -> None:
    rows = numbers(scored.detail["net_benefit"], metric="net_benefit").set_index(["dataset", "finding"])["value"]
    macros = {
        dataset: np.nanmean([rows[dataset, finding] for finding in FINDINGS])
        for dataset in ("chexpert", "nih", "vindr")
    }
    for dataset, macro in macros.items():
        assert rows[dataset, "macro"] == pytest.approx(macro, abs=1e-12)
    assert rows["external", "macro"] == pytest.approx((macros["nih"] + macros["vindr"]) / 2, abs=1e-12)
    assert rows["external", "Lung Lesion"] == pytest.approx(rows["vindr", "Lung Lesion"], abs=1e-12)
    half = 1.959963984540054 * np.std(scored.replicates["net_benefit/external"].astype(float), ddof=1)
    [row] = numbers(scored.detail["net_benefit"], dataset="external", finding="macro", metric="net_benefit").to_dict(
        "records"
    )
    bounds = [row["value"] - half, row["value"] + half]
    assert [row["low"], row["high"]] == pytest.approx(bounds, abs=1e-6)  # these replicates are float32


def test_a_finding_without_positives_has_no_value_but_its_counts() -> None:
    splits = parts()
    splits[3].state[:, 0] = 0
    table = score_run("abc", FINDINGS, "chexpert", splits, QUICK).detail
    rows = numbers(table["net_benefit"], dataset="vindr", finding=FINDINGS[0])
    assert rows["value"].isna().all()
    assert (rows["num_positive"] == 0).all()
    assert (rows["n"] == 300).all()
    for name in ("decision_curves", "workload", "probabilities"):
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
    for name in ("decision_curves", "workload", "probabilities"):
        assert numbers(table[name], finding=FINDINGS[1]).empty
    assert numbers(table["net_benefit"], finding="macro")["num_findings"].isin([1, 2]).all()


def test_without_a_validation_split_nothing_is_decided() -> None:
    table = score_run("abc", FINDINGS, "chexpert", parts()[1:], QUICK).detail
    assert table["net_benefit"]["value"].isna().all()
    assert all(table[name].empty for name in ("decision_curves", "workload", "probabilities"))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.5]))
def test_net_benefit_is_at_most_the_prevalence_and_at_least_that_of_treating_none_correctly(
    seed: int, t: float
) -> None:
    draw = np.random.default_rng(seed)
    label, prob = (draw.random(30) < 0.3).astype(np.int8), draw.random(30)
    value = net_benefit(label, prob, t)
    assert -odds(t) <= value <= label.mean()
    assert net_benefit(label, label.astype(float), t) == pytest.approx(label.mean())
    assert net_benefit(label, np.zeros(30), t) == 0


def test_a_network_no_better_than_chance_has_an_interval_that_includes_the_better_alternative() -> None:
    splits = [
        replace(split, logit=np.zeros_like(split.logit))
        for split in (part("a", "val", 1), part("a", "test", 2), part("b", "all", 3))
    ]
    table = score_run("abc", FINDINGS, "a", splits, Settings(num_resamples=100)).detail["net_benefit"]
    rows = table[table["finding"] != "macro"].pivot_table(
        index=["dataset", "finding"], columns="metric", values="value"
    )
    # a constant probability treats all images or none
    assert (np.isclose(rows["net_benefit"], 0) | np.isclose(rows["over_all"], 0)).all()
