"""The same run under several rules of choosing its epoch: the last, the best by validation, and the best by the test split.

The last of these is an oracle. What it adds to the honest choice is the optimism of selecting on the test set.
"""

import numpy as np
import pandas as pd

from reports.tables import SCHEMAS


def audit(run_id: str, history: pd.DataFrame, chosen_on: str = "val") -> pd.DataFrame:
    """Return the `epochs` rows of a run; none when its test AUROC was not noted (`schedule.audit`).

    chosen_on names the part by which the honest rule chooses, as its column `<part>_auroc` in the history does.
    """
    if "test_auroc" not in history or not len(history):
        return pd.DataFrame(columns=list(SCHEMAS["epochs"]))
    test = history["test_auroc"].to_numpy(np.float64)
    honest = int(history[f"{chosen_on}_auroc"].to_numpy(np.float64).argmax())
    places = {f"best_{chosen_on}": honest, "last": len(test) - 1, "oracle": int(test.argmax())}
    rows = [
        (run_id, rule, int(history["epoch"].iloc[at]), float(test[at]), float(test[at] - test[honest]))
        for rule, at in places.items()
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["epochs"]))
