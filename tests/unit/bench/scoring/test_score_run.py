import dataclasses
import io
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from bench.config.settings import Settings
from bench.scoring import metrics
from bench.scoring.area_intervals import mean_interval
from bench.scoring.calibration_metrics import errors
from bench.scoring.influence import Estimate
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from reports.schemas.tables import SCHEMAS, SCORES
from tests.nonempty import nonempty

FINDINGS = ("Edema", "Pneumonia", "Lung Lesion")
QUICK = Settings()


def part(dataset: str, split: str, seed: int, shift: float = 0.0, num: int = 300) -> ScoredSplit:
    generator = np.random.default_rng(seed)
    positive = generator.random((num, 3)) < 0.25
    state = positive.astype(np.int8)
    draw = generator.random((num, 3))
    state[draw < 0.05] = -1
    state[(draw > 0.6) & ~positive] = -2
    logit = (generator.normal(size=(num, 3)) + (2 - shift) * positive - 1).astype(np.float32)
    patient = np.array([f"p{i}" for i in generator.integers(0, num // 2, num)], object)
    return ScoredSplit(dataset, split, "report", np.array([f"i{i}" for i in range(num)], object), patient, logit, state)


def parts() -> list[ScoredSplit]:
    unmapped = part("nih", "all", 3, 0.5)
    unmapped.state[:, 2] = -3
    return [part("chexpert", "val", 1), part("chexpert", "test", 2), unmapped, part("vindr", "test", 4, 1.0)]


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "chexpert", parts(), QUICK)


def cell(scores: pd.DataFrame, **where: str) -> pd.Series:
    where = {"calibrator": "none", "operating_point": "", **where}
    chosen = scores[np.logical_and.reduce([scores[name] == value for name, value in where.items()])]
    assert len(chosen) == 1, where
    return chosen.iloc[0]


def test_a_score_on_which_no_patient_has_an_influence_has_no_interval() -> None:
    val, test, *others = parts()
    constant = dataclasses.replace(test, logit=np.zeros_like(test.logit))
    scores = score_run("abc", FINDINGS, "chexpert", [val, constant, *others], QUICK).scores
    rows = scores.query(
        "dataset == 'chexpert' and split == 'test' and metric == 'brier' and calibrator == 'none'"
    ).dropna(subset="value")
    assert (rows["value"] == 0.25).sum() == len(rows) > 1
    assert rows[["low", "high"]].isna().all(axis=None)


def test_no_interval_ends_above_the_largest_possible_value() -> None:
    """The upper bound of mce was up to 2.5, that of the uncertainty p (1 - p) above 1/4."""
    splits = [part(split.dataset, split.split, seed, num=60) for seed, split in enumerate(parts())]
    steep = [dataclasses.replace(split, logit=split.logit * np.float32(4)) for split in splits]
    scores = score_run("abc", FINDINGS, "chexpert", steep, QUICK).scores.set_index("metric")
    largest = {"mce": 1, "ece": 1, "ace": 1, "brier": 1, "brier_reliability": 1}
    for metric, most in nonempty((largest | {"brier_resolution": 0.25, "brier_uncertainty": 0.25}).items()):
        known = scores.loc[metric].dropna(subset="high")
        assert len(known)
        assert (known["value"] <= known["high"]).all()
        assert (known["high"] <= most).all(), metric
    assert scores.loc["mce", "high"].max() == 1
    assert scores.loc["brier_uncertainty", "high"].max() == 0.25


def test_tables_have_the_columns_of_the_report(scored: RunScores) -> None:
    assert tuple(scored.scores.columns) == SCORES
    assert tuple(scored.gaps.columns) == SCHEMAS["gaps"]
    assert tuple(scored.reliability.columns) == SCHEMAS["reliability"]
    names = [
        "run_id",
        "dataset",
        "split",
        "mapping",
        "subgroup",
        "selection",
        "calibrator",
        "operating_point",
        "finding",
        "metric",
    ]
    assert not scored.scores.duplicated(names).any()


def test_values_equal_plain_metrics_on_certain_images(scored: RunScores) -> None:
    there = parts()[3]
    state = there.state[:, 0]
    rows = state != -1
    label, logit = (state[rows] == 1).astype(np.int8), there.logit[rows, 0]
    found = {
        m: cell(scored.scores, dataset="vindr", finding="Edema", metric=m).value
        for m in ("auroc", "auprc", "brier", "ece")
    }
    assert found["auroc"] == metrics.auroc(label, logit)
    assert found["auprc"] == metrics.auprc(label, logit)
    assert found["brier"] == pytest.approx(metrics.brier(label, expit(logit.astype(float))), abs=1e-12)
    assert found["ece"] == pytest.approx(errors(label, expit(logit.astype(float)))["ece"], abs=1e-12)
    row = cell(scored.scores, dataset="vindr", finding="Edema", metric="auroc")
    assert (row.n, row.num_positive, row.num_negative) == (len(label), label.sum(), (label == 0).sum())
    assert row.num_patients == len(set(there.patient_id[rows]))


def test_thresholds_of_internal_validation_are_applied_unchanged_to_external_hospitals(scored: RunScores) -> None:
    points = scored.operating_points.set_index(["finding", "rule"])
    there = parts()[2]
    rows = there.state[:, 1] != -1
    called = there.logit[rows, 1] >= points.loc[("Pneumonia", "youden"), "threshold"]
    expected = metrics.sensitivity((there.state[rows, 1] == 1).astype(np.int8), called)
    row = cell(scored.scores, dataset="nih", finding="Pneumonia", metric="sensitivity", operating_point="youden")
    assert row.value == expected
    assert not (scored.scores.query("split == 'val'").operating_point != "").any()
    assert not (scored.scores.query("split == 'val'").calibrator != "none").any()


def test_the_gap_uses_the_findings_of_both_hospitals(scored: RunScores) -> None:
    scores, gaps = scored.scores, scored.gaps.set_index(["dataset", "finding"])
    at_internal = [cell(scores, dataset="chexpert", split="test", finding=f, metric="auroc").value for f in FINDINGS]
    external = [cell(scores, dataset="nih", finding=f, metric="auroc").value for f in FINDINGS[:2]]
    row = gaps.loc[("nih", "macro")]
    assert (row.internal, row.external) == pytest.approx((np.mean(at_internal[:2]), np.mean(external)))
    assert row.value == pytest.approx(np.mean(at_internal[:2]) - np.mean(external))
    assert row.num_findings == 2
    assert np.isnan(gaps.loc[("nih", "Lung Lesion"), "value"])
    assert gaps.loc[("nih", "Lung Lesion"), "num_findings"] == 0
    assert gaps.loc[("external", "macro"), "value"] == pytest.approx(
        (row.value + gaps.loc[("vindr", "macro"), "value"]) / 2
    )
    assert gaps.loc[("external", "Lung Lesion"), "value"] == pytest.approx(gaps.loc[("vindr", "Lung Lesion"), "value"])
    assert (
        cell(scores, dataset="external", finding="macro", metric="auroc_gap").value
        == gaps.loc[("external", "macro"), "value"]
    )


def test_the_external_mean_weighs_hospitals_equally_and_has_their_counts(scored: RunScores) -> None:
    macro = [cell(scored.scores, dataset=d, finding="macro", metric="auroc") for d in ("nih", "vindr", "external")]
    assert macro[2].value == pytest.approx((macro[0].value + macro[1].value) / 2)
    assert [row.num_findings for row in macro] == [2, 2, 2], "only vindr scores the third"
    assert macro[2].n == macro[0].n + macro[1].n
    assert macro[2].split == "mixed"
    assert all(row.low < row.value < row.high for row in macro)


def test_scores_without_a_hospital_name_it_in_no_estimate(scored: RunScores) -> None:
    names = [{*name.split("/")} for name in scored.without_hospitals(["nih"]).estimates]
    assert any("vindr" in parts for parts in names)
    assert not any({"nih", "external"} & parts for parts in names)


def on_logit_scale(estimate: Estimate) -> tuple[float, float]:
    """Return the normal interval of an area on the logit scale."""
    error = float(estimate.influence.error) / (estimate.value * (1 - estimate.value))
    low, high = expit(norm(logit(estimate.value), error).ppf([0.025, 0.975])).tolist()
    return low, high


def test_influences_reproduce_the_intervals(scored: RunScores) -> None:
    row, *hospitals = (
        cell(scored.scores, dataset=d, finding="macro", metric="auroc") for d in ("external", "nih", "vindr")
    )
    numbers = np.array([(there.value, there.low, there.high) for there in hospitals]).T
    assert (row.low, row.high) == pytest.approx(mean_interval("auroc", numbers[0], numbers[1:], np.eye(2)), abs=1e-9)
    # with many patients, this is the normal interval on the logit scale
    assert (row.low, row.high) == pytest.approx(on_logit_scale(scored.estimates["auroc/external"]), abs=0.02)
    of_extensions = ("net_benefit/", "reading_gap/")
    assert {name for name in scored.estimates if not name.startswith(of_extensions)} == {
        "auroc/chexpert",
        "auroc/nih",
        "auroc/vindr",
        "auroc/external",
        "gap/nih",
        "gap/vindr",
        "gap/external",
        *(f"{metric}/{name}" for metric in ("auprc", "ece") for name in ("chexpert", "nih", "vindr", "external")),
        *(f"auroc/external/{finding}" for finding in FINDINGS),
    }


def test_estimates_of_further_rankings_belong_to_the_scores(scored: RunScores) -> None:
    row = cell(scored.scores, dataset="external", finding="macro", metric="auprc")
    assert (row.low, row.high) == pytest.approx(on_logit_scale(scored.estimates["auprc/external"]), abs=0.05)
    gaps = scored.gaps.set_index(["dataset", "finding"])
    for finding in FINDINGS:
        value = gaps.loc[("external", finding), "external"]
        assert scored.estimates[f"auroc/external/{finding}"].value == pytest.approx(value)
    platt = cell(scored.scores, dataset="nih", finding="macro", metric="ece", calibrator="platt")
    assert scored.estimates["ece/nih"].value == platt.value
    for name, estimate in nonempty(scored.estimates.items()):
        assert np.isfinite([estimate.value, estimate.influence.error]).all(), name
        assert abs(sum(of.sum() for of in estimate.influence.of.values())) < 1e-9, name


def test_equal_internal_and_external_images_have_no_gap() -> None:
    internal = part("chexpert", "test", 2)
    twin = dataclasses.replace(internal, dataset="twin", split="all")
    gaps = score_run("r", FINDINGS, "chexpert", [internal, twin], QUICK).gaps.set_index(["dataset", "finding"])
    assert (gaps["value"] == 0).all()
    assert gaps.loc[("twin", "macro"), "low"] < 0 < gaps.loc[("twin", "macro"), "high"]


def test_an_increasing_transform_of_logits_keeps_the_ranking_metrics() -> None:
    bent = [dataclasses.replace(each, logit=np.float32(2) * each.logit + np.float32(1)) for each in parts()]
    one, two = (score_run("r", FINDINGS, "chexpert", each, QUICK).gaps for each in (parts(), bent))
    pd.testing.assert_frame_equal(one, two)


def test_scores_do_not_depend_on_the_order_of_images(scored: RunScores) -> None:
    order = np.random.default_rng(0).permutation(300)
    fields = ("image_id", "patient_id", "logit", "state")
    mixed = [dataclasses.replace(each, **{name: getattr(each, name)[order] for name in fields}) for each in parts()]
    again = score_run("abc", FINDINGS, "chexpert", mixed, QUICK)
    pd.testing.assert_frame_equal(scored.scores, again.scores, rtol=0, atol=1e-8)  # Platt's line: order of summation


def test_the_same_input_gives_the_same_bytes(scored: RunScores) -> None:
    again = score_run("abc", FINDINGS, "chexpert", parts(), QUICK)
    for name in ("scores", "gaps", "reliability", "operating_points"):
        files = [io.BytesIO(), io.BytesIO()]
        for result, file in zip((scored, again), files, strict=True):
            getattr(result, name).to_parquet(file, index=False)
        assert files[0].getvalue() == files[1].getvalue(), name


def test_a_finding_with_too_few_patients_is_nan_with_its_counts() -> None:
    few = part("nih", "all", 3)
    few.state[few.state[:, 0] == 1, 0] = 0
    few.state[:30, 0] = 1
    few.patient_id[:30] = "one patient"  # thirty positive images, one patient
    scores = score_run("r", FINDINGS, "chexpert", [*parts()[:2], few], QUICK).scores
    edema = scores[(scores["dataset"] == "nih") & (scores["finding"] == "Edema")]
    assert edema["value"].isna().all()
    assert edema["low"].isna().all()
    assert (edema["num_positive"] == 30).all()
    assert cell(scores, dataset="nih", finding="macro", metric="auroc").num_findings == 2
    lenient = score_run("r", FINDINGS, "chexpert", [*parts()[:2], few], Settings(min_count=1)).scores
    row = cell(lenient, dataset="nih", finding="Edema", metric="auroc")
    assert np.isfinite(row.value)
    assert row.low < row.value - 0.1, "one positive patient says little, whatever the variance"
    assert row.value < row.high


def test_not_mentioned_is_not_scored_where_it_does_not_mean_absent() -> None:
    silent = dataclasses.replace(part("nih", "all", 3), reading="unmentioned-dropped")
    row = cell(
        score_run("r", FINDINGS, "chexpert", [silent], QUICK).scores, dataset="nih", finding="Edema", metric="auroc"
    )
    assert row.n == np.isin(silent.state[:, 0], (0, 1)).sum()


def test_without_internal_validation_and_test_dependent_values_are_nan_or_absent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = score_run("r", FINDINGS, "chexpert", [part("nih", "all", 3)], QUICK)
    assert result.gaps.empty
    assert result.operating_points["threshold"].isna().all()
    assert np.isfinite(cell(result.scores, dataset="nih", finding="macro", metric="auroc").value)
    assert np.isnan(cell(result.scores, dataset="nih", finding="macro", metric="f1", operating_point="f1_max").value)
    assert np.isnan(cell(result.scores, dataset="nih", finding="macro", metric="ece", calibrator="platt").value)


def test_an_empty_split_and_no_splits_give_complete_tables_without_values() -> None:
    empty = ScoredSplit(
        "nih", "all", "report", *(np.zeros(0, object),) * 2, np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int8)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = score_run("r", FINDINGS, "chexpert", [*parts()[:2], empty], QUICK)
        nothing = score_run("r", FINDINGS, "chexpert", [], QUICK)
    assert result.scores.query("dataset in ('nih', 'external')")["value"].isna().all()
    assert tuple(nothing.scores.columns) == SCORES
    assert nothing.scores.empty
    assert nothing.scores["value"].dtype == result.scores["value"].dtype == np.float64
    assert nothing.scores["n"].dtype == np.int64


def test_invalid_splits_are_rejected() -> None:
    good = part("nih", "all", 3)
    spoilt = good.logit.copy()
    spoilt[[0, 7], 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 900 logits of nih/all"):
        dataclasses.replace(good, logit=spoilt)
    with pytest.raises(ValueError, match="listed twice"):
        dataclasses.replace(good, image_id=np.full(300, "same", object))
    with pytest.raises(ValueError, match="unknown label states"):
        dataclasses.replace(good, state=np.full((300, 3), 7, np.int8))
    with pytest.raises(ValueError, match="shapes do not match"):
        dataclasses.replace(good, state=good.state[:10])
    with pytest.raises(ValueError, match="more than one split of nih"):
        score_run("r", FINDINGS, "chexpert", [good, dataclasses.replace(good, split="test")], QUICK)
    with pytest.raises(ValueError, match="3 logits per image for 2 findings"):
        score_run("r", FINDINGS[:2], "chexpert", [good], QUICK)


def test_reliability_covers_internal_test_and_every_hospital_with_and_without_calibration(scored: RunScores) -> None:
    found = scored.reliability
    assert set(found["dataset"]) == {"chexpert", "nih", "vindr"}
    assert set(found["calibrator"]) == {"none", "platt"}
    at = scored.scores.query("dataset == 'vindr' and metric == 'auroc' and finding in @FINDINGS")
    assert found.query("dataset == 'vindr' and calibrator == 'none'")["count"].sum() == at["n"].sum()


def test_drift_is_the_external_minus_the_internal_error(scored: RunScores) -> None:
    where = {"finding": "Edema", "calibrator": "temperature"}
    there = cell(scored.scores, dataset="vindr", metric="ece", **where)
    here = cell(scored.scores, dataset="chexpert", split="test", metric="ece", **where)
    drift = cell(scored.scores, dataset="vindr", metric="ece_drift", **where)
    assert drift.value == pytest.approx(there.value - here.value)
    assert drift.low <= drift.value <= drift.high
    assert np.isfinite(cell(scored.scores, dataset="external", finding="macro", metric="brier_drift").value)
    assert np.isnan(cell(scored.scores, dataset="nih", finding="Lung Lesion", metric="ece_drift").value)


def test_confusion_counts_sum_to_the_images_and_give_the_scored_ratios(scored: RunScores) -> None:
    counts = scored.confusion.set_index(["dataset", "split", "finding", "operating_point"])
    assert set(scored.confusion["operating_point"]) == {"f1_max", "youden", "sens_90", "f1_grid"}
    row = counts.loc[("vindr", "test", "Edema", "f1_grid")]
    n = row[["true_positive", "false_positive", "false_negative", "true_negative"]].sum()
    found = {
        m: cell(scored.scores, dataset="vindr", finding="Edema", metric=m, operating_point="f1_grid")
        for m in ("npv", "precision", "sensitivity")
    }
    assert n == found["npv"].n
    assert found["npv"].value == pytest.approx(row.true_negative / (row.true_negative + row.false_negative))
    assert found["sensitivity"].value == pytest.approx(row.true_positive / (row.true_positive + row.false_negative))
    assert ("nih", "all", "Lung Lesion", "f1_max") not in counts.index
    assert ("chexpert", "val", "Edema", "f1_max") not in counts.index


def test_the_standard_errors_of_auroc_agree_with_one_image_per_patient() -> None:
    alone = dataclasses.replace(part("nih", "all", 3), patient_id=np.array([f"q{i}" for i in range(300)], object))
    of_run = score_run("r", FINDINGS, "chexpert", [alone], QUICK)
    assert of_run.delong["se_image"].to_numpy() == pytest.approx(of_run.delong["se_patient"].to_numpy(), rel=1e-9)
    stored = [float(of_run.estimates[f"auroc/external/{finding}"].influence.error) for finding in FINDINGS]
    assert stored == pytest.approx(of_run.delong["se_patient"].to_list(), rel=0.02), "up to n / (n - 1)"


@pytest.mark.parametrize("spoilt", ["constant", "one class", "one patient"])
def test_unusable_cohorts_give_nan_or_chance_with_counts_and_no_warning(spoilt: str) -> None:
    bad = part("nih", "all", 3)
    if spoilt == "constant":
        bad.logit[:] = 0.25
    elif spoilt == "one class":
        bad.state[:] = 1
    else:
        bad.patient_id[:] = "p"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score_run("r", FINDINGS, "chexpert", [*parts()[:2], bad], QUICK).scores
    there = found[(found["dataset"] == "nih") & (found["metric"] == "auroc")]
    single = there[~there["finding"].str.startswith("macro")]
    assert (single["n"] > 200).all()
    if spoilt == "constant":
        assert (there["value"] == 0.5).all()
        assert there["low"].between(0.3, 0.499).all()
        assert there["high"].to_numpy() == pytest.approx(1 - there["low"].to_numpy(), abs=1e-12)
    else:
        assert there["value"].isna().all()
        assert there["low"].isna().all()


def test_perfect_separations_of_few_patients_have_intervals_in_all_tables() -> None:
    label = np.repeat([1, 0], [10, 150])
    ids = [f"p{i}" for i in range(160)]
    splits = [
        ScoredSplit(
            dataset,
            split,
            "report",
            np.array([f"{dataset}{split}{i}" for i in ids], object),
            np.array(ids, object),
            np.linspace(3, -3, 160, dtype=np.float32)[:, None],
            label[:, None].astype(np.int8),
        )
        for dataset, split in (("chexpert", "val"), ("chexpert", "test"), ("nih", "all"), ("vindr", "all"))
    ]
    found = score_run("r", ["Edema"], "chexpert", splits, QUICK)
    areas = found.scores[found.scores["metric"].isin(["auroc", "auprc"])]
    assert len(areas) > 12
    assert (areas["value"] == 1).all()
    assert (areas["high"] == 1).all()
    assert ((areas["low"] > 0.6) & (areas["low"] < 0.97)).all()
    external = areas[(areas["dataset"] == "external") & (areas["metric"] == "auroc")]["low"]
    assert (external > areas[(areas["dataset"] == "nih") & (areas["metric"] == "auroc")]["low"].max()).all()
    assert (found.gaps["value"] == 0).all()
    assert ((found.gaps["low"] < -0.03) & (found.gaps["high"] > 0.03)).all()


def test_a_hospital_of_children_has_scores_and_a_gap_but_is_in_no_mean_over_hospitals() -> None:
    children = dataclasses.replace(part("guangzhou", "test", 9, 2.0), of_children=True)
    alone = score_run("r", FINDINGS, "chexpert", parts(), QUICK)
    both = score_run("r", FINDINGS, "chexpert", [*parts(), children], QUICK)
    for table in ("scores", "gaps"):
        rows = getattr(both, table)
        own = rows["dataset"] == "guangzhou"
        assert own.any()
        pd.testing.assert_frame_equal(
            *(
                frame.sort_values(list(frame)[:8]).reset_index(drop=True)
                for frame in (rows[~own], getattr(alone, table))
            )
        )
    only = score_run("r", FINDINGS, "chexpert", [*parts()[:2], children], QUICK).scores
    assert (only["dataset"] == "external").any()  # all hospitals are of children, so the mean is over children
