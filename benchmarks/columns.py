"""Bootstrap metrics of the columns (findings) of a split, one column after the other.

`bench.scoring.metrics_of_split` computes them in fewer passes over the images. Shapes: N images, C columns, B replicates, R thresholds.
"""

import numpy as np
from bench.scoring.bootstrap.bootstrap import CALL_METRICS, Labels, Scores, call_metrics, column_metrics, cuts_of
from bench.scoring.bootstrap.calibration_errors import Errors, Segments
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sort_scores import labeled_rows
from bench.scoring.bootstrap.sorted_images import Column
from numpy.typing import NDArray

from bench.scoring.calibration_metrics import ERRORS, BinnedProbabilities

Array = NDArray[np.float64]


def calls(resamples: Resamples, label_NC: Labels, score_NC: Scores, threshold_RC: Array) -> dict[str, Array]:
    """Compute the CALL_METRICS, [R, C, B] each, at R thresholds for each of C columns in B replicates.

    An image is called positive if score >= threshold. Metrics are NaN for a NaN threshold. F1 and sensitivity are NaN without
    positives, specificity without negatives, precision without positive calls, npv without negative calls.
    """
    num_rules, num_columns = threshold_RC.shape
    out = {name: np.full((num_rules, num_columns, resamples.num), np.nan) for name in CALL_METRICS}
    for k in range(num_columns):
        column = Column.of(resamples.patient, label_NC[:, k], score_NC[:, k])
        rules, cut = cuts_of(column, threshold_RC[:, k])
        *called, total = column_metrics(resamples, column, cut).reached
        for rule, called_by_rule in zip(rules, called, strict=True):
            for name, replicates in call_metrics(called_by_rule, total).items():
                out[name][rule, k] = replicates
    return out


def calibration_metrics(resamples: Resamples, label_NC: Labels, prob_NC: Scores, bins: int = 15) -> dict[str, Array]:
    """Compute the calibration errors of the C columns of prob_NC (findings) in B replicates: name -> errors [C, B].

    `calibration_metrics.errors_of` defines the errors. All replicates use the equal-mass bins of the original images.
    Raises ValueError if the probability of a labeled image is not between 0 and 1.
    """
    if not ((prob_NC >= 0) & (prob_NC <= 1) | (label_NC < 0)).all():
        raise ValueError("Probabilities of labeled images must be between 0 and 1. Apply a sigmoid to logits first.")
    num_columns, num_tiles = label_NC.shape[1], len(resamples.weight)
    out = {name: np.full((num_columns, resamples.num), np.nan) for name in ERRORS}
    for column in range(num_columns):
        rows = labeled_rows(label_NC[:, column])
        rows = rows[np.argsort(-prob_NC[rows, column], kind="stable")]
        probability = BinnedProbabilities.of(np.asarray(prob_NC[rows, column], np.float64), bins)
        positive = label_NC[rows, column] == 1
        patient = resamples.patient[rows]
        errors = Errors.of(patient, positive, [probability], bins, num_tiles, num_tiles)
        classes = Segments.of_patients(patient, resamples.num_patients, [~positive, positive])
        for tile in range(num_tiles):
            weight = resamples.tile(tile)
            errors.fill(tile, weight, classes.totals(weight))
        [by_name] = errors.results(resamples.num)
        for name in ERRORS:
            out[name][column] = by_name[name][1:]
    return out
