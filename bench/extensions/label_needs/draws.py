"""How many labeled patients a new hospital needs, learned from hospitals whose labels are known.

A hospital with all its labels plays the part of a hospital with few labels. One draw gives the labels of n of its
patients to a method and measures the result on other patients of the same hospital. The same draw is made for a rising
number n, so the results form a curve. Patients are drawn, not images. There are two goals:

- CALIBRATION: Platt scaling is fitted on the n patients; the goal is an ECE of at most `Goals.ece`.
- DIFFERENCE: two runs are compared on the n patients; the goal is an interval of the AUROC difference that excludes 0,
  on the same side as the difference over all patients.

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
from scipy.special import stdtrit

from bench.extensions.label_needs.goals import Goals
from bench.scoring.calibration_metrics import ece
from bench.scoring.calibrators import fit_platt
from bench.scoring.delong import influence
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.influence import LEVEL
from bench.scoring.metrics import Label, Score
from bench.scoring.scored_split import DROPPED, ScoredSplit
from harmonize.seeds import stream

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

CALIBRATION, DIFFERENCE = "calibration", "difference"
# values of n; only those up to half of the patients are used
NUM_LABELED = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
DRAWS = 100  # draws of one run at one hospital
LEAST_DRAWS = 20  # of each run, if many runs are measured together
LEAST_IN_CLASS = 5  # patients with and without the finding; with fewer, an AUROC difference has no interval
QUANTILES = (0.1, 0.5, 0.9)  # the spread and the median of a curve

CURVES = (
    "goal",
    "finding",
    "dataset",  # a hospital, or EXTERNAL for all hospitals together
    "n",  # labeled patients; 0 is the run as it is, with the calibrator of the internal validation split
    "median",  # of ECE or AUROC difference, over hospitals, runs and draws
    "low",  # 10th percentile
    "high",  # 90th percentile
    "share",  # share of draws that reach the goal
    "share_low",  # smallest share of a hospital
    "share_high",  # largest share of a hospital
    "hospitals",
    "draws",
)
NEEDS = (
    "goal",
    "finding",
    "dataset",
    "target",  # largest ECE, or, for DIFFERENCE, smallest share of draws
    "needed",  # smallest n at which enough draws reach the goal; NaN if there is none
    "largest",  # largest n that was tried
    "share",  # share of draws that reach the goal at n = needed, or at the largest n
    "note",  # reason why `needed` has no value, "" otherwise
    "best",  # median ECE of perfectly calibrated probabilities on the measured patients; NaN for DIFFERENCE
)


class GoalDraws(NamedTuple):
    """The draws of one run with the labels of n patients, for one goal, finding and hospital; arrays [D]."""

    goal: str
    finding: str
    dataset: str
    n: int
    value: Array  # NaN if the labels do not suffice, for example because none is positive
    reached: NDArray[np.bool_]
    best: Array | None = None  # the column `best` of NEEDS, for each draw
    clear: bool = True  # whether the labels of all patients of the hospital reach the goal


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
        return min(_num_patients(self.patient[self.label == value]) for value in (0, 1))

    def part(self, rows: NDArray[np.bool_]) -> "LabeledColumn":
        """Return some of the images; the order stays."""
        return LabeledColumn(self.label[rows], self.logit[rows], self.patient[rows])


def _num_patients(patient: Codes) -> int:
    return int(np.count_nonzero(np.bincount(patient)))


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


# ---- calibration


def recalibrated(
    finding: str,
    dataset: str,
    column: LabeledColumn,
    internal: LabeledColumn | None,
    goals: Goals,
    draws: int = DRAWS,
    bins: int = 15,
) -> list[GoalDraws]:
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
    return [
        GoalDraws(CALIBRATION, finding, dataset, n, errors[i], errors[i] <= goals.ece, best=lowest)
        for i, n in enumerate(methods)
    ]


# ---- the difference of two runs


def told_apart(
    dataset: str,
    findings: Sequence[str],
    label_NK: NDArray[np.int8],
    logit_2NK: Score,
    patient_ids: NDArray[np.object_],
    draws: int = DRAWS,
) -> list[GoalDraws]:
    """Draw patients of one hospital, and test the AUROC difference of two runs on them: each finding, then the macro.

    label_NK: 1, 0 or DROPPED for each image and finding; logit_2NK: those of the two runs. The macro of a draw is the
    mean over the findings with enough patients in this draw. There is no macro of a single finding.
    """
    patient = np.unique(patient_ids.astype(str), return_inverse=True)[1].astype(np.int64)
    num_patients = int(patient.max(initial=-1)) + 1
    names = [*findings, MACRO] if len(findings) > 1 else list(findings)
    truth = _differences(label_NK, logit_2NK, patient, num_patients)[: len(names)]
    numbers = numbers_of_patients(num_patients)
    value, reached = (np.full((len(names), len(numbers), draws), fill) for fill in (np.nan, False))
    for d, rank in enumerate(ranks(num_patients, draws, dataset)):
        of_image = rank[patient]
        for i, n in enumerate(numbers):
            rows = np.flatnonzero(of_image < n)
            found = _differences(label_NK[rows], logit_2NK[:, rows], of_image[rows], n)[: len(names)]
            value[:, i, d] = [difference.value for difference in found]
            reached[:, i, d] = [
                difference.excludes_zero and difference.value * true.value > 0
                for difference, true in zip(found, truth, strict=True)
            ]
    return [
        GoalDraws(DIFFERENCE, name, dataset, n, value[k, i], reached[k, i] == 1, clear=truth[k].excludes_zero)
        for k, name in enumerate(names)
        for i, n in enumerate(numbers)
    ]


class _Difference(NamedTuple):
    """An AUROC difference with its 95 % interval; NaN with too few patients."""

    value: float
    half: float

    @property
    def excludes_zero(self) -> bool:
        return abs(self.value) > self.half


def _differences(label_NK: NDArray[np.int8], logit_2NK: Score, patient: Codes, num_patients: int) -> list[_Difference]:
    """Compute the AUROC difference of two runs for each finding, then for the macro."""
    values, influences, out = [], [], []
    for k in range(label_NK.shape[1]):
        rows = label_NK[:, k] != DROPPED
        label, codes = label_NK[rows, k], patient[rows]
        if min(_num_patients(codes[label == value]) for value in (0, 1)) < LEAST_IN_CLASS:
            out.append(_Difference(float("nan"), float("nan")))
            continue
        (first, of_first), (second, of_second) = (influence(label, logit_2NK[run, rows, k]) for run in (0, 1))
        values.append(first - second)
        change = np.bincount(codes, of_first - of_second, minlength=num_patients)
        influences.append(np.asarray(change, np.float64))
        out.append(_tested(values[-1], influences[-1]))
    if not values:
        return [*out, _Difference(float("nan"), float("nan"))]
    return [*out, _tested(float(np.mean(values)), np.mean(influences, axis=0))]


def _tested(value: float, influence_P: Array) -> _Difference:
    """Return a difference with the half width of its interval, from the influence of each patient.

    Student's t replaces the normal distribution, because few patients may carry most of the variance. The number of
    patients that carry it gives the degrees of freedom (Fay and Graubard 2001).
    """
    square = influence_P**2
    variance = float(square.sum())
    if variance == 0:
        return _Difference(value, 0.0)
    freedom = max(variance**2 / float((square**2).sum()) - 1, 1.0)
    correction = len(influence_P) / (len(influence_P) - 1)
    return _Difference(value, float(stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(variance * correction)))


# ---- curves and answers


def summarize(outcomes: Sequence[GoalDraws], goals: Goals) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the curves (columns CURVES) and the numbers of patients that are needed (columns NEEDS).

    Rows of all hospitals together come first. A hospital is in a curve only up to half of its patients, so the right
    end of such a row may have fewer hospitals; the column `hospitals` states their number.
    """
    places: dict[tuple[str, str, str], dict[int, list[GoalDraws]]] = {}
    several = len({outcome.dataset for outcome in outcomes}) > 1
    for together in (True, False) if several else (False,):
        for outcome in outcomes:
            where = outcome.goal, outcome.finding, EXTERNAL if together else outcome.dataset
            places.setdefault(where, {}).setdefault(outcome.n, []).append(outcome)
    curves = [_curve_row(where, n, group) for where, by_n in places.items() for n, group in sorted(by_n.items())]
    table = pd.DataFrame(curves, columns=list(CURVES))
    needs = [_need_row(where, by_n, goals) for where, by_n in places.items()]
    return table, pd.DataFrame(needs, columns=list(NEEDS))


def _curve_row(where: tuple[str, str, str], n: int, group: Sequence[GoalDraws]) -> tuple[object, ...]:
    worst = np.inf if where[0] == CALIBRATION else -np.inf
    value = np.concatenate([outcome.value for outcome in group])
    # A draw whose labels do not suffice counts as the worst value; "nearest" never averages with infinity.
    low, median, high = np.quantile(np.where(np.isnan(value), worst, value), QUANTILES, method="nearest")
    spread = [v if np.isfinite(v) else float("nan") for v in (median, low, high)]
    shares = _shares(group)
    return (
        *where,
        n,
        *spread,
        _reached(group),
        min(shares),
        max(shares),
        len(shares),
        len(value),
    )


def _reached(group: Sequence[GoalDraws]) -> float:
    return float(np.concatenate([outcome.reached for outcome in group]).mean())


def _shares(group: Sequence[GoalDraws]) -> list[float]:
    """Return the share of draws that reach the goal, for each hospital."""
    datasets = dict.fromkeys(outcome.dataset for outcome in group)
    return [_reached([outcome for outcome in group if outcome.dataset == dataset]) for dataset in datasets]


def _need_row(where: tuple[str, str, str], by_n: dict[int, list[GoalDraws]], goals: Goals) -> tuple[object, ...]:
    share = {n: _reached(by_n[n]) for n in sorted(by_n)}
    largest = max(share)
    needed = next((n for n, reached in share.items() if reached >= goals.share), None)
    every = [outcome for group in by_n.values() for outcome in group]
    best = np.concatenate([np.empty(0), *(outcome.best for outcome in every if outcome.best is not None)])
    best = best[np.isfinite(best)]
    note = ""
    if needed is None:
        note = f"more than {largest:,}"
        if where[0] == CALIBRATION and (best <= goals.ece).mean() < goals.share:
            note = "too few patients to measure"
        elif not any(outcome.clear for outcome in every):
            note = "not clear with all patients"
    return (
        *where,
        goals.ece if where[0] == CALIBRATION else goals.share,
        float("nan") if needed is None else float(needed),
        largest,
        share[largest if needed is None else needed],
        note,
        float(np.median(best)) if len(best) else float("nan"),
    )
