"""Rank correlations over architectures between shortcut scores and the generalization gap, with their statistical power.

Both scores were declared before any correlation was computed, and both are always reported:
    source_bits   cross-entropy [bits] of the linear source probe on all frozen features (low: the source is easy to decode)
    causal        mean absolute change of the probability of external images by internal marker, corner and border pixels,
                  minus the control: mean over findings, hospitals and the three kinds (`transplants`, kind causal, macro)
A correlation over architectures is not an experiment, so it cannot show a cause.
Shapes: n architectures (seeds averaged first), B replicates.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit, stdtrit

from bench.scoring.bootstrap.intervals import percentile
from harmonize.seeds import stream
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

SCORES = ("source_bits", "causal")
EXTERNAL, MACRO = "external", "macro"
LEAST = 4  # minimum number of architectures: the ranks of three agree by chance in one of six cases
EXACT = 8  # up to this number of architectures all orders (40,320) are enumerated
NUM_PERMUTATIONS, NUM_RESAMPLES, NUM_SIMULATED = 10_000, 5_000, 4_000
ASSUMED = 0.5  # the true rank correlation for which the power is computed


def associations(runs: Sequence[Mapping[str, str]], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the table `associations` over the architectures of these runs (id, architecture, family), seeds averaged.

    A score that fewer than four architectures have gets no rows.
    """
    by_run = together(runs, frames)
    numbers = [*SCORES, "gap", EXTERNAL, "internal"]
    mean = by_run.groupby("architecture", sort=True)[numbers].mean()
    mean["family"] = by_run.groupby("architecture")["family"].first()
    out = []
    for score in SCORES:
        known = mean[mean[[score, "gap", EXTERNAL, "internal"]].notna().all(axis=1)]
        if len(known) < LEAST:
            continue
        families = known["family"].to_numpy(str)
        detectable, power = detection(len(known))
        given = logit(known["internal"].to_numpy(np.float64).clip(1e-6, 1 - 1e-6))
        for against in ("gap", EXTERNAL):
            xs, ys = known[score].to_numpy(np.float64), known[against].to_numpy(np.float64)
            for statistic, value, low, high, p in _statistics(xs, ys, given, families, against):
                out.append(
                    (score, against, statistic, value, low, high, p, len(known), len(set(families)), detectable, power)
                )
    return pd.DataFrame(out, columns=list(SCHEMAS["associations"]))


def together(runs: Sequence[Mapping[str, str]], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per run: architecture, family, both scores, the macro gap, and its internal and external AUROC."""
    gaps = frames["gaps"]
    gaps = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] == MACRO)].set_index("run_id")
    out = pd.DataFrame(list(runs), columns=["id", "architecture", "family"])
    for name, column in (("gap", "value"), (EXTERNAL, "external"), ("internal", "internal")):
        out[name] = out["id"].map(gaps[column]).astype(float)
    out["source_bits"] = out["id"].map(_source_bits(frames)).astype(float)
    out["causal"] = out["id"].map(_causal(frames)).astype(float)
    return out


def _source_bits(frames: Mapping[str, pd.DataFrame]) -> "pd.Series[float]":
    table = frames.get("sources")
    if table is None or not len(table):
        return pd.Series(dtype=float)
    asked = {"probe": "features", "control": "none", "shots": 0, "metric": "bits"}
    rows = table[np.logical_and.reduce([table[column] == value for column, value in asked.items()])]
    return rows.drop_duplicates("run_id").set_index("run_id")["value"]


def _causal(frames: Mapping[str, pd.DataFrame]) -> "pd.Series[float]":
    table = frames.get("transplants")
    if table is None or not len(table):
        return pd.Series(dtype=float)
    asked = {"kind": "causal", "host": EXTERNAL, "finding": MACRO, "subset": "all", "measure": "abs_dp"}
    rows = table[np.logical_and.reduce([table[column] == value for column, value in asked.items()])]
    return rows.drop_duplicates("run_id").set_index("run_id")["effect"]


def _statistics(
    xs: Array, ys: Array, given: Array, families: NDArray[np.str_], name: str
) -> list[tuple[str, float, float, float, float]]:
    """Return (statistic, value, low, high, p); p is NaN except for Spearman's correlation."""
    n = len(xs)
    once = np.ones((1, n))
    alone = _draws(np.arange(n), name)
    related = _draws(np.unique(families, return_inverse=True)[1], name)
    p = permutation_p(xs, ys)
    out = []
    for statistic, of, drawn_BN in (
        ("spearman", partial(spearman, xs, ys), alone),
        ("spearman_families", partial(spearman, xs, ys), related),
        ("kendall", partial(kendall, xs, ys), alone),
        ("partial", partial(partial_spearman, xs, ys, given), alone),
    ):
        value = float(of(once)[0])
        low, high = _interval(value, of(drawn_BN))
        out.append((statistic, value, low, high, p if statistic == "spearman" else float("nan")))
    return out


def spearman(xs: Array, ys: Array, drawn_BN: Array) -> Array:
    """Return Spearman's correlation [B] of pairs that occur `drawn` times, ties at their mean rank; NaN if a side is constant.

    >>> spearman(np.array([3, 1, 2, 5, 4.0]), np.array([2, 1, 3, 5, 4.0]), np.ones((1, 5))).round(3).tolist()
    [0.9]
    """
    first, second = _ranks(xs, drawn_BN), _ranks(ys, drawn_BN)
    total = drawn_BN.sum(1, keepdims=True)
    first, second = (ranks - (drawn_BN * ranks).sum(1, keepdims=True) / total for ranks in (first, second))
    size = np.sqrt((drawn_BN * first**2).sum(1) * (drawn_BN * second**2).sum(1))
    return _ratio((drawn_BN * first * second).sum(1), size)


def partial_spearman(xs: Array, ys: Array, given: Array, drawn_BN: Array) -> Array:
    """Return the partial rank correlation [B] of xs and ys given `given`; NaN if one is constant or determined by `given`.

    >>> partial_spearman(np.array([3, 1, 2, 5, 4.0]), np.array([2, 1, 3, 5, 4.0]), np.arange(5.0), np.ones((1, 5))).round(3).tolist()
    [0.875]
    """
    xy, xz, yz = (spearman(*pair, drawn_BN) for pair in ((xs, ys), (xs, given), (ys, given)))
    return _ratio(xy - xz * yz, np.sqrt(np.maximum((1 - xz**2) * (1 - yz**2), 0)))


def kendall(xs: Array, ys: Array, drawn_BN: Array) -> Array:
    """Return Kendall's tau-b [B]; NaN if a side is constant."""
    first, second = (np.sign(v[:, None] - v[None, :]) for v in (xs, ys))

    def over_pairs(value_NN: Array) -> Array:
        return np.asarray(((drawn_BN @ value_NN) * drawn_BN).sum(1))

    size = np.sqrt(over_pairs(np.abs(first)) * over_pairs(np.abs(second)))
    return _ratio(over_pairs(first * second), size)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator [B], NaN if the denominator is 0 up to rounding."""
    out: Array = np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 1e-6)
    return out


def _ranks(values: Array, drawn_BN: Array) -> Array:
    """Return the mean rank [B, N] of each value if the values occur `drawn` times."""
    below_NN = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])
    return np.asarray(drawn_BN @ below_NN.T + 0.5)


def _draws(group: NDArray[np.intp], name: str) -> Array:
    """Return how often each architecture is drawn [B, N] if groups are drawn with replacement."""
    num = int(group.max()) + 1
    generator = stream(0, "architectures", name, num)
    counts = generator.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES)
    return counts[:, group].astype(np.float64)


def _interval(value: float, replicates: Array) -> tuple[float, float]:
    """Return the percentile interval; NaN if at least a tenth of the replicates have no value.

    With few architectures some draws contain only one or two of them. They have no correlation and are left out.
    """
    known = replicates[np.isfinite(replicates)]
    if len(known) <= 0.9 * len(replicates):
        return float("nan"), float("nan")
    low, high = percentile(np.array([value]), known[None])
    return float(low[0]), float(high[0])


def permutation_p(xs: Array, ys: Array, seed: int = 0) -> float:
    """Return the two-sided permutation p of Spearman's correlation: all orders up to EXACT pairs, else 10,000 random ones."""
    own = float(spearman(xs, ys, np.ones((1, len(xs))))[0])
    if not np.isfinite(own):
        return float("nan")
    first, second = (_ranks(v, np.ones((1, len(v))))[0] - (len(v) + 1) / 2 for v in (xs, ys))
    size = np.sqrt((first @ first) * (second @ second))
    if len(xs) <= EXACT:
        order = _orders(len(xs))
        return float((np.abs(second[order] @ first) / size >= abs(own) - 1e-9).mean())
    generator = stream(seed, "orders", len(xs))
    order = generator.permuted(np.tile(np.arange(len(xs)), (NUM_PERMUTATIONS, 1)), axis=1)
    larger = int((np.abs(second[order] @ first) / size >= abs(own) - 1e-9).sum())
    return (1 + larger) / (1 + NUM_PERMUTATIONS)


@cache
def detection(n: int) -> tuple[float, float]:
    """Return the smallest |rho| with p < .05 for n architectures, and the power to reach it if the true rho is ASSUMED.

    Up to EXACT architectures the bound comes from all orders; if even perfect agreement is not significant, it is NaN and
    the power is 0. Above, the bound comes from Student's t. The power is simulated from 4,000 samples of n normal pairs,
    whose rank correlation is (6 / pi) asin(r / 2) for a linear correlation r. For 19 architectures: .456 and .58.
    """
    scale = (n**3 - n) / 12
    if n <= EXACT:
        ranks = np.arange(n) - (n - 1) / 2
        possible = np.abs(ranks[_orders(n)] @ ranks) / scale
        reached = [rho for rho in np.unique(possible.round(9)) if (possible >= rho - 1e-9).mean() < 0.05]
        if not reached:
            return float("nan"), 0.0
        bound = float(reached[0])
    else:
        critical = float(stdtrit(n - 2, 0.975))
        bound = critical / float(np.sqrt(critical**2 + n - 2))
    linear = 2 * np.sin(np.pi * ASSUMED / 6)
    generator = stream(0, "power", n)
    xs = generator.normal(size=(NUM_SIMULATED, n))
    ys = linear * xs + np.sqrt(1 - linear**2) * generator.normal(size=xs.shape)
    first, second = (v.argsort(1).argsort(1) - (n - 1) / 2 for v in (xs, ys))
    return bound, float((np.abs((first * second).sum(1) / scale) >= bound - 1e-9).mean())


@cache
def _orders(n: int) -> NDArray[np.intp]:
    return np.array(list(itertools.permutations(range(n))))
