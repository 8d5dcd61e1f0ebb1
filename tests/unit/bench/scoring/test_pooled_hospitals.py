"""Scores of a pool: each hospital alone, then the mean; the oracle is scikit-learn on the images of each hospital."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.config.settings import Settings
from bench.scoring.across_runs.paired_runs import ScoredRun, differences
from bench.scoring.metrics_of_split import AUROC
from bench.scoring.pooled_hospitals import hospital_parts, measure_hospitals
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit

FINDINGS = ("Edema", "Consolidation")
SETTINGS = Settings(min_count=3)
HOSPITALS = {"a": (120, 0.15, 0.8), "b": (60, 0.7, 1.6)}  # images, prevalence, separation of the classes


def pooled_split(split: str, seed: int, noise: float = 1.0) -> ScoredSplit:
    """Return a split of two hospitals with different prevalence, whose network tells the hospitals apart."""
    rng = np.random.default_rng(seed)
    ids, patients, logits, states = [], [], [], []
    for name, (num, prevalence, separation) in HOSPITALS.items():
        state = (rng.random((num, 2)) < prevalence).astype(np.int8)
        # the logit of every image of hospital b is higher by 3: this raises the AUROC of the pooled images only
        logits.append(separation * state + noise * rng.normal(size=(num, 2)) + 3 * (name == "b"))
        states.append(state)
        ids += [f"{name}/{split}{i}" for i in range(num)]
        patients += [f"{name}/{split}p{i // 2}" for i in range(num)]
    arrays: list[Any] = [np.array(ids, object), np.array(patients, object)]
    return ScoredSplit(
        "a+b", split, "report", *arrays, np.concatenate(logits).astype(np.float32), np.concatenate(states)
    )


def oracle(scored: ScoredSplit, k: int) -> float:
    """Return the mean over hospitals of the AUROC of finding k, by scikit-learn."""
    hospital = np.array([str(i)[0] for i in scored.image_id])
    return float(np.mean([roc_auc_score(scored.state[hospital == h, k], scored.logit[hospital == h, k]) for h in "ab"]))


def test_a_score_of_a_pool_is_the_mean_over_hospitals_and_not_that_of_the_pooled_images() -> None:
    scored = pooled_split("test", 0)
    pool, *parts = measure_hospitals(scored, None, SETTINGS)
    for k in range(2):
        assert pool.value[AUROC][k] == pytest.approx(oracle(scored, k), abs=1e-12)
        assert roc_auc_score(scored.state[:, k], scored.logit[:, k]) > pool.value[AUROC][k] + 0.05
    assert [part.scored.split for part in parts] == ["test:a", "test:b"]
    halves = np.concatenate([part.influence[AUROC] / 2 for part in parts], axis=1)
    np.testing.assert_allclose(pool.influence[AUROC], halves)
    assert pool.counts.n.tolist() == [180, 180]


def test_a_finding_that_one_hospital_cannot_score_has_the_value_of_the_other() -> None:
    scored = pooled_split("test", 1)
    state = scored.state.copy()
    state[scored.image_id.astype(str) < "b", 0] = -3  # hospital a has no labels of the first finding
    pool, of_a, of_b = measure_hospitals(
        ScoredSplit("a+b", "test", "report", scored.image_id, scored.patient_id, scored.logit, state), None, SETTINGS
    )
    assert pool.value[AUROC][0] == of_b.value[AUROC][0]
    num_of_a = of_a.sample.num_groups
    np.testing.assert_array_equal(pool.influence[AUROC][0, num_of_a:], of_b.influence[AUROC][0])
    assert (pool.influence[AUROC][0, :num_of_a] == 0).all()


def test_sizes_are_those_of_the_hospitals_behind_a_value() -> None:
    val, test = pooled_split("val", 9), pooled_split("test", 10)
    of_a = test.image_id.astype(str) < "b"
    state = test.state.copy()
    state[np.flatnonzero(of_a & (state[:, 0] == 1))[2:], 0] = 0  # hospital a has two patients with Edema: too few
    test = ScoredSplit("a+b", "test", "report", test.image_id, test.patient_id, test.logit, state)
    table = score_run("r", FINDINGS, "a+b", [val, test], SETTINGS).scores
    rows = table[(table["split"] == "test") & (table["metric"] == "auroc")].set_index("finding")
    assert rows.loc["Edema", ["n", "num_patients"]].tolist() == [60, 30]
    assert rows.loc["Edema", "num_positive"] == (state[~of_a, 0] == 1).sum()
    assert rows.loc["Consolidation", ["n", "num_patients"]].tolist() == [180, 90]
    assert rows.loc["Consolidation", "num_positive"] == (state[:, 1] == 1).sum()
    # of a mean over findings: the least number of images behind the value of a finding
    assert rows.loc["macro", ["n", "num_findings"]].tolist() == [60, 2]


def test_a_cohort_of_one_hospital_has_no_parts() -> None:
    scored = pooled_split("test", 2)
    alone = ScoredSplit("a", "test", "report", scored.image_id, scored.patient_id, scored.logit, scored.state)
    assert hospital_parts(alone) == []
    assert len(measure_hospitals(alone, None, SETTINGS)) == 1


def test_scores_have_a_split_for_each_hospital_of_the_pool() -> None:
    val, test = pooled_split("val", 3), pooled_split("test", 4)
    scores = score_run("r", FINDINGS, "a+b", [val, test], SETTINGS).scores
    rows = scores[(scores["metric"] == "auroc") & (scores["finding"] == "macro")].set_index("split")["value"]
    assert set(rows.index) == {"val", "test", "val:a", "val:b", "test:a", "test:b"}
    assert rows["test"] == pytest.approx((rows["test:a"] + rows["test:b"]) / 2)
    assert rows["test"] == pytest.approx(np.mean([oracle(test, k) for k in range(2)]))


def test_a_paired_comparison_of_pools_compares_the_means_over_hospitals() -> None:
    val, test = pooled_split("val", 5), pooled_split("test", 6)
    rng = np.random.default_rng(0)
    worse = test.of_run((test.logit + rng.normal(size=test.logit.shape) * 2).astype(np.float32))
    runs = [ScoredRun(FINDINGS, "a+b", [val, scored]) for scored in (test, worse)]
    table = differences(runs[0], runs[1], AUROC, SETTINGS)
    macro = table[(table["finding"] == "macro")].set_index("split")
    assert macro.loc["test", "first"] == pytest.approx(np.mean([oracle(test, k) for k in range(2)]))
    assert macro.loc["test", "difference"] == pytest.approx(
        macro.loc[["test:a", "test:b"], "difference"].mean(), abs=1e-12
    )
    of_pool = table[(table["split"] == "test") & (table["finding"] != "macro")]
    assert of_pool["p_delong"].isna().all()
    assert table.loc[table["split"] == "test:a", "p_delong"].notna().any()


def test_runs_that_share_one_hospital_of_a_pool_are_compared_there_once() -> None:
    """Each test counts once in the correction for several tests, and DeLong's test of one hospital is given."""
    val, test = pooled_split("val", 5), pooled_split("test", 6)
    of_a = test.image_id.astype(str) < "b"
    arrays = {name: getattr(test, name)[of_a] for name in ("image_id", "patient_id", "logit", "state")}
    first = ScoredRun(FINDINGS, "a+b", [val, test])
    logit = np.random.default_rng(0).normal(arrays["logit"], 2).astype(np.float32)
    second = ScoredRun(FINDINGS, "a+b", [val, replace(test, **{**arrays, "logit": logit})])
    table = differences(first, second, AUROC, SETTINGS)
    assert set(table["split"]) == {"test"}
    alone = [
        ScoredRun(FINDINGS, "a", [replace(test, dataset="a", **{**arrays, "logit": scores})])
        for scores in (arrays["logit"], logit)
    ]
    expected = differences(alone[0], alone[1], AUROC, SETTINGS)
    for column in ("first", "second", "difference", "p_delong", "p_patient", "n"):
        np.testing.assert_allclose(table[column], expected[column])
    assert table["p_delong"].notna().sum() == 2


def test_the_estimates_of_a_run_have_each_hospital_of_the_pool() -> None:
    val, test = pooled_split("val", 7), pooled_split("test", 8)
    found = score_run("r", FINDINGS, "a+b", [val, test], SETTINGS).estimates
    of_hospitals = [found[f"auroc/a+b/test:{name}"] for name in HOSPITALS]
    assert np.mean([of.value for of in of_hospitals]) == pytest.approx(found["auroc/a+b"].value)
    errors = [float(of.influence.error) for of in of_hospitals]
    assert found["auroc/a+b"].influence.error == pytest.approx(np.hypot(*errors) / 2), "independent patients"
    assert {name for name in found if ":" in name} == {"auroc/a+b/test:a", "auroc/a+b/test:b"}
