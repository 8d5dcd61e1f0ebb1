"""What stands beside the scores of a part: counts of right and wrong calls, and AUROC's interval without resampling."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.scoring.bootstrap import taking_part
from bench.scoring.delong import areas
from bench.scoring.measure import AUROC, Measured
from bench.scoring.metrics import confusion
from bench.scoring.thresholds import RULES

Row = tuple[Any, ...]


def confusion_rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[Row]:
    """Return rows of the `confusion` table: images by truth and call, for each finding and operating point.

    A finding that is not scored here, or has no threshold, has no row.
    """
    out: list[Row] = []
    place = (run_id, measured.part.dataset, measured.part.split)
    for k, finding in enumerate(findings):
        rows = taking_part(measured.label, k)
        for rule, threshold in zip(RULES, measured.threshold[:, k].tolist(), strict=True):
            if len(rows) and not np.isnan(threshold):
                count = confusion(measured.label[rows, k], measured.part.logit[rows, k] >= threshold)
                four = (count.true_positive, count.false_positive, count.false_negative, count.true_negative)
                out.append((*place, rule, finding, threshold, *four))
    return out


def delong_rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[Row]:
    """Return rows of the `delong` table: AUROC and its standard error three ways, with DeLong's interval.

    se_image takes images for independent (DeLong), se_patient patients (Obuchowski), se_bootstrap is of the replicates
    that all intervals of the scores come from: it should be near se_patient, and where both exceed se_image, images of
    one patient are alike. low and high are DeLong's, hence of images: a check, not the interval to report.
    """
    out: list[Row] = []
    for k, finding in enumerate(findings):
        rows = taking_part(measured.label, k)
        if not len(rows):
            continue
        label, score = measured.label[rows, k], measured.part.logit[rows, k][:, None]
        plain, clustered = areas(label, score), areas(label, score, measured.resamples.patient[rows])
        drawn = measured.replicates[AUROC][k]
        drawn = drawn[np.isfinite(drawn)]
        se_bootstrap = float(drawn.std(ddof=1)) if len(drawn) > 1 else float("nan")
        low, high = plain.interval()
        errors = (float(np.sqrt(found.covariance.item())) for found in (plain, clustered))
        place = (run_id, measured.part.dataset, measured.part.split, finding)
        out.append((*place, float(plain.value.item()), low.item(), high.item(), *errors, se_bootstrap))
    return out
