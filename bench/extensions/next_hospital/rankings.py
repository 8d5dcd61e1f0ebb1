"""Rankings of recipes by the macro AUROC at a new hospital, with tests that let hospitals vary.

The tests of the other rankings hold the measured hospitals fixed. Here the hospitals are a sample: the difference of two
recipes is measured once at each hospital that both have, on the logit scale, and these H differences are tested.

- EXPECTED: the mean difference is 0. Statistic: mean / sqrt(s² / H + common), Student's t with H - 1 degrees of freedom. s is
  the standard deviation of the differences, which contains the errors within hospitals. `common` is the variance of the error
  that hospitals share, because a weak seed is weak everywhere. Source: Ibragimov and Müller 2010, doi:10.1198/jbes.2009.08046.
- LOWER_END: the 2.5 % quantile of the differences is 0, so that the better recipe is better at 97.5 % of hospitals. If
  it is, its own 2.5 % quantile is higher, too, for normal values. The same statistic has a noncentral t distribution
  with the noncentrality 1.96 sqrt(H). Source: Owen 1968, doi:10.2307/1267094 (tolerance limits). Tests of the difference
  of two lower ends by regression or by the delta method are invalid with few hospitals.

`benchmarks/next_hospital_ranks.csv` has the share of wrong verdicts.
Shapes: R recipes, H hospitals, B draws.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, nctdtr, ndtri, stdtr, stdtrit

from bench.extensions.next_hospital.random_effects import HIGH, LEAST_HOSPITALS, LEAST_VARIANCE
from bench.scoring.across_runs.covariances import Covariances, draws
from bench.scoring.across_runs.paired_tests import holm
from bench.scoring.across_runs.ranks import drawn_ranks, rank_sets, tie_groups
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import AUROC
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.schemas.criterion import Criterion
from reports.schemas.tables import SCHEMAS
from reports.sections.ranking_columns import RankingColumn
from reports.tables import rows_of

Array = NDArray[np.float64]

EXPECTED = Criterion(AUROC.metric, "new", MACRO)
LOWER_END = Criterion(AUROC.metric, "new_low", MACRO)
# criterion -> its name in the menu "Rank by", and its name in a sentence
CHOICES: Mapping[Criterion, tuple[str, str]] = {
    EXPECTED: ("expected at a new hospital", "AUROC expected at a new hospital"),
    LOWER_END: ("lower end at a new hospital", "lower end of the prediction interval for the AUROC at a new hospital"),
}
NUM_DRAWS = 1000


def columns(data: ReportData) -> list[RankingColumn]:
    """Return the column of the ranking with the macro AUROC to expect at the next hospital, and its prediction interval."""
    rows = data.tables["next_hospital"]
    rows = rows[(rows["metric"] == AUROC.metric) & (rows["finding"] == MACRO) & (rows["reason"] == "")]
    expected = {
        str(run): Estimate(float(value), float(low), float(high))
        for run, value, low, high in rows_of(rows, "run_id", "value", "new_low", "new_high")
    }

    def of(run: Run) -> Estimate:
        return expected.get(run.id, MISSING)

    return [
        RankingColumn(
            "next",
            "Next hospital",
            "expected",
            lambda run: of(run).value,
            lambda run: of(run).text,
            of,
            lambda run: of(run).span,
            css="",
            help="Next hospital: the AUROC to expect at a hospital like the external ones, with the 95 % prediction interval for one such hospital.",
        )
    ]


def ranks(predictions: pd.DataFrame, value: pd.DataFrame, covariances: Covariances) -> pd.DataFrame:
    """Return rows of the table `ranks`: the recipes by expected AUROC at a new hospital, then by the lower end.

    predictions: rows of the table `next_hospital` with the macro AUROC of recipes. value: their macro AUROCs on the logit scale,
    a row for each recipe, a column for each hospital, NaN if unknown. mean_rank and p_best are over draws of hospitals,
    patients and seeds. No recipe has a lead.
    """
    rows = predictions[predictions["reason"] == ""]
    if len(rows) < 2:
        return pd.DataFrame(columns=list(SCHEMAS["ranks"]))
    tables = []
    for criterion, column in ((EXPECTED, "value"), (LOWER_END, "new_low")):
        ordered = rows.sort_values([column, "run_id"], ascending=[False, True], kind="stable")
        run_ids = ordered["run_id"].astype(str).tolist()
        value_RH = value.loc[run_ids].to_numpy(np.float64)
        hospitals = [str(name) for name in value.columns]
        seeds = over_seeds(run_ids, value_RH, hospitals, covariances)
        p = p_values(criterion, value_RH, common_variance(value_RH, seeds))
        group, p_anchor = tie_groups(p)
        rank_low, rank_high = rank_sets(p)
        error_RHB = errors(run_ids, value_RH, hospitals, covariances, seeds)
        mean_rank, p_best = drawn_ranks(drawn_statistics(criterion, value_RH, error_RHB))
        low, high = (ordered[name].to_numpy(np.float64) for name in ("low", "high"))
        known = {
            **criterion._asdict(),
            "run_id": run_ids,
            "value": ordered[column].to_numpy(np.float64),
            "low": low if criterion == EXPECTED else np.nan,
            "high": high if criterion == EXPECTED else np.nan,
            "mean_rank": mean_rank,
            "rank_low": rank_low,
            "rank_high": rank_high,
            "p_best": p_best,
            "group": group,
            "p_anchor": p_anchor,
        }
        unknown = {name: np.nan for name in SCHEMAS["ranks"] if name not in known}
        tables.append(pd.DataFrame({**known, **unknown})[list(SCHEMAS["ranks"])])
    return pd.concat(tables, ignore_index=True)


def over_seeds(run_ids: Sequence[str], value: Array, hospitals: Sequence[str], covariances: Covariances) -> Array:
    """Return the covariances over seeds of the errors [R, H, H] of values [R, H] on the logit scale; 0 if unknown."""
    names = [f"{AUROC.metric}/{hospital}" for hospital in hospitals]
    out = np.zeros((*value.shape, len(names)))
    for h, first in enumerate(names):
        for k, second in enumerate(names):
            of = covariances.over_seeds(first, second)
            out[:, h, k] = [of.get(run, 0.0) for run in run_ids]
    slope = expit(value) * expit(-value)
    return np.asarray(np.nan_to_num(out / slope[:, :, None] / slope[:, None]))


def errors(
    run_ids: Sequence[str], value: Array, hospitals: Sequence[str], covariances: Covariances, seeds: Array
) -> Array:
    """Draw the errors of values [R, H] on the logit scale [R, H, NUM_DRAWS], over patients and seeds (`over_seeds`); 0 if unknown."""
    level, vector = np.linalg.eigh(seeds)
    factor = vector * np.sqrt(level.clip(0))[:, None]
    out: Array = factor @ np.random.default_rng(len(hospitals)).standard_normal((*value.shape, NUM_DRAWS))
    for h, hospital in enumerate(hospitals):  # their patients are independent
        name = f"{AUROC.metric}/{hospital}"
        rows = [r for r, run in enumerate(run_ids) if np.isfinite(value[r, h]) and covariances.has(run, name)]
        slope = expit(value[rows, h]) * expit(-value[rows, h])
        of_scores = covariances.of_score(name, [run_ids[r] for r in rows]) / np.outer(slope, slope)
        out[rows, h] += draws(of_scores - np.diag(seeds[rows, h, h]), NUM_DRAWS, h).T
    return out


def common_variance(value: Array, seeds: Array) -> Array:
    """Return the variances [R, R] of the errors of differences that hospitals share: mean covariances of two hospitals.

    The mean is over the hospitals that both recipes have (value [R, H] is not NaN). seeds [R, H, H]: see `over_seeds`; the
    patients of two hospitals, and the seeds of two recipes, are independent.
    """
    known = np.isfinite(value).astype(np.float64)
    between = seeds * (1 - np.eye(value.shape[1])) * known[:, :, None] * known[:, None]
    total = np.einsum("rhk,sh,sk->rs", between, known, known, optimize=True)
    num = known @ known.T
    out = (total + total.T) / np.maximum(num * (num - 1), 1)
    np.fill_diagonal(out, 0.0)
    return np.where(num >= LEAST_HOSPITALS, out.clip(0), 0.0)


def p_values(criterion: Criterion, value: Array, common: Array) -> Array:
    """Return the p-values [R, R] of the differences of all pairs of recipes, Holm-adjusted over the pairs.

    value [R, H]: on the logit scale, NaN if unknown, sorted from best to worst. A pair whose difference contradicts this
    order has 1. NaN on the diagonal and for a pair with fewer than three shared hospitals.
    """
    known = np.isfinite(value).astype(np.float64)
    number = np.nan_to_num(value - np.nanmean(value))  # centered: squares of large numbers would cancel
    num = np.maximum(known @ known.T, 1.0)
    total = number @ known.T
    mean = (total - total.T) / num
    squares = number**2 @ known.T
    square = squares + squares.T - 2 * number @ number.T - num * mean**2
    error = np.sqrt(np.maximum(square / np.maximum(num - 1, 1), LEAST_VARIANCE) / num + common)
    first, second = np.triu_indices(len(value), 1)
    n, t = num[first, second], (mean / error)[first, second]
    p = 2 * stdtr(n - 1, -np.abs(t)) if criterion == EXPECTED else nctdtr(n - 1, -ndtri(HIGH) * np.sqrt(n), -t)
    p = np.where(t > 0, p, 1.0)
    out = np.full(mean.shape, np.nan)
    out[first, second] = holm(np.where(n >= LEAST_HOSPITALS, p, np.nan))
    out[second, first] = out[first, second]
    return out


def drawn_statistics(criterion: Criterion, value: Array, error: Array) -> Array:
    """Draw hospitals, patients and seeds; return the statistics [R, NUM_DRAWS] of a criterion. value, error: see `errors`.

    A draw gives random weights to the hospitals (Rubin 1981, doi:10.1214/aos/1176345338), so no recipe loses all its
    hospitals. The lower end of a draw is that of a prediction interval of Student's t.
    """
    known = np.isfinite(value)
    weight_BH = np.random.default_rng(0).dirichlet(np.ones(value.shape[1]), NUM_DRAWS)
    number_RHB = np.nan_to_num(value)[:, :, None] + error
    weight_RHB = known[:, :, None] * weight_BH.T
    weight_RHB /= weight_RHB.sum(1, keepdims=True)
    statistic = np.asarray((weight_RHB * number_RHB).sum(1))
    if criterion == LOWER_END:
        num = known.sum(1)[:, None]
        square = (weight_RHB * (number_RHB - statistic[:, None]) ** 2).sum(1) / (1 - (weight_RHB**2).sum(1))
        statistic -= stdtrit(num - 1, HIGH) * np.sqrt(square * (1 + 1 / num))
    return statistic
