"""The rankings by the AUROC at a new hospital have the tests of the literature, and rarely a wrong verdict."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import nct, norm, ttest_rel
from statsmodels.stats.multitest import multipletests

from bench.extensions.next_hospital.rankings import EXPECTED, LOWER_END, common_variance, errors, p_values, ranks
from bench.extensions.next_hospital.rankings import over_seeds as over_seeds_of
from bench.scoring.across_runs.covariances import Covariances
from benchmarks.next_hospital_ranks import rows
from reports.schemas.tables import SCHEMAS
from tests.drawn_scores import covariances, stored

TABLE = Path(__file__).parents[3] / "benchmarks" / "next_hospital_ranks.csv"
VALUE = np.array([[1.3, 1.1, 0.9, 1.4, 1.2], [1.0, 1.05, 0.7, 1.0, 1.1], [0.9, 0.6, 0.65, 1.1, 0.7]])
NONE = np.zeros((3, 3))
FIRST, SECOND = np.triu_indices(3, 1)


def test_expected_values_are_compared_by_paired_t_tests_with_holms_correction() -> None:
    plain = [ttest_rel(VALUE[i], VALUE[j]).pvalue for i, j in zip(FIRST, SECOND, strict=True)]
    expected = multipletests(plain, method="holm")[1]
    p = p_values(EXPECTED, VALUE, NONE)
    assert p[FIRST, SECOND] == pytest.approx(expected, rel=1e-9)
    assert p[SECOND, FIRST] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shift", [-0.02, 0.02])
def test_a_lower_end_is_better_if_a_tolerance_limit_of_the_differences_is_above_0(shift: float) -> None:
    difference = VALUE[0] - VALUE[2]
    factor = nct.ppf(0.95, 4, norm.ppf(0.975) * np.sqrt(5)) / np.sqrt(5)  # Owen's factor: 95 % confidence in 97.5 %
    better = VALUE[:1] + factor * difference.std(ddof=1) - difference.mean() + shift
    p = p_values(LOWER_END, np.concatenate([better, VALUE[2:]]), NONE[:2, :2])
    assert (p[0, 1] < 0.05) == (shift > 0)
    assert p[0, 1] == pytest.approx(0.05, abs=0.01)


def test_an_error_that_hospitals_share_makes_a_verdict_harder() -> None:
    alone, shared = (p_values(EXPECTED, VALUE, np.full((3, 3), common))[0, 2] for common in (0.0, 0.1))
    assert alone < 0.05 < shared


def test_pairs_are_compared_over_shared_hospitals_only() -> None:
    value = VALUE.copy()
    value[1, 3:] = np.nan
    p = p_values(EXPECTED, value, NONE)
    assert p[0, 1] == pytest.approx(min(1, multipletests([
        ttest_rel(VALUE[0, :3], VALUE[1, :3]).pvalue, ttest_rel(VALUE[1, :3], VALUE[2, :3]).pvalue,
        ttest_rel(VALUE[0], VALUE[2]).pvalue], method="holm")[1][0]))  # fmt: skip
    value[1, 2] = np.nan
    p = p_values(EXPECTED, value, NONE)
    assert np.isnan(p[0, 1])
    assert p[0, 2] == pytest.approx(ttest_rel(VALUE[0], VALUE[2]).pvalue)


def test_copies_and_pairs_in_the_other_order_are_tied() -> None:
    assert p_values(EXPECTED, VALUE[[0, 0]], NONE[:2, :2])[0, 1] == 1
    assert p_values(EXPECTED, VALUE[::-1], NONE)[0, 2] == 1
    assert p_values(LOWER_END, VALUE[::-1], NONE)[0, 2] == 1


def test_the_common_variance_is_the_mean_covariance_of_the_differences() -> None:
    root = np.random.default_rng(0).standard_normal((3, 5, 5)) + 1
    seeds = root @ root.transpose(0, 2, 1)  # [R, H, H]
    value = VALUE.copy()
    value[2, 4] = np.nan
    common = common_variance(value, seeds)
    for i, j, num in ((0, 1, 5), (0, 2, 4)):
        covariance = (seeds[i] + seeds[j])[:num, :num]
        assert common[i, j] == pytest.approx(covariance[~np.eye(num, dtype=bool)].mean())
    assert common.diagonal() == pytest.approx(0)


def test_drawn_errors_have_the_covariances_of_patients_and_of_seeds() -> None:
    draw, names, hospitals = np.random.default_rng(4), ["a", "b"], list("vwxyz")
    shared = draw.normal(0, 0.02, (5, 400))  # the same patients
    drawn = {
        run: {f"auroc/{h}": 0.7 + shared[k] + draw.normal(0, 0.01, 400) for k, h in enumerate(hospitals)}
        for run in names
    }
    value = np.full((2, 5), logit(0.7))
    value[1, 4] = np.nan
    over_seeds = {"a": 0.015**2, "b": 0.0}
    estimates = stored(drawn)
    both = Covariances(estimates, {run: [[run]] for run in names}, lambda *_: over_seeds)
    seeds = over_seeds_of(names, value, hospitals, both)
    assert seeds[0] == pytest.approx(0.015**2 / 0.21**2)
    found = 0.21 * errors(names, value, hospitals, both, seeds)
    expected = covariances(drawn).of_score("auroc/w", names) + np.diag([0.015**2, 0.0])
    assert np.cov(found[:, 1]) == pytest.approx(expected, rel=0.25)  # 1,000 draws
    assert np.cov(found[0])[0, 1] == pytest.approx(0.015**2, rel=0.4)
    assert np.cov(found[1])[0, 1] == pytest.approx(0, abs=1e-4)
    assert not found[1, 4].any()


def table_of(value: np.ndarray, names: list[str], reason: str = "") -> pd.DataFrame:
    mean = value.mean(1)
    columns = {name: expit(mean + shift) for name, shift in (("value", 0.0), ("low", -0.2), ("high", 0.2), ("new_low", -0.5))}  # fmt: skip
    return pd.DataFrame({"run_id": names, "reason": reason, **columns})


def test_the_rows_have_the_columns_of_the_table_and_both_criteria() -> None:
    names, hospitals = ["c", "a", "b"], list("vwxyz")
    values = pd.DataFrame(VALUE, names, hospitals)
    draws = np.random.default_rng(1).normal(0.7, 0.01, (3, 5, 100))
    covariance = covariances(
        {name: {f"auroc/{h}": draws[r, k] for k, h in enumerate(hospitals)} for r, name in enumerate(names)}
    )
    table = ranks(table_of(VALUE, names), values, covariance)
    assert tuple(table.columns) == SCHEMAS["ranks"]
    assert table["dataset"].tolist() == ["new"] * 3 + ["new_low"] * 3
    assert table["run_id"].tolist() == names * 2
    assert table["value"].to_numpy() == pytest.approx(expit(np.concatenate([VALUE.mean(1), VALUE.mean(1) - 0.5])))
    assert table["low"].isna().tolist() == [False] * 3 + [True] * 3
    assert (table["rank_low"] <= table["rank_high"]).all()
    assert table["mean_rank"].between(1, 3).all()
    assert table.groupby("dataset")["p_best"].sum().to_numpy() == pytest.approx(1)
    p = p_values(EXPECTED, VALUE, NONE)
    assert table["group"][2] == 2
    assert p[0, 2] < 0.05
    assert not len(ranks(table_of(VALUE, names, "too few hospitals"), values, covariance))


def test_the_benchmark_shows_no_more_wrong_verdicts_than_stated() -> None:
    table = pd.read_csv(TABLE)
    assert table["cases"].min() >= 2000
    assert table["recipes"].nunique() * table["hospitals"].nunique() * 12 == len(table)
    assert (table["low"] <= 0.05).all()
    assert table["any"].max() <= 0.06
    largest = (100 * table.groupby("question")["any"].max()).map("{:.1f}".format)
    stated = f"at most {largest['expected']} % of samples by expected AUROC, and in at most {largest['lower end'].removeprefix('0')} %"
    assert stated in (TABLE.parents[1] / "docs" / "extensions" / "estimates.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("question", ["expected", "lower end"])
def test_a_small_simulation_has_few_wrong_verdicts(question: str) -> None:
    [found] = rows((question, 6, 5, 0.1, 0.0), 400)
    assert float(found["any"]) < 0.08
    assert float(found["power"]) > 0.05
