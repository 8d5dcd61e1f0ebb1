"""What choosing the epoch by the test split would have flattered."""

import pandas as pd
import pytest

from bench.scoring.epochs import audit


def test_the_oracle_is_held_against_the_epoch_that_validation_chose() -> None:
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_auroc": [0.7, 0.8, 0.75], "test_auroc": [0.74, 0.71, 0.72]})
    found = audit("run", history).set_index("rule")
    assert found["epoch"].to_dict() == {"best_val": 2, "last": 3, "oracle": 1}
    assert found.loc["oracle", "over_honest"] == pytest.approx(0.03)
    assert found.loc["best_val", "over_honest"] == 0
    assert found.loc["last", "over_honest"] == pytest.approx(0.01)


def test_without_a_noted_test_auroc_there_is_nothing_to_audit() -> None:
    assert audit("run", pd.DataFrame({"epoch": [1], "val_auroc": [0.7]})).empty
