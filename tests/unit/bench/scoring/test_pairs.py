"""Differences of all pairs of the best runs, compared with a plain loop over draws."""

import numpy as np
import pandas as pd

from bench.scoring.across_runs.all_pairs import MOST, pairs
from bench.scoring.across_runs.paired_tests import pair_tests
from bench.scoring.across_runs.ranks import ranks
from reports.schemas.tables import SCHEMAS
from tests.drawn_scores import Draws, covariance, covariances

INTERNAL, EXTERNAL = "internal", "external"


def study(num: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame], Draws]:
    generator = np.random.default_rng(3)
    common = generator.normal(0, 0.03, 400)
    scores, gaps, further, all_drawn = [], [], [], {}
    for i in range(num):
        run, value = f"run{i:02}", 0.8 - 0.001 * i
        drawn = {}
        for dataset, split in ((INTERNAL, "test"), (INTERNAL, "val"), ("north", "all"), (EXTERNAL, "all")):
            row = {"run_id": run, "dataset": dataset, "split": split, "subgroup": "all", "finding": "macro"}
            scores.append(row | {"metric": "auroc", "calibrator": "none", "value": value if split != "val" else 0.99})
            drawn[f"auroc/{dataset}"] = value + common + generator.normal(0, 0.01, 400)
        gaps.append({"run_id": run, "dataset": EXTERNAL, "finding": "macro", "value": 0.05})
        drawn[f"gap/{EXTERNAL}"] = 0.05 + generator.normal(0, 0.01, 400)
        further.append(gaps[-1] | {"value": 0.1 - 0.001 * i})
        drawn[f"worth/{EXTERNAL}"] = 0.1 + common + generator.normal(0, 0.01, 400)
        all_drawn[run] = drawn
    tables = [pd.DataFrame(rows) for rows in (scores, gaps, further)]
    for metric, table in zip(("auroc", "gap", "worth"), tables, strict=True):  # the intervals of the draws
        names = [f"{metric}/{dataset}" for dataset in table["dataset"]]
        half = [1.959964 * all_drawn[r][name].std(ddof=1) for r, name in zip(table["run_id"], names, strict=True)]
        table["low"], table["high"] = table["value"] - half, table["value"] + half
    return tables[0], tables[1], {"worth": tables[2]}, all_drawn


def test_every_pair_has_the_interval_of_its_paired_difference_at_every_hospital() -> None:
    scores, gaps, further, drawn = study(3)
    found = pairs(scores, gaps, further, covariances(drawn), INTERNAL)
    assert tuple(found.columns) == SCHEMAS["pairs"]
    assert len(found) == 3 * 5
    for row in found.itertuples():
        name = f"{row.metric}/{row.dataset}"
        half = 1.959964 * (drawn[row.first][name] - drawn[row.second][name]).std(ddof=1)
        np.testing.assert_allclose([row.low, row.high], [row.value - half, row.value + half], atol=1e-8)
        assert row.all_low <= row.low <= row.high <= row.all_high
        assert row.first < row.second  # the better externally comes first
        expected = 0.0 if row.metric == "gap" else 0.001 * (int(row.second[3:]) - int(row.first[3:]))
        np.testing.assert_allclose(row.value, expected, atol=1e-12)


def test_only_the_best_runs_are_paired_and_a_run_may_miss_a_value_at_one_hospital() -> None:
    scores, gaps, further, drawn = study(MOST + 3)
    scores.loc[(scores["run_id"] == "run00") & (scores["dataset"] == "north"), "value"] = np.nan
    found = pairs(scores, gaps, further, covariances(drawn), INTERNAL)
    assert found["first"].nunique() == MOST - 1
    assert f"run{MOST:02}" not in set(found["second"])
    there = found[found["dataset"] == "north"]
    assert "run00" not in set(there["first"])
    assert (found["first"] == "run00").sum() == 4 * (MOST - 1)


def test_a_pair_is_clear_exactly_if_its_test_over_all_ranked_runs_is() -> None:
    """The ranking tests the same pairs: its groups, leads and this table have one verdict for one pair."""
    scores, gaps, further, drawn = study(MOST + 20)
    moved = 0.8 - 0.002 * scores["run_id"].str[3:].astype(int) - scores["value"]
    scores[["value", "low", "high"]] = scores[["value", "low", "high"]].add(moved, axis=0)
    found = pairs(scores, gaps, further, covariances(drawn), INTERNAL)
    external = found[found["dataset"] == EXTERNAL].query("metric == 'auroc'")
    value = scores[scores["dataset"] == EXTERNAL].set_index("run_id")["value"]
    tests = pair_tests(value.to_numpy(), covariance(np.stack([drawn[run][f"auroc/{EXTERNAL}"] for run in value.index])))
    p = pd.DataFrame(tests.p, value.index, value.index)
    clear = [row.all_low > 0 for row in external.itertuples()]
    assert clear == [p.loc[row.first, row.second] < 0.05 for row in external.itertuples()]
    assert 0 < sum(clear) < len(clear)
    table = ranks(scores[scores["split"] != "val"], covariances(drawn)).set_index("run_id")
    neighbors = external[
        external["second"] == external["first"].map(dict(zip(table.index, table.index[1:], strict=False)))
    ]
    assert len(neighbors) == MOST - 1
    lead = table.loc[neighbors["first"], ["lead", "lead_all_low", "lead_all_high"]].to_numpy()
    np.testing.assert_allclose(neighbors[["value", "all_low", "all_high"]].to_numpy(), lead, atol=1e-9)


def test_fewer_than_two_runs_give_no_pair() -> None:
    for num in (0, 1):
        scores, gaps, further, drawn = study(max(num, 1))
        assert len(pairs(scores.head(0) if not num else scores, gaps, further, covariances(drawn), INTERNAL)) == 0
