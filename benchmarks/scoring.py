"""Simulated runs, and the time of their scores.

    python benchmarks/scoring.py                       # 2 runs x 6 cohorts of 25,000 images

The cohorts are simulated. The internal hospital has a validation split of 5,000 images and a test split; the other hospitals are
external. A patient has 3.3 images on average and a random effect on the labels. The prevalence of the findings is 3 to 40 %. Sex, age
and view are random, so that scores of subgroups and components of gaps are computed, too. Reading predictions and writing tables
are not measured.
"""

import argparse
import time
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from benchmarks.harness import largest_memory
from harmonize.labels.findings import FINDINGS

IMAGES_PER_PATIENT = 3.3


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


def scored(run: int, num_cohorts: int, num: int) -> tuple[RunScores, float, float]:
    """Return the scores of a run, and the wall-clock and CPU seconds of scoring; the simulation is not counted."""
    splits = [part("internal", "val", max(num // 5, 100), run), part("internal", "test", num, run)]
    splits += [part(f"external{i}", "all", num, run) for i in range(1, num_cohorts)]
    wall, cpu = time.perf_counter(), time.process_time()
    scores = score_run(f"run{run}", FINDINGS, "internal", splits, Settings())
    return scores, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure and print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("runs", 2), ("cohorts", 6), ("images", 25_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    scored(0, 2, 500)
    for run in range(options.runs):
        _, wall, cpu = scored(run, options.cohorts, options.images)
        print(f"run {run + 1}: {wall:.2f} s, {cpu:.2f} CPU s")
    print(f"largest memory: {largest_memory() / 1024:.0f} MB")


if __name__ == "__main__":
    main()
