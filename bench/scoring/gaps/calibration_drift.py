"""Calibration drift: the external calibration error minus the internal calibration error, for each calibrator.

Shapes: K findings, B replicates.
"""

from collections.abc import Sequence

from bench.scoring.calibration_metrics import BIASED
from bench.scoring.gaps.gap import Gap, bounded, gaps
from bench.scoring.metrics_of_split import Key, SplitMetrics

# metrics whose drift is computed; the Brier score and its drift also depend on the prevalence
DRIFTING = ("ece", "brier")


def drifts(findings: Sequence[str], internal: SplitMetrics, external: Sequence[SplitMetrics]) -> list[tuple[Key, Gap]]:
    """Compute ece_drift and brier_drift: external minus internal error, for each calibrator.

    Both errors use the findings that both hospitals score. A positive drift means that the run is worse calibrated at
    external hospitals. There are drifts of each finding and of the macro, at each hospital and as mean over hospitals.
    Internal and external patients are resampled independently. Noise increases the internal and the external ECE by
    unknown amounts; the interval of ece_drift allows for both amounts.
    """
    rows = []
    for calibrator in internal.calibrators:
        for metric in DRIFTING:
            unbounded_drifts = [_reversed(gap) for gap in gaps(findings, internal, external, Key(metric, calibrator))]
            rows += [(Key(f"{metric}_drift", calibrator), gap) for gap in bounded(unbounded_drifts, metric in BIASED)]
    return rows


def _reversed(gap: Gap) -> Gap:
    """Return the difference external - internal instead of internal - external, without interval."""
    excess_internal, excess_external = gap.excess
    return gap._replace(value=-gap.value, replicates=-gap.replicates, excess=(excess_external, excess_internal))
