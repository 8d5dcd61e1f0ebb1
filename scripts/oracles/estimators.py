"""Values of nannyml that the estimator `cbpe` must equal.

`inputs` makes the same inputs for the test.

    pip install nannyml==0.13.1
    python scripts/oracles/estimators.py            write tests/oracles/estimators.json
    python scripts/oracles/estimators.py --check    compare this file with fresh values
"""

import os
from typing import Any

import numpy as np

# seed, share of positive images at the internal and at the new hospital, slope and offset of the calibrator, threshold
CASES = (
    (1, 0.30, 0.30, 1.0, 0.0, 0.0),
    (2, 0.30, 0.55, 1.0, 0.0, 0.4),
    (3, 0.10, 0.04, 1.3, -0.5, -0.8),
    (4, 0.50, 0.20, 0.7, 0.2, 0.0),
    (5, 0.05, 0.15, 1.1, -1.2, 1.0),
    (6, 0.80, 0.60, 1.8, 1.2, -0.3),
    (7, 0.30, 0.90, 1.6, -0.4, 1.5),
    (8, 0.20, 0.20, 1.5, -1.3, 0.1),
)
NUM_INTERNAL, NUM_NEW = 4_000, 20_000  # nannyml rounds sums to 5 digits, which changes the AUROC of few images


def inputs(seed: int, internal: float, new: float) -> dict[str, Any]:
    """Return labels and logits at the internal hospital, and logits at the new hospital, where the positive images are weaker.

    The logits of these images are distinct: nannyml's AUROC depends on the order of equal scores.
    """
    draw = np.random.default_rng(seed)
    label = (draw.random(NUM_INTERNAL) < internal).astype(np.int8)
    logit = draw.normal(2.0 * label - 1, 1.0)
    hidden = draw.random(NUM_NEW) < new
    return {"label": label, "logit": logit, "new": draw.normal(1.6 * hidden - 1, 1.2)}


def fresh() -> list[dict[str, float]]:
    """Compute one row for each case: its numbers, a checksum of the inputs, and the values of the packages."""
    os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # nannyml reports its use over the network unless this is set
    from nannyml.performance_estimation.confidence_based import metrics as nannyml
    from scipy.special import expit

    rows = []
    for seed, internal, new, slope, offset, threshold in CASES:
        drawn = inputs(seed, internal, new)
        prob, called = expit(slope * drawn["new"] + offset), (drawn["new"] >= threshold).astype(int)
        row = {"seed": seed, "internal": internal, "new": new, "slope": slope, "offset": offset, "threshold": threshold}
        row |= {"checksum": float(drawn["logit"].sum() + drawn["new"].sum() + drawn["label"].sum())}
        row |= {
            "cbpe auroc": nannyml.estimate_roc_auc(prob, drawn["new"]),
            "cbpe sensitivity": nannyml.estimate_recall(called, prob),
            "cbpe specificity": nannyml.estimate_specificity(called, prob),
            "cbpe accuracy": nannyml.estimate_accuracy(called, prob),
        }
        rows.append({name: value if name == "seed" else float(value) for name, value in row.items()})
    return rows


if __name__ == "__main__":
    from committed_table import main  # not above: the tests run this file for its function `inputs`

    main("estimators", {"cases": fresh()})
