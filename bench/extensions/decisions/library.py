"""The functions of `bench.api` that compute net benefit and triage from predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["net_benefit", "triage"]


def net_benefit(
    predictions: "pd.DataFrame",
    thresholds: Sequence[float] = (),
    *,
    minus: "pd.DataFrame | None" = None,
) -> "pd.DataFrame":
    """Compute the net benefit of calls of one finding, from probabilities alone; one row for each threshold.

    predictions: one row for each image, with the columns `label` (1 finding present, 0 absent), `probability` (0 to 1; an image is
    called if it is at least the threshold) and `patient_id`. thresholds: probabilities between 0 and 1; without them, the 18 of
    the table `decision_curves`. minus: predictions of another model for the same images in the same order.

    Columns: net_benefit (found cases per image, below the prevalence), standardized (divided by the prevalence; at most 1;
    NaN without positive images), over_all (net benefit minus treat_all), each with _low and _high (95 %, over
    patients); treat_all; with `minus`, the paired difference with _low, _high and its p value; n, num_positive and
    num_negative (images), num_patients; note (why a number is missing or not reliable, else ""). docs/extensions/decisions.md explains them.
    Raises ConfigError for a threshold that is not between 0 and 1, and tables with
    missing columns, other labels, numbers that are no probabilities, or (`minus`) other images.

    >>> import pandas as pd
    >>> columns = {"label": [1, 0, 0, 1], "probability": [0.9, 0.4, 0.1, 0.2], "patient_id": ["a", "b", "c", "d"]}
    >>> net_benefit(pd.DataFrame(columns), [0.2])[["threshold", "net_benefit", "treat_all"]]
       threshold  net_benefit  treat_all
    0        0.2       0.4375      0.375
    """
    from bench.extensions.decisions.predictions import net_benefit_of

    return net_benefit_of(predictions, thresholds, minus)


def triage(
    internal: "pd.DataFrame",
    hospital: "pd.DataFrame",
    levels: Sequence[float] = (0.05, 0.1),
) -> "pd.DataFrame":
    """Set conformal thresholds on internal images, and measure what they give at a hospital; one row for each stated rate.

    internal, hospital: one row for each image, with the columns `label` (1 finding present, 0 absent), `score` (higher for the
    finding: logits or probabilities, on the same scale in both) and `patient_id`. Images of `internal` must not have trained the
    model. levels: stated rates, above 0 and below 1; each is the miss rate and the false positive rate of one triage.

    Columns: release_threshold (images below it are released; -inf if there are too few internal patients) and flag_threshold
    (images above it are flagged; inf); miss_rate, false_positive_rate, released, flagged and deferred (shares from 0 to 1; NaN if
    the hospital has no image of the class), each with _low and _high (95 %, over patients); miss_rate_by_chance and
    false_positive_rate_by_chance (what thresholds from so few internal patients can have by chance);
    num_internal_positive, num_internal_negative, num_positive and num_negative (patients with an image of the class), n (images);
    note (why a threshold or rate is missing or not reliable, else "").
    The guarantee is broken if the interval of a rate lies above the level, by more than this chance (docs/extensions/decisions.md).
    Raises ConfigError for a level that is not between 0 and 1, a class that is absent
    in `internal`, and tables with missing columns, other labels, or numbers that are not finite.

    >>> import pandas as pd
    >>> columns = {"label": [0, 1] * 20, "score": range(40), "patient_id": range(40)}
    >>> table = pd.DataFrame(columns)
    >>> triage(table, table, [0.1])[["release_threshold", "flag_threshold", "miss_rate", "false_positive_rate", "deferred"]]
       release_threshold  flag_threshold  miss_rate  false_positive_rate  deferred
    0                3.0            36.0       0.05                 0.05      0.85
    """
    from bench.extensions.decisions.predictions import triage_of

    return triage_of(internal, hospital, levels)
