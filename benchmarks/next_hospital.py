"""Coverage of the prediction interval for a new hospital and of the interval of the mean, on simulated hospitals.

Each hospital has its own true AUROC: expit(MEAN + tau × effect); tau is the standard
deviation between hospitals on the logit scale. Its images are drawn: normal scores of patients with and
without the finding, unequal numbers of patients, one image each. The AUROC is measured, with DeLong's variance, so that error
and variance have the same flaws as on real images. Then the model of `bench.extensions.next_hospital` is fitted on the logit
scale, and the true AUROC of one more hospital is compared with the prediction interval. Kinds of hospitals:

    normal    normal effects
    macro     the mean over 9 findings, whose effects correlate by .5
    heavy     t-distributed effects with 3 degrees of freedom and the same standard deviation
    outlier   normal effects, but one of the measured hospitals is 3 tau below the mean

python benchmarks/next_hospital.py -o benchmarks/next_hospital.csv
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri
from scipy.stats import rankdata

from bench.extensions.next_hospital.random_effects import Fit, Panels, bayes
from bench.scoring.intervals import wilson
from benchmarks.coverage_table import write_table
from benchmarks.reml import reml

Array = NDArray[np.float64]

MEAN = 1.0  # logit of the median AUROC, which is .73
NUMBERS = (3, 4, 5, 8, 12)
TAUS = (0.0, 0.2, 0.5)
KINDS = ("normal", "macro", "heavy", "outlier")
NUM_FINDINGS, CORRELATION = 9, 0.5
POSITIVES = (15, 40, 80, 200, 300)  # patients with the finding, of each hospital in turn
NEGATIVES_FOR_EACH = (4, 2, 6, 3, 2)  # patients without the finding for each patient with it
METHODS: Mapping[str, Callable[[Panels], Fit]] = {
    "reml": reml,
    **{f"bayes {scale}": partial(bayes, scale=scale) for scale in (0.25, 0.35, 0.4, 0.5, 1.0)},
}
COLUMNS = ("kind", "hospitals", "tau", "method", "measure", "found", "low", "high", "width", "cases", "command")


def effects(kind: str, num: int, shape: tuple[int, ...], draw: np.random.Generator) -> Array:
    """Draw standardized effects [*shape, num + 1] of hospitals; the last one is the new hospital."""
    if kind == "heavy":
        return draw.standard_t(3, (*shape, num + 1)) / np.sqrt(3)
    drawn = draw.standard_normal((*shape, num + 1))
    if kind == "outlier":
        drawn[..., 0] = -3.0
    return drawn


def measured(area: Array, num_positive: int, num_negative: int, draw: np.random.Generator) -> tuple[Array, Array]:
    """Draw patients at hospitals with true AUROCs [S], and return measured AUROCs and DeLong's variances [S]."""
    shift = np.sqrt(2) * ndtri(area)
    positive = draw.standard_normal((len(area), num_positive)) + shift[:, None]
    negative = draw.standard_normal((len(area), num_negative))
    both = rankdata(np.concatenate([positive, negative], 1), axis=1)
    above = (both[:, :num_positive] - rankdata(positive, axis=1)) / num_negative
    below = 1 - (both[:, num_positive:] - rankdata(negative, axis=1)) / num_positive
    return above.mean(1), above.var(1, ddof=1) / num_positive + below.var(1, ddof=1) / num_negative


def panels_of(kind: str, num: int, tau: float, cases: int, draw: np.random.Generator) -> tuple[Panels, Array, Array]:
    """Return panels on the logit scale, the true value at a new hospital, and the true mean or median [P]."""
    sizes = [(POSITIVES[h % 5], NEGATIVES_FOR_EACH[h % 5] * POSITIVES[h % 5]) for h in range(num)]
    if kind != "macro":
        area = expit(MEAN + tau * effects(kind, num, (cases,), draw))
        value, variance = np.stack([measured(area[:, h], *sizes[h], draw) for h in range(num)], 2)
        new, center = logit(area[:, -1]), np.full(cases, MEAN)
    else:
        # The findings of a hospital have errors that correlate, too; their AUROCs are measured with normal errors.
        own = effects(kind, num, (cases, NUM_FINDINGS), draw)
        shared = effects(kind, num, (cases, 1), draw)
        level = MEAN + np.linspace(-0.6, 0.6, NUM_FINDINGS)[:, None]
        area = expit(level + tau * (np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * own))
        errors = []
        for h, (num_positive, num_negative) in enumerate(sizes):
            one = area[:, :, h]
            of_one = one * (1 - one) * (1 / num_positive + 1 / num_negative) / 2  # Hanley and McNeil, many patients
            error = np.sqrt(0.8) * draw.standard_normal(one.shape) + np.sqrt(0.2) * draw.standard_normal((cases, 1))
            mean = (one + np.sqrt(of_one) * error).mean(1)
            root = np.sqrt(of_one)
            errors.append((mean, (0.8 * of_one.sum(1) + 0.2 * root.sum(1) ** 2) / NUM_FINDINGS**2))
        value, variance = np.stack(errors, 2)
        new, center = logit(area[:, :, -1].mean(1)), np.full(cases, np.median(logit(area.mean(1))))
    inside = (value > 0) & (value < 1) & (variance > 0)
    value = np.where(inside, value, 0.5)
    on_logit = np.where(inside, logit(value), np.nan)
    return Panels.of(on_logit, variance / (value * (1 - value)) ** 2), new, center


def rows(kind: str, num: int, tau: float, cases: int, command: str) -> list[tuple[object, ...]]:
    """Return the rows of one cell: coverage of new hospitals and of the mean, with the mean width on the AUROC scale."""
    draw = np.random.default_rng([KINDS.index(kind), num, round(10 * tau)])
    panels, new, center = panels_of(kind, num, tau, cases, draw)
    enough = panels.enough
    panels, new, center = panels.at(enough), new[enough], center[enough]
    out: list[tuple[object, ...]] = []
    for method, fit in METHODS.items():
        result = fit(panels)
        for measure, low, high, truth in (
            ("new hospital", result.new_low, result.new_high, new),
            ("mean", result.low, result.high, center),
        ):
            share = float(((low <= truth) & (truth <= high)).mean())
            bounds = [float(bound) for bound in wilson(np.array(share), np.array(float(len(truth))))]
            width = float((expit(high) - expit(low)).mean())
            numbers = [f"{number:.4g}" for number in (share, *bounds, width)]
            out.append((kind, num, tau, method, measure, *numbers, len(truth), command))
    return out


def main() -> None:
    """Write the table."""
    cells = [(kind, num, tau) for kind in KINDS for num in NUMBERS for tau in TAUS]
    cells = [cell for cell in cells if cell[2] or cell[0] == "normal"]  # if tau is 0, all kinds are alike
    write_table("next_hospital", __doc__, 4000, COLUMNS, lambda *given: (rows(*cell, *given) for cell in cells))


if __name__ == "__main__":
    main()
