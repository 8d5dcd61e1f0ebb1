from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from bench.extensions.decisions.calls import GOALS, DecisionThresholds, for_goals
from bench.scoring.intervals import share_interval
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.thresholds import sens_90
from tests.nonempty import nonempty
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, parts

QUANTITIES = ("sensitivity", "specificity", "called", "missed", "ppv", "npv")


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "chexpert", parts(), QUICK)


def test_a_threshold_reaches_its_goal_and_the_next_score_does_not() -> None:
    label = np.array([0] * 20 + [1] * 20, np.int8)
    score = np.concatenate([np.arange(20), np.arange(10, 30)]).astype(np.float32)
    at = dict(zip(GOALS, for_goals(label, score), strict=True))
    assert at["sensitivity", 0.9] == sens_90(label, score) == 12
    assert at["sensitivity", 0.95] == 11
    assert at["specificity", 0.9] == 18
    assert at["specificity", 0.95] == 19


@given(st.integers(0, 10_000))
def test_goals_hold_on_the_images_that_set_the_threshold(seed: int) -> None:
    draw = np.random.default_rng(seed)
    label, score = (draw.random(40) < 0.4).astype(np.int8), draw.normal(size=40).round(1)
    for (goal, level), at in nonempty(zip(GOALS, for_goals(label, score), strict=True)):
        if np.isnan(at):
            # a class is absent, or the highest score already has too many negatives
            top = np.mean(score[label == 0] < score.max()) if (label == 0).any() else 0
            assert label.min() == label.max() or (goal == "specificity" and top < level)
            continue
        called = score >= at
        reached = called[label == 1].mean() if goal == "sensitivity" else (~called)[label == 0].mean()
        assert reached >= level - 1e-9
        other = score[score > at] if goal == "sensitivity" else score[score < at]
        if len(other):
            nearest = other.min() if goal == "sensitivity" else other.max()
            called = score >= nearest
            further = called[label == 1].mean() if goal == "sensitivity" else (~called)[label == 0].mean()
            assert further < level


def test_a_class_that_is_absent_gives_no_threshold() -> None:
    assert np.isnan(for_goals(np.ones(5, np.int8), np.arange(5.0))).all()


def test_the_workload_has_the_shares_of_the_images_at_the_internal_threshold(scored: RunScores) -> None:
    splits, table = parts(), scored.detail["workload"].set_index(["dataset", "finding", "goal", "level"])
    chosen = DecisionThresholds.choose(splits[0], np.ones(len(FINDINGS), bool))
    for g, (goal, level) in enumerate(GOALS):
        for k, finding in enumerate(FINDINGS):
            row, label, logit = (
                table.loc[("vindr", finding, goal, level)],
                splits[3].labels()[:, k],
                splits[3].logit[:, k],
            )
            called, positive = logit[label >= 0] >= chosen.goal[g, k], label[label >= 0] == 1
            assert row["threshold"] == chosen.goal[g, k]
            expected = {
                "sensitivity": called[positive].mean(),
                "specificity": (~called)[~positive].mean(),
                "called": called.mean(),
                "missed": (positive & ~called).mean(),
                "ppv": positive[called].mean(),
                "npv": (~positive)[~called].mean(),
            }
            assert row[list(expected)].to_list() == pytest.approx(list(expected.values()), abs=1e-12)
            assert all(row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] for name in expected)


def test_sensitivity_90_has_the_value_of_the_rule_sens_90(scored: RunScores) -> None:
    table = scored.detail["workload"].query("goal == 'sensitivity' and level == .9 and dataset != 'external'")
    scores = scored.scores[scored.scores["operating_point"] == "sens_90"]
    scores = scores[(scores["dataset"] != "chexpert") | (scores["split"] == "test")]
    assert len(table) == 8
    for row in table.to_dict("records"):
        same = scores[(scores["dataset"] == row["dataset"]) & (scores["finding"] == row["finding"])].set_index("metric")
        for ours, theirs in (("sensitivity", "sensitivity"), ("specificity", "specificity"), ("ppv", "precision")):
            assert row[ours] == same.loc[theirs, "value"]
            bounds = [row[f"{ours}_low"], row[f"{ours}_high"]]
            assert bounds == pytest.approx(same.loc[theirs, ["low", "high"]].tolist(), abs=1e-12)


def test_an_interval_has_the_effective_number_of_images_that_the_influences_of_patients_imply(
    scored: RunScores,
) -> None:
    split = parts()[3]
    label, row = split.labels()[:, 0] == 1, scored.detail["workload"].query("dataset == 'vindr'").iloc[0]
    called, patient = split.logit[:, 0] >= row["threshold"], split.patient_id
    for name, event, of in (("sensitivity", called, label), ("missed", label & ~called, split.labels()[:, 0] >= 0)):
        share = event[of].mean()
        variance = (pd.Series(event[of] - share).groupby(patient[of]).sum() ** 2).sum() / of.sum() ** 2
        images = np.unique(patient[of], return_counts=True)[1]
        people = images.sum() ** 2 / (images**2).sum()
        events = share * (1 - share) * people
        estimate = min(share * (1 - share) * (1 - 1 / people) / variance, of.sum())
        num = (events + 0.5) / (events / estimate + 0.5 / people)
        low, high = proportion_confint(share * num, num, method="agresti_coull")
        assert [row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx([low, high], abs=1e-9)


def test_a_share_of_one_or_zero_has_an_interval_with_a_width() -> None:
    splits = parts()
    separated = [replace(split, logit=(3 * split.labels()).astype(np.float32)) for split in splits]
    found = score_run("abc", FINDINGS, "chexpert", separated, QUICK).detail["workload"]
    row = found[(found["dataset"] == "vindr") & (found["goal"] == "sensitivity") & (found["level"] == 0.95)].iloc[0]
    label = splits[3].labels()[:, FINDINGS.index(row["finding"])]
    assert row["sensitivity"] == row["specificity"] == row["ppv"] == row["npv"] == 1
    # all images of a patient can have one label: a share of 1 is known from no more than the patients
    for name, of in (
        ("sensitivity", label == 1),
        ("specificity", label == 0),
        ("ppv", label == 1),
        ("npv", label == 0),
    ):
        images = np.unique(splits[3].patient_id[of], return_counts=True)[1]
        patients = images.sum() ** 2 / (images**2).sum()
        low, high = proportion_confint(patients, patients, method="agresti_coull")
        assert [row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx([low, high], abs=1e-12)


def test_a_share_without_events_counts_patients_and_one_with_many_events_counts_images() -> None:
    def bounds(share: float, deviation: float, images: float, patients: float) -> list[float]:
        both = share_interval(*(np.array([x]) for x in (share, deviation, images, patients)))
        return [float(bound[0]) for bound in both]

    for num in (0, 100):
        expected = proportion_confint(num, 100, method="agresti_coull")
        assert bounds(num / 100, 0.0, 300.0, 100.0) == pytest.approx(expected, abs=1e-12)
    independent_images = (0.3 * 0.7 / 30_000) ** 0.5
    expected = proportion_confint(9000, 30_000, method="wilson")
    assert bounds(0.3, independent_images, 30_000.0, 10_000.0) == pytest.approx(expected, rel=1e-3)
    # a variance that is too small for this number of images is not believed
    assert bounds(0.3, independent_images / 9, 30_000.0, 10_000.0) == pytest.approx(expected, rel=1e-3)
    few = bounds(0.01, 0.001, 300.0, 100.0)
    of_images, of_patients = (proportion_confint(0.01 * num, num, method="agresti_coull")[1] for num in (300, 100))
    assert of_images < few[1] < of_patients
    assert np.isnan(bounds(float("nan"), 0.0, 1.0, 1.0)).all()


def test_the_external_row_is_the_mean_over_hospitals(scored: RunScores) -> None:
    table = scored.detail["workload"].set_index(["dataset", "finding", "goal", "level"])
    key = (FINDINGS[0], "specificity", 0.9)
    for name in QUANTITIES:
        mean = (table.loc[("nih", *key), name] + table.loc[("vindr", *key), name]) / 2
        assert table.loc[("external", *key), name] == pytest.approx(mean, abs=1e-12)


def test_a_cohort_that_cannot_state_a_finding_has_no_rows(scored: RunScores) -> None:
    table: pd.DataFrame = scored.detail["workload"]
    assert table[(table["dataset"] == "nih") & (table["finding"] == FINDINGS[2])].empty
