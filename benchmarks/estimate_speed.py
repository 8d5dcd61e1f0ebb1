"""Measure CPU time and memory of expected scores at a hospital without labels, from logits.

    OMP_NUM_THREADS=1 python -m benchmarks.estimate_speed                 # 25,000 images, 9 findings, 20 runs
    OMP_NUM_THREADS=1 python -m benchmarks.estimate_speed --images 1000 --runs 2

The script draws the logits and the scores of six labeled hospitals, and calls the parts of `bench estimate --logits`: reading
the tables, the comparison with the images of the grid, the estimators, intervals, ranks, and the errors at labeled hospitals.
Reading the grid's own tables is not measured.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from bench.config.registry import Registry
from bench.extensions.estimates import estimate_rows
from bench.extensions.estimates.accuracy_of_estimators import estimator_table
from bench.extensions.estimates.expected_at_hospital import compared_with
from bench.extensions.estimates.expected_scores import ExpectedDifferences, expected, macros, outside
from bench.extensions.estimates.from_hospitals import KnownValues
from bench.extensions.estimates.known_values import by_estimator
from bench.extensions.estimates.quantities import QUANTITIES, InternalFinding
from bench.scoring.calibrators import fit_platt
from benchmarks.harness import largest_memory

NUM_HOSPITALS, NUM_RESAMPLES = 6, 1000


def internal_findings(draw: np.random.Generator, num_val: int, num_findings: int) -> list[InternalFinding | None]:
    """Draw validation images of each finding."""
    known: list[InternalFinding | None] = []
    for _ in range(num_findings):
        logit = draw.normal(-1.5, 1.5, num_val)
        label = (draw.random(num_val) < expit(logit)).astype(np.int8)
        known.append(InternalFinding(label, logit, 0.0, fit_platt(label, logit)))
    return known


def labeled(draw: np.random.Generator, num_runs: int, num_findings: int) -> dict[str, KnownValues]:
    """Draw scores and estimates at the labeled hospitals."""
    shape = (NUM_HOSPITALS, num_runs, num_findings)
    names = [entry.name for entry in Registry.read().estimators if entry.facts["given"] == "logits"]
    values = {}
    for quantity in QUANTITIES:
        internal = draw.uniform(0.7, 0.9, shape[1:])
        truth = (internal - draw.uniform(0, 0.1, shape)).clip(0, 1)
        values[quantity] = KnownValues(internal, truth, {name: truth + draw.normal(0, 0.05, shape) for name in names})
    return values


class Measured(NamedTuple):
    """CPU seconds by part, peak memory in MB, and the number of expected values with an interval.

    Parts: read (tables of logits), logits (comparison with the images of the grid, estimators from logits), hospitals (all
    that is learned from the labeled hospitals).
    """

    seconds: Mapping[str, float]
    megabytes: float
    num_values: int


def measure(
    num_images: int = 25_000,
    num_findings: int = 9,
    num_runs: int = 20,
    num_val: int = 20_000,
    num_grid_images: int = 100_000,
) -> Measured:
    """Estimate the scores of a hospital, and measure CPU time and memory of this process. num_val: validation images."""
    draw, findings = np.random.default_rng(0), [f"finding {k}" for k in range(num_findings)]
    known, registry = labeled(draw, num_runs, num_findings), Registry.read()
    of_logits = [entry for entry in registry.estimators if entry.facts["given"] == "logits"]
    of_grid = draw.normal(-1.5, 1.5, (num_grid_images, num_findings)).astype(np.float32)
    replicates = known["auroc"].truth.mean(2)[..., None] + draw.normal(
        0, 0.01, (NUM_HOSPITALS, num_runs, NUM_RESAMPLES)
    )
    at_internal = internal_findings(draw, num_val, num_findings)
    run_ids, rows = [f"run {r}" for r in range(num_runs)], []
    spent = dict.fromkeys(("read", "logits", "hospitals"), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logits.csv"
        for run_id in run_ids:
            logit = draw.normal(-1.3, 1.6, (num_images, num_findings)).astype(np.float32)
            table = pd.DataFrame(logit, columns=findings)
            table.insert(0, "image_id", [f"image {i}" for i in range(num_images)])
            table.to_csv(path, index=False)
            start = time.process_time()
            logit_NK = pd.read_csv(path, dtype={"image_id": str})[findings].to_numpy(np.float32)
            spent["read"] += time.process_time() - start
            start = time.process_time()
            if run_id == run_ids[0]:
                compared_with(of_grid, logit_NK)
            rows += estimate_rows.rows(run_id, findings, at_internal, "here", logit_NK, of_logits)
            spent["logits"] += time.process_time() - start
    start = time.process_time()
    stated = by_estimator(estimate_rows.frame_of(rows), run_ids, findings, ["here"])
    here = {q: {name: value[0] for name, value in of.items()} for q, of in stated.items()}
    reasons, entry = outside(known, here, num_images), registry.sections["estimators"]["combination"]
    differing = ExpectedDifferences.of(entry, known, here, [num_images] * NUM_HOSPITALS, num_images)
    num_values = 0
    for quantity in QUANTITIES:
        result = expected(entry, known[quantity], here[quantity], reasons, quantity=quantity, differing=differing)
        macros(known[quantity], result, reasons == "")
        num_values += int(np.isfinite(result.low + result.high).sum())
    both = [entry, registry.sections["estimators"]["mean_gap"]]
    estimator_table(known, both, [num_images] * NUM_HOSPITALS, replicates, ["auroc"])
    spent["hospitals"] += time.process_time() - start
    return Measured(spent, largest_memory() / 1e3, num_values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (("images", 25_000), ("findings", 9), ("runs", 20), ("val", 20_000), ("grid-images", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    size = parser.parse_args()
    found = measure(size.images, size.findings, size.runs, size.val, size.grid_images)
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found.seconds.items())
    print(
        f"{size.images:,} images x {size.findings} findings x {size.runs} runs:"
        f" {sum(found.seconds.values()):.1f} s CPU ({parts}), {found.megabytes:.0f} MB"
    )


if __name__ == "__main__":
    main()
