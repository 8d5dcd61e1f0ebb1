"""What stands beside the scores of a part: counts of right and wrong calls, and AUROC's interval without resampling."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.scoring.delong import of_column
from bench.scoring.metrics_of_split import AUROC, Measured
from bench.scoring.thresholds import RULES

Row = tuple[Any, ...]


def confusion_rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[Row]:
    """Return rows of the `confusion` table: images by truth and call, for each finding and operating point.

    A finding that is not scored here, or has no threshold, has no row.
    """
    out: list[Row] = []
    place = (run_id, measured.scored.dataset, measured.scored.split)
    for k, finding in enumerate(findings):
        column, chosen = measured.columns[k], measured.threshold[:, k]
        counted = column.counted(column.reaching(chosen)).tolist()
        num_positive = int(np.count_nonzero(column.positive))
        num_negative = len(column.rows) - num_positive
        for rule, threshold, (false, hit) in zip(RULES, chosen.tolist(), counted, strict=True):
            if len(column.rows) and not np.isnan(threshold):
                out.append((*place, rule, finding, threshold, hit, false, num_positive - hit, num_negative - false))
    return out


def delong_rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[Row]:
    """Return rows of the `delong` table: AUROC and its standard error three ways, with DeLong's interval.

    se_image takes images for independent (DeLong), se_patient patients (Obuchowski), se_bootstrap is of the replicates
    that all intervals of the scores come from: it should be near se_patient, and where both exceed se_image, images of
    one patient are alike. low and high are DeLong's on the logit scale, hence of images: a check, not the interval to report.
    """
    out: list[Row] = []
    for k, finding in enumerate(findings):
        column = measured.columns[k]
        plain, clustered = of_column(column.kind, column.patient, column.placements())
        if np.isnan(plain.value[0]):
            continue
        drawn = measured.replicates[AUROC][k]
        drawn = drawn[np.isfinite(drawn)]
        se_bootstrap = float(drawn.std(ddof=1)) if len(drawn) > 1 else float("nan")
        low, high = plain.interval()
        errors = (float(np.sqrt(found.covariance.item())) for found in (plain, clustered))
        place = (run_id, measured.scored.dataset, measured.scored.split, finding)
        out.append((*place, float(plain.value.item()), low.item(), high.item(), *errors, se_bootstrap))
    return out
