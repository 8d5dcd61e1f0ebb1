"""Optimism of choosing the epoch by the test split."""

import pandas as pd
import pytest

from bench.scoring.across_runs.epoch_selection import audit
from reports.schemas.tables import SCHEMAS


def audited(history: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(audit("run", history), columns=list(SCHEMAS["epochs"])).set_index("rule")


def test_the_oracle_is_compared_with_the_epoch_chosen_on_validation() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_auroc": [0.7, 0.8, 0.75], "test_auroc": [0.74, 0.71, 0.72]})
    found = audited(history)
    assert found["epoch"].to_dict() == {"best_val": 2, "last": 3, "oracle": 1}
    assert found.loc["oracle", "over_honest"] == pytest.approx(0.03)
    assert found.loc["best_val", "over_honest"] == 0
    assert found.loc["last", "over_honest"] == pytest.approx(0.01)


def test_without_test_auroc_the_best_and_the_last_epoch_are_compared_on_validation() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_auroc": [0.7, 0.8, 0.75]})
    found = audited(history)
    assert found["chosen_auroc"].to_dict() == {"best_val": 0.8, "last": 0.75}
    assert found[["test_auroc", "over_honest"]].isna().all(axis=None)


def test_an_epoch_without_a_value_is_never_chosen() -> None:
    nan = float("nan")
    history = pd.DataFrame({"epoch": [1, 2], "val_auroc": [nan, 0.4], "test_auroc": [0.9, nan]})
    assert audited(history)["epoch"].to_dict() == {"best_val": 2, "last": 2, "oracle": 1}
    none = audited(pd.DataFrame({"epoch": [1], "val_auroc": [nan], "test_auroc": [nan]}))
    assert none.index.tolist() == ["best_val", "last"]
