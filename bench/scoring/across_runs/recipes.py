"""Recipes: runs that differ only in the seed, averaged, with intervals over patients and seeds.

A recipe is a configuration without its seed. In a leave-one-out grid, the runs of a recipe also differ in the hospital
that they leave out, so every hospital is external in some of the runs. The score of a recipe is the mean over its runs;
the scatter over seeds is that of runs that leave out the same hospital. The
interval has two parts: the variation over patients (from their influences on each run) and the variation over seeds (from
the scatter of the runs around the mean of their recipe). Two or three seeds say little about the scatter of one recipe.
So the variance over seeds is moderated: it is a weighted mean of the recipe's own variance and of the variance pooled
over all recipes of the grid.
Sources: Smyth 2004, doi:10.2202/1544-6115.1027 (moderated variance); Zou and Donner 2008, doi:10.1002/sim.3095 (interval of a
sum from the intervals of its parts).
Shapes: R runs, S seeds of one recipe, N scores.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import digamma, expit, logit, polygamma, stdtrit

from bench.scoring.across_runs.agreement import macros_by_cohort, macros_in_every_cohort
from bench.scoring.across_runs.covariances import Covariances, StoredEstimates, Values
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.influence import LEVEL
from bench.scoring.intervals import NORMAL_QUANTILE
from bench.scoring.metric_bounds import DIFFERENCE, bounds_of
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

# minimum degrees of freedom over all recipes; with one degree, Student's quantile is 13, and the interval would be too
# wide to be useful
LEAST_DEGREES = 2
LEAST_VARIANCES = 2  # minimum number of variances in `prior_degrees`
RANKED_BY = "auroc/external"  # the score whose variances over seeds decide the weight of the pooled variance
# rows of the table `scores` that are averaged at a time: a study of 500 runs has a million, and averaging copies them several times
ROWS_AT_ONCE = 100_000
LEAVE_OUT = "leave_out"  # key of the configuration: the hospital that a run leaves out
SUFFIX = "-seeds"  # end of the id of a recipe; the start is the id of its first run
# columns of the table `scores` that identify a row of a run
SCORE_KEY = (
    *("dataset", "split", "reference", "mapping", "subgroup", "selection", "calibrator", "operating_point"),
    *("finding", "metric"),
)


def seed_groups(configs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return groups of run ids whose configurations differ only in the seed and the hospital that is left out.

    A group is sorted by seed.

    Two runs with the same configuration and seed differ in something else, such as the version of the training code, so
    these two runs are in different groups. configs: run id -> configuration.
    """
    groups: dict[tuple[str, int], list[str]] = {}
    seen: Counter[tuple[str, str, int]] = Counter()
    for run_id in sorted(configs, key=lambda run_id: int(configs[run_id]["seed"])):
        recipe = repr(sorted((k, repr(v)) for k, v in configs[run_id].items() if k not in ("seed", LEAVE_OUT)))
        fold = (recipe, str(configs[run_id].get(LEAVE_OUT, "")), int(configs[run_id]["seed"]))
        groups.setdefault((recipe, seen[fold]), []).append(run_id)
        seen[fold] += 1
    return list(groups.values())


def macro_auroc(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the macro AUROC, with texts in place of categories."""
    rows = select(scores)
    return rows.astype(dict.fromkeys(rows.select_dtypes("category"), "str"))


@dataclass(frozen=True)
class Recipes:
    """The recipes of a grid and the scatter of their runs.

    runs_of: recipe id -> ids of its runs. scatter: run id -> name of the macro -> deviation of the run from the mean of
    its fold: the runs of its recipe that leave out the same hospital. left_out: run id -> this hospital; "" for a run that
    is not listed.
    """

    runs_of: Mapping[str, tuple[str, ...]]
    scatter: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_configs(cls, configs: Mapping[str, Mapping[str, Any]], values: Values) -> "Recipes":
        """Return the recipes of the runs in `configs`: run id -> configuration."""
        left_out = {run_id: str(config.get(LEAVE_OUT, "")) for run_id, config in configs.items()}
        return cls.of(seed_groups(configs), values, left_out)

    @classmethod
    def of(
        cls, groups: Sequence[Sequence[str]], values: Values, left_out: Mapping[str, str] | None = None
    ) -> "Recipes":
        """Return the recipes of groups of run ids (the result of `seed_groups`). `left_out` is explained in the class.

        A recipe with one run has the id of this run if there are too few seeds for intervals over seeds. Every other
        recipe gets an id of its own.
        """
        left_out = left_out or {}
        folds = [fold for run_ids in groups for fold in _folds(run_ids, left_out)]
        seeds_vary = _degrees(folds) >= LEAST_DEGREES
        runs_of = {
            f"{run_ids[0]}{SUFFIX}" if seeds_vary or len(run_ids) > 1 else run_ids[0]: tuple(run_ids)
            for run_ids in groups
        }
        scatter: dict[str, dict[str, float]] = {}
        for run_ids in folds:
            names = [name for name in values[run_ids[0]] if all(name in values[run] for run in run_ids)]
            mean = {name: float(np.mean([values[run][name] for run in run_ids])) for name in names}
            for run in run_ids:
                scatter[run] = {name: values[run][name] - mean[name] for name in names}
        return cls(runs_of, scatter, left_out)

    @cached_property
    def joined(self) -> dict[str, tuple[str, ...]]:
        """The recipes that have an id of their own: recipe id -> ids of its runs."""
        return {recipe: run_ids for recipe, run_ids in self.runs_of.items() if recipe != run_ids[0]}

    @property
    def of_one_fold(self) -> dict[str, tuple[str, ...]]:
        """The recipes of `joined` whose runs all leave out the same hospital, or none."""
        return {recipe: ids for recipe, ids in self.joined.items() if len(_folds(ids, self.left_out)) == 1}

    def folds(self, recipe: str) -> list[list[str]]:
        """Return the runs of a recipe in groups that leave out the same hospital; one group if none is left out."""
        return _folds(self.runs_of[recipe], self.left_out)

    @cached_property
    def degrees(self) -> int:
        """Degrees of freedom of the pooled variance: number of runs minus number of folds."""
        return _degrees([fold for run_ids in self.runs_of.values() for fold in _folds(run_ids, self.left_out)])

    def own_degrees(self, recipe: str) -> int:
        """Return the degrees of freedom of the recipe's own variance: number of its runs minus number of its folds."""
        return _degrees(_folds(self.runs_of[recipe], self.left_out))

    @property
    def has_seeds(self) -> bool:
        """Return whether there are enough seeds for intervals over seeds; otherwise intervals are over patients only."""
        return self.degrees >= LEAST_DEGREES

    @cached_property
    def prior(self) -> float:
        """Degrees of freedom that the pooled variance counts for; infinity if all recipes have about the same scatter."""
        several = [recipe for recipe in self.runs_of if self.own_degrees(recipe)]
        squares = [
            sum(self.scatter[run].get(RANKED_BY, 0.0) ** 2 for run in self.runs_of[recipe]) for recipe in several
        ]
        degrees = [self.own_degrees(recipe) for recipe in several]
        return prior_degrees(np.array(squares) / degrees, np.array(degrees, np.float64))

    def own_weight(self, recipe: str) -> float:
        """Return the weight of the recipe's own variance; the rest is the weight of the pooled variance."""
        own = self.own_degrees(recipe)
        return own / (own + self.prior)

    def quantile(self, recipe: str) -> float:
        """Return the quantile of the standardized deviation over seeds for the 95 % interval; 1.96 for many seeds.

        The quantile is Student's t with the degrees of freedom of the moderated variance: `prior` plus the recipe's own
        degrees, but at least LEAST_DEGREES and at most `degrees`.
        """
        own = self.prior + self.own_degrees(recipe)
        degrees = min(max(own, LEAST_DEGREES), self.degrees)
        return float(stdtrit(degrees, (1 + LEVEL) / 2))

    def covariances(self, estimates: StoredEstimates) -> Covariances:
        """Return the covariances of the recipes' scores: over patients and, if there are enough seeds, over seeds."""
        members = {recipe: self.folds(recipe) for recipe in self.runs_of}
        return Covariances(estimates, members, self.over_seeds, self.left_out)

    def over_seeds(self, first: str, second: str) -> dict[str, float]:
        """Return how two scores of a recipe, which are means over its runs, vary together over seeds: recipe id -> covariance.

        Recipes without one of the scores are left out. For `first` = `second`, the covariance is the variance. It is
        moderated (see `own_weight`), divided by the number of runs, and stretched so that 1.96 standard errors are the
        half width of Student's t. {} without enough seeds.
        """
        table, recipe_of_run, degrees_of_run = self._scatter_of_runs
        if not self.has_seeds or not {first, second} <= set(table):
            return {}

        def sum_per_recipe(of_runs: Any) -> Array:
            return np.asarray(np.bincount(recipe_of_run, of_runs, len(self.runs_of)), np.float64)

        has_score = [table[name].notna().to_numpy(np.float64) for name in (first, second)]  # 1 or 0 for each run
        num_runs = [sum_per_recipe(has) for has in has_score]
        degrees = [sum_per_recipe(has * degrees_of_run) for has in has_score]
        # A covariance of runs is the sum of the products of their deviations, divided by the degrees of freedom (where the
        # scores have different ones, by their geometric mean): `own` over the runs of each recipe, `pooled` over all runs.
        product = np.nan_to_num(table[first].to_numpy() * table[second].to_numpy())
        own = sum_per_recipe(product) / np.sqrt(np.maximum(degrees, 1.0).prod(0))
        pooled = product.sum() / np.sqrt(np.prod([max(of_score.sum(), 1.0) for of_score in degrees]))
        own_weight, quantile = np.array([(self.own_weight(name), self.quantile(name)) for name in self.runs_of]).T
        moderated = own_weight * own + (1 - own_weight) * pooled
        stretched = moderated * (quantile / NORMAL_QUANTILE) ** 2
        has_both = np.prod(num_runs, 0) > 0
        of_means = stretched[has_both] / np.sqrt(np.prod(num_runs, 0)[has_both])
        return dict(zip(np.array(list(self.runs_of), object)[has_both].tolist(), of_means.tolist(), strict=True))

    @cached_property
    def _scatter_of_runs(self) -> tuple[pd.DataFrame, NDArray[np.intp], Array]:
        """Return `scatter` as a table, and the index of the recipe and the degrees of freedom of each run.

        Each of the n runs of a fold has (n - 1) / n degrees of freedom, so the fold has n - 1.
        """
        recipe_of = {run: number for number, run_ids in enumerate(self.runs_of.values()) for run in run_ids}
        table = pd.DataFrame.from_dict(dict(self.scatter), orient="index").reindex(list(recipe_of))
        sizes = {run: len(fold) for recipe in self.runs_of for fold in self.folds(recipe) for run in fold}
        degrees_of_run = np.array([1 - 1 / sizes[run] for run in recipe_of])
        return table, np.array(list(recipe_of.values()), np.intp), degrees_of_run

    def averaged(
        self,
        table: pd.DataFrame,
        key: Sequence[str],
        numbers: Sequence[str] = ("value",),
        metric: str = "",
        *,
        errors: bool = False,
    ) -> pd.DataFrame:
        """Average rows of runs to rows of recipes, for the recipes with an id of their own.

        table: rows of runs, with the columns run_id, low and high. key: columns that identify a row of a run, such as
        dataset and finding. A recipe gets a row for each combination of values of these columns for which all its runs
        have a row; for a hospital that some of its runs leave out, all these runs. numbers: columns to average; low and
        high are the interval of the first of these columns. num_findings is the minimum; all other columns are copied from the
        first run.

        The interval of the result describes the variation over patients and seeds: (distance of the bound from the
        estimate)² = (mean distance of the runs' bounds)² + (half width over seeds)². A metric with bounds (`bounds_of`)
        has these distances on the logit scale, and its interval ends at its bounds. metric: the metric of all rows; without
        it, the table has the column `metric`. With `errors`, the half width over seeds is 1.96 standard errors in place of
        Student's t, for code that reads standard errors from the bounds.
        """
        # Numbers in place of ids: grouping by one column of numbers takes a third of the time of grouping by columns of text.
        recipe_of = {run: number for number, run_ids in enumerate(self.joined.values()) for run in run_ids}
        code, run_ids = pd.factorize(table["run_id"], use_na_sentinel=False)
        recipe = np.array([recipe_of.get(run, -1) for run in run_ids], np.intp)[code]
        rows, recipe = _selected(recipe >= 0, table, recipe)
        group = rows.groupby([recipe, *(rows[name] for name in key)], sort=False, dropna=False).ngroup().to_numpy()
        rows, recipe, group = _selected(np.bincount(group)[group] == self._runs_with(rows, recipe), rows, recipe, group)
        if not len(rows):
            return table.iloc[:0]
        by_row = rows.groupby(group, sort=False)
        columns = list(dict.fromkeys([*numbers, "low", "high"]))
        known = by_row[columns].count().eq(by_row.size(), axis=0)
        out = by_row.first().assign(**by_row[columns].mean().where(known))
        if "num_findings" in out:  # the runs of a leave-one-out recipe have means over different findings
            out["num_findings"] = by_row["num_findings"].min()
        recipe = recipe[np.unique(group, return_index=True)[1]]
        out["run_id"] = np.array(list(self.joined))[recipe]
        if self.has_seeds:
            estimate = rows[numbers[0]]
            fold = rows["run_id"].map(self.left_out).fillna("") if self.left_out else pd.Series("", rows.index)
            deviation = estimate - rows.groupby([group, fold], sort=False)[numbers[0]].transform("mean")
            num_runs = np.asarray(by_row.size(), np.int64)
            num_folds = np.asarray(fold.groupby(group, sort=False).nunique(), np.int64)
            squares = (deviation**2).groupby(group, sort=False).sum()
            value, low, high = out[[numbers[0], "low", "high"]].to_numpy(np.float64).T
            error = self._errors(recipe, out[list(key)], squares, num_runs, num_folds)
            quantile = NORMAL_QUANTILE if errors else np.array([self.quantile(name) for name in self.joined])[recipe]
            ends = _ends(out["metric"]) if not metric else np.repeat([[*bounds_of(metric)]], len(out), 0).T
            out["low"], out["high"] = _widened(value, low, high, quantile * error, ends)
        averages: pd.DataFrame = out.reset_index(drop=True)[list(table.columns)]
        return averages

    def of_scores(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of recipes for the table `scores`, sorted by metric. About ROWS_AT_ONCE rows are averaged at a time."""
        scores = self._with_mixed_splits(scores)
        metric_of_row, metrics = pd.factorize(scores["metric"])
        batch_of = np.cumsum(np.bincount(metric_of_row, minlength=len(metrics))) // ROWS_AT_ONCE
        parts = [self.averaged(scores[batch_of[metric_of_row] == batch], SCORE_KEY) for batch in np.unique(batch_of)]
        averages = pd.concat([part for part in parts if len(part)] or [scores[:0]], ignore_index=True)
        order = np.argsort(pd.Index(metrics).get_indexer(averages["metric"]), kind="stable")
        return averages.iloc[order].reset_index(drop=True)

    def _with_mixed_splits(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Return the table `scores` with equal splits and label sources in the external means that a recipe averages.

        Runs that leave out different hospitals have different external hospitals. If their external means name different
        splits or label sources, the name is "mixed", as for hospitals that differ in a run.
        """
        recipe_of = {run: recipe for recipe in {*self.joined} - {*self.of_one_fold} for run in self.runs_of[recipe]}
        external = scores["dataset"].eq(EXTERNAL) & scores["run_id"].isin(recipe_of)
        if not external.any():
            return scores
        rows = scores.loc[external, list(SCORE_KEY)].astype(str)
        others = [rows[name] for name in rows if name not in ("split", "reference")]
        recipe = scores.loc[external, "run_id"].map(recipe_of).astype(str)
        for name in ("split", "reference"):
            differ = rows[name].groupby([recipe, *others]).transform("nunique") > 1
            named = scores[name].astype(object)
            named[differ.index[differ]] = "mixed"
            scores = scores.assign(**{name: named})
        return scores

    def of_gaps(self, gaps: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of recipes for the table `gaps`."""
        return self.averaged(gaps, ("dataset", "finding"), ("value", "internal", "external"), DIFFERENCE)

    def replaced(self, table: pd.DataFrame, of_recipes: pd.DataFrame) -> pd.DataFrame:
        """Return a table in which recipes replace their runs: the rows of `of_recipes`, then rows of `table`.

        Rows of runs are kept only if their recipe has no id of its own (`joined`).
        """
        own = {run for run_ids in self.joined.values() for run in run_ids}
        runs = table[~table["run_id"].isin(own)]
        return pd.concat([of_recipes, runs], ignore_index=True) if len(runs) else of_recipes

    def means(self, number: Mapping[str, float]) -> dict[str, float]:
        """Return {recipe id: mean over its runs} of a number that is given by run id.

        A run without a number is ignored; a recipe without any number is left out.
        """
        known = {recipe: [number[run] for run in run_ids if run in number] for recipe, run_ids in self.runs_of.items()}
        return {recipe: float(np.mean(numbers)) for recipe, numbers in known.items() if numbers}

    def _errors(
        self,
        recipe: NDArray[np.intp],
        keys: pd.DataFrame,
        squares: "pd.Series[float]",
        num_runs: NDArray[np.int64],
        num_folds: NDArray[np.int64],
    ) -> Array:
        """Return the standard error over seeds of each row of `averaged`.

        recipe: number of the row's recipe in `joined`. keys: the columns `key` of the rows. squares: sum of the runs' squared
        deviations from the mean of their fold. num_runs, num_folds: numbers of the row's runs and of their folds.
        """
        weight = np.array([self.own_weight(name) for name in self.joined], np.float64)[recipe]
        own = (num_runs - num_folds).astype(np.float64)
        group = keys.groupby(list(keys.columns), sort=False, dropna=False).ngroup().to_numpy()
        pooled_squares = pd.Series(squares.to_numpy()).groupby(group, sort=False).transform("sum").to_numpy()
        pooled_degrees = pd.Series(own).groupby(group, sort=False).transform("sum").to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            # the pooled variance is 0 if no recipe with several runs has the row
            pooled = np.where(pooled_degrees > 0, pooled_squares / pooled_degrees, 0.0)
            variance = np.where(own > 0, weight * squares.to_numpy() / own + (1 - weight) * pooled, pooled)
        return np.asarray(np.sqrt(variance / num_runs), np.float64)

    def _runs_with(self, rows: pd.DataFrame, recipe: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return for each row how many runs of its recipe must have the row.

        These are the runs that leave out the row's hospital, or all runs if none of them leaves it out.
        """
        num_all = np.array([len(run_ids) for run_ids in self.joined.values()], np.int64)[recipe]
        if not any(self.left_out.values()) or "dataset" not in rows:
            return num_all
        folds = [Counter(self.left_out.get(run, "") for run in run_ids) for run_ids in self.joined.values()]
        num_fold = [folds[number][dataset] for number, dataset in zip(recipe, rows["dataset"].astype(str), strict=True)]
        return np.where(num_fold, num_fold, num_all)


def _folds(run_ids: Sequence[str], left_out: Mapping[str, str]) -> list[list[str]]:
    """Return the runs of a recipe in groups that leave out the same hospital, sorted by its name."""
    folds: dict[str, list[str]] = {}
    for run_id in run_ids:
        folds.setdefault(left_out.get(run_id, ""), []).append(run_id)
    return [folds[name] for name in sorted(folds)]


def _selected(mask: NDArray[np.bool_], *rows: Any) -> tuple[Any, ...]:
    """Return the rows in the mask of tables and arrays; if these are all rows, the tables and arrays themselves, not copied."""
    return rows if mask.all() else tuple(entry[mask] for entry in rows)


def _ends(metric: "pd.Series[str]") -> Array:
    """Return the bounds [2, N] of the metric of each row."""
    code, metrics = pd.factorize(metric)
    return np.array([bounds_of(str(name)) for name in metrics], np.float64).reshape(-1, 2)[code].T


def _widened(value: Array, low: Array, high: Array, over_seeds: Array, ends: Array) -> tuple[Array, Array]:
    """Return the bounds of an interval over patients and seeds, given low and high over patients only.

    over_seeds: half width over seeds. ends [2, N]: the bounds of the metric; infinite without.
    """
    inside = np.stack([value, low, high])
    on_logit = np.isfinite(ends).all(0) & ((inside > 0) & (inside < 1)).all(0)
    inside = np.where(on_logit, inside, 0.5)
    slope = 1 / (inside[0] * (1 - inside[0]))
    center, below, above = np.where(on_logit, logit(inside), [value, low, high])
    over_seeds = np.where(on_logit, over_seeds * slope, over_seeds)
    low, high = center - np.hypot(center - below, over_seeds), center + np.hypot(above - center, over_seeds)
    low, high = np.where(on_logit, expit(low), low), np.where(on_logit, expit(high), high)
    # the estimate of a resolution may be slightly below its smallest possible value
    return np.minimum(np.clip(low, *ends), value), np.maximum(np.clip(high, *ends), value)


def prior_degrees(variance: Array, degrees: Array) -> float:
    """Estimate how many degrees of freedom a common variance counts for, given variances and their degrees of freedom.

    The logarithms of the variances scatter, because each variance has few degrees of freedom. If the logarithms scatter
    more than the few degrees of freedom explain, the true variances differ, and the common variance counts for fewer
    degrees. If the logarithms do not scatter more, or if fewer than two variances are above 0, the result is infinite.
    Source: Smyth 2004, section 6.2.

    >>> prior_degrees(np.array([1.0, 1.1, 0.9]), np.array([4.0, 4.0, 4.0]))
    inf
    """
    log_variance, own = np.log(variance[variance > 0]), degrees[variance > 0]
    if len(own) < LEAST_VARIANCES:
        return float("inf")
    centered = log_variance - digamma(own / 2) + np.log(own / 2)
    excess = float(centered.var(ddof=1) - polygamma(1, own / 2).mean())
    from scipy.optimize import brentq  # imported here, because the import takes a quarter of a CPU second

    fewest, most = 0.01, 1e6  # the solution is searched in this range; polygamma(1, x) falls as x grows
    if excess <= polygamma(1, most / 2):
        return float("inf")
    return float(brentq(lambda prior: polygamma(1, prior / 2) - min(excess, polygamma(1, fewest / 2)), fewest, most))


def _degrees(groups: Sequence[Sequence[str]]) -> int:
    return sum(len(run_ids) - 1 for run_ids in groups)


def seed_variance(
    groups: Mapping[str, Sequence[str]], scores: pd.DataFrame, estimates: StoredEstimates, internal: str
) -> pd.DataFrame:
    """Build the table `seeds`: variation of macro AUROC in each cohort, for runs that differ only in their seed.

    groups: recipe id -> run ids. seed_sd: standard deviation over seeds, on the same patients. patient_sd: standard error over
    patients of one run (root mean square over seeds). A group of one run has no rows.
    """
    rows = []
    macros = macros_by_cohort(scores, estimates.values, internal)
    for recipe, group in groups.items():
        value, run_ids = macros_in_every_cohort(macros.reindex(sorted(group)), internal)
        for dataset, of_runs in value.items() if len(run_ids) > 1 else ():
            variance = np.mean([estimates.variance(run, f"auroc/{dataset}") for run in run_ids])
            rows.append((recipe, dataset, len(run_ids), float(of_runs.std(ddof=1)), float(np.sqrt(variance))))
    return pd.DataFrame(rows, columns=list(SCHEMAS["seeds"]))
