"""Errors of estimates without labels at each hospital of a store: its labels are left out, and its AUROC is then predicted.

    python -m benchmarks.hospitals_left_out STORE GRID

Prints a table in Markdown. A cell is one run and finding. The table `estimators` of a report has the same errors for all hospitals
together. Nothing is written.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from bench.extensions.estimates.compared_runs import compared_at_hospitals, internal_findings_of
from bench.extensions.estimates.expected_scores import ExpectedDifferences, expected, left_out, outside, widening
from bench.extensions.estimates.known_values import known_values
from bench.planning.manifest import Manifest, read_manifest
from bench.results.read_predictions import load_scores
from bench.store.store import Store

QUANTITY = "auroc"
HEAD = (
    "estimator",
    "hospital left out",
    "cells",
    "AUROC predicted / observed (means)",
    "mean absolute error",
    "intervals: number, of these with the observed value",
    "interval shown",
)


def errors(manifest: Manifest) -> list[tuple[str, ...]]:
    """Return the rows of the table: each estimator at each hospital at which it has a value."""
    findings = tuple(dict.fromkeys(finding for run in manifest.ranked for finding in run.config.findings))
    stored = load_scores(manifest, [run.id for run in manifest.runs], "estimates")
    run_ids = [str(run_id) for run_id in stored["run_id"].unique()]
    compared = compared_at_hospitals(manifest, findings, internal_findings_of(manifest, run_ids, findings))
    hospitals = [cohort.name for cohort in manifest.external]
    known = known_values(
        pd.concat([stored, compared], ignore_index=True), run_ids, findings, manifest.source, hospitals
    )
    num_images = np.array([len(manifest.table(cohort)) for cohort in manifest.external], np.float64)
    rows: list[tuple[str, ...]] = []
    for entry in manifest.estimators:
        prevalence = left_out(entry, known["prevalence"])
        for h, hospital in enumerate(hospitals):
            others = {name: values.without(h) for name, values in known.items()}
            here = {name: values.at(h) for name, values in known.items()}
            images = int(num_images[h])
            differing = ExpectedDifferences(
                widening(others, here), np.delete(num_images, h), others["prevalence"].truth, images, prevalence[h]
            )
            reasons = outside(others, here, images)
            found = expected(entry, others[QUANTITY], here[QUANTITY], reasons, quantity=QUANTITY, differing=differing)
            truth = known[QUANTITY].truth[h]
            has = np.isfinite(found.value) & np.isfinite(truth)
            if has.any():
                bounded = has & np.isfinite(found.half)
                rows.append(
                    (
                        entry.name,
                        hospital,
                        f"{has.sum()}",
                        f"{found.value[has].mean():.3f} / {truth[has].mean():.3f}",
                        f"{np.abs(found.value - truth)[has].mean():.3f}",
                        f"{bounded.sum()}, {(found.contains(truth) & bounded).sum()}",
                        f"{(found.stated & has).sum()}",
                    )
                )
    return rows


def main() -> None:
    """Print the table of a stored grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("grid")
    given = parser.parse_args()
    rows = errors(read_manifest(Store.open(given.store, create=False), given.grid))
    for cells in (HEAD, ["---"] * len(HEAD), *rows):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
