"""Tables `confusion` (images by label and call) and `delong` (AUROC with analytic standard errors) of a split."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.scoring.delong import of_column
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.pooled_hospitals import hospital_parts
from bench.scoring.thresholds import RULES

Row = tuple[Any, ...]


def confusion_rows(run_id: str, findings: Sequence[str], measured: SplitMetrics) -> list[Row]:
    """Build rows of the `confusion` table: numbers of images by label and call, for each finding and operating point.

    A finding without a score or a threshold has no row.
    """
    rows: list[Row] = []
    prefix = (run_id, measured.scored.dataset, measured.scored.split)
    for k, finding in enumerate(findings):
        column, threshold_R = measured.columns[k], measured.threshold[:, k]
        counts = column.counted(column.reaching(threshold_R)).tolist()
        num_positive = int(np.count_nonzero(column.positive))
        num_negative = len(column.rows) - num_positive
        for rule, threshold, (false, hit) in zip(RULES, threshold_R.tolist(), counts, strict=True):
            if len(column.rows) and not np.isnan(threshold):
                rows.append((*prefix, rule, finding, threshold, hit, false, num_positive - hit, num_negative - false))
    return rows


def delong_rows(run_id: str, findings: Sequence[str], measured: SplitMetrics) -> list[Row]:
    """Build rows of the `delong` table: AUROC with DeLong's interval and two standard errors.

    se_image (DeLong) assumes independent images. se_patient (Obuchowski) assumes independent patients. If images of one patient
    are correlated, se_patient exceeds se_image. low and high are the bounds of DeLong's interval, computed on the logit
    scale. DeLong's interval is only a check of the interval that reports show. A finding without an AUROC has
    no row. A split of a pool has no rows, because its AUROC is a mean over hospitals; the splits of its hospitals have.
    """
    rows: list[Row] = []
    if hospital_parts(measured.scored):
        return rows
    for k, finding in enumerate(findings):
        over_images, over_patients = of_column(measured.columns[k])
        if np.isnan(over_images.value[0]):
            continue
        low, high = over_images.interval()
        errors = (float(np.sqrt(areas.covariance.item())) for areas in (over_images, over_patients))
        prefix = (run_id, measured.scored.dataset, measured.scored.split, finding)
        rows.append((*prefix, float(over_images.value.item()), low.item(), high.item(), *errors))
    return rows
