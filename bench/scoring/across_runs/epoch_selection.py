"""Epoch selection audit: test AUROC of one run under several rules for choosing the epoch.

Rules: the last epoch, the best epoch on the validation split, and the best epoch on the test split (the oracle). Optimism
is the oracle's test AUROC minus the test AUROC of the choice on validation.
"""

import numpy as np
import pandas as pd


def audit(run_id: str, history: pd.DataFrame, chosen_on: str = "val") -> list[tuple[object, ...]]:
    """Return the rows of the table `epochs` for a run, from its history of at least one epoch.

    The honest rule does not use test data: this rule chooses the best epoch on the split `chosen_on`, from the column
    `<chosen_on>_auroc` of the history. On this split, the best epoch is never worse than the last epoch, so only the
    test AUROC compares the rules. The column over_honest is the test AUROC of a rule minus the test AUROC of the honest
    rule. Training writes test_auroc to the history only with the setting `schedule.audit`. Without this setting, the
    columns test_auroc and over_honest are NaN, and the oracle has no row.
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
    return [
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
