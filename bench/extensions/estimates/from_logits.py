"""Estimators that need only the logits of one run at the hospital without labels.

Each function gets `internal` (see `InternalFinding`) and the logits [N] of one finding, and returns {quantity: value}. Values are shares
from 0 to 1. A value that cannot be computed is NaN.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.extensions.estimates.prevalence import em, with_prevalence
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
    return _expected(internal, logit, internal.platt.apply(logit))


def cbpe_em(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate all quantities as `cbpe` does, after a correction of the probabilities for the prevalence of `em`.

    Source: Saerens et al. 2002, doi:10.1162/089976602753284446, equation 2.4.
    """
    estimate = em(internal, logit)
    if not estimate:
        return {}
    prob = with_prevalence(internal.platt.apply(logit), float(internal.label.mean()), estimate["prevalence"])
    return _expected(internal, logit, prob)


def _expected(internal: InternalFinding, logit: Array, prob: Array) -> Estimates:
    """Compute the expected values of the quantities if each image has the finding with probability prob [N]."""
    if not len(logit) or not np.isfinite(prob).all():
        return {}
    called, share = internal.calls(logit), sigmoid(logit)
    estimates = {"auroc": expected_auroc(prob, logit), "ece": ece(prob, share, internal.bins)}
    if np.isnan(internal.threshold):
        return {**estimates, "prevalence": float(prob.mean())}
    sums = ((prob, called), (1 - prob, called), (prob, ~called), (1 - prob, ~called))
    return {**estimates, **rates(*(float(side[mask].sum()) for side, mask in sums))}


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
    return _accuracy(internal, logit, _share_above_threshold)


def atc_classwise(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate the confusion matrix with one `atc` for positive calls and one for negative calls.

    Source: clinical performance estimation of chest X-ray classifiers, arXiv:2507.22776 (CM-ATC).
    """
    return _confusion_matrix(internal, logit, _share_above_threshold)


def doc(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate accuracy as the validation accuracy minus the fall of the mean confidence (difference of confidences, DoC).

    Source: Guillory et al. 2021, arXiv:2107.03315.
    """
    return _accuracy(internal, logit, _minus_fall_of_confidence)


def doc_classwise(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate the confusion matrix with one `doc` for positive calls and one for negative calls.

    Source: clinical performance estimation of chest X-ray classifiers, arXiv:2507.22776 (CM-DoC).
    """
    return _confusion_matrix(internal, logit, _minus_fall_of_confidence)


# confidences and correct calls of the validation images [M], confidences at the new hospital [N] -> share of correct calls
CorrectShare = Callable[[Array, NDArray[np.bool_], Array], float]


def _share_above_threshold(confidence: Array, correct: NDArray[np.bool_], here: Array) -> float:
    share = float(correct.mean())
    if share in (0, 1):
        return share
    return float((here >= np.quantile(confidence, 1 - share, method="higher")).mean())


def _minus_fall_of_confidence(confidence: Array, correct: NDArray[np.bool_], here: Array) -> float:
    return float(np.clip(correct.mean() - (confidence.mean() - here.mean()), 0, 1))


def _accuracy(internal: InternalFinding, logit: Array, correct_share: CorrectShare) -> Estimates:
    if not len(logit) or not internal.has_confidence:
        return {}
    confidence = internal.confidence(internal.logit)
    return {"accuracy": correct_share(confidence, internal.correct(), internal.confidence(logit))}


def _confusion_matrix(internal: InternalFinding, logit: Array, correct_share: CorrectShare) -> Estimates:
    """Estimate the quantities at the threshold from the shares of positive and of negative calls that are correct."""
    if not len(logit) or not internal.has_confidence:
        return {}
    confidence, correct, here = internal.confidence(internal.logit), internal.correct(), internal.confidence(logit)
    true, false = [], []  # number of correct and of wrong calls: positive calls, negative calls
    for call in (True, False):
        at_internal, at_new = internal.calls(internal.logit) == call, internal.calls(logit) == call
        if not at_internal.any():
            return rates(*(float("nan"),) * 4)
        share = correct_share(confidence[at_internal], correct[at_internal], here[at_new]) if at_new.any() else 0.0
        num = int(at_new.sum())
        true.append(num * share)
        false.append(num * (1 - share))
    return rates(true[0], false[0], false[1], true[1])
