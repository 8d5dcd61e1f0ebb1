"""Compare the scores of two trainings of a run."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bench.results.same_scores import same_bits

KEYS = ("dataset", "split", "metric", "finding", "calibrator", "operating_point")  # they identify a score
VERDICTS = ("same bits", "within the seed spread", "within the interval", "outside", "no number")
ENOUGH = 3  # minimum number of seeds to estimate how much scores vary with the seed; two seeds are too few


def compared(stored: pd.DataFrame, again: pd.DataFrame, seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one row per score: stored value, new value, and the largest difference that seeds explain.

    `seeds` has one table of scores for each seed, also for the seed of the stored run. The column `seeds_apart` is the largest
    difference between two trainings with different seeds in 95 % of cases: t(n - 1, .975) x s x sqrt(2). Here s is the
    standard deviation over n seeds, and t is the quantile of Student's t distribution. With fewer than ENOUGH seeds,
    `seeds_apart` is NaN.

    The verdict is the first in this list that is true: same bits; no number (one value is NaN); within the seed spread;
    within the interval over patients (only with too few seeds); outside.
    """
    keys = list(KEYS)
    rows = stored[[*keys, "value", "low", "high"]].rename(columns={"value": "stored"})
    rows = rows.merge(again[[*keys, "value"]].rename(columns={"value": "again"}), on=keys, how="outer", validate="1:1")
    values = pd.concat([frame.set_index(keys)["value"] for frame in seeds], axis=1)
    num = values.notna().sum(axis=1).to_numpy()
    with np.errstate(invalid="ignore"):
        apart = stdtrit(np.maximum(num - 1, 1), 0.975) * values.std(axis=1, ddof=1).to_numpy() * np.sqrt(2)
    spread = pd.Series(np.where(num >= ENOUGH, apart, np.nan), index=values.index, name="seeds_apart")
    rows = rows.merge(spread.reset_index(), on=keys, how="left")
    old, new, bound = (rows[c].to_numpy(np.float64) for c in ("stored", "again", "seeds_apart"))
    inside = (new >= rows["low"].to_numpy(np.float64)) & (new <= rows["high"].to_numpy(np.float64))
    verdict = np.select(
        [same_bits(old, new), np.isnan(old) | np.isnan(new), np.abs(old - new) <= bound, np.isnan(bound) & inside],
        ["same bits", "no number", "within the seed spread", "within the interval"],
        "outside",
    )
    return rows.assign(verdict=verdict)[[*keys, "stored", "again", "low", "high", "seeds_apart", "verdict"]]


def headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that decide the verdict.

    These rows are the macro AUROC on the internal test split, the macro AUROC at each external hospital, the mean over the
    external hospitals, and the gaps of the macro AUROC. In a pool, the single training hospitals (splits such as "test:mimic")
    are left out: the internal score is their mean.
    """
    plain = (rows["finding"] == "macro") & (rows["calibrator"] == "none") & rows["metric"].isin(["auroc", "auroc_gap"])
    other = rows["split"].isin(["val", "expert_valid", "expert_test"]) | rows["split"].astype(str).str.contains(":")
    return rows[plain & ~other]


def overall_verdict(rows: pd.DataFrame, several: bool) -> str:
    """Return the verdict of a run: "same bits" if all rows have this verdict, else the worst verdict of the headline rows.

    A headline row without a number counts as "outside". `several`: whether there are at least ENOUGH seeds.
    """
    if (rows["verdict"] == "same bits").all():
        return "same bits"
    verdicts = set(headline(rows)["verdict"])
    if "outside" in verdicts or "no number" in verdicts:
        return "outside"
    return "within the seed spread" if several else "within the interval"
