"""How much further from calibrated a run is in a hospital away than at home, as given and after each fit of home.

Shapes: K findings, B replicates.
"""

from collections.abc import Sequence

from bench.scoring.bootstrap.intervals import mirrored, percentile
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.gaps.gap import Gap, bounded, unbounded
from bench.scoring.metrics_of_split import Key, Measured

DRIFTING = ("ece", "brier")  # the Brier score follows the prevalence, too


def drifts(findings: Sequence[str], home: Measured, away: Sequence[Measured]) -> list[tuple[Key, Gap]]:
    """Return ece_drift and brier_drift by calibrator: away minus home on the findings both have (positive: worse away).

    As gaps of AUROC: per finding and macro, per hospital and as their mean. Home and away are resampled independently.
    The interval of a distance that noise makes grow is mirrored at the value, which takes out what of that growth does
    not cancel between the two.
    """
    out = []
    for calibrator in home.calibrators:
        for metric in DRIFTING:
            interval = mirrored if metric in BIASED else percentile
            found = unbounded(findings, home, away, Key(metric, calibrator))
            turned = [gap._replace(value=-gap.value, replicates=-gap.replicates) for gap in found]
            out += [(Key(f"{metric}_drift", calibrator), gap) for gap in bounded(turned, interval)]
    return out
