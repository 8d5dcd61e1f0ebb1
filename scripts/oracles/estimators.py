"""Values of nannyml and quapy that the estimators of scores without labels must equal.

`inputs` makes the same inputs for the test.

    pip install nannyml==0.13.1 quapy==0.2.3
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
    import quapy.functional as adjust
    from nannyml.performance_estimation.confidence_based import metrics as nannyml
    from quapy.method.aggregative import ACC, EMQ, PACC
    from scipy.special import expit

    EMQ.MAX_ITER = 1_000_000
    rows = []
    for seed, internal, new, slope, offset, threshold in CASES:
        drawn = inputs(seed, internal, new)
        prob_internal, prob = (expit(slope * drawn[name] + offset) for name in ("logit", "new"))
        called_internal, called = ((drawn[name] >= threshold).astype(int) for name in ("logit", "new"))
        before = float(drawn["label"].mean())
        after, changed = EMQ.EM(np.array([1 - before, before]), np.stack([1 - prob, prob], 1), epsilon=1e-15)
        calls = ACC.getPteCondEstim([0, 1], drawn["label"], called_internal)  # P(called i | label j)
        probabilities = PACC.getPteCondEstim([0, 1], drawn["label"], np.stack([1 - prob_internal, prob_internal], 1))
        row = {"seed": seed, "internal": internal, "new": new, "slope": slope, "offset": offset, "threshold": threshold}
        row |= {"checksum": float(drawn["logit"].sum() + drawn["new"].sum() + drawn["label"].sum())}
        for name, share in (("cbpe", prob), ("cbpe_em", changed[:, 1])):
            row |= {
                f"{name} auroc": nannyml.estimate_roc_auc(share, drawn["new"]),
                f"{name} sensitivity": nannyml.estimate_recall(called, share),
                f"{name} specificity": nannyml.estimate_specificity(called, share),
                f"{name} accuracy": nannyml.estimate_accuracy(called, share),
            }
        row |= {
            "em prevalence": after[1],
            "classify_count prevalence": called.mean(),
            "adjusted_count prevalence": adjust.solve_adjustment_binary(called.mean(), calls[1, 1], calls[1, 0]),
            "bbse prevalence": adjust.solve_adjustment_binary(prob.mean(), probabilities[1, 1], probabilities[1, 0]),
        }
        rows.append({name: value if name == "seed" else float(value) for name, value in row.items()})
    return rows


if __name__ == "__main__":
    from committed_table import main  # not above: the tests run this file for its function `inputs`

    main("estimators", {"cases": fresh()})
