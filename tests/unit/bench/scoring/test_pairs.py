"""Differences of all pairs of the best runs, compared with a plain loop over the resamples."""

import numpy as np
import pandas as pd

from bench.scoring.across_runs.all_pairs import MOST, pairs
from reports.schemas.tables import SCHEMAS

INTERNAL, EXTERNAL = "internal", "external"


def study(num: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    generator = np.random.default_rng(3)
    common = generator.normal(0, 0.03, 400)
    scores, gaps, replicates = [], [], {}
    for i in range(num):
        run, value = f"run{i:02}", 0.8 - 0.001 * i
        drawn = {"draws": np.array([7], np.uint32)}
        for dataset, split in ((INTERNAL, "test"), (INTERNAL, "val"), ("north", "all"), (EXTERNAL, "all")):
            row = {"run_id": run, "dataset": dataset, "split": split, "subgroup": "all", "finding": "macro"}
            scores.append(row | {"metric": "auroc", "value": value if split != "val" else 0.99})
            drawn[f"auroc/{dataset}"] = value + common + generator.normal(0, 0.01, 400)
        gaps.append({"run_id": run, "dataset": EXTERNAL, "finding": "macro", "value": 0.05})
        drawn[f"gap/{EXTERNAL}"] = 0.05 + generator.normal(0, 0.01, 400)
        replicates[run] = drawn
    return pd.DataFrame(scores), pd.DataFrame(gaps), replicates


def test_every_pair_has_the_percentiles_of_its_paired_difference_at_every_hospital() -> None:
    scores, gaps, replicates = study(3)
    found = pairs(scores, gaps, replicates, INTERNAL)
    assert tuple(found.columns) == SCHEMAS["pairs"]
    assert len(found) == 3 * 4
    for row in found.itertuples():
        name = f"{row.metric}/{row.dataset}"
        drawn = replicates[row.first][name] - replicates[row.second][name]
        np.testing.assert_allclose([row.low, row.high], np.quantile(drawn, [0.025, 0.975]), atol=1e-12)
        assert row.first < row.second  # the better externally comes first
        expected = 0.0 if row.metric == "gap" else 0.001 * (int(row.second[3:]) - int(row.first[3:]))
        np.testing.assert_allclose(row.value, expected, atol=1e-12)


def test_only_the_best_runs_are_paired_and_a_run_may_miss_a_value_at_one_hospital() -> None:
    scores, gaps, replicates = study(MOST + 3)
    scores.loc[(scores["run_id"] == "run00") & (scores["dataset"] == "north"), "value"] = np.nan
    found = pairs(scores, gaps, replicates, INTERNAL)
    assert found["first"].nunique() == MOST - 1
    assert f"run{MOST:02}" not in set(found["second"])
    there = found[found["dataset"] == "north"]
    assert "run00" not in set(there["first"])
    assert (found["first"] == "run00").sum() == 3 * (MOST - 1)


def test_fewer_than_two_runs_give_no_pair() -> None:
    for num in (0, 1):
        scores, gaps, replicates = study(max(num, 1))
        assert len(pairs(scores.head(0) if not num else scores, gaps, replicates, INTERNAL)) == 0
