"""How much further from calibrated a run is in an external hospital than at the internal hospital, as given and after each fit of the internal hospital.

Shapes: K findings, B replicates.
"""

from collections.abc import Sequence

from bench.scoring.bootstrap.intervals import mirrored, percentile
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.gaps.gap import Gap, bounded, unbounded
from bench.scoring.metrics_of_split import Key, Measured

DRIFTING = ("ece", "brier")  # the Brier score follows the prevalence, too


def drifts(findings: Sequence[str], internal: Measured, external: Sequence[Measured]) -> list[tuple[Key, Gap]]:
    """Return ece_drift and brier_drift by calibrator: external minus internal on the findings both have (positive: worse externally).

    As gaps of AUROC: per finding and macro, per hospital and as their mean. Internal and externally are resampled independently.
    The interval of a distance that noise makes grow is mirrored at the value, which takes out what of that growth does
    not cancel between the two.
    """
    out = []
    for calibrator in internal.calibrators:
        for metric in DRIFTING:
            interval = mirrored if metric in BIASED else percentile
            found = unbounded(findings, internal, external, Key(metric, calibrator))
            turned = [gap._replace(value=-gap.value, replicates=-gap.replicates) for gap in found]
            out += [(Key(f"{metric}_drift", calibrator), gap) for gap in bounded(turned, interval)]
    return out
