"""The table `estimates`: measured scores, and what the estimators that need only logits say about each hospital.

Estimators do not read labels of the estimated hospital: they get all its images, with or without a label.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.extensions.estimates.from_logits import FROM_LOGITS
from bench.extensions.estimates.quantities import QUANTITIES, InternalFinding
from bench.scoring.calibrators import Platt
from bench.scoring.metrics_of_split import AUROC, Key, OperatingPoints, SplitMetrics
from bench.scoring.scored_split import DROPPED, ScoredSplit
from bench.scoring.thresholds import RULES
from reports.schemas.tables import SCHEMAS

Row = tuple[object, ...]
MEASURED = "measured"  # in the column `estimator`: the value was measured with labels


def internal_findings(val: ScoredSplit, points: OperatingPoints, settings: Settings) -> list[InternalFinding | None]:
    """Return what an estimator knows of each finding; None if a class has fewer than `min_count` validation patients."""
    known: list[InternalFinding | None] = []
    rule = list(RULES).index(settings.threshold)
    for k, platt in enumerate(points.fits["platt"]):
        assert isinstance(platt, Platt)
        label, labeled = val.labels()[:, k], val.labels()[:, k] != DROPPED
        enough = points.num_patients[:, k].min() >= settings.min_count
        logit = val.logit[labeled, k].astype(np.float64)
        known.append(
            InternalFinding(label[labeled], logit, float(points.threshold[rule, k]), platt, settings.bins)
            if enough
            else None
        )
    return known


def rows(
    run_id: str,
    findings: Sequence[str],
    known: Sequence[InternalFinding | None],
    dataset: str,
    logit_NK: NDArray[np.float32],
) -> list[Row]:
    """Return one row per finding and estimator, with the columns of the table `estimates`."""
    out: list[Row] = []
    for k, internal in enumerate(known):
        if internal is None:
            continue
        logit = logit_NK[:, k].astype(np.float64)
        for name, estimator in FROM_LOGITS.items():
            values = estimator(internal, logit)
            out.append((run_id, dataset, findings[k], name, *(values.get(q, np.nan) for q in QUANTITIES)))
    return out


def measured_rows(run_id: str, findings: Sequence[str], split: SplitMetrics, settings: Settings) -> list[Row]:
    """Return one row per finding with the measured values of a split; NaN where a class has too few patients."""
    counts, rule = split.counts, settings.threshold
    with np.errstate(divide="ignore", invalid="ignore"):
        prevalence = np.where(counts.available, counts.num_positive / counts.n, np.nan)
    sensitivity, specificity = (split.value[Key(name, operating_point=rule)] for name in ("sensitivity", "specificity"))
    values = {
        "auroc": split.value[AUROC],
        "sensitivity": sensitivity,
        "specificity": specificity,
        "accuracy": sensitivity * prevalence + specificity * (1 - prevalence),
        "ece": split.value[Key("ece", "none")],
        "prevalence": prevalence,
    }
    return [
        (run_id, split.scored.dataset, finding, MEASURED, *(float(values[q][k]) for q in QUANTITIES))
        for k, finding in enumerate(findings)
    ]


def frame_of(table_rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as the table `estimates`."""
    kinds = dict.fromkeys(QUANTITIES, "float64")
    return pd.DataFrame(table_rows, columns=list(SCHEMAS["estimates"])).astype(kinds)
