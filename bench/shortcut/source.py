"""Which hospital is a picture from? A linear classifier on frozen features, beside a control that cannot know.

What it can show: the features still hold the source. What it cannot: that the network uses it (a random network holds
it too).
Shapes: N images of all sources, D features, K sources.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from bench.scoring import bootstrap
from bench.scoring.intervals import percentile
from bench.scoring.metrics import auroc, require_finite
from bench.scoring.resamples import Resamples
from harmonize.seeds import seed_for, stream
from reports.tables import SCHEMAS

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

NUM_FOLDS = 5
MIN_PATIENTS = 4 * NUM_FOLDS  # per source: below this a fold of a source holds three patients or fewer
STRENGTHS = (1e-3, 1e-2, 1e-1)  # C of the L2 penalty, chosen inside each training fold
COLUMNS = tuple(name for name in SCHEMAS["shortcut"] if name != "run_id")


def source_probe(
    features: Mapping[str, NDArray[np.floating]],
    patients: Mapping[str, NDArray[Any]],
    seed: int = 0,
    max_per_source: int = 2000,
    num_permutations: int = 1,
    num_resamples: int = 1000,
) -> pd.DataFrame:
    """Return the `shortcut` table of one run (without run_id): how well a linear classifier names the source.

    features and patients: name of a cohort -> [N, D] and [N]. One image per patient and equally many per source, drawn
    with the seed. Predictions are out of fold (5 folds, split by patient). Rows: control none, and shuffled (sources
    permuted, mean of num_permutations) x balanced_accuracy (chance 1/K) and auroc (macro one-against-rest, chance 1/2),
    with 95 % intervals over the judged patients (the classifiers stay as they are). Empty, with the reason in
    `.attrs["reason"]`, when fewer than two sources have 20 patients. Raises ValueError for features that are not finite
    or of different width.
    """
    rows_of = {name: _one_image_per_patient(patients[name], seed, name) for name in sorted(features)}
    large = {name: rows for name, rows in rows_of.items() if len(rows) >= MIN_PATIENTS}
    if len(large) < 2:
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in rows_of.items()) or "none"
        return _empty(
            f"a source classifier needs two cohorts of {MIN_PATIENTS} patients with features; there are: {sizes}"
        )
    size = min(max_per_source, *(len(rows) for rows in large.values()))
    x = np.concatenate([np.asarray(features[name], np.float64)[rows[:size]] for name, rows in large.items()])
    require_finite(x, "features")
    source = np.repeat(np.arange(len(large)), size)
    ids = np.array([f"{name}/{patients[name][row]}" for name, rows in large.items() for row in rows[:size]], object)
    resamples = Resamples.draw(ids, num_resamples, "source_probe", seed)

    out = []
    for control, rounds in (("none", 1), ("shuffled", num_permutations)):
        results = []
        for number in range(rounds):
            named = source if control == "none" else stream(seed, "shuffled sources", number).permutation(source)
            prob = _out_of_fold(x, named, seed_for(seed, "folds", control, number) % 2**32)
            results.append(_judge(prob, named, resamples))
        for metric, chance in (("balanced_accuracy", 1 / len(large)), ("auroc", 0.5)):
            value = np.mean([result[metric][0] for result in results], keepdims=True)
            replicates = np.mean([result[metric][1] for result in results], axis=0)[None]
            low, high = percentile(value, replicates)
            out.append((control, metric, float(value[0]), float(low[0]), float(high[0]), chance, len(large), len(x)))
    return pd.DataFrame(out, columns=list(COLUMNS))


def _empty(reason: str) -> pd.DataFrame:
    kinds = {"control": "str", "metric": "str", "num_sources": "int64", "n": "int64"}
    table = pd.DataFrame({name: pd.Series(dtype=kinds.get(name, "float64")) for name in COLUMNS})
    table.attrs["reason"] = reason
    return table


def _one_image_per_patient(patient: NDArray[Any], seed: int, name: str) -> NDArray[np.intp]:
    """Return one random image of each patient, patients in random order."""
    shuffled = stream(seed, "probe images", name).permutation(len(patient))
    _, first = np.unique(np.asarray(patient, dtype=str)[shuffled], return_index=True)
    return shuffled[np.sort(first)]


def _out_of_fold(x: Array, source: Codes, seed: int) -> Array:
    """Return the probability of each source [N, K] by classifiers that saw neither image nor patient (one each)."""
    prob = np.zeros((len(x), int(source.max()) + 1))
    for train, test in StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed).split(x, source):
        scaler = StandardScaler().fit(x[train])
        inside = scaler.transform(x[train])
        strength = _choose_strength(inside, source[train], seed)
        prob[test] = _fit(inside, source[train], strength).predict_proba(scaler.transform(x[test]))
    return prob


def _choose_strength(x: Array, source: Codes, seed: int) -> float:
    """Return the C with the least cross-entropy on a held-out fifth of the training fold."""
    train, held = next(StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed).split(x, source))
    losses = []
    for strength in STRENGTHS:
        prob = _fit(x[train], source[train], strength).predict_proba(x[held])
        losses.append(-np.log(np.maximum(prob[np.arange(len(held)), source[held]], 1e-12)).mean())
    return STRENGTHS[int(np.argmin(losses))]


def _fit(x: Array, source: Codes, strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        # a probe is judged on held-out images, however far it got
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=100, tol=1e-3).fit(x, source)


def _judge(prob: Array, source: Codes, resamples: Resamples) -> dict[str, tuple[float, Array]]:
    """Return each metric with its replicates [B]."""
    num_sources = prob.shape[1]
    hit = (prob.argmax(1) == source).astype(np.float64)
    rows = np.arange(len(source))
    sums = bootstrap.grouped_sums(resamples, rows, source, np.stack([hit, np.ones(len(source))], axis=1), num_sources)
    right, drawn = sums[:, 0], sums[:, 1]
    with np.errstate(invalid="ignore"):
        accuracy = (right / drawn).mean(0)  # NaN where a source was not drawn
    own = (source[:, None] == np.arange(num_sources)).astype(np.int8)
    replicates, _ = bootstrap.rank_metrics(resamples, own, prob)
    return {
        "balanced_accuracy": (float(np.mean([hit[source == k].mean() for k in range(num_sources)])), accuracy),
        "auroc": (float(np.mean([auroc(own[:, k], prob[:, k]) for k in range(num_sources)])), replicates.mean(0)),
    }
