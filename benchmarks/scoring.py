"""How long the scores of a run take, and how much faster the bootstrap is than a loop over scikit-learn.

    python benchmarks/scoring.py                       # 2 runs x 6 cohorts of 25,000 images, 1,000 resamples

Cohorts are drawn: home with a validation split of 5,000 images and a test split, the others away; patients with 3.3 images
on average and an effect of their own, a prevalence between 3 and 40 %, and sex, age and view, so that subgroups and the
parts of each gap are computed, too. A first run of few images compiles the kernels and is not counted; the second counts
as what one more run costs, because draws are shared. Reading predictions and writing tables are not in it.
"""

import argparse
import hashlib
import time

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.scoring.background import Background
from bench.scoring.bootstrap import rank_metrics
from bench.scoring.parts import Part, Settings
from bench.scoring.resamples import Resamples
from bench.scoring.score import RunScores, score_run
from harmonize.findings import FINDINGS

IMAGES_PER_PATIENT = 3.3
LOOP = 20  # replicates of the loop that are timed


def part(dataset: str, split: str, num: int, run: int) -> Part:
    """Return a cohort whose images and labels depend on its name alone, with the logits of one run."""
    name = list(f"{dataset}/{split}".encode())
    draw, noise = np.random.default_rng(name), np.random.default_rng([*name, run])
    num_patients, num_findings = max(1, int(num / IMAGES_PER_PATIENT)), len(FINDINGS)
    patient = draw.integers(0, num_patients, num)
    shared = draw.normal(size=(num_patients, num_findings))
    height = 0.7 * shared[patient] + 0.7 * draw.normal(size=(num, num_findings))
    prevalence = np.linspace(0.03, 0.4, num_findings)
    edge = [np.quantile(height[:, k], 1 - share) for k, share in enumerate(prevalence)]
    label = (height > np.array(edge)).astype(np.int8)
    state = np.where(draw.random(label.shape) < 0.03, np.int8(-1), label)
    background = Background(
        draw.choice(np.array(["F", "M"], object), num_patients)[patient],
        draw.integers(18, 95, num_patients)[patient].astype(np.float64),
        draw.choice(np.array(["AP", "PA"], object), num),
        np.full(num, "", object),
    )
    logit = (1.2 * label + noise.normal(size=label.shape) - 2).astype(np.float32)
    images = np.array([f"{dataset}-{split}-{i}" for i in range(num)], object)
    patients = np.array([f"p{i}" for i in patient], object)
    return Part(dataset, split, "report", images, patients, logit, state, background=background)


def scored(run: int, num_cohorts: int, num: int, settings: Settings, threads: int) -> tuple[RunScores, float, float]:
    """Return the scores of a run with seconds of wall clock and of CPU; drawing the cohorts is not counted."""
    parts = [part("home", "val", max(num // 5, 100), run), part("home", "test", num, run)]
    parts += [part(f"away{i}", "all", num, run) for i in range(1, num_cohorts)]
    wall, cpu = time.perf_counter(), time.process_time()
    found = score_run(f"run{run}", FINDINGS, "home", parts, settings, threads)
    return found, time.perf_counter() - wall, time.process_time() - cpu


def fingerprint(scores: RunScores) -> str:
    """Return a hash of all tables and replicates."""
    digest = hashlib.sha256()
    tables = (scores.scores, scores.gaps, scores.reliability, scores.confusion, scores.delong, *scores.detail.values())
    for table in tables:
        digest.update(table.to_csv(index=False).encode())
    for drawn in scores.replicates.values():
        digest.update(np.ascontiguousarray(drawn).tobytes())
    return digest.hexdigest()


def loop_ratio(num: int, num_resamples: int) -> tuple[float, float, float]:
    """Return milliseconds of CPU per replicate and finding of the loop and of the kernel, and the largest difference."""
    cohort = part("away1", "all", num, 0)
    label: NDArray[np.int8] = cohort.labels()
    resamples = Resamples.draw(cohort.patient_id, num_resamples, cohort.name)
    start = time.process_time()
    found, _ = rank_metrics(resamples, label, cohort.logit)
    ours = (time.process_time() - start) / found.size
    rows = np.flatnonzero(label[:, -1] >= 0)
    worst, start = 0.0, time.process_time()
    for replicate in range(LOOP):
        drawn = np.repeat(rows, resamples.counts(replicate)[rows])
        worst = max(worst, abs(roc_auc_score(label[drawn, -1], cohort.logit[drawn, -1]) - found[-1, replicate]))
    return 1e3 * (time.process_time() - start) / LOOP, 1e3 * ours, worst


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("runs", 2), ("cohorts", 6), ("images", 25_000), ("resamples", 1000), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    settings = Settings(num_resamples=given.resamples)
    scored(0, 2, 500, Settings(num_resamples=64), given.threads)
    rows = []
    for run in range(given.runs):
        found, wall, cpu = scored(run, given.cohorts, given.images, settings, given.threads)
        rows.append((f"run {run + 1}", round(wall, 2), round(cpu, 2), f"{wall * 100:.0f} s", f"{cpu * 100:.0f} s"))
    again, *_ = scored(given.runs - 1, given.cohorts, given.images, settings, 1)
    print(pd.DataFrame(rows, columns=["", "wall s", "CPU s", "100 runs wall", "100 runs CPU"]).to_string(index=False))
    print("the same bytes again, on one thread:", fingerprint(found) == fingerprint(again))
    loop, ours, worst = loop_ratio(given.images, given.resamples)
    print(
        f"clustered AUROC and AUPRC, CPU ms per replicate and finding: {ours:.5f}; scikit-learn's AUROC alone: {loop:.2f}"
    )
    print(f"ratio {loop / ours:.0f}, largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
