"""Rank correlations over architectures between two shortcut scores and the generalization gap, with statistical power.

Both shortcut scores were declared before any correlation was computed, and both are always reported:
    source_bits   cross-entropy in bits of a linear classifier that predicts the cohort from frozen features; low values
                  mean that the features contain the cohort
    causal        how much internal pixels change the predictions of external images: the mean absolute change of the
                  probability after internal pixels are pasted, minus the change after pixels of the image's own cohort
                  are pasted. The pixels are markers, corners or borders; the score is the mean over these three kinds,
                  findings and hospitals (table `transplants`: kind `causal`, finding `macro`)
A correlation over architectures is not an experiment, so a correlation cannot show a cause.
Intervals: the influence of an architecture is the derivative of the correlation with respect to its weight.
Shapes: N architectures (each score is a mean over the runs of one architecture), B sets of weights.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit, stdtrit

from bench.scoring.area_intervals import effective_patients
from bench.scoring.influence import error_of
from bench.scoring.intervals import share_interval
from harmonize.seeds import stream
from reports.schemas.tables import LEAST_RELATED, SCHEMAS

Array = NDArray[np.float64]

SCORES = ("source_bits", "causal")
EXTERNAL, MACRO = "external", "macro"
EXACT = 8  # up to this number of architectures, all orders are enumerated (40,320 orders of 8)
NUM_PERMUTATIONS, NUM_SIMULATED = 10_000, 4_000
STEP = 1e-4  # change of a weight, for derivatives
ASSUMED = 0.5  # the true rank correlation for which the power is computed


def associations(runs: Sequence[Mapping[str, str]], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the table `associations`: correlations of both shortcut scores with gap and external AUROC over architectures.

    Each item of `runs` has id, architecture and family (of the architecture). Runs of one architecture are averaged. A
    shortcut score has no rows if fewer than LEAST_RELATED architectures have this score, a gap and both AUROCs.
    """
    by_run = scores_by_run(runs, frames)
    columns = [*SCORES, "gap", EXTERNAL, "internal"]
    means = by_run.groupby("architecture", sort=True)[columns].mean()
    means["family"] = by_run.groupby("architecture")["family"].first()
    rows = []
    for score in SCORES:
        complete = means[means[[score, "gap", EXTERNAL, "internal"]].notna().all(axis=1)]
        if len(complete) < LEAST_RELATED:
            continue
        families = complete["family"].to_numpy(str)
        detectable, power = detectable_correlation(len(complete))
        internal_logit = logit(complete["internal"].to_numpy(np.float64).clip(1e-6, 1 - 1e-6))
        for outcome in ("gap", EXTERNAL):
            xs, ys = complete[score].to_numpy(np.float64), complete[outcome].to_numpy(np.float64)
            for statistic, value, low, high, p in _statistics(xs, ys, internal_logit, families):
                rows.append(
                    (
                        score,
                        outcome,
                        statistic,
                        value,
                        low,
                        high,
                        p,
                        len(complete),
                        len(set(families)),
                        detectable,
                        power,
                    )
                )
    return pd.DataFrame(rows, columns=list(SCHEMAS["associations"]))


def scores_by_run(runs: Sequence[Mapping[str, str]], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per run: architecture, family, both shortcut scores, macro gap, internal and external AUROC."""
    gaps = frames["gaps"]
    gaps = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] == MACRO)].set_index("run_id")
    table = pd.DataFrame(list(runs), columns=["id", "architecture", "family"])
    for name, column in (("gap", "value"), (EXTERNAL, "external"), ("internal", "internal")):
        table[name] = table["id"].map(gaps[column]).astype(float)
    table["source_bits"] = table["id"].map(_source_bits(frames)).astype(float)
    table["causal"] = table["id"].map(_causal(frames)).astype(float)
    return table


def _source_bits(frames: Mapping[str, pd.DataFrame]) -> "pd.Series[float]":
    table = frames.get("sources")
    if table is None or not len(table):
        return pd.Series(dtype=float)
    selection = {"probe": "features", "control": "none", "shots": 0, "metric": "bits"}
    rows = table[np.logical_and.reduce([table[column] == value for column, value in selection.items()])]
    return rows.drop_duplicates("run_id").set_index("run_id")["value"]


def _causal(frames: Mapping[str, pd.DataFrame]) -> "pd.Series[float]":
    table = frames.get("transplants")
    if table is None or not len(table):
        return pd.Series(dtype=float)
    selection = {"kind": "causal", "host": EXTERNAL, "finding": MACRO, "subset": "all", "measure": "abs_dp"}
    rows = table[np.logical_and.reduce([table[column] == value for column, value in selection.items()])]
    return rows.drop_duplicates("run_id").set_index("run_id")["effect"]


def _statistics(
    xs: Array, ys: Array, control: Array, families: NDArray[np.str_]
) -> list[tuple[str, float, float, float, float]]:
    """Return one row (statistic, value, low, high, p) for each correlation coefficient of xs and ys.

    Statistics: Spearman's correlation with independent architectures (`spearman`) and with independent families
    (`spearman_families`), Kendall's tau, and the partial rank correlation given `control`. p is NaN except for
    `spearman`.
    """
    n = len(xs)
    once = np.ones((1, n))
    alone, family = np.arange(n), np.unique(families, return_inverse=True)[1]
    p = permutation_p(xs, ys)
    rows = []
    for statistic, correlation, group in (
        ("spearman", partial(spearman, xs, ys), alone),
        ("spearman_families", partial(spearman, xs, ys), family),
        ("kendall", partial(kendall, xs, ys), alone),
        ("partial", partial(partial_spearman, xs, ys, control), alone),
    ):
        value = float(correlation(once)[0])
        low, high = _interval(value, _influence(correlation, group), group)
        rows.append((statistic, value, low, high, p if statistic == "spearman" else float("nan")))
    return rows


def spearman(xs: Array, ys: Array, weight_BN: Array) -> Array:
    """Return Spearman's correlation of xs and ys [N] for each set of weights [B].

    The pair (xs[n], ys[n]) counts weight_BN[b, n] times. Equal values get their mean rank. The correlation
    is NaN if xs or ys is constant.

    >>> spearman(np.array([3, 1, 2, 5, 4.0]), np.array([2, 1, 3, 5, 4.0]), np.ones((1, 5))).round(3).tolist()
    [0.9]
    """
    first, second = _ranks(xs, weight_BN), _ranks(ys, weight_BN)
    total = weight_BN.sum(1, keepdims=True)
    first, second = (ranks - (weight_BN * ranks).sum(1, keepdims=True) / total for ranks in (first, second))
    size = np.sqrt((weight_BN * first**2).sum(1) * (weight_BN * second**2).sum(1))
    return _ratio((weight_BN * first * second).sum(1), size)


def partial_spearman(xs: Array, ys: Array, control: Array, weight_BN: Array) -> Array:
    """Return the partial rank correlation of xs and ys given `control`, for each set of weights [B].

    The n-th items of xs, ys and `control` count weight_BN[b, n] times. The correlation is NaN if `control`
    determines the ranks of xs or ys, or if xs, ys or `control` is constant.

    >>> partial_spearman(np.array([3, 1, 2, 5, 4.0]), np.array([2, 1, 3, 5, 4.0]), np.arange(5.0), np.ones((1, 5))).round(3).tolist()
    [0.875]
    """
    xy, xz, yz = (spearman(*pair, weight_BN) for pair in ((xs, ys), (xs, control), (ys, control)))
    return _ratio(xy - xz * yz, np.sqrt(np.maximum((1 - xz**2) * (1 - yz**2), 0)))


def kendall(xs: Array, ys: Array, weight_BN: Array) -> Array:
    """Return Kendall's tau-b of xs and ys for each set of weights [B]; NaN if xs or ys is constant.

    The pair (xs[n], ys[n]) counts weight_BN[b, n] times.
    """
    first, second = (np.sign(v[:, None] - v[None, :]) for v in (xs, ys))

    def over_pairs(value_NN: Array) -> Array:
        return np.asarray(((weight_BN @ value_NN) * weight_BN).sum(1))

    size = np.sqrt(over_pairs(np.abs(first)) * over_pairs(np.abs(second)))
    return _ratio(over_pairs(first * second), size)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator [B]; NaN if the denominator is at most 1e-6, which is 0 with rounding errors."""
    out: Array = np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 1e-6)
    return out


def _ranks(values: Array, weight_BN: Array) -> Array:
    """Return the mean rank [B, N] of each value, if value n counts weight_BN[b, n] times."""
    below_NN = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])
    return np.asarray(weight_BN @ below_NN.T + 0.5)


def _influence(correlation: Callable[[Array], Array], group: NDArray[np.intp]) -> Array:
    """Return the influence [G] of each group on a correlation, by its derivative with respect to the weight of the group.

    `group` has the index of each architecture's group. A group is one architecture, or a family of architectures.
    """
    step = STEP * (group == np.arange(group.max() + 1)[:, None])
    return (correlation(1 + step) - correlation(1 - step)) / (2 * STEP)


def _interval(value: float, influence: Array, group: NDArray[np.intp]) -> tuple[float, float]:
    """Return the 95 % interval of a correlation from -1 to 1: that of the share (1 + value) / 2, so perfect agreement has a width.

    `influence` [G], `group` [N]: see `_influence`. Kish's effective number of groups replaces that of patients (`share_interval`).
    """
    sizes = (np.array([float(len(group))]), np.array([float(effective_patients(np.bincount(group)))]))
    (low,), (high,) = share_interval((1 + np.array([value])) / 2, error_of(influence[None] / 2), *sizes)
    return 2 * float(low) - 1, 2 * float(high) - 1


def permutation_p(xs: Array, ys: Array, seed: int = 0) -> float:
    """Return the two-sided permutation p-value of Spearman's correlation.

    With up to EXACT pairs, the test uses all orders; with more pairs, it uses 10,000 random orders. The p-value is NaN
    if xs or ys is constant.
    """
    observed = float(spearman(xs, ys, np.ones((1, len(xs))))[0])
    if not np.isfinite(observed):
        return float("nan")
    first, second = (_ranks(v, np.ones((1, len(v))))[0] - (len(v) + 1) / 2 for v in (xs, ys))
    size = np.sqrt((first @ first) * (second @ second))
    if len(xs) <= EXACT:
        order = _orders(len(xs))
        return float((np.abs(second[order] @ first) / size >= abs(observed) - 1e-9).mean())
    generator = stream(seed, "orders", len(xs))
    order = generator.permuted(np.tile(np.arange(len(xs)), (NUM_PERMUTATIONS, 1)), axis=1)
    as_extreme = int((np.abs(second[order] @ first) / size >= abs(observed) - 1e-9).sum())
    return (1 + as_extreme) / (1 + NUM_PERMUTATIONS)


@cache
def detectable_correlation(n: int) -> tuple[float, float]:
    """Return the smallest significant |rho| (p < .05) for n architectures, and the power if the true rho is ASSUMED.

    rho is Spearman's rank correlation. For up to EXACT architectures, the smallest |rho| is computed from all orders.
    If even perfect agreement is not significant, the smallest |rho| is NaN and the power is 0. For more architectures,
    the smallest |rho| follows from Student's t. The power is simulated with 4,000 samples of n normal pairs. Normal
    pairs with linear correlation r have the rank correlation (6 / pi) asin(r / 2). For 19 architectures, the smallest
    |rho| is .456 and the power is .58.
    """
    scale = (n**3 - n) / 12
    if n <= EXACT:
        ranks = np.arange(n) - (n - 1) / 2
        possible = np.abs(ranks[_orders(n)] @ ranks) / scale
        significant = [rho for rho in np.unique(possible.round(9)) if (possible >= rho - 1e-9).mean() < 0.05]
        if not significant:
            return float("nan"), 0.0
        smallest = float(significant[0])
    else:
        critical = float(stdtrit(n - 2, 0.975))
        smallest = critical / float(np.sqrt(critical**2 + n - 2))
    linear = 2 * np.sin(np.pi * ASSUMED / 6)
    generator = stream(0, "power", n)
    xs = generator.normal(size=(NUM_SIMULATED, n))
    ys = linear * xs + np.sqrt(1 - linear**2) * generator.normal(size=xs.shape)
    first, second = (v.argsort(1).argsort(1) - (n - 1) / 2 for v in (xs, ys))
    return smallest, float((np.abs((first * second).sum(1) / scale) >= smallest - 1e-9).mean())


@cache
def _orders(n: int) -> NDArray[np.intp]:
    return np.array(list(itertools.permutations(range(n))))
