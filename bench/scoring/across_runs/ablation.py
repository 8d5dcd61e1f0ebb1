"""Ablation: the effect of one factor on a score while all other factors are equal, and the importance of each factor.

A factor is a field of the run configuration in which recipes of one grid differ. A level is one value of a factor. Two
recipes are a pair if they differ in only one factor.
Shapes: R recipes, F factors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import differences_of, error_of_mean, holm, pair_tests
from bench.scoring.import_shap import import_shap

Array = NDArray[np.float64]
Config = Mapping[str, object]  # configuration of a run: factor -> level
# A numeric factor with more levels than this, as in a random search, is a single numeric column in the random forest. With
# one column for each level, the trees would be hundreds of splits deep, and rounding errors would make their SHAP values
# wrong.
MANY_LEVELS = 32


@dataclass(frozen=True, slots=True)
class LevelEffect:
    """Effect of a level: the mean difference (level minus reference) over all pairs, with interval and p.

    p is Holm-adjusted over the levels of the factor. With one pair, the effect is the difference of two recipes, and
    all_low and all_high are its interval that is adjusted for all pairs of recipes, as in the table `pairs`. With
    several pairs, all_low and all_high are NaN.
    """

    factor: str
    level: str
    reference: str
    value: float
    low: float
    high: float
    p: float
    num_pairs: int
    num_run_pairs: int  # number of pairs of runs; two recipes with three seeds each have three pairs
    pair_sd: float  # standard deviation of the differences over pairs; NaN for one pair
    all_low: float = float("nan")
    all_high: float = float("nan")


def factors(configs: Sequence[Config]) -> list[str]:
    """Return the fields (except the seed) in which the configurations differ, in the order of the first configuration.

    >>> factors([{"loss": "bce", "seed": 0}, {"loss": "focal", "seed": 1}])
    ['loss']
    """
    names = list(dict.fromkeys(name for config in configs for name in config))
    return [n for n in names if n != "seed" and len({_text(config.get(n)) for config in configs}) > 1]


def references(configs: Sequence[Config]) -> dict[str, str]:
    """Return the reference level of each factor: its most frequent level, or the first of several equally frequent levels."""
    return {
        name: pd.Series([_text(config.get(name)) for config in configs]).value_counts(sort=True).index[0]
        for name in factors(configs)
    }


def one_factor(
    configs: Sequence[Config],
    value: Array,
    covariance: Array,
    num_runs: Sequence[int] | None = None,
    own: Array | None = None,
) -> list[LevelEffect]:
    """Estimate the effect of each level of each factor, compared with the factor's reference level (see `references`).

    The effect is the mean difference over all pairs of recipes with equal levels of all other factors. The interval
    describes the variation over patients, and also over seeds if the recipes have several seeds.
    `LevelEffect.pair_sd` describes the variation over pairs. A level without any pair is left out. value [R],
    covariance [R, R] and num_runs [R] (number of seeds of each recipe, by default 1) are in the order of `configs`. own [R]: see `with_own_errors`.
    """
    effects: list[LevelEffect] = []
    names, reference = factors(configs), references(configs)
    sizes = num_runs or [1] * len(configs)
    keys = [tuple(_text(c.get(n)) for n in names) for c in configs]
    run_of = {key: run for run, key in enumerate(keys)}
    half = pair_tests(value, covariance, own).half
    for number, name in enumerate(names):
        pairs: dict[str, list[tuple[int, int]]] = {}
        for run, key in enumerate(keys):
            reference_key = (*key[:number], reference[name], *key[number + 1 :])
            if key[number] != reference[name] and reference_key in run_of:
                pairs.setdefault(key[number], []).append((run, run_of[reference_key]))
        estimated = [
            _effect(name, level, reference[name], level_pairs, value, covariance, sizes, half, own)
            for level, level_pairs in pairs.items()
        ]
        estimated = [effect for effect in estimated if effect.num_pairs]
        adjusted = holm(np.array([effect.p for effect in estimated], np.float64))
        effects += [replace(effect, p=float(p)) for effect, p in zip(estimated, adjusted, strict=True)]
    return effects


def _effect(
    name: str,
    level: str,
    reference: str,
    pairs: Sequence[tuple[int, int]],
    value: Array,
    covariance: Array,
    sizes: Sequence[int],
    half: Array,
    own: Array | None,
) -> LevelEffect:
    finite = [(a, b) for a, b in pairs if np.isfinite(value[a]) and np.isfinite(value[b])]
    if not finite:
        return LevelEffect(name, level, reference, np.nan, np.nan, np.nan, np.nan, 0, 0, np.nan)
    first, second = (list(side) for side in zip(*finite, strict=True))
    differences = value[first] - value[second]
    mean = differences.mean(keepdims=True)
    error = np.array([error_of_mean(first, second, covariance, own)])
    _, low, high, p = (float(number[0]) for number in differences_of(mean, error))
    spread = float(differences.std(ddof=1)) if len(finite) > 1 else np.nan
    num_run_pairs = sum(min(sizes[a], sizes[b]) for a, b in finite)
    effect = LevelEffect(name, level, reference, float(mean[0]), low, high, p, len(finite), num_run_pairs, spread)
    if len(finite) > 1:
        return effect
    width = half[first[0], second[0]]
    all_low = float(np.fmin(mean[0] - width, low))
    return replace(effect, all_low=all_low, all_high=float(np.fmax(mean[0] + width, high)))


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Importance of each factor according to a random forest that predicts a run's value, and the quality of this forest.

    importance: factor -> mean absolute SHAP value, in the unit of the predicted value; empty unless r2_low is above 0.
    """

    r2: float  # R2 of cross-validated predictions; all seeds of a configuration are in the same fold
    r2_low: float  # lower end of the 95 % interval of r2 over configurations
    num_runs: int
    importance: Mapping[str, float]
    # factor -> one SHAP value for each run with a finite value, in the order of the runs
    shap: Mapping[str, Array] = field(default_factory=dict)


def surrogate(configs: Sequence[Config], value: Array, seed: int = 0) -> Surrogate:
    """Fit a random forest that predicts value [R] from the factors, and explain it with SHAP values.

    With fewer than 10 runs, 2 factors or 5 configurations, no forest is fitted and r2 is NaN.
    Source of SHAP values: Lundberg et al. 2020, doi:10.1038/s42256-019-0138-9 (TreeSHAP).
    """
    finite = np.flatnonzero(np.isfinite(value)).tolist()
    configs, value = [configs[i] for i in finite], value[finite]
    names = factors(configs)
    groups = [tuple(_text(config.get(n)) for n in names) for config in configs]
    num_groups = len(set(groups))
    if len(finite) < 10 or len(names) < 2 or num_groups < 5:
        return Surrogate(np.nan, np.nan, len(finite), {})
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import GroupKFold, cross_val_predict

    table = _inputs(pd.DataFrame(groups, columns=names))
    forest = RandomForestRegressor(100, min_samples_leaf=2, max_features=0.5, random_state=seed)
    label = pd.factorize(pd.Series(groups))[0]
    folds = GroupKFold(min(5, num_groups), shuffle=True, random_state=seed)
    prediction = cross_val_predict(forest, table, value, groups=label, cv=folds)
    r2, low = _r2(value, prediction, label, seed)
    if not low > 0:
        return Surrogate(r2, low, len(finite), {})
    shap_values = np.asarray(import_shap().TreeExplainer(forest.fit(table, value)).shap_values(table))
    factor_of_column = [column.split("\x00")[0] for column in table.columns]
    # a factor's SHAP value is the sum of the SHAP values of its levels
    by_factor = {name: shap_values[:, [f == name for f in factor_of_column]].sum(1) for name in names}
    return Surrogate(r2, low, len(finite), {n: float(np.abs(v).mean()) for n, v in by_factor.items()}, by_factor)


def _inputs(levels: pd.DataFrame) -> pd.DataFrame:
    """Return the inputs of the random forest: a column of 0 and 1 for each level of a factor.

    But a numeric factor with more than MANY_LEVELS levels has only one column, with its numbers; the name of this
    column is the name of the factor. The name of a column of 0 and 1 is the factor, a zero byte, and the level. levels:
    a column of text for each factor.
    """
    many = [name for name in levels if levels[name].nunique() > MANY_LEVELS]
    numbers = levels[many].apply(pd.to_numeric, errors="coerce").dropna(axis=1)
    return pd.get_dummies(levels.drop(columns=numbers.columns), dtype=float, prefix_sep="\x00").join(
        numbers.astype(float)
    )


def _r2(value: Array, prediction: Array, group: NDArray[np.intp], seed: int) -> tuple[float, float]:
    """Compute R2 of out-of-fold predictions, and the 2.5th percentile of R2 over resampled groups of runs.

    group [R]: index of each run's group; the runs of a group differ only in the seed. Both results are NaN if all runs
    have the same value.
    """
    residual, spread = (value - prediction) ** 2, (value - value.mean()) ** 2
    if np.ptp(value) == 0:
        return np.nan, np.nan
    num = int(group.max()) + 1
    weights = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), 2000)[:, group]
    return 1 - float(residual.sum() / spread.sum()), float(
        np.quantile(1 - weights @ residual / (weights @ spread), 0.025)
    )


def _text(level: object) -> str:
    return str(level)
