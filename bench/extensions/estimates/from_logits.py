"""Estimators that need only the logits of one run at the hospital without labels.

Each function gets `internal` (see `InternalFinding`) and the logits [N] of one finding, and returns {quantity: value}. Values are shares
from 0 to 1. A value that cannot be computed is NaN or missing.
"""

import numpy as np

from bench.extensions.estimates.quantities import Array, Estimates, InternalFinding, rates
from bench.scoring.calibration_metrics import ece
from bench.scoring.calibrators import sigmoid


def cbpe(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate all quantities from calibrated probabilities (confidence-based performance estimation, CBPE).

    Each image counts as positive with its calibrated probability, and as negative with the rest. The estimates are right
    if the calibration, which was fitted on internal validation images, is right at the new hospital. For several
    findings, each finding is estimated separately.
    Source: NannyML, https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html.
    """
    prob = internal.platt.apply(logit)
    if not len(logit) or not np.isfinite(prob).all():
        return {}
    called, share = internal.calls(logit), sigmoid(logit)
    estimates = {"auroc": expected_auroc(prob, logit), "ece": ece(prob, share, internal.bins)}
    if np.isnan(internal.threshold):
        return {**estimates, "prevalence": float(prob.mean())}
    of_called, of_others = prob[called], prob[~called]
    expected_numbers = (of_called, 1 - of_called, of_others, 1 - of_others)  # TP, FP, FN, TN
    return {**estimates, **rates(*(float(part.sum()) for part in expected_numbers))}


def expected_auroc(prob: Array, logit: Array) -> float:
    """Compute the area under the expected ROC curve, if each image has the finding with probability prob [N].

    Images with equal logits count half, as in AUROC. NaN if the expected number of positive or negative images is 0.
    """
    order = np.argsort(-logit, kind="stable")
    last_of_tie = np.append(np.diff(logit[order]) != 0, True)
    hit = np.append(0.0, np.cumsum(prob[order])[last_of_tie])
    false = np.append(0.0, np.cumsum(1 - prob[order])[last_of_tie])
    if not hit[-1] > 0 or not false[-1] > 0:
        return float("nan")
    return float(np.trapezoid(hit, false) / (hit[-1] * false[-1]))


def atc(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate accuracy as the share of images with a confidence above a threshold (average thresholded confidence, ATC).

    The share of validation images below this threshold is the share of wrong calls on the validation split.
    Source: Garg et al. 2022, arXiv:2201.04234, equation 2, with the confidence of the call as score.
    """
    if not len(logit) or not internal.has_confidence:
        return {}
    share = float(internal.correct().mean())
    if share in (0, 1):
        return {"accuracy": share}
    threshold = np.quantile(internal.confidence(internal.logit), 1 - share, method="higher")
    return {"accuracy": float((internal.confidence(logit) >= threshold).mean())}


FROM_LOGITS = {"cbpe": cbpe, "atc": atc}
