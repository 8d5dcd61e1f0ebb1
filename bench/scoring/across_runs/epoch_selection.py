"""The same run under several rules of choosing its epoch: the last, the best by validation, and the best by the test split.

The last of these is an oracle. What it adds to the honest choice is the optimism of selecting on the test set.
"""

import numpy as np
import pandas as pd

from reports.schemas.tables import SCHEMAS


def audit(run_id: str, history: pd.DataFrame, chosen_on: str = "val") -> pd.DataFrame:
    """Return the `epochs` rows of a run, from its history of at least one epoch.

    chosen_on names the part by which the honest rule chooses, as its column `<part>_auroc` in the history does. By that part
    the best epoch is never below the last: it chose itself. Only the test AUROC, noted with `schedule.audit`, says what a rule is
    worth; without it test_auroc and over_honest are NaN and there is no oracle.
    """
    chosen = history[f"{chosen_on}_auroc"].to_numpy(np.float64)
    noted = "test_auroc" in history
    test = history["test_auroc"].to_numpy(np.float64) if noted else np.full(len(history), np.nan)
    places = {f"best_{chosen_on}": int(np.nan_to_num(chosen, nan=-1.0).argmax()), "last": len(history) - 1}
    if np.isfinite(test).any():
        places["oracle"] = int(np.nanargmax(test))
    honest = test[places[f"best_{chosen_on}"]]
    rows = [
        (run_id, rule, int(history["epoch"].iloc[at]), float(chosen[at]), float(test[at]), float(test[at] - honest))
        for rule, at in places.items()
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["epochs"]))
