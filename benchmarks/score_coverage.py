"""Simulated coverage of 95 % intervals, error rates of tests, and accuracy of the components of a gap.

    python benchmarks/score_coverage.py                    # writes benchmarks/coverage.csv
    python benchmarks/score_coverage.py --worlds runs      # computes only the rows of one world again

The column `command` of the table has the command of each row.

A world is a simulated study; there are five. A patient has 1 to 6 images, which share the label and a random effect. The worlds
`findings`, `calibration` and `gap` take the intervals from the tables of `score_run`.
  findings  two equally good runs, five findings; tests intervals of scores and gaps, paired tests and Holm's correction
  calibration  runs that are calibrated, nearly calibrated or over-confident, at an internal and at an external hospital; tests the
            intervals of ECE, Brier score and NLL, and of their drift
  gap       one run; case mix, prevalence, labels and skill (the separation of positives and negatives) differ at the
            external hospital by known amounts; tests the components of the gap
  recipes   two to six recipes of one to five seeds, equally good, with equal or different scatter of their seeds; tests the
            intervals of recipes over patients and seeds
  triage    one run, five findings; conformal thresholds from an internal hospital, used at an exchangeable hospital and at one where the
            findings are harder to see; sicker patients have more images; tests the guarantee, its intervals and its verdict

A prediction score is the mean of its stratum (patients of the same sex and label) + the patient's effect + noise, all normal.
Therefore the true AUROC is the mean of Phi(difference of means / sqrt(2 variance)) over the pairs of strata, weighted with their
shares. The true AUPRC and, in the world `gap`, the true ECE are integrals over mixtures of normal distributions. In the world
`calibration` the true probability of a label is a logistic function of the score, and a run reports a logistic function of this
probability's logit; the true errors are integrals over the scores. So no true value needs a simulation.

With 150 patients, a finding has about 37 positive patients. `benchmarks/areas.py` tests the intervals of AUROC and AUPRC with
5 to 100 positive patients.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from planted import INTERNAL, NOISE_SD, PATIENT_SD, SD, THERE, Mixture, patients, planted, precision
from scipy.special import expit, log_expit, logit
from scipy.stats import norm

from bench.config.settings import Settings
from bench.scoring.across_runs.paired_runs import ScoredRun, differences
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.area_intervals import ClassSizes, area_interval, images_of_patients
from bench.scoring.calibration_metrics import bin_of
from bench.scoring.column import Column
from bench.scoring.gaps.gap_component import COMPONENTS
from bench.scoring.influence import error_of
from bench.scoring.intervals import NORMAL_QUANTILE, share_interval, wilson
from bench.scoring.metrics_of_split import Key
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.sample import Sample
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from reports.report_data import headline_rows

Array = NDArray[np.float64]
# claim (a row of the table) -> one value per simulated case: whether the claim held, or a measured number
Seen = dict[str, list[float]]
Rows = list[tuple[str, str, float, float, float, float, int]]

NUM_FINDINGS = 5
FINDINGS = [f"finding {k}" for k in range(NUM_FINDINGS)]
SETTINGS = Settings(min_count=2)
PREVALENCE = 0.25
DISTANCE = {"internal": 1.5, "external": 1.0}
WORLDS = "findings calibration recipes gap triage"
# name -> number of seeds of each recipe, and for each recipe the standard deviation over seeds of the distance between the mean
# scores of positives and negatives
RECIPES = {
    "2 recipes of 2 seeds": ((2, 2), (0.12, 0.12)),
    "2 recipes of 5 seeds": ((5, 5), (0.12, 0.12)),
    "6 recipes of 3 seeds": ((3,) * 6, (0.12,) * 6),
    "6 recipes of 1 to 3 seeds": ((1, 2, 3, 3, 2, 1), (0.12,) * 6),
    "6 recipes of 3 seeds, unequal scatter": ((3,) * 6, (0.03, 0.03, 0.1, 0.1, 0.25, 0.25)),
}
NAMES = {"auroc": "AUROC", "auprc": "AUPRC", "brier": "Brier score", "nll": "NLL", "ece": "ECE"}
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


def split_of(name: str, split: str, patient: NDArray[np.int64], label: NDArray[np.int8], logits: Array) -> ScoredSplit:
    """Return a split of images [N] with labels and logits [N, K]."""
    images, nothing = np.arange(len(patient)).astype(str).astype(object), np.full(len(patient), "", object)
    groups = PatientGroups(nothing, np.full(len(patient), np.nan), nothing, nothing)
    ids = patient.astype(object)
    return ScoredSplit(name, split, "report", images, ids, logits.astype(np.float32), label, patient_groups=groups)


def cohort(num: int, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int8], Array]:
    """Return the patient of each image [N], labels [N, K], and what all runs see of a patient [N, K]."""
    patient = patients(num, generator)
    label = (generator.random((num, NUM_FINDINGS)) < PREVALENCE).astype(np.int8)[patient]
    return patient, label, generator.normal(0, PATIENT_SD, (num, NUM_FINDINGS))[patient]


def note_rows(seen: Seen, claim: str, scores: pd.DataFrame, true: float, **columns: str) -> None:
    """Record whether the intervals of the findings, and that of the macro, contain the true value; `columns` select the rows."""
    rows = scores[np.logical_and.reduce([scores[name] == text for name, text in columns.items()])]
    held = ((rows["low"] <= true) & (true <= rows["high"]))[np.isfinite(rows["low"])]
    is_macro = rows["finding"] == "macro"
    note(seen, f"{claim}: interval", *held[rows["finding"].isin(FINDINGS)])
    note(seen, f"macro {claim}: interval", *held[is_macro])


def findings(seen: Seen, seed: int, num_patients: int) -> None:
    """Record in `seen` whether intervals and tests are right for two equal runs on an internal and an external cohort."""
    generator = np.random.default_rng(seed)
    splits: list[list[ScoredSplit]] = [[], []]
    for distance, split in zip(DISTANCE.values(), ("test", "all"), strict=True):
        patient, label, shared = cohort(num_patients, generator)
        for of_run in splits:
            score = distance * label + shared + generator.normal(0, NOISE_SD, label.shape)
            of_run.append(
                split_of("internal" if split == "test" else "there", split, patient, label, true_logit(score))
            )
    tables = score_run("run", FINDINGS, "internal", splits[0], SETTINGS)
    internal = truth(DISTANCE["internal"])
    for row in tables.delong.query("dataset == 'internal'").to_dict("records"):
        for kind, error in (("image (DeLong)", row["se_image"]), ("patient (Obuchowski)", row["se_patient"])):
            held = abs(row["value"] - internal) <= NORMAL_QUANTILE * error
            note(seen, f"AUROC: analytic interval by {kind}", held)
    positive, negative = Mixture(np.array([DISTANCE["internal"]]), np.ones(1)), Mixture(np.zeros(1), np.ones(1))
    true = {"auroc": internal, "auprc": precision(positive, negative, PREVALENCE)}
    true |= {name: true_loss(name, "calibrated") for name in ("brier", "nll")}
    plain = {"subgroup": "all", "calibrator": "none"}
    for metric, value in true.items():
        note_rows(seen, NAMES[metric], tables.scores, value, metric=metric, dataset="internal", **plain)
    gap = internal - truth(DISTANCE["external"])
    note_rows(seen, "gap", tables.gaps, gap, dataset="there")
    both = [ScoredRun(FINDINGS, "internal", of_run) for of_run in splits]
    for metric in true:
        rows = differences(*both, Key(metric), SETTINGS, ["internal"])
        of_findings = rows[rows["finding"] != "macro"]
        note(seen, f"paired test of {NAMES[metric]}: false difference", *(of_findings["p"] < 0.05))
        note(
            seen,
            f"macro paired test of {NAMES[metric]}: false difference",
            *(rows["p"][rows["finding"] == "macro"] < 0.05),
        )
        if metric == "auroc":
            any_false = bool((of_findings["p_holm"] < 0.05).any())
            note(seen, f"any of {NUM_FINDINGS} findings after Holm: false difference", any_false)


def ranked(num_patients: int, distance: Array, generator: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return the AUROCs [R] of R runs with these distances on the same new patients, and their bounds [R]."""
    patient = patients(num_patients, generator)
    label = (generator.random(num_patients) < PREVALENCE).astype(np.int8)[patient]
    shared = generator.normal(0, PATIENT_SD, num_patients)[patient]
    noise = generator.normal(0, NOISE_SD, (len(label), len(distance)))
    score = distance * label[:, None] + shared[:, None] + noise
    sample = Sample.of(patient.astype(object), "one")
    columns = [Column.of(sample.patient, label, of_run) for of_run in score.T]
    values, influences = zip(*(column.auroc() for column in columns), strict=True)
    influence = np.stack([sample.sums(of, column.rows) for of, column in zip(influences, columns, strict=True)])
    sizes = ClassSizes.of_labels(np.repeat(label[:, None], len(columns), 1), sample.patient)
    return np.array(values), *area_interval("auroc", np.array(values), error_of(influence), sizes)


def recipes(seen: Seen, seed: int, num_patients: int) -> None:
    """Record in `seen` whether intervals of recipes contain the mean AUROC over all patients and all seeds."""
    for index, (kind, (sizes, scatter)) in enumerate(RECIPES.items()):
        generator = np.random.default_rng([seed, index])
        groups = [[f"{recipe}.{k}" for k in range(size)] for recipe, size in enumerate(sizes)]
        ids = [run for group in groups for run in group]
        distance = np.array([1.2 + generator.normal(0, sd) for g, sd in zip(groups, scatter, strict=True) for _ in g])
        value, low, high = ranked(num_patients, distance, generator)
        rows = pd.DataFrame({"run_id": ids, "dataset": "external", "value": value, "low": low, "high": high})
        averaged = Recipes.of(groups, {run: {"auroc/external": float(v)} for run, v in zip(ids, value, strict=True)})
        table = averaged.averaged(rows, ["dataset"], metric="auroc")
        true = np.array([float(norm.cdf(1.2 / np.sqrt(2 * SD**2 + sd**2))) for sd in scatter])
        note(seen, f"recipe's interval, {kind}", *((table["low"] <= true) & (true <= table["high"])))


def gap(seen: Seen, seed: int, num_patients: int) -> None:
    """Record in `seen` the estimate and coverage of each component, and the gap minus the sum of the components."""
    generator = np.random.default_rng(seed)
    splits = [world.draw(name, num_patients, generator) for world, name in ((INTERNAL, "internal"), (THERE, "there"))]
    tables = score_run("run", FINDINGS[:1], "internal", splits, Settings())
    components = tables.detail["decomposition"].query("dataset == 'there' and finding == 'macro'")
    for metric, true in planted().items():
        rows = components[components["metric"] == metric].set_index("part")
        note(seen, f"sum {metric}", abs(rows["value"].drop("gap").sum() - rows.loc["gap", "value"]))
        for component in COMPONENTS:
            if component in true and (metric, component) != ("auroc", "prevalence"):
                value, low, high = rows.loc[component, ["value", "low", "high"]]
                if metric != "ece":
                    note(seen, f"value {metric} {component}", value)
                claim = f"{metric.upper()} gap, {component.replace('_', ' ')}"
                note(seen, f"{claim}: interval", low <= true[component] <= high)


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


@cache
def true_loss(metric: str, kind: str) -> float:
    """Return the true Brier score or NLL of a kind of run, integrated over the scores."""
    score = np.linspace(-8, 10, 200_001)
    of_positive = PREVALENCE * norm.pdf(score, DISTANCE["internal"], SD)
    of_negative = (1 - PREVALENCE) * norm.pdf(score, 0, SD)
    probability = reported(score, kind)
    losses = (1 - probability) ** 2, probability**2
    if metric == "nll":
        losses = -log_expit(logit(probability)), -log_expit(-logit(probability))
    return float((of_positive * losses[0] + of_negative * losses[1]).sum() / (of_positive + of_negative).sum())


def calibration(seen: Seen, seed: int, num_patients: int) -> None:
    """Record in `seen` whether intervals contain the true ECE, Brier score and NLL, and the true drifts; external cohorts are larger."""
    generator = np.random.default_rng(seed)
    cohorts = {}
    for name, num in (("internal", num_patients), ("there", 2 * num_patients)):
        patient, label, shared = cohort(num, generator)
        score = DISTANCE["internal"] * label + shared + generator.normal(0, NOISE_SD, label.shape)
        cohorts[name] = patient, label, score
    plain = {"subgroup": "all", "calibrator": "none"}
    found: dict[str, RunScores] = {}
    for inside, outside in DRIFTS:
        splits = [
            split_of(name, split, patient, label, logit(reported(score, kind)))
            for (name, (patient, label, score)), split, kind in zip(
                cohorts.items(), ("test", "all"), (inside, outside), strict=True
            )
        ]
        found[inside] = tables = score_run("run", FINDINGS, "internal", splits, SETTINGS)
        for metric, true_value in (("ece", true_ece), ("brier", partial(true_loss, "brier"))):
            true = true_value(outside) - true_value(inside)
            claim = f"drift of {NAMES[metric]}, {inside} run becomes {outside} ({true:.3f})"
            note_rows(seen, claim, tables.scores, true, metric=f"{metric}_drift", dataset="there", **plain)
    for kind, tables in found.items():
        values = {"ece": true_ece(kind), "brier": true_loss("brier", kind), "nll": true_loss("nll", kind)}
        for metric, true in values.items():
            claim = f"{NAMES[metric]}, {kind} run ({true:.3f})"
            note_rows(seen, claim, tables.scores, true, metric=metric, dataset="internal", **plain)


def triage(seen: Seen, seed: int, num_patients: int) -> None:
    """Record in `seen` the true error rates of conformal thresholds, and whether their intervals and verdicts hold."""
    from bench.extensions.decisions.conformal import LEVELS as STATED
    from bench.extensions.decisions.conformal import highest_by_chance, release_threshold, thresholds
    from bench.extensions.decisions.triage import GROUP_OF_QUANTITY, effective_sizes, quantities_of, tallies
    from bench.extensions.decisions.triage_rates import Rate

    generator = np.random.default_rng(seed)
    patient, label, score = _hospital(num_patients, DISTANCE["internal"], generator)
    at = np.stack([thresholds(y, s, patient) for y, s in zip(label.T, score.T, strict=True)])  # [K, L, 2]
    num_internal = [len(np.unique(patient[y == 1])) for y in label.T]
    for (kind, distance), words in zip(DISTANCE.items(), ("exchangeable", "other"), strict=True):
        there, is_positive, scores = _hospital(num_patients, distance, generator)
        sample = Sample.of(there.astype(object), "triage")
        all_images = images_of_patients(is_positive, sample.patient)
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
            column, images = Column.of(sample.patient, is_positive[:, k], scores[:, k]), all_images[:, k]
            value, influence = (numbers[level_at] for numbers in quantities_of(tallies(column, at[k], images)))
            low, high = share_interval(value, error_of(influence), *effective_sizes(images)[:, GROUP_OF_QUANTITY])
            claim = f"triage, {words} patients, stated {stated}"
            for index, (name, rate) in enumerate((("miss rate", missed), ("false positive rate", false))):
                note(seen, f"{claim}: interval of the {name}", bool(low[index] <= rate <= high[index]))
            estimate = headline_rows.Estimate(float(value[0]), float(low[0]), float(high[0]))
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


def note(seen: Seen, claim: str, *values: float | np.bool_) -> None:
    """Append `values`, which a simulation gives for `claim`, to `seen[claim]`."""
    seen.setdefault(claim, []).extend(map(float, values))


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
            nominal = 0.05 if "false difference" in claim else 1.0 if claim.endswith("guarantee broken") else 0.95
            out.append((claim, "share", nominal, mean, float(low), float(high), num_cases))
    return out


def simulate(num: int, num_patients: int, seed: int, worlds: str = WORLDS) -> pd.DataFrame:
    """Simulate `num` times and return one row per claim: measure, nominal or true value, estimate with interval, cases.

    For a share over findings or runs, the number of cases is simulations x findings, or simulations x runs.
    """
    seen: Seen = {}
    for simulation in range(num):
        for world in worlds.split():
            world_seed = int(np.random.SeedSequence([seed, simulation, len(world)]).generate_state(1)[0])
            WORLD[world](seen, world_seed, num_patients * (2 if world == "gap" else 1))
    return pd.DataFrame(rows_of(seen), columns=["claim", "measure", "nominal", "found", "low", "high", "cases"])


WORLD: Mapping[str, Callable[[Seen, int, int], None]] = {
    "findings": findings,
    "calibration": calibration,
    "recipes": recipes,
    "gap": gap,
    "triage": triage,
}


def main() -> None:
    """Simulate, and write the table to the folder of this file; with `--worlds`, replace only the rows of these worlds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = {"simulations": 1000, "patients": 150, "seed": 0}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--worlds", default=WORLDS, help=WORLDS.replace(" ", ", "))
    parser.add_argument("--to", type=Path, default=Path(__file__).with_name("coverage.csv"))
    options = parser.parse_args()
    table = simulate(options.simulations, options.patients, options.seed, options.worlds)
    print(table.round(4).to_string(index=False))
    arguments = {name: getattr(options, name) for name in defaults} | (
        {"worlds": f"'{options.worlds}'"} if options.worlds != WORLDS else {}
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
