"""Epoch selection audit: one run under several rules (last epoch, best on validation, best on the test split).

The best on the test split is an oracle. Its advantage over the honest choice is the optimism of selecting on the test set.
"""

import numpy as np
import pandas as pd

from reports.schemas.tables import SCHEMAS


def audit(run_id: str, history: pd.DataFrame, chosen_on: str = "val") -> pd.DataFrame:
    """Build the `epochs` rows of a run from its history of at least one epoch.

    chosen_on names the split of the honest rule; the history has its column `<split>_auroc`. On that split the best epoch is
    never below the last, so only the test AUROC compares the rules. Without it (it needs `schedule.audit`) test_auroc and
    over_honest are NaN and there is no oracle row.
    """
    chosen = history[f"{chosen_on}_auroc"].to_numpy(np.float64)
    noted = "test_auroc" in history
    test = history["test_auroc"].to_numpy(np.float64) if noted else np.full(len(history), np.nan)
    epoch_of_rule = {f"best_{chosen_on}": int(np.nan_to_num(chosen, nan=-1.0).argmax()), "last": len(history) - 1}
    if np.isfinite(test).any():
        epoch_of_rule["oracle"] = int(np.nanargmax(test))
    honest = test[epoch_of_rule[f"best_{chosen_on}"]]
    rows = [
        (run_id, rule, int(history["epoch"].iloc[at]), float(chosen[at]), float(test[at]), float(test[at] - honest))
        for rule, at in epoch_of_rule.items()
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["epochs"]))
