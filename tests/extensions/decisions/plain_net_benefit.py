"""Net benefit by its definition, with which tests compare the computation from counts."""

import numpy as np


def net_benefit(label: np.ndarray, prob: np.ndarray, threshold: float) -> float:
    """Return TP / N - FP / N x t / (1 - t) of calls at probabilities >= t, the threshold."""
    called, odds = prob >= threshold, threshold / (1 - threshold)
    return float((np.sum(called & (label == 1)) - np.sum(called & (label != 1)) * odds) / len(label))
