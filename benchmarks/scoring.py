"""Measure the time of a run's scores, and compare our bootstrap with loops over the metrics of other libraries.

    python benchmarks/scoring.py                       # 2 runs x 6 cohorts of 25,000 images, 1,000 resamples

The cohorts are simulated. The internal hospital has a validation split of 5,000 images and a test split; the other hospitals are
external. A patient has 3.3 images on average and a random effect on the labels. The prevalence of the findings is 3 to 40 %. Sex, age
and view are random, so that scores of subgroups and components of gaps are computed, too.

A small run compiles the kernels before the measurement. The first run also draws the resamples, which later runs share; the time of
the second run is therefore the cost of each further run. Reading predictions and writing tables are not measured. The scores
of our bootstrap and of the loops must agree.
"""

import argparse
import hashlib
import time
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
from bench.scoring.bootstrap.bootstrap import column_metrics, rank_metrics
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sorted_images import Column
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from bench.scoring.across_runs.paired_tests import all_pairs, paired
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit, Settings
from benchmarks.columns import calibration_metrics
from benchmarks.harness import largest_memory
from harmonize.labels.findings import FINDINGS

IMAGES_PER_PATIENT = 3.3
LOOP = 20  # number of replicates that the loops over other libraries compute


@cache
def cohort(dataset: str, split: str, num: int) -> tuple[ScoredSplit, NDArray[np.int8]]:
    """Return a split without logits, and the true labels [N, K]; both depend only on the names and the number of images."""
    generator = np.random.default_rng(list(f"{dataset}/{split}".encode()))
    num_patients, num_findings = max(1, int(num / IMAGES_PER_PATIENT)), len(FINDINGS)
    patient = generator.integers(0, num_patients, num)
    shared = generator.normal(size=(num_patients, num_findings))
    severity = 0.7 * shared[patient] + 0.7 * generator.normal(size=(num, num_findings))
    prevalence = np.linspace(0.03, 0.4, num_findings)
    thresholds = [np.quantile(severity[:, k], 1 - share) for k, share in enumerate(prevalence)]
    label = (severity > np.array(thresholds)).astype(np.int8)
    state = np.where(generator.random(label.shape) < 0.03, np.int8(-1), label)
    patient_groups = PatientGroups(
        generator.choice(np.array(["F", "M"], object), num_patients)[patient],
        generator.integers(18, 95, num_patients)[patient].astype(np.float64),
        generator.choice(np.array(["AP", "PA"], object), num),
        np.full(num, "", object),
    )
    images = np.array([f"{dataset}-{split}-{i}" for i in range(num)], object)
    patients = np.array([f"p{i}" for i in patient], object)
    # The array is read-only, as in a real store, where several runs share it.
    patients.flags.writeable = False
    no_logits = np.zeros(state.shape, np.float32)
    return ScoredSplit(
        dataset, split, "report", images, patients, no_logits, state, patient_groups=patient_groups
    ), label


def part(dataset: str, split: str, num: int, run: int) -> ScoredSplit:
    """Return a split with the logits of one run."""
    split_without_logits, label = cohort(dataset, split, num)
    noise = np.random.default_rng([*f"{dataset}/{split}".encode(), run])
    return split_without_logits.of_run((1.2 * label + noise.normal(size=label.shape) - 2).astype(np.float32))


def scored(run: int, num_cohorts: int, num: int, settings: Settings) -> tuple[RunScores, float, float]:
    """Return the scores of a run, and the wall-clock and CPU seconds of scoring; the simulation is not counted."""
    splits = [part("internal", "val", max(num // 5, 100), run), part("internal", "test", num, run)]
    splits += [part(f"external{i}", "all", num, run) for i in range(1, num_cohorts)]
    wall, cpu = time.perf_counter(), time.process_time()
    scores = score_run(f"run{run}", FINDINGS, "internal", splits, settings)
    return scores, time.perf_counter() - wall, time.process_time() - cpu


def fingerprint(scores: RunScores) -> str:
    """Return a hash of all tables and bootstrap replicates of the scores."""
    digest = hashlib.sha256()
    tables = (scores.scores, scores.gaps, scores.reliability, scores.confusion, scores.delong, *scores.detail.values())
    for table in tables:
        digest.update(table.to_csv(index=False).encode())
    for drawn in scores.replicates.values():
        digest.update(np.ascontiguousarray(drawn).tobytes())
    return digest.hexdigest()


def per_replicate(compute: Callable[[], object], num: int) -> float:
    """Return the mean CPU milliseconds per replicate of a function that computes `num` replicates."""
    start = time.process_time()
    compute()
    return 1e3 * (time.process_time() - start) / num


def against_loops(num: int, num_resamples: int) -> list[tuple[str, float, float, float]]:
    """Return for each peer: its name, its and our CPU milliseconds per replicate, and the largest difference of a score.

    We and all peers score the same finding, which has a prevalence of 40 %.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's source code has invalid escape sequences
        from netcal.metrics import ECE
    cohort = part("external1", "all", num, 0)
    label: NDArray[np.int8] = cohort.labels()[:, -1:]
    resamples = Resamples.draw(cohort.patient_id, num_resamples, cohort.name)
    rows = np.flatnonzero(label[:, 0] >= 0)
    truth, logit = label[rows, 0], cohort.logit[rows, -1]
    prob = expit(logit.astype(np.float64))
    all_prob = np.full((len(label), 1), 0.5)
    all_prob[rows, 0] = prob
    order = np.argsort(-logit, kind="stable")
    hit = truth[order] == 1
    # The numpy implementation below does not handle equal logits.
    assert len(np.unique(logit)) > 0.99 * len(logit)
    replicates: dict[str, NDArray[np.float64]] = {}

    def ranked() -> None:
        replicates["auroc"] = column_metrics(
            resamples, Column.of(resamples.patient, label[:, 0], cohort.logit[:, -1])
        ).auroc

    def precise() -> None:
        replicates["auprc"] = rank_metrics(resamples, label, cohort.logit[:, -1:])[1][0]

    def calibrated() -> None:
        replicates.update(
            {name: peer_ms[0] for name, peer_ms in calibration_metrics(resamples, label, all_prob).items()}
        )

    def resampled_rows(replicate: int) -> NDArray[np.intp]:
        return np.repeat(np.arange(len(rows)), resamples.counts(replicate)[rows])

    def both(replicate: int) -> float:
        rows_ = resampled_rows(replicate)
        roc_auc_score(truth[rows_], logit[rows_])
        return float(average_precision_score(truth[rows_], logit[rows_]))

    def weighted_numpy(replicate: int) -> float:
        weight = resamples.counts(replicate)[rows][order].astype(np.float64)
        above = np.cumsum(np.where(hit, 0.0, weight))
        return float(1 - (weight * hit * above).sum() / ((weight * hit).sum() * above[-1]))

    peers: list[tuple[str, str, Callable[[int], float]]] = [
        (
            "auroc",
            "scikit-learn on the resampled rows",
            lambda r: float(roc_auc_score(truth[resampled_rows(r)], logit[resampled_rows(r)])),
        ),
        (
            "auprc",
            "scikit-learn's average precision beside its AUROC",
            both,
        ),
        ("auroc", "numpy: sorted once, weights summed", weighted_numpy),
        (
            "ece",
            "netcal on the resampled rows",
            lambda r: ECE(bins=15).measure(prob[resampled_rows(r)], truth[resampled_rows(r)]),
        ),
        (
            "brier",
            "scikit-learn on the resampled rows",
            lambda r: float(brier_score_loss(truth[resampled_rows(r)], prob[resampled_rows(r)])),
        ),
    ]
    for compute in (ranked, precise, calibrated):
        compute()  # loads the compiled kernels before the timing
    ours = {name: per_replicate(compute, num_resamples) for name, compute in (("auroc", ranked), ("auprc", precise))}
    ours |= {"ece": per_replicate(calibrated, num_resamples)}
    ours["brier"] = ours["ece"]  # one pass computes all eight calibration errors
    figures = []
    for metric, name, peer in peers:
        values: list[float] = []
        peer_ms = per_replicate(lambda peer=peer, values=values: values.extend(map(peer, range(LOOP))), LOOP)  # type: ignore[misc]
        worst = float(np.abs(np.array(values) - replicates[metric][:LOOP]).max())
        is_approximate = peer is weighted_numpy  # this peer counts the few pairs of equal logits as wrongly ordered
        assert worst <= (1e-4 if is_approximate else 1e-12), (name, worst)
        figures.append((f"{metric}: {name}", peer_ms, ours[metric], worst))
    return figures


def pairs(num_runs: int, num: int, num_resamples: int) -> tuple[float, float, float]:
    """Return the CPU seconds of comparing all pairs of runs by two methods, and the largest difference of the results.

    The first method computes all pairs from shared replicates. The second method does a new bootstrap for each pair;
    its time is extrapolated from one pair. Results (value, bounds, p) are compared for up to LOOP pairs.
    """
    cohort = part("external1", "all", num, 0)
    label = cohort.labels()[:, -1:]
    resamples = Resamples.draw(cohort.patient_id, num_resamples, cohort.name)
    base, _ = rank_metrics(resamples, label, cohort.logit[:, -1:])
    noise = np.random.default_rng(0).normal(scale=0.003, size=(num_runs, num_resamples))
    replicates, value = base + noise, 0.7 + 0.001 * np.arange(num_runs)
    all_pairs(value[:3], replicates[:3])  # loads the compiled kernel before the timing
    start = time.process_time()
    first, second, all_at_once = all_pairs(value, replicates)
    shared = time.process_time() - start
    start = time.process_time()
    rank_metrics(resamples, np.repeat(label, 2, 1), np.repeat(cohort.logit[:, -1:], 2, 1))
    alone = (time.process_time() - start) * num_runs * (num_runs - 1) / 2
    differences = []
    for pair in np.unique(np.linspace(0, len(first) - 1, LOOP).astype(int)):
        a, b = (slice(run, run + 1) for run in (first[pair], second[pair]))
        pair_alone = paired(value[a], value[b], replicates[a], replicates[b])
        differences += [abs(x[pair] - y[0]) for x, y in zip(all_at_once, pair_alone, strict=True)]
    return shared, alone, float(np.max(differences))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("runs", 2), ("cohorts", 6), ("images", 25_000), ("resamples", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    settings = Settings(num_resamples=options.resamples)
    scored(0, 2, 500, Settings(num_resamples=64))
    rows = []
    for run in range(options.runs):
        scores, wall, cpu = scored(run, options.cohorts, options.images, settings)
        rows.append((f"run {run + 1}", round(wall, 2), round(cpu, 2), f"{wall * 100:.0f} s", f"{cpu * 100:.0f} s"))
    repeated, *_ = scored(options.runs - 1, options.cohorts, options.images, settings)
    print(pd.DataFrame(rows, columns=["", "wall s", "CPU s", "100 runs wall", "100 runs CPU"]).to_string(index=False))
    print("the same bytes again:", fingerprint(scores) == fingerprint(repeated))
    for name, peer, ours, worst in against_loops(options.images, options.resamples):
        print(f"{name}: {peer:.2f} ms per replicate, ours {ours:.4f}, ratio {peer / ours:.0f}, difference {worst:.0e}")
    shared, alone, worst = pairs(100, options.images, options.resamples)
    print(
        f"all 4,950 pairs of 100 runs, one finding: {shared:.2f} CPU s; our own bootstrap anew for each pair: {alone:.0f} CPU s; difference {worst:.0e}"
    )
    print(f"largest memory: {largest_memory() / 1024:.0f} MB")


if __name__ == "__main__":
    main()
