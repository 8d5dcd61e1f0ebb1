"""No table of scores has an impossible number: each value lies in its interval, and both in the range of their metric."""

import warnings

import numpy as np
import pandas as pd
import pytest

from bench.config.settings import Settings
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.metric_bounds import BOUNDS, bounds_of
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit

FINDINGS = ("Edema", "Cardiomegaly", "No Finding")
NAMES = (("here", "val"), ("here", "test"), ("there", "all"), ("elsewhere", "all"))
ROUNDING = 1e-12


def split(dataset: str, name: str, shift: float, positives: int, seed: int) -> ScoredSplit:
    """Return 40 patients of 1 to 30 images; the higher `shift`, the better the classes are separated."""
    place = [*dataset.encode(), *name.encode()]
    labels, draw = np.random.default_rng(place), np.random.default_rng([seed, *place])
    patient = np.repeat(np.arange(40), np.exp(labels.uniform(0, np.log(31), 40)).astype(int))
    state = (labels.permuted(np.tile(np.arange(40) < positives, (3, 1)), axis=1).T[patient]).astype(np.int8)
    logit = (shift * state + draw.normal(size=state.shape) - 2).astype(np.float32)
    images = np.array([f"{name}{i}" for i in range(len(patient))], object)
    return ScoredSplit(dataset, name, "report", images, np.array([f"p{p}" for p in patient], object), logit, state)


def scores(shift: float, positives: int, seed: int) -> RunScores:
    splits = [split(*name, shift, positives, seed) for name in NAMES]
    return score_run(f"run{seed}", FINDINGS, "here", splits, Settings(min_count=2))


def check(table: pd.DataFrame, names: tuple[str, str, str] = ("value", "low", "high")) -> None:
    """Assert that all numbers of a table with values and intervals are possible."""
    known = table.dropna(subset=list(names))
    assert len(known)
    value, low, high = known[list(names)].to_numpy(float).T
    outside = (low > value + ROUNDING) | (value > high + ROUNDING)
    assert not outside.any(), known[outside].to_string()
    # other tables than those of scores have differences, such as the components of a gap
    metrics = known["metric"].astype(str) if "operating_point" in known else [""] * len(known)
    least, most = np.array([bounds_of(metric) for metric in metrics]).T
    # variation inside a bin can make the estimate of a resolution negative
    least = np.where(np.array(metrics) == "brier_resolution", np.minimum(least, value), least)
    outside = (low < least - ROUNDING) | (high > most + ROUNDING)
    assert not outside.any(), known[outside].to_string()


@pytest.mark.parametrize("positives", [3, 12])
@pytest.mark.parametrize("shift", [0.0, 2.0, 30.0])
def test_each_number_of_a_run_and_of_its_recipe_is_possible(shift: float, positives: int) -> None:
    runs = [scores(shift, positives, seed) for seed in (0, 1, 2)]
    for run in runs:
        tables = {"scores": run.scores, "gaps": run.gaps, **run.detail}
        checked = {name for name, table in tables.items() if {"value", "low", "high"} <= set(table) and len(table)}
        assert {"scores", "gaps", "decomposition"} <= checked
        for name in checked:
            check(tables[name])
        for name in ("intercept", "observed_expected"):
            check(run.detail["calibration"], (name, f"{name}_low", f"{name}_high"))
        assert set(BOUNDS) & set(run.scores["metric"])
    values = {f"run{seed}": {name: of.value for name, of in run.estimates.items()} for seed, run in enumerate(runs)}
    recipes = Recipes.of([list(values)], values)
    assert recipes.has_seeds
    check(recipes.of_scores(pd.concat([run.scores for run in runs], ignore_index=True)))
    check(recipes.of_gaps(pd.concat([run.gaps for run in runs], ignore_index=True)))
    benefits = pd.concat([run.detail["net_benefit"] for run in runs], ignore_index=True)
    of_recipe = recipes.averaged(benefits, ("dataset", "finding", "metric"))
    assert (of_recipe.loc[of_recipe["metric"] == "standardized", "high"].dropna() <= 1).all()


LOGITS = {
    "random": lambda label, draw: label + draw.normal(size=label.shape),
    "tied": lambda label, draw: np.round(draw.normal(size=label.shape)),
    "equal": lambda label, _: 0.0 * label,
    "separated": lambda label, _: np.where(label == 1, 2.0, -2.0),
    "reversed": lambda label, _: np.where(label == 1, -2.0, 2.0),
    "infinite": lambda label, draw: draw.choice([-800.0, 800.0], label.shape),  # probabilities of exactly 0 and 1
}


def few(dataset: str, name: str, kind: str, draw: np.random.Generator) -> ScoredSplit:
    """Return up to eight patients, of whom one may have nearly all images, with labels that may be those of the patient."""
    num = int(draw.integers(1, 9))
    unequal = draw.random() < 0.3
    patient = np.repeat(np.arange(num), np.append(30, np.ones(num - 1, int)) if unequal else draw.integers(1, 5, num))
    label = (draw.random((len(patient), 3)) < draw.choice([0.1, 0.5, 0.9])).astype(np.int8)
    label = label if draw.random() < 0.5 else label[patient]
    state = np.where(draw.random(label.shape) < 0.1, np.int8(-1), label)
    age = draw.integers(18, 95, num)[patient].astype(float)
    sex, view = (draw.choice(np.array(of, object), n) for of, n in ((["F", "M"], num), (["AP", "PA"], len(patient))))
    groups = PatientGroups(sex[patient], age, view, np.full(len(patient), "", object))
    images, patients = (np.array([f"{p}" for p in of], object) for of in (range(len(patient)), patient))
    logit = LOGITS[kind](state, draw).astype(np.float32)
    return ScoredSplit(dataset, name, "report", images, patients, logit, state, patient_groups=groups)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        *(("random", 8), ("random", 10), ("tied", 4), ("tied", 21), ("infinite", 9), ("infinite", 18)),
        *(("equal", 0), ("separated", 0), ("reversed", 0)),
    ],
)
def test_each_number_of_few_patients_is_possible_and_its_interval_has_a_width(kind: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    splits = [few(*name, kind, draw) for name in NAMES]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = score_run("run", FINDINGS, "here", splits, Settings(min_count=1))
    for name, table in {"scores": run.scores, "gaps": run.gaps, **run.detail}.items():
        if {"value", "low", "high"} <= set(table) and table["low"].notna().any():
            check(table)
            exact = table["low"] == table["high"]
            # by definition, the prevalence has no part in a gap in AUROC
            assert not exact.any() or (name == "decomposition" and set(table.loc[exact, "part"]) == {"prevalence"}), (
                name
            )
