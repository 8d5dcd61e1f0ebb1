"""The table `algorithms`: how much a training algorithm changes the AUROC, compared with ERM.

ERM (empirical risk minimization) minimizes the mean loss over the training images. Every other algorithm is compared
with ERM in pairs of recipes that have equal values of all other settings.
Shapes: P pairs of recipes, A algorithms.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.paired_tests import differences_of, error_of_mean, holm_tests, own_error
from bench.scoring.gaps.gap import EXTERNAL
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Pair = tuple[str, str]  # ids of two recipes: one of an algorithm, and one of ERM
Fold = tuple[int, str]  # seed of a run, and the training hospital that the run leaves out; "" for none
ERM = "ERM"  # title of the algorithm with which the others are compared
ALL = ""  # in the column `setting`: the mean over the pairs of all settings


class TrainedRecipe(NamedTuple):
    """How a recipe was trained: the title of its algorithm, the name of all other settings, and the fold of each run."""

    algorithm: str
    setting: str
    folds: frozenset[Fold]


class _Mean(NamedTuple):
    """The mean difference of P pairs of recipes: its value, its standard error, and the numbers of pairs."""

    value: float
    error: float
    num_pairs: int
    num_run_pairs: int


def algorithms(
    trained: Mapping[str, TrainedRecipe], scores: pd.DataFrame, covariances: Covariances, internal: str
) -> pd.DataFrame:
    """Build the table `algorithms`: the difference from ERM of each other algorithm in each cohort.

    trained: recipe id -> how it was trained. scores: rows of recipes with macro AUROCs. covariances: covariances of recipes, over
    patients and seeds. internal: name of the internal cohort. A row is the mean over the pairs of recipes that both have
    a value. The rows with the setting ALL are means over all pairs; if the pairs have several settings, each setting also
    has rows of its own. p-values and corrected intervals are adjusted over the algorithms by Holm's method, separately
    for each setting and cohort. The table is empty if no algorithm can be paired with ERM.
    """
    pairs = _pairs(trained)
    settings = list(dict.fromkeys(trained[erm].setting for of in pairs.values() for _, erm in of))
    rows = []
    for setting in (ALL, *(settings if len(settings) > 1 else ())):
        chosen = {a: [p for p in of if setting in (ALL, trained[p[1]].setting)] for a, of in pairs.items()}
        for dataset, split, value, own in _cohorts(scores, internal):
            name = f"auroc/{dataset}" if split == "test" or dataset != internal else f"auroc/{dataset}/{split}"
            means = {
                algorithm: _mean(complete, value, own, name, covariances, trained)
                for algorithm, of in chosen.items()
                if (
                    complete := [
                        pair
                        for pair in of
                        if all(np.isfinite(value.get(r, np.nan)) and covariances.has(r, name) for r in pair)
                    ]
                )
            }
            rows += [(setting, algorithm, dataset, split, *cells) for algorithm, cells in _tested(means)]
    return pd.DataFrame(rows, columns=list(SCHEMAS["algorithms"]))


def _pairs(trained: Mapping[str, TrainedRecipe]) -> dict[str, list[Pair]]:
    """Return the pairs of each algorithm other than ERM; of several ERM recipes with equal settings, the first counts."""
    erm_of: dict[str, str] = {}
    for recipe, of in trained.items():
        if of.algorithm == ERM:
            erm_of.setdefault(of.setting, recipe)
    pairs: dict[str, list[Pair]] = {}
    for recipe, of in trained.items():
        if of.algorithm != ERM and of.setting in erm_of:
            pairs.setdefault(of.algorithm, []).append((recipe, erm_of[of.setting]))
    return pairs


def _cohorts(scores: pd.DataFrame, internal: str) -> Iterator[tuple[str, str, dict[str, float], dict[str, float]]]:
    """Yield dataset, split, {recipe id: macro AUROC} and {recipe id: its `own_error`}: the external mean, external hospitals, internal test splits.

    In a pool, the test split of each training hospital follows the test split of the pool.
    """
    rows = select(scores)
    rows = rows[(rows["dataset"] != internal) | rows["split"].str.match(r"test(:|$)")]
    groups = {(str(d), str(s)): of for (d, s), of in rows.groupby(["dataset", "split"], sort=True)}
    order = sorted(groups, key=lambda key: (key[0] == internal, key[0] != EXTERNAL, *key))
    for dataset, split in order:
        of = groups[dataset, split]
        recipes = of["run_id"].astype(str)
        value = dict(zip(recipes, of["value"].astype(float), strict=True))
        own = own_error(*of[["value", "low", "high"]].to_numpy(np.float64).T)
        yield dataset, split, value, dict(zip(recipes, own.tolist(), strict=True))


def _mean(
    pairs: Sequence[Pair],
    value: Mapping[str, float],
    own: Mapping[str, float],
    name: str,
    covariances: Covariances,
    trained: Mapping[str, TrainedRecipe],
) -> _Mean:
    """Return the mean difference of the pairs, algorithm minus ERM. name: name of the score in `covariances`."""
    mean = float(np.mean([value[recipe] - value[erm] for recipe, erm in pairs]))
    num_run_pairs = sum(len(trained[recipe].folds & trained[erm].folds) for recipe, erm in pairs)
    recipes = [recipe for side in zip(*pairs, strict=True) for recipe in side]
    first, second = np.arange(2 * len(pairs)).reshape(2, -1)
    own_errors = np.array([own[recipe] for recipe in recipes])
    error = error_of_mean(first, second, covariances.of_score(name, recipes), own_errors)
    return _Mean(mean, error, len(pairs), num_run_pairs)


def _tested(means: Mapping[str, _Mean]) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield each algorithm with its cells: value, low, high, p, p_holm, all_low, all_high, num_pairs, num_run_pairs."""
    value, error = (np.array([getattr(mean, name) for mean in means.values()]) for name in ("value", "error"))
    tests = differences_of(value, error)
    p_holm, half = holm_tests(value, error)
    corrected = np.fmin(value - half, tests.low), np.fmax(value + half, tests.high)
    columns = zip(*tests, p_holm, *corrected, strict=True)
    for (algorithm, mean), numbers in zip(means.items(), columns, strict=True):
        yield algorithm, (*map(float, numbers), mean.num_pairs, mean.num_run_pairs)
