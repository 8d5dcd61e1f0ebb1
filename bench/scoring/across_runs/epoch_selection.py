"""Epoch selection audit: one run under several rules (last epoch, best on validation, best on the test split).

The best on the test split is an oracle. Its advantage over the choice on validation is the optimism of selecting on the test set.
"""

import numpy as np
import pandas as pd

from reports.schemas.tables import SCHEMAS


def audit(run_id: str, history: pd.DataFrame, chosen_on: str = "val") -> pd.DataFrame:
    """Build the rows of the table `epochs` for a run, from its history of at least one epoch.

    chosen_on is the split that the honest rule uses; the history has its column `<split>_auroc`. On that split the best epoch
    is never worse than the last, so only the test AUROC compares the rules. Without the column test_auroc (training writes it
    with `schedule.audit`), test_auroc and over_honest are NaN and the oracle has no row.
    """
    selection_auroc = history[f"{chosen_on}_auroc"].to_numpy(np.float64)
    has_test = "test_auroc" in history
    test = history["test_auroc"].to_numpy(np.float64) if has_test else np.full(len(history), np.nan)
    epoch_of_rule = {
        f"best_{chosen_on}": int(np.nan_to_num(selection_auroc, nan=-1.0).argmax()),
        "last": len(history) - 1,
    }
    if np.isfinite(test).any():
        epoch_of_rule["oracle"] = int(np.nanargmax(test))
    honest_test = test[epoch_of_rule[f"best_{chosen_on}"]]
    rows = [
        (
            run_id,
            rule,
            int(history["epoch"].iloc[epoch]),
            float(selection_auroc[epoch]),
            float(test[epoch]),
            float(test[epoch] - honest_test),
        )
        for rule, epoch in epoch_of_rule.items()
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["epochs"]))
