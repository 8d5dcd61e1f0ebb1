"""The smallest and the largest possible value of each metric. Differences, slopes and metrics of users have none."""

import numpy as np

_SHARES = (
    *("auroc", "auprc", "f1", "precision", "npv", "sensitivity", "specificity", "fnr", "fpr", "balanced_accuracy"),
    *("underdiagnosis", "overdiagnosis"),
    *("brier", "brier_reliability", "ece", "mce", "ace"),
)
BOUNDS = dict.fromkeys(_SHARES, (0.0, 1.0)) | dict.fromkeys(("brier_resolution", "brier_uncertainty"), (0.0, 0.25))
BOUNDS["nll"] = (0.0, np.inf)
BOUNDS["standardized"] = (-np.inf, 1.0)  # net benefit divided by the prevalence; 1 is perfect
UNBOUNDED = (-np.inf, np.inf)
DIFFERENCE = "difference"  # the metric of rows whose values are differences


def bounds_of(metric: str) -> tuple[float, float]:
    """Return the smallest and the largest possible value of a metric.

    The spread of a metric over groups (`auroc_spread`) lies between 0 and the range of the metric.

    >>> bounds_of("auroc"), bounds_of("brier_resolution_spread"), bounds_of("auroc_gap")
    ((0.0, 1.0), (0.0, 0.25), (-inf, inf))
    """
    low, high = BOUNDS.get(metric.removesuffix("_spread"), UNBOUNDED)
    return (0.0, high - low) if metric.endswith("_spread") else (low, high)
