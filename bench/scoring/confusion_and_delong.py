"""Confusion counts of a split, and the analytic standard errors of AUROC."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.scoring.delong import of_column
from bench.scoring.metrics_of_split import AUROC, Measured
from bench.scoring.thresholds import RULES

Row = tuple[Any, ...]


def confusion_rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[Row]:
    """Build rows of the `confusion` table: images by label and call, for each finding and operating point.

    A finding without a score or a threshold has no row.
    """
    out: list[Row] = []
    prefix = (run_id, measured.scored.dataset, measured.scored.split)
    for k, finding in enumerate(findings):
        column, chosen = measured.columns[k], measured.threshold[:, k]
        counted = column.counted(column.reaching(chosen)).tolist()
        num_positive = int(np.count_nonzero(column.positive))
        num_negative = len(column.rows) - num_positive
        for rule, threshold, (false, hit) in zip(RULES, chosen.tolist(), counted, strict=True):
            if len(column.rows) and not np.isnan(threshold):
                out.append((*prefix, rule, finding, threshold, hit, false, num_positive - hit, num_negative - false))
    return out


def delong_rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[Row]:
    """Build rows of the `delong` table: AUROC with DeLong's interval and three standard errors.

    se_image (DeLong) assumes independent images, se_patient (Obuchowski) independent patients. se_bootstrap is that of the
    replicates; it should be close to se_patient. Both exceed se_image where images of one patient are correlated. low and high
    are DeLong's on the logit scale: a check, not the interval to report.
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
        errors = (float(np.sqrt(areas.covariance.item())) for areas in (plain, clustered))
        prefix = (run_id, measured.scored.dataset, measured.scored.split, finding)
        out.append((*prefix, float(plain.value.item()), low.item(), high.item(), *errors, se_bootstrap))
    return out
