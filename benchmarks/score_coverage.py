"""Simulated coverage of 95 % intervals, error rates of tests, and accuracy of the components of a gap.

    python benchmarks/score_coverage.py                    # writes benchmarks/coverage.csv
    python benchmarks/score_coverage.py --worlds runs      # computes only the rows of one world again

The column `command` of the table has the command of each row.

A world is a simulated study; there are eight. A patient has 1 to 6 images, which share the label and a random effect.
  findings  two equally good runs, five findings; tests intervals, paired tests and Holm's correction
  runs      24 runs on the same patients; tests tie groups (`benchmarks/pairs.py` tests rank intervals)
  gap       one run; case mix, prevalence, labels and skill (the separation of positives and negatives) differ at the
            external hospital by known amounts; tests the components of the gap
  recipes   two to six recipes of two or three seeds, equally good, with equal or different scatter of their seeds; tests the
            intervals of recipes over patients and seeds
  ece       a calibrated run, a nearly calibrated run and an over-confident run; tests the intervals of ECE
  drift     runs of these three kinds at an internal and at an external hospital; tests the intervals of the drift of ECE
  benefit   two equally good runs, five findings; tests the intervals of net benefit, of its paired difference, and of the table
            `workload`
  triage    one run, five findings; conformal thresholds from an internal hospital, used at an exchangeable hospital and at one where the
            findings are harder to see; sicker patients have more images; tests the guarantee, its intervals and its verdict

A prediction score is the mean of its stratum (patients of the same sex and label) + the patient's effect + noise, all normal.
Therefore the true AUROC is the mean of Phi(difference of means / sqrt(2 variance)) over the pairs of strata, weighted with their
shares. The true AUPRC and, in the world `gap`, the true ECE are integrals over mixtures of normal distributions. In the worlds `ece` and
`drift` the true probability of a label is a logistic function of the score, and a run reports a logistic function of this
probability's logit; the true ECE is an integral over the scores. So no true value needs a simulation.

With 150 patients, a finding has about 37 positive patients. `benchmarks/areas.py` tests the intervals of AUROC and AUPRC with
5 to 100 positive patients.
"""

import argparse
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench.scoring.bootstrap.area_intervals import NORMAL_QUANTILE, ClassSizes, area_interval, mean_interval
from bench.scoring.bootstrap.bootstrap import column_metrics, rank_metrics
from bench.scoring.bootstrap.intervals import (
    deviation,
    distance_difference,
    distance_interval,
    excess,
    interval_of_difference,
    mean_of,
    share_interval,
    wilson,
)
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sorted_images import Column
from columns import calibration_metrics
from numpy.typing import NDArray
from planted import INTERNAL, NOISE_SD, PATIENT_SD, SD, THERE, patients, percentile, planted
from scipy.special import expit, logit
from scipy.stats import norm

from bench.scoring.across_runs.paired_tests import error_of, holm, p_value
from bench.scoring.across_runs.ranks import ranks
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.calibration_metrics import BIASED, bin_of, ece
from bench.scoring.delong import areas
from bench.scoring.gaps import decomposition
from bench.scoring.gaps.gap_component import COMPONENTS, MEASURED
from bench.scoring.metrics import auroc
from bench.scoring.metrics_of_split import measure
from bench.scoring.rates import sizes_of_all
from bench.scoring.scored_split import Settings
from reports.report_data.headline_rows import Estimate

Array = NDArray[np.float64]
# claim (a row of the table) -> one value per simulated case: whether the claim held, or a measured number
Seen = dict[str, list[float]]
Rows = list[tuple[str, str, float, float, float, float, int]]

NUM_FINDINGS = 5
PREVALENCE = 0.25
DISTANCE = {"internal": 1.5, "external": 1.0}
NUM_RUNS = 24
WORLDS = "findings runs recipes gap ece drift benefit triage"
THRESHOLDS = (0.1, 0.25, 0.5)  # of the probabilities of the world `benefit`; .25 is the prevalence
LEVELS = {
    "equal": np.full(NUM_RUNS, 1.2),
    "halves": np.repeat([1.8, 0.8], NUM_RUNS // 2),
}
# name -> number of seeds of each recipe, and for each recipe the standard deviation over seeds of the distance between the mean
# scores of positives and negatives
RECIPES = {
    "2 recipes of 2 seeds": ((2, 2), (0.12, 0.12)),
    "6 recipes of 3 seeds": ((3,) * 6, (0.12,) * 6),
    "6 recipes of 1 to 3 seeds": ((1, 2, 3, 3, 2, 1), (0.12,) * 6),
    "6 recipes of 3 seeds, unequal scatter": ((3,) * 6, (0.03, 0.03, 0.1, 0.1, 0.25, 0.25)),
}
# kind of run -> slope and intercept that turn the true logit into the logit that the run reports
REPORTED = {"calibrated": (1.0, 0.0), "nearly calibrated": (0.8, 0.15), "over-confident": (2.0, 0.0)}
# kinds of run (keys of REPORTED) at the internal and at the external hospital
DRIFTS = (
    ("calibrated", "calibrated"),
    ("calibrated", "over-confident"),
    ("nearly calibrated", "over-confident"),
    ("over-confident", "over-confident"),
)


def truth(distance: float) -> float:
    """Return the AUROC of positives whose mean lies `distance` above that of the negatives."""
    return float(norm.cdf(distance / (np.sqrt(2) * SD)))


def findings(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` whether intervals and tests are right for two equal runs on an internal and an external cohort."""
    generator = np.random.default_rng(seed)
    value: dict[tuple[str, int], Array] = {}
    drawn: dict[tuple[str, int], Array] = {}
    bounds: dict[tuple[str, int], tuple[Array, Array]] = {}
    for name, distance in DISTANCE.items():
        patient = patients(num_patients, generator)
        label = (generator.random((num_patients, NUM_FINDINGS)) < PREVALENCE).astype(np.int8)[patient]
        shared = generator.normal(0, PATIENT_SD, (num_patients, NUM_FINDINGS))[patient]
        scores = [distance * label + shared + generator.normal(0, NOISE_SD, label.shape) for _ in range(2)]
        resamples = Resamples.draw(patient.astype(object), num_resamples, name, seed=seed)
        for run, score in enumerate(scores):
            value[name, run] = np.array([auroc(y, s) for y, s in zip(label.T, score.T, strict=True)])
            drawn[name, run] = rank_metrics(resamples, label, score)[0]
            sizes = ClassSizes.of_labels(label, resamples.patient)
            bounds[name, run] = area_interval("auroc", value[name, run], drawn[name, run], sizes)
        for finding in range(NUM_FINDINGS if name == "internal" else 0):
            pair = np.stack([score[:, finding] for score in scores], axis=1)
            for kind, groups in (("image (DeLong)", None), ("patient (Obuchowski)", patient)):
                estimate = areas(label[:, finding], pair, groups)
                low, high = estimate.interval()
                note(seen, f"AUROC: analytic interval by {kind}", low[0] <= truth(distance) <= high[0])
                note(seen, f"paired test by {kind}: false difference", estimate.p_of_difference() < 0.05)
    internal = truth(DISTANCE["internal"])
    low, high = bounds["internal", 0]
    note(seen, "AUROC: bootstrap interval", *((low <= internal) & (internal <= high)))
    note(seen, "AUROC: percentile interval instead", *holds(value["internal", 0], drawn["internal", 0], internal))
    means = {name: mean_of(value[name, 0], drawn[name, 0]) for name in DISTANCE}
    sides = {
        name: np.array([means[name][0], *mean_interval("auroc", value[name, 0], bounds[name, 0], drawn[name, 0])])
        for name in DISTANCE
    }
    note(seen, "macro AUROC: bootstrap interval", sides["internal"][1] <= internal <= sides["internal"][2])
    lower, upper = interval_of_difference(*np.stack(list(sides.values()), 1), np.zeros(()))
    note(seen, "macro gap: bootstrap interval", lower <= internal - truth(DISTANCE["external"]) <= upper)
    difference = value["internal", 0] - value["internal", 1]
    p = p_value(difference, error_of(difference, drawn["internal", 0] - drawn["internal", 1]))
    note(seen, "paired bootstrap test: false difference", *(p < 0.05))
    note(seen, f"any of {NUM_FINDINGS} findings after Holm: false difference", bool((holm(p) < 0.05).any()))


def runs(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` whether tie groups are right for 24 runs, ranked by the mean AUROC of two hospitals."""
    for index, (kind, distance) in enumerate(LEVELS.items()):
        generator = np.random.default_rng([seed, index])
        values, draws, bounds_of_hospitals = [], [], []
        for name in ("one", "two"):
            patient = patients(num_patients, generator)
            label = (generator.random(num_patients) < PREVALENCE).astype(np.int8)[patient]
            shared = generator.normal(0, PATIENT_SD, num_patients)[patient]
            score = distance * label[:, None] + shared[:, None] + generator.normal(0, NOISE_SD, (len(label), NUM_RUNS))
            labels = np.repeat(label[:, None], NUM_RUNS, 1)
            resamples = Resamples.draw(patient.astype(object), num_resamples, name, seed=seed)
            values.append([auroc(label, s) for s in score.T])
            draws.append(rank_metrics(resamples, labels, score)[0])
            sizes = ClassSizes.of_labels(labels, resamples.patient)
            bounds_of_hospitals.append(area_interval("auroc", np.array(values[-1]), draws[-1], sizes))
        own = [
            mean_interval("auroc", value, (low, high), drawn)
            for value, low, high, drawn in zip(*_of_runs(values, bounds_of_hospitals, draws), strict=True)
        ]
        ids = [f"{run:02}" for run in range(NUM_RUNS)]
        external = {
            "dataset": "external",
            "finding": "macro",
            "metric": "auroc",
            "run_id": ids,
            "value": np.mean(values, 0),
            "low": [low for low, _ in own],
            "high": [high for _, high in own],
        }
        replicates = {
            i: {"auroc/external": drawn, "draws": np.zeros(1)} for i, drawn in zip(ids, np.mean(draws, 0), strict=True)
        }
        table = ranks(pd.DataFrame(external), replicates).set_index("run_id").loc[ids]
        group = table["group"].to_numpy()
        true_auroc = np.mean([[truth(d) for d in distance]] * 2, axis=0)
        bounds = table[["all_low", "all_high"]].to_numpy().T
        if kind == "equal":
            note(seen, f"{NUM_RUNS} equal runs in several tie groups: false difference", bool((group > 1).any()))
            first = int(table["all_low"].argmax())
            note(
                seen,
                "simultaneous interval of the AUROC of the first of 24 equal runs",
                bounds[0][first] <= true_auroc[first] <= bounds[1][first],
            )
        else:
            separate = group[: NUM_RUNS // 2].max() < group[NUM_RUNS // 2 :].min()
            note(seen, f"runs of AUROC {true_auroc[0]:.2f} and {true_auroc[-1]:.2f} share no tie group", bool(separate))
            split = len(set(group[: NUM_RUNS // 2])) > 1 or len(set(group[NUM_RUNS // 2 :])) > 1
            note(seen, "equal runs among other runs in several tie groups: false difference", bool(split))


def _of_runs(
    values: list[list[float]], bounds: list[tuple[Array, Array]], draws: list[Array]
) -> tuple[Array, Array, Array, Array]:
    """Return values, bounds and replicates of each run at H hospitals: [R, H], [R, H], [R, H] and [R, H, B]."""
    lows, highs = zip(*bounds, strict=True)
    arrays = [np.swapaxes(np.array(numbers), 0, 1) for numbers in (values, lows, highs, draws)]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def recipes(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` whether intervals of recipes contain the mean AUROC over all patients and all seeds."""
    for index, (kind, (sizes, scatter)) in enumerate(RECIPES.items()):
        generator = np.random.default_rng([seed, index])
        groups = [[f"{recipe}.{k}" for k in range(size)] for recipe, size in enumerate(sizes)]
        ids = [run for group in groups for run in group]
        distance = np.array([1.2 + generator.normal(0, sd) for g, sd in zip(groups, scatter, strict=True) for _ in g])
        patient = patients(num_patients, generator)
        label = (generator.random(num_patients) < PREVALENCE).astype(np.int8)[patient]
        shared = generator.normal(0, PATIENT_SD, num_patients)[patient]
        score = distance * label[:, None] + shared[:, None] + generator.normal(0, NOISE_SD, (len(label), len(ids)))
        resamples = Resamples.draw(patient.astype(object), num_resamples, "one", seed=seed)
        drawn = rank_metrics(resamples, np.repeat(label[:, None], len(ids), 1), score)[0]
        value = np.array([auroc(label, column) for column in score.T])
        sizes = ClassSizes(
            *(numbers.repeat(len(ids), 1) for numbers in ClassSizes.of_labels(label[:, None], resamples.patient))
        )
        low, high = area_interval("auroc", value, drawn, sizes)
        rows = pd.DataFrame({"run_id": ids, "dataset": "external", "value": value, "low": low, "high": high})
        replicates = {run: {"auroc/external": own, "draws": np.zeros(1)} for run, own in zip(ids, drawn, strict=True)}
        averaged = Recipes.of(groups, replicates)
        table = averaged.averaged(rows, ["dataset"], metric="auroc").set_index("run_id")
        of_recipes = averaged.replicates(replicates)
        of_table = np.stack([of_recipes[r]["auroc/external"] for r in table.index])
        sizes = ClassSizes(*(numbers[:, : len(table)] for numbers in sizes))
        bounds = area_interval("auroc", table["value"].to_numpy(), of_table, sizes)
        true = np.array([float(norm.cdf(1.2 / np.sqrt(2 * SD**2 + sd**2))) for sd in scatter])
        note(seen, f"recipe's interval, {kind}", *((table["low"] <= true) & (true <= table["high"])))
        note(seen, f"the same from replicates, {kind}", *((bounds[0] <= true) & (true <= bounds[1])))


def gap(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` the estimate and coverage of each component, and the gap minus the sum of the components."""
    generator, settings = np.random.default_rng(seed), Settings(num_resamples=num_resamples, seed=seed)
    internal, external = (
        measure(world.draw(name, num_patients, generator), None, settings)
        for world, name in ((INTERNAL, "internal"), (THERE, "there"))
    )
    components = decomposition.of_hospital(internal, [], external, settings, {}, {})
    for metric, true in planted().items():
        of_metric = components[metric][0]
        sums = [
            of_metric["remainder"].value - of_metric["gap"].value,
            of_metric["remainder"].replicates - of_metric["gap"].replicates,
        ]
        for component in MEASURED:
            if np.isfinite(of_metric[component].value):
                sums = [sums[0] + of_metric[component].value, sums[1] + of_metric[component].replicates]
        note(seen, f"sum {metric}", abs(float(sums[0])), float(np.nanmax(np.abs(sums[1]))))
        for component in COMPONENTS:
            if component in true and (metric, component) != ("auroc", "prevalence"):
                estimate = of_metric[component]
                value, replicates = np.array([estimate.value]), estimate.replicates[None]
                claim = f"{metric.upper()} gap, {component.replace('_', ' ')}"
                if metric in BIASED:
                    of_distances = partial(of_errors, excesses=estimate.excess)
                    note(seen, f"{claim}: interval", *holds(value, replicates, true[component], of_distances))
                    note(seen, f"{claim}: percentile interval instead", *holds(value, replicates, true[component]))
                else:
                    note(seen, f"value {metric} {component}", estimate.value)
                    low, high = estimate.interval
                    note(seen, f"{claim}: interval", low <= true[component] <= high)


def of_errors(value: Array, replicates: Array, excesses: tuple[float, float] | Array) -> tuple[Array, Array]:
    """Compute intervals of differences of two calibration errors; `excesses` has the excess (bias) of each of the two errors."""
    return distance_difference(value, replicates, np.asarray(excesses[0]), np.asarray(excesses[1]))


def reported(score: Array, kind: str) -> Array:
    """Return the probability that a run reports for a score; `kind` is a key of REPORTED."""
    slope, intercept = REPORTED[kind]
    return np.asarray(expit(slope * true_logit(score) + intercept))


def true_logit(score: Array) -> Array:
    """Return the logit of the true probability of a positive label, given the score of one image."""
    distance = DISTANCE["internal"]
    return np.asarray(logit(PREVALENCE) + distance * (score - distance / 2) / SD**2)


@cache
def true_ece(kind: str) -> float:
    """Return the true ECE of a kind of run (a key of REPORTED), integrated over the scores in each bin of reported probabilities."""
    score = np.linspace(-8, 10, 400_001)
    density = PREVALENCE * norm.pdf(score, DISTANCE["internal"], SD) + (1 - PREVALENCE) * norm.pdf(score, 0, SD)
    probability = reported(score, kind)
    excess = density / density.sum() * (expit(true_logit(score)) - probability)
    return float(np.abs(np.bincount(bin_of(probability), excess)).sum())


def calibration(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` whether intervals contain the true ECE of a finding, and of the mean over findings."""
    errors = errors_of(REPORTED, num_patients, num_resamples, "ece", seed)
    for kind, estimates in errors.items():
        true = true_ece(kind)
        for name, (values, draws) in zip(("ECE", "macro ECE"), estimates, strict=True):
            of_run = f"{name}, {kind} run ({true:.3f})"
            note(seen, f"{of_run}: interval", *holds(values, draws, true, distance_interval))
            note(seen, f"{of_run}: percentile interval instead", *holds(values, draws, true))
            note(seen, f"{of_run}: mirrored percentile interval instead", *holds(values, draws, true, mirrored))


def errors_of(
    kinds: Iterable[str], num_patients: int, num_resamples: int, cohort: str, seed: int
) -> dict[str, tuple[tuple[Array, Array], tuple[Array, Array]]]:
    """Simulate a cohort and return two estimates for each kind of run: the ECE of each finding, and the mean ECE over the findings.

    An estimate is a pair of arrays: values, and bootstrap replicates.
    """
    generator = np.random.default_rng(seed)
    patient = patients(num_patients, generator)
    label = (generator.random((num_patients, NUM_FINDINGS)) < PREVALENCE).astype(np.int8)[patient]
    shared = generator.normal(0, PATIENT_SD, (num_patients, NUM_FINDINGS))[patient]
    score = DISTANCE["internal"] * label + shared + generator.normal(0, NOISE_SD, label.shape)
    resamples = Resamples.draw(patient.astype(object), num_resamples, cohort, seed=seed)
    errors = {}
    for kind in kinds:
        probability = reported(score, kind)
        value = np.array([ece(y, p) for y, p in zip(label.T, probability.T, strict=True)])
        drawn = calibration_metrics(resamples, label, probability)["ece"]
        mean, replicates = mean_of(value, drawn)
        errors[kind] = ((value, drawn), (np.array([mean]), replicates[None]))
    return errors


def drift(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` whether intervals contain the true drift, external ECE - internal ECE; external cohorts are larger."""
    internal_kinds, external_kinds = (dict.fromkeys(kinds) for kinds in zip(*DRIFTS, strict=True))
    internal = errors_of(internal_kinds, num_patients, num_resamples, "internal", seed)
    external = errors_of(external_kinds, 2 * num_patients, num_resamples, "external", seed + 1)
    for inside, outside in DRIFTS:
        true = true_ece(outside) - true_ece(inside)
        estimates = zip(("drift", "macro drift"), external[outside], internal[inside], strict=True)
        for name, (first, first_draws), (second, second_draws) in estimates:
            value, draws = first - second, first_draws - second_draws
            excesses = np.stack([excess(first, first_draws), excess(second, second_draws)])
            together = np.stack([excesses[0] - excesses[1], np.zeros(len(value))])
            claim = f"{name} of ECE, {inside} run becomes {outside} ({true:.3f})"
            note(seen, f"{claim}: interval", *holds(value, draws, true, partial(of_errors, excesses=excesses)))
            rule = partial(of_errors, excesses=together)
            note(seen, f"{claim}: bias of the difference instead", *holds(value, draws, true, rule))
            note(seen, f"{claim}: percentile interval instead", *holds(value, draws, true))


def benefit(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` whether intervals of net benefit and of the table `workload` hold for two equal, calibrated runs."""
    from bench.extensions.decisions import workload
    from bench.extensions.decisions.net_benefit import intervals_of, measures_of

    generator = np.random.default_rng(seed)
    patient = patients(num_patients, generator)
    label = (generator.random((num_patients, NUM_FINDINGS)) < PREVALENCE).astype(np.int8)[patient]
    shared = generator.normal(0, PATIENT_SD, (num_patients, NUM_FINDINGS))[patient]
    resamples = Resamples.draw(patient.astype(object), num_resamples, "benefit", seed=seed)
    threshold = np.array(THRESHOLDS)
    cut = _score_at(threshold)
    found = [PREVALENCE * norm.sf((cut - DISTANCE["internal"]) / SD), (1 - PREVALENCE) * norm.sf(cut / SD)]
    true = measures_of(np.stack(found[::-1], 1)[..., None], np.array([[1 - PREVALENCE], [PREVALENCE]]), threshold)[
        ..., 0
    ]
    measured, counted, columns = [], [], []
    for _ in range(2):
        score = DISTANCE["internal"] * label + shared + generator.normal(0, NOISE_SD, label.shape)
        counted.append([_calls(resamples, y, s, cut) for y, s in zip(label.T, score.T, strict=True)])
        columns.append([Column.of(resamples.patient, y, s) for y, s in zip(label.T, score.T, strict=True)])
        measured.append(np.stack([measures_of(called, total, threshold) for called, total in counted[-1]]))
    called, total = (np.stack(numbers) for numbers in zip(*counted[0], strict=True))  # [K, D, 2, 1 + B], [K, 2, 1 + B]
    truths = workload.quantities_of(_counts(np.stack(found[::-1], 1)[..., None], np.array([[0.75], [0.25]])))[..., 0]
    shares = np.stack([workload.quantities_of(_counts(*of_finding)) for of_finding in counted[0]])  # [K, V, D, 1 + B]
    sizes = [
        workload.sizes(column, _counts(*of_finding), num_patients)
        for of_finding, column in zip(counted[0], columns[0], strict=True)
    ]
    low, high = share_interval(shares[..., 0], shares[..., 1:], *np.stack(sizes, 1))
    for (v, name), (d, t) in product(enumerate(workload.QUANTITIES), enumerate(THRESHOLDS)):
        name = f"share of {name} images" if name in ("called", "missed") else name
        true_share = truths[v, d]
        note(seen, f"{name} at t = {t}: interval", *((low[:, v, d] <= true_share) & (true_share <= high[:, v, d])))
        note(
            seen,
            f"{name} at t = {t}: percentile interval instead",
            *holds(shares[:, v, d, 0], shares[:, v, d, 1:], true_share),
        )
    first, second = measured
    of_images = zip(called, total, columns[0], strict=True)
    bounds = np.stack([intervals_of(*of, threshold, sizes_of_all(column, num_patients)) for *of, column in of_images])
    for d, t in enumerate(THRESHOLDS):
        for m, name in enumerate(("net benefit", "standardized net benefit", "net benefit minus treating all")):
            values, ends = first[:, m, d], bounds[:, :, m, d]
            note(
                seen,
                f"{name} at t = {t}: normal interval instead",
                *holds(values[:, 0], values[:, 1:], true[m, d], _normal),
            )
            note(seen, f"{name} at t = {t}: interval", *((ends[:, 0] <= true[m, d]) & (true[m, d] <= ends[:, 1])))
            low, high = mean_interval("net_benefit", values[:, 0], ends.T, values[:, 1:])
            note(seen, f"macro {name} at t = {t}: interval", low <= true[m, d] <= high)
        differences = first[:, 0, d] - second[:, 0, d]
        p = p_value(differences[:, 0], error_of(differences[:, 0], differences[:, 1:]))
        note(seen, f"paired test of net benefit at t = {t}: false difference", *(p < 0.05))
        note(
            seen,
            f"paired difference of net benefit at t = {t}: interval",
            *holds(differences[:, 0], differences[:, 1:], 0.0, _normal),
        )


def _normal(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Compute value +- 1.96 standard deviations of the replicates."""
    half = NORMAL_QUANTILE * deviation(replicates)
    return value - half, value + half


def _counts(called: Array, total: Array) -> Any:
    """Return counts whose thresholds of goals [D, 2, 1 + B] are those of `called`."""
    from bench.extensions.decisions.calls import CURVE, DecisionCounts

    return DecisionCounts(np.concatenate([np.zeros((len(CURVE) + 1, *called.shape[1:])), called]), total)


def triage(seen: Seen, seed: int, num_patients: int, num_resamples: int) -> None:
    """Record in `seen` the true error rates of conformal thresholds, and whether their intervals and verdicts hold."""
    from bench.extensions.decisions.conformal import LEVELS as STATED
    from bench.extensions.decisions.conformal import highest_by_chance, release_threshold, thresholds
    from bench.extensions.decisions.triage import GROUP_OF_QUANTITY, effective_sizes, quantities_of, summed, tallies
    from bench.extensions.decisions.triage_rates import Rate

    generator = np.random.default_rng(seed)
    patient, label, score = _hospital(num_patients, DISTANCE["internal"], generator)
    at = np.stack([thresholds(y, s, patient) for y, s in zip(label.T, score.T, strict=True)])  # [K, L, 2]
    num_internal = [len(np.unique(patient[y == 1])) for y in label.T]
    for (kind, distance), words in zip(DISTANCE.items(), ("exchangeable", "other"), strict=True):
        there, is_positive, scores = _hospital(num_patients, distance, generator)
        resamples = Resamples.draw(there.astype(object), num_resamples, "triage", seed=seed)
        for k, level_at in np.ndindex(NUM_FINDINGS, len(STATED)):
            (release, flag), stated = at[k, level_at], STATED[level_at]
            missed, false = float(norm.cdf((min(release, flag) - distance) / SD)), float(norm.sf(flag / SD))
            if kind == "internal":
                note(seen, f"rate triage, exchangeable patients: miss rate, stated {stated}", missed)
                note(seen, f"rate triage, exchangeable patients: false positive rate, stated {stated}", false)
                ours = score[label[:, k] == 1, k]  # a rule that counts images as if each were another patient
                cut = release_threshold(ours, np.arange(len(ours)), stated)
                missed_by_rule = float(norm.cdf((cut - distance) / SD))
                note(seen, f"rate triage, images counted instead: miss rate, stated {stated}", missed_by_rule)
            column = Column.of(resamples.patient, is_positive[:, k], scores[:, k])
            images = np.stack(
                [np.bincount(there[is_positive[:, k] == sign], minlength=num_patients) for sign in (1, 0)]
            )
            quantities = quantities_of(summed(tallies(column, at[k], images), resamples))[level_at]
            sizes = effective_sizes(images)[:, GROUP_OF_QUANTITY]
            low, high = share_interval(quantities[:, 0], quantities[:, 1:], *sizes)
            claim = f"triage, {words} patients, stated {stated}"
            for index, (name, rate) in enumerate((("miss rate", missed), ("false positive rate", false))):
                note(seen, f"{claim}: interval of the {name}", bool(low[index] <= rate <= high[index]))
            estimate = Estimate(float(quantities[0, 0]), float(low[0]), float(high[0]))
            rate = Rate(estimate, stated, highest_by_chance(num_internal[k], stated), True)
            end = ": false difference" if kind == "internal" else ""
            note(seen, f"{claim}: guarantee broken{end}", rate.is_beyond_chance)


def _hospital(num: int, distance: float, generator: np.random.Generator) -> tuple[NDArray[np.int64], Array, Array]:
    """Return patient [N], label [N, K] and score [N, K]; patients with higher scores of the first finding have more images."""
    shared = generator.normal(0, PATIENT_SD, (num, NUM_FINDINGS))
    num_images = np.clip(np.round(3 + 2 * shared[:, 0] + generator.normal(size=num)), 1, 6).astype(np.int64)
    patient = np.repeat(np.arange(num), num_images)
    label = (generator.random((num, NUM_FINDINGS)) < PREVALENCE).astype(np.int8)[patient]
    return patient, label, distance * label + shared[patient] + generator.normal(0, NOISE_SD, label.shape)


def _score_at(probability: Array) -> Array:
    """Return the score at which the true probability of a positive label has this value; the inverse of `true_logit`."""
    distance = DISTANCE["internal"]
    return np.asarray((logit(probability) - logit(PREVALENCE)) * SD**2 / distance + distance / 2)


def _calls(resamples: Resamples, label: Array, score: Array, cut: Array) -> tuple[Array, Array]:
    """Return the images with scores >= cut, [D, 2, 1 + B], and all images, [2, 1 + B], in the data and in the replicates."""
    column = Column.of(resamples.patient, label, score)
    order = np.argsort(-cut)
    cuts = np.append(column.reaching(cut[order]), len(column.rows))
    reached = np.concatenate(
        [column.counted(cuts)[..., None], column_metrics(resamples, column, cuts, with_auprc=False).reached], 2
    )
    return reached[np.argsort(order)], reached[-1]


def mirrored(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Compute percentile intervals mirrored at the value, extended to include the value, and at least 0."""
    low, high = percentile(value, replicates)
    return np.clip(2 * value - high, 0, value), np.maximum(2 * value - low, value)


def note(seen: Seen, claim: str, *values: float | np.bool_) -> None:
    """Append `values`, which a simulation gives for `claim`, to `seen[claim]`."""
    seen.setdefault(claim, []).extend(map(float, values))


def holds(
    value: Array, replicates: Array, true: float, interval: Callable[..., tuple[Array, Array]] = percentile
) -> NDArray[np.bool_]:
    """Return the mask of the values whose interval, computed from their replicates, contains the true value."""
    low, high = interval(value, replicates)
    return np.asarray((low <= true) & (true <= high))


def rows_of(seen: Seen) -> Rows:
    """Return one row per claim, with the columns that `simulate` names.

    The number found is the share of cases in which the claim held (with Wilson's interval), the mean of a measured number
    (with a normal interval), or the largest distance between the gap and the sum of its components.
    """
    out: Rows = []
    true = planted()
    for claim, cases in seen.items():
        num_cases, mean = len(cases), float(np.mean(cases))
        if claim.startswith("sum "):
            out.append(
                (
                    f"{claim[4:].upper()} gap, sum of components minus gap: largest difference",
                    "largest",
                    0.0,
                    max(cases),
                    0.0,
                    max(cases),
                    num_cases,
                )
            )
        elif claim.startswith("rate "):
            half = 1.96 * float(np.std(cases, ddof=1)) / np.sqrt(num_cases)
            stated = float(claim.rsplit(" ", 1)[1])
            out.append((claim.removeprefix("rate "), "mean", stated, mean, mean - half, mean + half, num_cases))
        elif claim.startswith("value "):
            _, metric, component = claim.split()
            half = 1.96 * float(np.std(cases, ddof=1)) / np.sqrt(num_cases)
            out.append(
                (
                    f"{metric.upper()} gap, {component.replace('_', ' ')}: mean estimate",
                    "mean",
                    true[metric][component],
                    mean,
                    mean - half,
                    mean + half,
                    num_cases,
                )
            )
        else:
            low, high = wilson(np.array(mean), np.array(float(num_cases)))
            nominal = (
                0.05
                if "false difference" in claim
                else 1.0
                if claim.endswith(("share no tie group", "guarantee broken"))
                else 0.95
            )
            out.append((claim, "share", nominal, mean, float(low), float(high), num_cases))
    return out


def simulate(num: int, num_patients: int, num_resamples: int, seed: int, worlds: str = WORLDS) -> pd.DataFrame:
    """Simulate `num` times and return one row per claim: measure, nominal or true value, estimate with interval, cases.

    For a share over findings or runs, the number of cases is simulations x findings, or simulations x runs.
    """
    seen: Seen = {}
    for simulation in range(num):
        for world in worlds.split():
            world_seed = int(np.random.SeedSequence([seed, simulation, len(world)]).generate_state(1)[0])
            simulation_of = {"findings": findings, "runs": runs, "recipes": recipes, "gap": gap, "ece": calibration}
            (simulation_of | {"drift": drift, "benefit": benefit, "triage": triage})[world](
                seen, world_seed, num_patients * (2 if world == "gap" else 1), num_resamples
            )
    return pd.DataFrame(rows_of(seen), columns=["claim", "measure", "nominal", "found", "low", "high", "cases"])


def main() -> None:
    """Simulate, and write the table to the folder of this file; with `--worlds`, replace only the rows of these worlds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"simulations": 1000, "patients": 150, "resamples": 1000, "seed": 0}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--worlds", default=WORLDS, help=WORLDS.replace(" ", ", "))
    parser.add_argument("--to", type=Path, default=Path(__file__).with_name("coverage.csv"))
    options = parser.parse_args()
    table = simulate(options.simulations, options.patients, options.resamples, options.seed, options.worlds)
    print(table.round(4).to_string(index=False))
    arguments = {name: getattr(options, name) for name in defaults} | (
        {"worlds": options.worlds} if options.worlds != WORLDS else {}
    )
    table["seed"] = options.seed
    table["command"] = " ".join(
        ["python benchmarks/score_coverage.py", *(f"--{name} {value}" for name, value in arguments.items())]
    )
    if options.worlds != WORLDS and options.to.exists():
        table = put_into(pd.read_csv(options.to), table)
    table.to_csv(options.to, index=False, float_format="%.4g")


def put_into(old: pd.DataFrame, replacement: pd.DataFrame) -> pd.DataFrame:
    """Return the old table, in which the rows of `replacement` replace the rows with the same claims."""
    new = replacement.set_index("claim")
    claims = list(dict.fromkeys([*old["claim"], *new.index]))
    return pd.concat([new, old.set_index("claim").drop(new.index, errors="ignore")]).loc[claims].reset_index()


if __name__ == "__main__":
    main()
