"""Metrics of one finding on one split: ranking metrics, and metrics of calls at a threshold.

Shapes: label [N] int8 of 0 and 1, score [N] (a logit or a probability), called [N] bool (True for a positive call). A
metric that cannot be computed is NaN.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Label = NDArray[np.integer]
Score = NDArray[np.floating]


def require_finite(score: Score, noun: str) -> None:
    """Raise ValueError when a score is NaN or infinite.

    The message has the number of NaN and infinite scores; `noun` is the word for the scores in this message.

    >>> require_finite(np.array([0.1, np.nan, np.inf]), "logits of Edema")
    Traceback (most recent call last):
    ValueError: 2 of 3 logits of Edema are NaN or infinite
    """
    num_bad = np.size(score) - np.count_nonzero(np.isfinite(score))
    if num_bad:
        raise ValueError(f"{num_bad} of {np.size(score)} {noun} are NaN or infinite")


def average_ranks(value: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rank of each value [N] or in each column [N, S], from 1; equal values get the mean of their ranks.

    The result equals `scipy.stats.rankdata`, without its import, which takes half a CPU second. Values must not be NaN.

    >>> average_ranks(np.array([0.2, 0.1, 0.2])).tolist()
    [2.5, 1.0, 2.5]
    """
    ranks = pd.DataFrame(value).rank().to_numpy(np.float64)
    return np.asarray(ranks.reshape(np.shape(value)))


def auroc(label: Label, score: Score) -> float:
    """Compute AUROC: the probability that a random positive image scores higher than a random negative image.

    A pair with equal scores counts half.

    Range: 0 to 1; 0.5 is chance; NaN when a class is absent. An increasing transform of the scores does not change AUROC.
    Source: Hanley and McNeil, Radiology 143 (1982) 29, as the Mann-Whitney U statistic.

    >>> auroc(np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.4, 0.35, 0.8], np.float32))
    0.75
    """
    require_finite(score, "scores")
    positive = label == 1
    num_positive = int(positive.sum())
    num_negative = len(label) - num_positive
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    rank_sum = average_ranks(score)[positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def macro_auroc(label_NK: Label, score_NK: Score) -> float:
    """Compute the mean AUROC over the findings with both classes; NaN if there is none.

    Labels other than 0 and 1 (uncertain, unmapped) are ignored.
    """
    columns = ((label_N, score_N, label_N >= 0) for label_N, score_N in zip(label_NK.T, score_NK.T, strict=True))
    values = np.array([auroc(label_N[labeled_N], score_N[labeled_N]) for label_N, score_N, labeled_N in columns])
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def auprc(label: Label, score: Score) -> float:
    """Compute the average precision (AUPRC): the mean precision at each distinct score, weighted by the added recall.

    Range: 0 to 1; a random score has about the prevalence; NaN when a class is absent. Images with equal scores are
    called positive together, so their order has no effect.

    >>> round(auprc(np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.4, 0.35, 0.8], np.float32)), 4)
    0.8333
    """
    require_finite(score, "scores")
    order = np.argsort(-score, kind="stable")
    positive, ranked = label[order] == 1, score[order]
    num_positive = int(positive.sum())
    if num_positive == 0 or num_positive == len(label):
        return float("nan")
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    num_hits = np.cumsum(positive)[last_of_tie]
    num_called = np.flatnonzero(last_of_tie) + 1
    return float((np.diff(num_hits, prepend=0) * (num_hits / num_called)).sum() / num_positive)


def brier(label: Label, prob: Score) -> float:
    """Compute the Brier score: mean squared distance between probability and label. 0 is best; NaN without images."""
    require_finite(prob, "probabilities")
    return float(np.mean((np.asarray(prob, np.float64) - label) ** 2)) if len(label) else float("nan")


@dataclass(frozen=True, slots=True)
class Confusion:
    """Numbers of images by label and call."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


def confusion(label: Label, called: NDArray[np.bool_]) -> Confusion:
    """Count images by label and call."""
    positive = label == 1
    return Confusion(
        int((positive & called).sum()),
        int((~positive & called).sum()),
        int((positive & ~called).sum()),
        int((~positive & ~called).sum()),
    )


def _ratio(count: int, total: int) -> float:
    return count / total if total else float("nan")


def f1(label: Label, called: NDArray[np.bool_]) -> float:
    """Compute F1, the harmonic mean of precision and sensitivity.

    F1 is 0 when no positive image is called positive, and NaN without positive images.
    """
    count = confusion(label, called)
    num_positive = count.true_positive + count.false_negative
    if not num_positive:
        return float("nan")
    return _ratio(2 * count.true_positive, num_positive + count.true_positive + count.false_positive)


def precision(label: Label, called: NDArray[np.bool_]) -> float:
    """Compute precision, the share of positive calls that are correct; NaN (not 0) without positive calls."""
    count = confusion(label, called)
    return _ratio(count.true_positive, count.true_positive + count.false_positive)


def sensitivity(label: Label, called: NDArray[np.bool_]) -> float:
    """Compute sensitivity, the share of positive images that are called positive; NaN without positive images."""
    count = confusion(label, called)
    return _ratio(count.true_positive, count.true_positive + count.false_negative)


def specificity(label: Label, called: NDArray[np.bool_]) -> float:
    """Compute specificity, the share of negative images that are not called positive; NaN without negative images."""
    count = confusion(label, called)
    return _ratio(count.true_negative, count.true_negative + count.false_positive)


def npv(label: Label, called: NDArray[np.bool_]) -> float:
    """Compute the negative predictive value: the share of negative calls that are correct; NaN without negative calls."""
    count = confusion(label, called)
    return _ratio(count.true_negative, count.true_negative + count.false_negative)
