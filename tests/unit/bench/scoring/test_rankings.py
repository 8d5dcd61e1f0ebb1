"""Rankings by other scores than the external AUROC: by a hospital, a finding, another metric, or the gap."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bench.scoring.across_runs.criteria import external_of_findings, scores_to_rank_by
from bench.scoring.across_runs.paired_tests import all_pairs, own_error, pair_tests
from bench.scoring.across_runs.ranks import rankings, ranks
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.area_intervals import mean_interval
from reports.schemas.criterion import DEFAULT, Criterion
from reports.schemas.tables import SCHEMAS
from tests.drawn_scores import Draws, covariance, covariances, stored, values

NUM = 600
NIH = Criterion("auroc", "nih", "macro")
Study = tuple[pd.DataFrame, Draws]


def study(criteria: list[Criterion], num_runs: int = 6, seed: int = 0) -> Study:
    """Return scores of runs and draws of them that differ little, so that some are tied; each criterion has its own order."""
    draw, rows = np.random.default_rng(seed), []
    drawn: dict[str, dict[str, NDArray[np.float64]]] = {f"run{i}": {} for i in range(num_runs)}
    for criterion in criteria:
        common = draw.normal(0, 0.03, NUM)
        for run, of_run in drawn.items():
            value = float(draw.uniform(0.7, 0.8))
            rows.append((*criterion, run, value, value - 0.02, value + 0.02))
            of_run[criterion.estimate] = value + common + draw.normal(0, 0.01, NUM)
    return pd.DataFrame(rows, columns=[*Criterion._fields, "run_id", "value", "low", "high"]), drawn


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=list(Criterion._fields)).reset_index(drop=True)


@pytest.mark.parametrize(
    "criterion", [NIH, Criterion("auroc", "external", "Edema"), Criterion("auprc", "mimic", "macro")]
)
def test_a_ranking_by_another_score_is_the_first_ranking_computed_from_that_score(criterion: Criterion) -> None:
    scores, drawn = study([DEFAULT, criterion])
    table = rankings(scores, covariances(drawn), ())
    assert tuple(table.columns) == SCHEMAS["ranks"]
    # the oracle: the other score takes the place of the external AUROC
    renamed = criterion.rows(scores).assign(**DEFAULT._asdict())
    as_external = covariances({run: {"auroc/external": of[criterion.estimate]} for run, of in drawn.items()})
    other = [] if criterion.metric == "auroc" else ["all_low", "all_high"]  # they have another variance for AUPRC
    found, oracle = (numbers(rows).drop(columns=other) for rows in (criterion.rows(table), ranks(renamed, as_external)))
    pd.testing.assert_frame_equal(found, oracle)
    pd.testing.assert_frame_equal(numbers(DEFAULT.rows(table)), numbers(ranks(scores, covariances(drawn))))
    assert criterion.rows(table)["run_id"].tolist() != DEFAULT.rows(table)["run_id"].tolist()
    assert 1 < criterion.rows(table)["group"].nunique() < 6


def test_without_an_external_hospital_the_internal_macro_ranks() -> None:
    internal = Criterion("auroc", "chexpert", "macro")
    scores, drawn = study([internal, Criterion("auprc", "chexpert", "macro")])
    table = rankings(scores, covariances(drawn), ())
    assert Criterion(*table.iloc[0][list(Criterion._fields)]) == internal
    pd.testing.assert_frame_equal(numbers(internal.rows(table)), numbers(ranks(scores, covariances(drawn), internal)))
    assert table["metric"].nunique() == 2


def test_the_smallest_gap_is_first_and_leads_by_a_positive_difference() -> None:
    gap = Criterion("gap", "external", "macro")
    scores, drawn = study([DEFAULT, gap])
    found = gap.rows(rankings(scores, covariances(drawn), {"gap"}))
    assert found["value"].is_monotonic_increasing
    negated = gap.rows(scores).assign(value=lambda rows: -rows["value"])
    negated = negated.assign(low=-negated["high"], high=-negated["low"])
    expected = ranks(negated, covariances(drawn), gap)
    same = [
        "run_id",
        "rank_low",
        "rank_high",
        "group",
        "lead",
        "lead_low",
        "lead_high",
    ]
    pd.testing.assert_frame_equal(found[same].reset_index(drop=True), expected[same])
    for name in ("mean_rank", "p_best"):  # the draws have opposite signs
        assert found[name].to_numpy() == pytest.approx(expected[name].to_numpy(), abs=0.05)
    assert (found["lead"].dropna() >= 0).all()
    assert ((found["all_low"] < found["value"]) & (found["value"] < found["all_high"])).all()
    np.testing.assert_allclose(found["all_low"], -expected["all_high"])


def test_the_lead_has_the_interval_of_the_pair_and_an_adjusted_one_that_agrees_with_the_tie_groups() -> None:
    for seed in range(5):
        scores, drawn = study([DEFAULT, NIH], seed=seed)
        found = NIH.rows(rankings(scores, covariances(drawn), ()))
        value = found["value"].to_numpy()
        variance = covariance(np.stack([drawn[run][NIH.estimate] for run in found["run_id"]]))
        own = own_error(*found[["value", "low", "high"]].to_numpy().T)
        first, second, differences = all_pairs(value, variance, own)
        adjusted = pair_tests(value, variance, own).p
        for k in range(len(found) - 1):
            [pair] = np.flatnonzero((first == k) & (second == k + 1))
            row = found.iloc[k]
            assert (row["lead"], row["lead_low"], row["lead_high"]) == pytest.approx(
                (differences.value[pair], differences.low[pair], differences.high[pair])
            )
            assert (row["lead_all_low"] > 0) == (adjusted[k, k + 1] < 0.05)
        assert found.iloc[-1][["lead", "lead_low", "lead_all_high"]].isna().all()


def test_a_score_without_influences_of_every_run_is_not_ranked_by_and_runs_are_those_of_the_first_ranking() -> None:
    edema = Criterion("auroc", "external", "Edema")
    scores, drawn = study([DEFAULT, NIH, edema])
    drawn = {**drawn, "run3": {k: of for k, of in drawn["run3"].items() if k != edema.estimate}}
    missing = (scores["run_id"] == "run2") & (scores["dataset"] == "nih")
    unranked = (scores["run_id"] == "run5") & (scores["dataset"] == "external") & (scores["finding"] == "macro")
    scores.loc[missing | unranked, "value"] = np.nan
    table = rankings(scores, covariances(drawn), ())
    assert {tuple(key) for key in table[["dataset", "finding"]].drop_duplicates().to_numpy()} == {
        ("external", "macro"),
        ("nih", "macro"),
    }
    assert set(DEFAULT.rows(table)["run_id"]) == {"run0", "run1", "run2", "run3", "run4"}
    assert set(NIH.rows(table)["run_id"]) == {"run0", "run1", "run3", "run4"}
    assert rankings(scores[:0], covariances({}), ()).empty
    only = scores[scores["run_id"] == "run0"]
    assert len(rankings(only, covariances(drawn), ())) == 1  # one run: the first ranking alone


def test_scores_to_rank_by_are_macros_of_test_splits_gaps_and_findings_each_once() -> None:
    columns = ("dataset", "split", "subgroup", "calibrator", "operating_point", "finding", "metric")
    rows = [
        ("chexpert", "val", "all", "none", "", "macro", "auroc"),
        ("chexpert", "test", "all", "none", "", "macro", "auroc"),
        ("nih", "all", "all", "none", "", "macro", "auprc"),
        ("nih", "all", "all", "none", "", "macro", "ece"),
        ("nih", "all", "all", "platt", "", "macro", "ece"),
        ("nih", "all", "sex=F", "none", "", "macro", "auroc"),
        ("nih", "all", "all", "none", "", "Edema", "auroc"),
        ("nih", "all", "all", "none", "", "macro", "f1"),
    ]
    scores = pd.DataFrame(rows, columns=list(columns)).assign(run_id="a", value=np.arange(8.0), low=0.0, high=1.0)
    gaps = pd.DataFrame([("a", "nih", "macro", 9.0, 0, 1), ("a", "nih", "Edema", 10.0, 0, 1)])
    gaps.columns = ["run_id", "dataset", "finding", "value", "low", "high"]
    of_extension = pd.DataFrame(
        [
            ("nih", "macro", "worth", 11.0),
            ("nih", "Edema", "worth", 13.0),
            ("external", "Edema", "worth", 14.0),
        ],
        columns=["dataset", "finding", "metric", "value"],
    ).assign(run_id="a", low=0.0, high=1.0)
    found = scores_to_rank_by(scores, gaps, [of_extension], scores[:0], "chexpert", ())
    assert dict(zip(found["value"], found[["metric", "dataset"]].agg("/".join, axis=1), strict=True)) == {
        1.0: "auroc/chexpert",
        2.0: "auprc/nih",
        4.0: "ece/nih",
        9.0: "gap/nih",
        11.0: "worth/nih",
        14.0: "worth/external",
    }


def test_the_external_auroc_of_a_finding_is_averaged_over_seeds_with_an_interval_over_patients_and_seeds() -> None:
    draw, name = np.random.default_rng(3), "auroc/external/Edema"
    groups = [["a0", "a1", "a2"], ["b0", "b1", "b2"]]
    value = {run: 0.8 + draw.normal(0, 0.02) for group in groups for run in group}
    drawn = {run: {n: v + draw.normal(0, 0.01, NUM) for n in ("auroc/external", name)} for run, v in value.items()}
    recipes = Recipes.of(groups, values(drawn))
    hospitals = {"nih": -0.01, "vindr": 0.01}
    gaps = pd.DataFrame(
        [(run, dataset, "Edema", 0.05, v, 30) for run, v in value.items() for dataset in ("external", *hospitals)]
    )
    gaps.columns = ["run_id", "dataset", "finding", "value", "external", "num_positive"]
    scores = pd.DataFrame(
        [
            (run, dataset, finding, "auroc", "all", v + more, v + more - 0.04, v + more + 0.03)
            for run, v in value.items()
            for dataset, more in hospitals.items()
            for finding in ("Edema", "Mass")
        ]
    )
    scores.columns = ["run_id", "dataset", "finding", "metric", "subgroup", "value", "low", "high"]
    found = external_of_findings(gaps, scores, values(drawn), recipes).set_index("run_id")
    assert list(found.index) == ["a0-seeds", "b0-seeds"]
    for group in groups:
        row = found.loc[f"{group[0]}-seeds"]
        assert row["value"] == pytest.approx(np.mean([value[run] for run in group]))
        of_run = scores[(scores["run_id"] == group[0]) & (scores["finding"] == "Edema")]
        numbers = of_run[["value", "low", "high"]].to_numpy().T
        low, high = mean_interval("auroc", numbers[0], numbers[1:], np.eye(2))
        assert row["high"] - row["low"] > high - low > 0.045
    old = {run: {"auroc/external": of["auroc/external"]} for run, of in drawn.items()}
    assert external_of_findings(gaps, scores, values(old), Recipes.of(groups, values(old))).empty
    ids = list(recipes.runs_of)
    both = (recipes.covariances(stored(of)).of_score("auroc/external", ids) for of in (drawn, old))
    np.testing.assert_allclose(*both)
