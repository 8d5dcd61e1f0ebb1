"""How many labeled patients a new hospital needs, learned from hospitals whose labels are known.

A hospital with all its labels plays the part of a hospital with few labels. One draw gives the labels of n of its
patients to Platt scaling and measures the ECE on other patients of the same hospital; the goal is an ECE of at most
`Goals.ece`. The same draw is made for a rising number n, so the results form a curve. Patients are drawn, not images.

One random half of the patients is measured on, for every n: the ECE of few images is too high, so a number of measured
images that changes with n would bend the curve. The n patients come from the other half.

Shapes: N images, P patients, D draws; label [N] of 0 and 1, logit [N], patient [N] codes from 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.label_needs.goals import Goals
from bench.scoring.calibration_metrics import ece
from bench.scoring.calibrators import fit_platt
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.metrics import Label, Score
from bench.scoring.scored_split import DROPPED, ScoredSplit
from harmonize.seeds import stream

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

# values of n; only those up to half of the patients are used
NUM_LABELED = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
DRAWS = 100  # draws of one run at one hospital
LEAST_DRAWS = 20  # of each run, if many runs are measured together
QUANTILES = (0.1, 0.5, 0.9)  # the spread and the median of a curve

CURVES = (
    "finding",
    "dataset",  # a hospital, or EXTERNAL for all hospitals together
    "n",  # labeled patients; 0 is the run as it is, with the calibrator of the internal validation split
    "median",  # of the ECE over hospitals, runs and draws
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


class Draws(NamedTuple):
    """The draws of one run with the labels of n patients, for one finding and hospital; arrays [D]."""

    finding: str
    dataset: str
    n: int
    ece: Array  # NaN if the labels do not suffice, for example because none is positive
    best: Array  # the column `best` of NEEDS, for each draw


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
    """Return the numbers n for a hospital: those of NUM_LABELED up to half of the patients."""
    return [n for n in NUM_LABELED if n <= num_patients // 2]


def ranks(num_patients: int, draws: int, *names: object) -> Iterator[Codes]:
    """Yield the random rank [P] of each patient for each draw; the n patients of a draw are those with ranks below n.

    The measured half has the ranks from P - P // 2. `names`: names of the random stream, such as hospital and finding.
    """
    generator = stream(0, "label needs", *names)
    for _ in range(draws):
        yield generator.permutation(num_patients)


def recalibrated(
    finding: str,
    dataset: str,
    column: LabeledColumn,
    internal: LabeledColumn | None,
    draws: int = DRAWS,
    bins: int = 15,
) -> list[Draws]:
    """Draw patients of one hospital, and measure their calibrator on other patients.

    `internal`: the internal validation split; its calibrator gives the outcomes for n = 0. Without this split there are
    none.
    """
    methods: list[int] = ([0] if internal is not None else []) + numbers_of_patients(column.num_patients)
    errors, lowest = np.full((len(methods), draws), np.nan), np.full(draws, np.nan)
    best = fit_platt(column.label, column.logit).apply(column.logit)
    generator = stream(0, "perfect calibration", dataset, finding)
    fixed = None if internal is None else fit_platt(internal.label, internal.logit)
    for d, rank in enumerate(ranks(column.num_patients, draws, dataset, finding)):
        of_image = rank[column.patient]
        measured_rows = of_image >= column.num_patients - column.num_patients // 2
        measured, prob = column.part(measured_rows), best[measured_rows]
        lowest[d] = ece((generator.random(len(prob)) < prob).astype(np.int8), prob, bins)
        for i, n in enumerate(methods):
            labeled = column.part(of_image < n)
            fit = fixed if n == 0 and fixed else fit_platt(labeled.label, labeled.logit)
            if not np.isnan(fit.a):
                errors[i, d] = ece(measured.label, fit.apply(measured.logit), bins)
    return [Draws(finding, dataset, n, errors[i], lowest) for i, n in enumerate(methods)]


def summarize(outcomes: Sequence[Draws], goals: Goals) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the curves (columns CURVES) and the numbers of patients that are needed (columns NEEDS).

    Rows of all hospitals together come first. A hospital is in a curve only up to half of its patients, so the right
    end of such a row may have fewer hospitals; the column `hospitals` states their number.
    """
    places: dict[tuple[str, str], dict[int, list[Draws]]] = {}
    several = len({outcome.dataset for outcome in outcomes}) > 1
    for together in (True, False) if several else (False,):
        for outcome in outcomes:
            where = outcome.finding, EXTERNAL if together else outcome.dataset
            places.setdefault(where, {}).setdefault(outcome.n, []).append(outcome)
    curves = [_curve_row(where, n, group, goals) for where, by_n in places.items() for n, group in sorted(by_n.items())]
    table = pd.DataFrame(curves, columns=list(CURVES))
    needs = [_need_row(where, by_n, goals) for where, by_n in places.items()]
    return table, pd.DataFrame(needs, columns=list(NEEDS))


def _curve_row(where: tuple[str, str], n: int, group: Sequence[Draws], goals: Goals) -> tuple[object, ...]:
    value = np.concatenate([outcome.ece for outcome in group])
    # A draw whose labels do not suffice counts as the worst value; "nearest" never averages with infinity.
    low, median, high = np.quantile(np.where(np.isnan(value), np.inf, value), QUANTILES, method="nearest")
    spread = [v if np.isfinite(v) else float("nan") for v in (median, low, high)]
    num_hospitals = len({outcome.dataset for outcome in group})
    return (*where, n, *spread, _reached(group, goals), num_hospitals, len(value))


def _reached(group: Sequence[Draws], goals: Goals) -> float:
    return float((np.concatenate([outcome.ece for outcome in group]) <= goals.ece).mean())


def _need_row(where: tuple[str, str], by_n: dict[int, list[Draws]], goals: Goals) -> tuple[object, ...]:
    share = {n: _reached(by_n[n], goals) for n in sorted(by_n)}
    largest = max(share)
    needed = next((n for n, reached in share.items() if reached >= goals.share), None)
    best = np.concatenate([outcome.best for group in by_n.values() for outcome in group])
    best = best[np.isfinite(best)]
    note = ""
    if needed is None:
        few = (best <= goals.ece).mean() < goals.share
        note = "too few patients to measure" if few else f"more than {largest:,}"
    return (
        *where,
        float("nan") if needed is None else float(needed),
        largest,
        share[largest if needed is None else needed],
        note,
        float(np.median(best)) if len(best) else float("nan"),
    )
