"""Compute net benefits with dcurves, for the tests of bench/extensions/decisions/net_benefit.py.

tox -e oracles                            # compare with the committed table
python scripts/oracles/net_benefit.py     # write the table again; needs dcurves
"""

from typing import Any

import numpy as np
import pandas as pd
from committed_table import main
from dcurves import dca

THRESHOLDS = [0.01, 0.02, 0.05, 0.1, 0.25, 0.4, 0.5, 0.75, 0.9, 0.99]


def case(seed: int, num: int, prevalence: float, decimals: int) -> dict[str, Any]:
    """Return random labels and probabilities with the net benefit of the model and of treating all at each threshold.

    With few decimals, many probabilities are equal, and some are equal to a threshold.
    """
    random = np.random.default_rng(seed)
    label = (random.random(num) < prevalence).astype(int)
    center = np.log(prevalence / (1 - prevalence))
    prob = (1 / (1 + np.exp(-random.normal(center + 1.5 * label, 1.2)))).round(decimals)
    data = pd.DataFrame({"label": label, "model": prob})
    table = dca(data=data, outcome="label", modelnames=["model"], thresholds=THRESHOLDS)
    values = {
        name: table.loc[table["model"] == name].set_index("threshold")["net_benefit"] for name in ("model", "all")
    }
    return {
        "label": label.tolist(),
        "prob": prob.tolist(),
        "net_benefit": [float(values["model"].loc[t]) for t in THRESHOLDS],
        "treat_all": [float(values["all"].loc[t]) for t in THRESHOLDS],
    }


if __name__ == "__main__":
    settings = [(0, 60, 0.3, 6), (1, 200, 0.1, 2), (2, 150, 0.5, 1), (3, 80, 0.8, 4), (4, 300, 0.03, 6)]
    # the tests allow the same tolerance, and compare with the values of this table
    main("net_benefit", {"thresholds": THRESHOLDS, "cases": [case(*setting) for setting in settings]}, tolerance=1e-12)
