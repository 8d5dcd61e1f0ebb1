"""Wrong verdicts of the rankings by the AUROC at a new hospital, on simulated recipes.

Recipes have logits of AUROCs at hospitals: mean of the recipe + effect of the hospital (standard deviation .3) + effect of recipe
and hospital together (standard deviation tau) + errors of patients (the same patients for all recipes, so the errors
correlate by .5) + an error that hospitals share (seeds), whose variance is known. A verdict is wrong
if it is one of a pair whose order is the other one, or whose true values are equal. Two questions:

    expected    all recipes have the same mean
    lower end   the recipes have different tau between 0 and the stated one, and means such that all 2.5 % quantiles are equal

"any": share of cases with at least one wrong verdict; the goal is at most .05. "power": share of the pairs with a verdict if the means
lie .3 apart.

python benchmarks/next_hospital_ranks.py      # writes benchmarks/next_hospital_ranks.csv
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from bench.extensions.next_hospital.rankings import EXPECTED, LOWER_END, common_variance, p_values
from bench.scoring.across_runs.ranks import SIGNIFICANT
from benchmarks.study import Row, main, share

Array = NDArray[np.float64]

CRITERIA = {"expected": EXPECTED, "lower end": LOWER_END}
RECIPES, HOSPITALS, TAUS, SEEDS = (2, 6, 20), (3, 5, 8), (0.0, 0.1, 0.3), (0.0, 0.1)
OF_HOSPITAL, OF_PATIENTS, APART = 0.3, 0.12, 0.3


def logits(question: str, recipes: int, hospitals: int, tau: float, apart: float, shape: int, draw: np.random.Generator) -> Array:  # fmt: skip
    """Draw the true logits [cases, R, H] of recipes; `apart`: difference of the means of two recipes that follow each other."""
    spread = np.full(recipes, tau) if question == "expected" else np.linspace(0, tau, recipes)
    # the standard deviation of a recipe over hospitals, from which its 2.5 % quantile follows
    whole = np.hypot(OF_HOSPITAL, spread)
    mean = 1.0 - apart * np.arange(recipes) + (0 if question == "expected" else 1.959964) * (whole - whole[0])
    hospital = OF_HOSPITAL * draw.standard_normal((shape, 1, hospitals))
    own = draw.standard_normal((shape, recipes, hospitals)) * spread[:, None]
    return mean[:, None] + hospital + own


def errors(recipes: int, hospitals: int, seeds: float, shape: int, draw: np.random.Generator) -> Array:
    """Draw errors [shape, R, H] of patients and seeds; hospitals have different numbers of patients."""
    size = OF_PATIENTS * np.linspace(0.5, 1.5, hospitals)
    patients = draw.standard_normal((shape, 1, hospitals)) + draw.standard_normal((shape, recipes, hospitals))
    return patients * size / np.sqrt(2) + seeds * draw.standard_normal((shape, recipes, 1))


def verdicts(question: str, value: Array, common: Array) -> Array:
    """Return which pairs [R, R] have a verdict: the recipe of the row is the better one. common [R, R]: see `p_values`."""
    # sorted by the estimate of the question, as the table is
    statistic = value.mean(1) - (0 if question == "expected" else 1.959964) * value.std(1, ddof=1)
    order = np.argsort(-statistic, kind="stable")
    p = p_values(CRITERIA[question], value[order], common[np.ix_(order, order)])
    better = np.zeros(p.shape, bool)
    better[np.ix_(order, order)] = np.triu(p < SIGNIFICANT, 1)
    return better


def rows(cell: tuple[str, int, int, float, float], cases: int) -> list[Row]:
    """Return the row of a cell: question, recipes, hospitals, tau, seeds."""
    question, recipes, hospitals, tau, seeds = cell
    draw = np.random.default_rng(
        [list(CRITERIA).index(question), recipes, hospitals, round(10 * tau), round(10 * seeds)]
    )
    held, power = np.zeros(0), 0.0
    for apart in (0.0, APART):
        truth = logits(question, recipes, hospitals, tau, apart, cases, draw)
        value = truth + errors(recipes, hospitals, seeds, cases, draw)
        # all recipes have all hospitals
        common = common_variance(value[0], np.full((recipes, hospitals, hospitals), seeds**2))
        found = np.stack([verdicts(question, of_case, common) for of_case in value])
        first, second = np.triu_indices(recipes, 1)
        if apart:
            power = float(found[:, first, second].mean())
        else:
            held = found.any((1, 2))
    numbers = zip(("any", "low", "high", "power"), (*share(held), power), strict=True)
    of_cell = dict(zip(("question", "recipes", "hospitals", "tau", "seeds"), cell, strict=True))
    return [{**of_cell, **{name: f"{number:.4g}" for name, number in numbers}, "cases": cases}]


if __name__ == "__main__":
    main(__file__, __doc__, product(CRITERIA, RECIPES, HOSPITALS, TAUS, SEEDS), rows)
