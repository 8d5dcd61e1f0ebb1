"""How many labeled patients a new hospital needs, learned from hospitals whose labels are known.

A hospital with all its labels plays the part of a hospital with few labels. One draw gives the labels of n of its
patients to Platt scaling and measures the ECE on other patients of the same hospital; the goal is a small ECE. The same
draw is made for a rising number n, so the results form a curve. Patients are drawn, not images.

One random half of the patients is measured on, for every n: the ECE of few images is too high, so a number of measured
images that changes with n would bend the curve. The n patients come from the other half.

Shapes: N images, P patients; label [N] of 0 and 1, logit [N], patient [N] codes from 0.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.calibration_metrics import ece
from bench.scoring.calibrators import fit_platt
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.metrics import Label, Score
from bench.scoring.scored_split import DROPPED, ScoredSplit
from harmonize.seeds import stream

Codes = NDArray[np.int64]

# values of n; only those up to half of the patients are used
NUM_LABELED = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
DRAWS = 100  # at one hospital, of all runs together
LEAST_DRAWS = 20  # minimum number of draws of each run
SHARE = 0.8  # share of the draws that must reach the goal
QUANTILES = (0.1, 0.5, 0.9)  # the spread and the median of a curve

# one row for each draw. ece: NaN if the labels do not suffice, for example because none is positive; best: that of perfectly
# calibrated probabilities on the measured patients
DRAWN = ("finding", "dataset", "n", "ece", "best")

CURVES = (
    "finding",
    "dataset",  # a hospital, or EXTERNAL for all hospitals together
    "n",  # labeled patients; 0 is the run as it is, with the calibrator of the internal validation split
    "median",  # median ECE over hospitals, runs and draws
    "low",  # 10th percentile
    "high",  # 90th percentile
    "share",  # share of draws that reach the goal
    "hospitals",
    "draws",
)
NEEDS = (
    "finding",
    "dataset",
    "needed",  # smallest n at which enough draws reach the goal; NaN if there is none
    "largest",  # largest n that was tried
    "share",  # share of draws that reach the goal at n = needed, or at the largest n
    "note",  # reason why `needed` has no value, "" otherwise
    "best",  # median ECE of perfectly calibrated probabilities on the measured patients
)


@dataclass(frozen=True, slots=True, eq=False)
class LabeledColumn:
    """The images of a split that have a label for one finding, sorted by logit."""

    label: Label
    logit: Score
    patient: Codes

    @classmethod
    def of(cls, scored: ScoredSplit, k: int) -> Self:
        """Return the labeled images of finding k of a split."""
        label = scored.labels()[:, k]
        rows = np.flatnonzero(label != DROPPED)
        rows = rows[np.argsort(scored.logit[rows, k], kind="stable")]
        patient = np.unique(scored.patient_id[rows].astype(str), return_inverse=True)[1]
        return cls(label[rows], scored.logit[rows, k], patient.astype(np.int64))

    @property
    def num_patients(self) -> int:
        """Return the number of patients."""
        return int(self.patient.max(initial=-1)) + 1

    def smaller_class(self) -> int:
        """Return the number of patients with a positive image or with a negative image, whichever is smaller."""
        return min(len(np.unique(self.patient[self.label == value])) for value in (0, 1))

    def part(self, rows: NDArray[np.bool_]) -> "LabeledColumn":
        """Return some of the images; the order stays."""
        return LabeledColumn(self.label[rows], self.logit[rows], self.patient[rows])


def numbers_of_patients(num_patients: int) -> list[int]:
    """Return the numbers n for a hospital: the numbers in NUM_LABELED up to half of the patients."""
    return [n for n in NUM_LABELED if n <= num_patients // 2]


def recalibrated(
    finding: str,
    dataset: str,
    column: LabeledColumn,
    internal: LabeledColumn | None,
    draws: int = DRAWS,
    bins: int = 15,
) -> pd.DataFrame:
    """Draw patients of one hospital, and measure their calibrator on other patients: a table with the columns DRAWN.

    `internal`: the internal validation split; its calibrator gives the ECE for n = 0. Without this split there is none.
    """
    num, rows = column.num_patients, []
    best = fit_platt(column.label, column.logit).apply(column.logit)
    chance, order = stream(0, "perfect calibration", dataset, finding), stream(0, "label needs", dataset, finding)
    fixed = None if internal is None else fit_platt(internal.label, internal.logit)
    for _ in range(draws):
        rank = order.permutation(num)[column.patient]  # rank of each image's patient: ranks below n are labeled
        is_measured = rank >= num - num // 2
        measured, prob = column.part(is_measured), best[is_measured]
        lowest = ece((chance.random(len(prob)) < prob).astype(np.int8), prob, bins)
        fits = {} if fixed is None else {0: fixed}
        for n in numbers_of_patients(num):
            labeled = column.part(rank < n)
            fits[n] = fit_platt(labeled.label, labeled.logit)
        for n, fit in fits.items():
            is_fitted = not np.isnan(fit.a)
            error = ece(measured.label, fit.apply(measured.logit), bins) if is_fitted else np.nan
            rows.append((finding, dataset, n, error, lowest))
    return pd.DataFrame(rows, columns=list(DRAWN))


def summarize(drawn: pd.DataFrame, goal: float, share: float = SHARE) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the curves (columns CURVES) and the numbers of patients that are needed (columns NEEDS).

    drawn: columns DRAWN. goal: highest ECE. share: share of the draws that must reach the goal. Rows of all hospitals
    together come first. A hospital is in a curve only up to half of its patients, so the right end of such a row may have
    fewer hospitals; the column `hospitals` states their number.
    """
    drawn = drawn.assign(hospital=drawn["dataset"], reached=drawn["ece"] <= goal)
    if len(set(drawn["dataset"])) > 1:
        drawn = pd.concat([drawn.assign(dataset=EXTERNAL), drawn])
    curves: list[tuple[object, ...]] = []
    needs: list[tuple[object, ...]] = []
    for (finding, dataset), rows in drawn.groupby(["finding", "dataset"], sort=False):
        reached = rows.groupby("n")["reached"].mean()
        for n, of_n in rows.groupby("n"):
            # A draw whose labels do not suffice counts as the worst value; "nearest" never averages with infinity.
            quantiles = np.quantile(of_n["ece"].fillna(np.inf), QUANTILES, method="nearest")
            low, median, high = np.where(np.isfinite(quantiles), quantiles, np.nan).tolist()
            num_hospitals = of_n["hospital"].nunique()
            curves.append((finding, dataset, n, median, low, high, reached[n], num_hospitals, len(of_n)))
        largest, enough = int(reached.index.max()), reached.index[reached >= share]
        needed = float(enough[0]) if len(enough) else np.nan
        best = rows["best"].dropna()
        note = ""
        if not len(enough):
            few = (best <= goal).mean() < share
            note = "too few patients to measure" if few else f"more than {largest:,}"
        at = enough[0] if len(enough) else largest
        needs.append((finding, dataset, needed, largest, reached[at], note, best.median()))
    return pd.DataFrame(curves, columns=list(CURVES)), pd.DataFrame(needs, columns=list(NEEDS))
