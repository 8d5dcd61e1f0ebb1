"""Metrics of subgroups, and intervals of extremes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from bench.config.settings import Settings
from bench.scoring import metrics
from bench.scoring.max_intervals import largest, spread
from bench.scoring.metric_bounds import bounds_of
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from harmonize.labels.findings import UNMAPPED_CODE
from tests.nonempty import nonempty

FINDINGS = ("No Finding", "Edema")
NUM = 1200


def part(dataset: str, split: str, seed: int) -> ScoredSplit:
    """Return splits with two findings: worse AUROC and more underdiagnosis in women, and 30 patients over 80."""
    draw = np.random.default_rng(seed)
    female = draw.random(NUM) < 0.5
    edema = draw.random(NUM) < 0.4
    healthy = ~edema & (draw.random(NUM) < 0.8)
    state = np.stack([healthy, edema], 1).astype(np.int8)
    strength = np.where(female, 0.7, 2.0)[:, None]
    logit = draw.normal(size=(NUM, 2)) + strength * state
    logit[:, 0] += 0.8 * (female & edema)
    age = np.where(np.arange(NUM) < 8, 85.0, np.where(np.arange(NUM) < 20, np.nan, draw.integers(20, 80, NUM)))
    device = np.where(draw.random(NUM) < 0.5, "one", "two").astype(object)
    known = PatientGroups(np.where(female, "F", "M").astype(object), age, np.full(NUM, "PA", object), device)
    ids = np.array([f"{split}{i}" for i in range(NUM)], object)
    return ScoredSplit(dataset, split, "report", ids, ids, logit.astype(np.float32), state, patient_groups=known)


PARTS = [part("internal", "val", 1), part("internal", "test", 2), part("there", "all", 3), part("elsewhere", "all", 4)]


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("r", FINDINGS, "internal", PARTS, Settings())


@pytest.fixture(scope="module")
def there(scored: RunScores) -> pd.DataFrame:
    table = scored.detail["subgroups"]
    return table[table["dataset"] == "there"].set_index(["subgroup", "metric", "finding"])


def test_a_group_has_the_metrics_of_its_images_at_the_internal_threshold(
    scored: RunScores, there: pd.DataFrame
) -> None:
    points = scored.operating_points.set_index(["finding", "rule"])["threshold"]
    women = PARTS[2].patient_groups.sex == "F"  # type: ignore[union-attr]
    label, logit = PARTS[2].state[women, 1], PARTS[2].logit[women, 1]
    called = logit >= points["Edema", "f1_max"]
    assert there.loc[("sex=F", "auroc", "Edema"), "value"] == metrics.auroc(label, logit)
    assert there.loc[("sex=F", "fnr", "Edema"), "value"] == pytest.approx(1 - metrics.sensitivity(label, called))
    assert there.loc[("sex=F", "fpr", "Edema"), "value"] == pytest.approx(1 - metrics.specificity(label, called))
    assert there.loc[("sex=F", "fnr", "Edema"), "operating_point"] == "f1_max"
    assert there.loc[("sex=F", "auroc", "Edema"), ["n", "num_positive"]].tolist() == [women.sum(), label.sum()]


def test_the_group_all_has_the_rates_of_the_scores(scored: RunScores, there: pd.DataFrame) -> None:
    scores = scored.scores
    chosen = scores[
        (scores["dataset"] == "there") & (scores["finding"] == "Edema") & (scores["operating_point"] == "f1_max")
    ]
    row = chosen[chosen["metric"] == "sensitivity"].iloc[0]
    everyone = there.loc[("all", "fnr", "Edema")]
    assert everyone["value"] == pytest.approx(1 - row["value"])
    assert (everyone["low"], everyone["high"]) == pytest.approx((1 - row["high"], 1 - row["low"]))
    assert ("all", "auroc", "Edema") not in there.index


def test_underdiagnosis_counts_images_with_a_finding_that_are_called_healthy(
    scored: RunScores, there: pd.DataFrame
) -> None:
    threshold = scored.operating_points.set_index(["finding", "rule"])["threshold"]["No Finding", "f1_max"]
    men = PARTS[2].patient_groups.sex == "M"  # type: ignore[union-attr]
    called = PARTS[2].logit[:, 0] >= threshold
    sick, healthy = PARTS[2].state[:, 1] == 1, PARTS[2].state[:, 0] == 1
    under, over = (there.loc[("sex=M", name, "No Finding")] for name in ("underdiagnosis", "overdiagnosis"))
    assert under["value"] == pytest.approx(called[men & sick].mean())
    assert over["value"] == pytest.approx((~called[men & healthy]).mean())
    assert (under["n"], under["num_positive"]) == ((men & sick).sum(), (men & sick & called).sum())
    women = there.loc[("sex=F", "underdiagnosis", "No Finding")]
    assert women["low"] > under["high"]
    assert there.loc[("sex", "underdiagnosis_spread", "No Finding"), "low"] > 0


def test_a_group_with_worse_auroc_is_detected_and_an_equal_group_is_not(there: pd.DataFrame) -> None:
    sex, device = (there.loc[(name, "auroc_spread", "macro")] for name in ("sex", "device"))
    values = [there.loc[(f"sex={s}", "auroc", "macro"), "value"] for s in "FM"]
    assert sex["value"] == pytest.approx(max(values) - min(values))
    assert sex["low"] > 0.1
    assert device["low"] == 0
    assert device["value"] < 0.05


def test_rates_have_no_macro_even_if_only_no_finding_is_labeled() -> None:
    state = PARTS[2].state.copy()
    state[:, 1] = UNMAPPED_CODE
    parts = [*PARTS[:2], replace(PARTS[2], state=state)]
    found = score_run("r", FINDINGS, "internal", parts, Settings()).detail["subgroups"]
    of = found[found["metric"].isin(["underdiagnosis", "overdiagnosis"])]
    assert set(of["finding"]) == {"No Finding"}
    assert set(of["dataset"]) == {"internal", "there"}


def test_groups_with_too_few_patients_have_no_value_and_unknown_ages_no_group(there: pd.DataFrame) -> None:
    old = there.loc[("age=>80", "auroc", "Edema")]
    assert np.isnan(old["value"])
    assert old["n"] == 8
    ages = [name for name in there.index.get_level_values(0).unique() if name.startswith("age=")]
    assert ages == ["age=<40", "age=40-60", "age=60-80", "age=>80"]
    assert sum(there.loc[(age, "auroc", "Edema"), "n"] for age in ages) == NUM - 12
    assert there.loc[("age", "auroc_spread", "Edema"), "value"] < 0.2


def test_sex_and_age_are_crossed_and_the_macro_says_how_many_findings_it_has(there: pd.DataFrame) -> None:
    row = there.loc[("sex=F age=40-60", "auroc", "macro")]
    single = [there.loc[("sex=F age=40-60", "auroc", finding), "value"] for finding in FINDINGS]
    assert row["value"] == pytest.approx(np.mean(single))
    assert row["num_findings"] == 2
    assert there.loc[("sex=F age=>80", "auroc", "macro"), "num_findings"] == 0


def test_without_attributes_there_are_no_subgroups() -> None:
    bare = [ScoredSplit(p.dataset, p.split, p.reference, p.image_id, p.patient_id, p.logit, p.state) for p in PARTS[:3]]
    assert score_run("r", FINDINGS, "internal", bare, Settings()).detail["subgroups"].empty


def test_the_worst_hospital_has_the_largest_gap_and_its_name(scored: RunScores) -> None:
    rows = scored.detail["references"].set_index(["dataset", "finding"])
    gaps = scored.gaps.set_index(["dataset", "finding"])["value"]
    for finding in (*FINDINGS, "macro"):
        worst = rows.loc[("worst", finding)]
        assert worst["value"] == max(gaps["there", finding], gaps["elsewhere", finding])
        assert gaps[worst["hospital"], finding] == worst["value"]
        assert worst["low"] < worst["value"] < worst["high"]


@pytest.mark.parametrize("truth", [[0.0] * 5, [0.0, 0.0, 0.0, 0.0, 3.0]])
def test_the_interval_of_a_maximum_covers_the_truth_even_if_all_values_are_equal(truth: list[float]) -> None:
    draw = np.random.default_rng(0)
    held = {"largest": 0, "spread": 0}
    for _ in range(300):
        value = np.array(truth) + draw.normal(size=5)
        most = largest(value, np.stack([value - 1.96, value + 1.96]), np.eye(5))
        _, low, high = spread(value, np.eye(5))
        held["largest"] += most.low <= max(truth) <= most.high
        held["spread"] += low <= max(truth) - min(truth) <= high
    assert min(held.values()) >= 0.93 * 300


def test_a_rate_of_zero_has_an_interval_with_a_width_and_its_spread_has_none() -> None:
    quiet = [
        ScoredSplit(
            p.dataset,
            p.split,
            p.reference,
            p.image_id,
            p.patient_id,
            p.logit.copy(),
            p.state,
            patient_groups=p.patient_groups,
        )
        for p in PARTS[:3]
    ]
    assert quiet[2].patient_groups is not None
    women = quiet[2].patient_groups.sex == "F"
    quiet[2].logit[women, 0] = -9
    table = score_run("r", FINDINGS, "internal", quiet, Settings()).detail["subgroups"]
    rows = table[table["dataset"] == "there"].set_index(["subgroup", "metric", "finding"])
    none = rows.loc[("sex=F", "underdiagnosis", "No Finding")]
    assert none["value"] == none["low"] == 0
    _, high = proportion_confint(0, none["num_patients"], method="agresti_coull")
    assert none["high"] == pytest.approx(high)
    assert np.isnan(rows.loc[("sex", "underdiagnosis_spread", "No Finding"), "low"])


def test_each_value_lies_in_its_interval_which_ends_at_the_bounds_of_its_metric() -> None:
    """A spread between AUROCs near 1 and near 0 of 20 patients each has the upper bound 1."""
    few = [replace_rows(of, slice(0, 40)) for of in PARTS]
    found = score_run("r", FINDINGS, "internal", few, Settings(min_count=3))
    rows = pd.concat([found.scores, found.detail["subgroups"]]).dropna(subset=["low", "high"])
    ends = np.array([bounds_of(str(metric)) for metric in nonempty(rows["metric"])])
    below = rows.loc[ends[:, 0] > rows["low"], "metric"]
    assert set(below) <= {"brier_resolution"}  # of bins: it may itself be slightly below 0
    assert (rows["low"] <= rows["value"]).all()
    assert (rows["value"] <= rows["high"]).all()
    assert (rows["high"] <= ends[:, 1]).all()
    assert rows["metric"].str.endswith("_spread").any()


def replace_rows(of: ScoredSplit, rows: slice) -> ScoredSplit:
    """Return some images of a split, with groups of few images: logits nearly separate the findings, in men the wrong way round."""
    groups = of.patient_groups
    assert groups is not None
    known = PatientGroups(groups.sex[rows], groups.age[rows], groups.view[rows], groups.device[rows])
    logit = of.logit[rows] / 2 + of.state[rows] * np.where(groups.sex[rows] == "F", 1.5, -2.0)[:, None]
    return replace(
        of,
        image_id=of.image_id[rows],
        patient_id=of.patient_id[rows],
        logit=logit.astype(np.float32),
        state=of.state[rows],
        patient_groups=known,
    )


def test_extremes_of_no_values_are_nan() -> None:
    nothing = np.full(2, np.nan)
    assert np.isnan(largest(nothing, np.stack([nothing] * 2), np.full((2, 2), np.nan)).value)
    assert np.isnan(spread(np.array([0.5, np.nan]), np.eye(2))).all()


def test_the_largest_of_gaps_has_no_interval_if_its_own_is_unknown() -> None:
    most = largest(np.array([0.5, 0.1]), np.array([[np.nan, 0.05], [np.nan, 0.15]]), np.eye(2) / 2500)
    assert most[:2] == (0, 0.5)
    assert np.isnan(most[2:]).all(), "an interval of the smaller gap does not contain the larger"


def test_the_largest_of_gaps_without_a_variance_keeps_the_widths_of_their_intervals() -> None:
    most = largest(np.zeros(2), np.array([[-0.1, -0.2], [0.1, 0.2]]), np.zeros((2, 2)))
    assert most.low <= -0.1
    assert most.high == 0.2
