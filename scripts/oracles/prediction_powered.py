"""Compute prediction-powered means with ppi-python, for the tests of bench/scoring/prediction_powered.py.

tox -e oracles                                   # compare with the committed table
python scripts/oracles/prediction_powered.py     # write the table again; needs ppi-python
"""

from typing import Any

import numpy as np
from committed_table import main
from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

LEVEL = 0.9


def case(seed: int, num: int, other: int, noise: float) -> dict[str, Any]:
    """Return random inputs, rounded so that they are exact in JSON, with the estimate and both intervals."""
    random = np.random.default_rng(seed)
    truth = random.beta(1.2, 2.5, num + other)
    label = (random.random(num) < truth[:num]).astype(float)
    predicted = np.clip(truth + noise * random.normal(size=num + other), 0, 1).round(6)
    arrays = label, predicted[:num], predicted[num:]
    return {
        "label": label.tolist(),
        "predicted": arrays[1].tolist(),
        "unlabeled": arrays[2].tolist(),
        "level": LEVEL,
        "value": float(np.squeeze(ppi_mean_pointestimate(*arrays))),
        "interval": [float(np.squeeze(bound)) for bound in ppi_mean_ci(*arrays, alpha=1 - LEVEL)],
        "labels_alone": [float(np.squeeze(bound)) for bound in ppi_mean_ci(*arrays, alpha=1 - LEVEL, lam=0)],
    }


if __name__ == "__main__":
    settings = [(0, 20, 100, 0.0), (1, 40, 200, 0.1), (2, 60, 60, 0.3), (3, 100, 300, 0.0), (4, 30, 250, 1.0)]
    main("prediction_powered", {"cases": [case(*setting) for setting in settings]})
