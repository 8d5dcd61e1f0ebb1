"""Measure how wrong the estimators of scores without labels are at phantom hospitals that differ in a known way.

    bench run --grid demo --store runs
    python -m benchmarks.hidden_labels work/ --store runs    # writes benchmarks/hidden_labels.csv

The grid `demo` has four small networks, which are tested at five labeled phantom hospitals. Then new phantom hospitals are drawn, and
their scores are estimated as `bench estimate` does it, without their labels. Logits are kept in work/: if only estimators changed, a
second call takes a few minutes. The kinds of new hospitals:

    other patients    the layouts of the labeled hospitals, with other patients
    prevalence        from these images, a sample in which each image with a chosen finding is four times as likely
    device            these images, blurred, with other contrast and noise
    label noise       these images, with 10 % of the labels flipped
    shortcut          other patients; the tag that predicts Pleural Effusion at the training hospital predicts it here, too

A cell is one run, one finding and one new hospital. The table has a row per kind, quantity and estimator; in the rows of the
default estimator, the intervals and the abstentions of `bench estimate` are counted, too. Columns that end in _low and _high are
95 % intervals over new hospitals (bootstrap). The rule that calls logits unlike those of the labeled hospitals was chosen with
the seed 100 of another grid. The rule that widens the intervals with the distance was chosen in a simulation of logits, without
any phantom. The rule that widens them on the side of the internal value was chosen with the seeds 500
to 503, which are not in the table.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import api
from bench.extensions.estimates.compared_runs import internal_findings_of
from bench.extensions.estimates.expected_at_hospital import DEFAULT, estimates_here, known_at_hospitals
from bench.extensions.estimates.expected_scores import ExpectedDifferences, estimate, expected, outside
from bench.extensions.estimates.hospital_logits import hospital_logits
from bench.extensions.estimates.quantities import QUANTITIES
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import load_scores
from bench.scoring import calibration_metrics, metrics
from bench.scoring.calibrators import sigmoid
from bench.store.store import Store
from harmonize.images.pixels import read_radiograph
from harmonize.seeds import stream

HERE = Path(__file__).parent
HOSPITALS = ("mimic", "nih", "padchest", "vindr", "brax")
SEEDS = (504, 505, 506, 507)
LARGE = 0.1  # an error that an abstention should catch
RESAMPLES = 2000
Label = NDArray[np.int8]
Logits = Mapping[str, NDArray[np.float32]]  # run id -> [N, K]


def main() -> None:
    """Draw, predict, estimate and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for images and logits; a second call continues")
    parser.add_argument("--store", type=Path, default=Path("runs"), help="store with the finished grid `demo`")
    parser.add_argument("--images", type=int, default=600, help="images of each hospital without labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of the new hospitals")
    parser.add_argument("--hospitals", nargs="+", choices=HOSPITALS, default=HOSPITALS, help="layouts to draw")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    grid = read_manifest(Store.open(options.store, create=False), "demo")
    cells = pd.DataFrame(list(_cells(grid, options.work, options.images, options.seeds, options.hospitals)))
    groups = cells.groupby(["kind", "quantity", "estimator"], sort=False)
    table = pd.DataFrame([dict(zip(groups.keys, key, strict=True)) | _row(rows) for key, rows in groups])
    table.to_csv(HERE / "hidden_labels.csv", index=False, float_format="%.4g")
    shown = table[table["estimator"].isin([DEFAULT, "mean_gap", "internal", "cbpe"])]
    print(shown.round(3).to_string(index=False))


def _row(cells: pd.DataFrame) -> dict[str, float]:
    """Return the errors of an estimator's cells; coverage and abstentions only of the default estimator."""
    error = cells["error"]
    row = {"mean_error": error.abs().mean(), "bias": error.mean(), "large": float((error.abs() > LARGE).mean())}
    if cells["estimator"].iloc[0] == DEFAULT:
        stated, large = cells["stated"].astype(bool), error.abs() > LARGE
        row |= {
            **_share("coverage", cells["inside"], cells["hospital"]),
            "half_width": cells["half"].mean(),
            "stated": stated.mean(),
            **_share("coverage_stated", cells["inside"][stated], cells["hospital"][stated]),
            **_share("large_caught", (~stated)[large], cells["hospital"][large]),
            "num_stated": int(stated.sum()),
            "num_large": int(large.sum()),
        }
    return {**row, "cells": len(cells)}


def _share(name: str, cells: "pd.Series[bool]", hospital: "pd.Series[str]") -> dict[str, float]:
    """Return the share of true cells, with its 95 % interval: hospitals are drawn with replacement. NaN without cells."""
    of_hospital = cells.astype(float).groupby(hospital).agg(["sum", "size"]).to_numpy()
    if not len(cells):
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), np.nan)
    drawn = stream(0, "hospitals of a share").integers(0, len(of_hospital), (RESAMPLES, len(of_hospital)))
    true, num = of_hospital[drawn].sum(1).T
    low, high = np.quantile(true / num, (0.025, 0.975))
    return {name: float(cells.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}


def _cells(
    grid: Manifest, work: Path, num_images: int, seeds: Sequence[int], hospitals: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Yield one row per kind, hospital, quantity, estimator, run and finding."""
    run_ids = api.finished(grid)
    runs = [run for run in grid.runs if run.id in run_ids]
    findings = tuple(runs[0].config.findings)
    internal_of_runs = internal_findings_of(grid, run_ids, findings)
    known = known_at_hospitals(grid, run_ids, findings, internal_of_runs)
    thresholds = _thresholds(grid, run_ids, findings)
    entries = grid.estimators
    num_labeled = [len(grid.table(cohort)) for cohort in grid.external]
    drawn = (
        (kind, f"{name} {seed}", label_NK, logits)
        for seed in seeds
        for kind, name, label_NK, logits in _hospitals(grid, runs, work, num_images, seed, hospitals)
    )
    for kind, hospital, label_NK, logits in drawn:
        print(f"{kind}: {hospital}", flush=True)
        here = estimates_here(grid, findings, internal_of_runs, logits)
        no_number = outside(known, here, len(label_NK))
        default = next(entry for entry in entries if entry.name == DEFAULT)
        differing = ExpectedDifferences.of(default, known, here, num_labeled, len(label_NK))
        truth = np.array([_truth(label_NK, logits[run_id], thresholds[run_id]) for run_id in run_ids])
        for q, quantity in enumerate(QUANTITIES):
            for entry in entries:
                error = estimate(entry, known[quantity], here[quantity]) - truth[:, :, q]
                facts = {"kind": kind, "hospital": hospital, "quantity": quantity, "estimator": entry.name}
                result = None
                if entry.name == DEFAULT:
                    of_quantity = known[quantity], here[quantity]
                    result = expected(entry, *of_quantity, no_number, quantity=quantity, differing=differing)
                for r, k in np.argwhere(np.isfinite(error)):
                    row = {**facts, "error": error[r, k]}
                    if result:
                        inside = result.contains(truth[:, :, q])[r, k]
                        stated = bool(result.stated[r, k])
                        row |= {"half": result.mean_half[r, k], "inside": bool(inside), "stated": stated}
                    yield row


def _hospitals(
    grid: Manifest, runs: list[PlannedRun], work: Path, num_images: int, seed: int, hospitals: Sequence[str]
) -> Iterator[tuple[str, str, Label, Logits]]:
    """Yield kind, name, labels [N, K] (-1: not labeled) and logits of each new hospital."""
    findings = tuple(runs[0].config.findings)
    for number, name in enumerate(HOSPITALS):
        if name not in hospitals:
            continue
        draw = stream(seed, "hidden labels", name)
        images = {"chexpert": 1, name: num_images}
        data = api.make_phantom(work / f"plain-{name}-{seed}", images, size=128, seed=seed + number)
        paths, label_NK = _labeled(data, name, findings)
        logits = _predicted(grid, runs, paths, work / f"logits-plain-{name}-{seed}", findings)
        yield "other patients", name, label_NK, logits
        chosen = int(draw.integers(1, len(findings)))  # not "No Finding", which depends on all other findings
        weight = np.where(label_NK[:, chosen] == 1, 4.0, 1.0)
        rows = draw.choice(len(paths), len(paths) // 2, replace=False, p=weight / weight.sum())
        yield "prevalence", name, label_NK[rows], {run_id: logit[rows] for run_id, logit in logits.items()}
        flipped = (draw.random(label_NK.shape) < 0.1) & (label_NK >= 0)
        yield "label noise", name, np.where(flipped, 1 - label_NK, label_NK).astype(np.int8), logits
        changed = [_other_device(path, work / f"device-{name}-{seed}" / f"{i}.png") for i, path in enumerate(paths)]
        yield "device", name, label_NK, _predicted(grid, runs, changed, work / f"logits-device-{name}-{seed}", findings)
        data = api.make_phantom(
            work / f"shortcut-{name}-{seed}", {name: num_images}, size=128, seed=seed + 100 + number
        )
        paths, label_NK = _labeled(data, name, findings)
        yield (
            "shortcut",
            name,
            label_NK,
            _predicted(grid, runs, paths, work / f"logits-shortcut-{name}-{seed}", findings),
        )


def _labeled(data: Path, name: str, findings: tuple[str, ...]) -> tuple[list[Path], Label]:
    """Return the image files of a cohort and their labels: 1, 0, or -1 if a label is uncertain or missing."""
    cohort = api.load_cohort(name, data)
    state = cohort.table[list(findings)].astype("Float64").fillna(-1).to_numpy(np.float64)
    return [cohort.root / str(path) for path in cohort.table["path"]], np.where(state == -2, 0, state).astype(np.int8)


def _predicted(
    grid: Manifest, runs: list[PlannedRun], paths: list[Path], folder: Path, findings: tuple[str, ...]
) -> dict[str, NDArray[np.float32]]:
    """Return the logits [N, K] of each run, from files of an earlier call if there are any."""
    folder.mkdir(exist_ok=True)
    files = {run.id: folder / f"{run.id}.csv" for run in runs}
    if not all(file.is_file() for file in files.values()):
        tables, notes = hospital_logits(grid, runs, paths, "cpu", lambda *_: None)
        assert not notes, notes
        for run_id, table in tables.items():
            table.to_csv(files[run_id], index=False)
    return {run_id: pd.read_csv(file)[list(findings)].to_numpy(np.float32) for run_id, file in files.items()}


def _other_device(path: Path, out: Path) -> Path:
    """Write an image as another device would: blurred, with other contrast and noise."""
    if not out.is_file():
        out.parent.mkdir(exist_ok=True)
        gray = read_radiograph(path).astype(np.float32) / 255
        gray = cv2.GaussianBlur(gray, (0, 0), 1.2) ** 0.7
        gray += stream(0, "device noise", path.name).normal(0, 0.03, gray.shape).astype(np.float32)
        cv2.imwrite(str(out), (gray.clip(0, 1) * 255).astype(np.uint8))
    return out


def _thresholds(grid: Manifest, run_ids: list[str], findings: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Return the stored thresholds [K] of each run."""
    points = load_scores(grid, run_ids, "operating_points")
    own = points[points["rule"] == grid.settings.threshold].set_index(["run_id", "finding"])["threshold"]
    return {run_id: own.loc[run_id].reindex(list(findings)).to_numpy(np.float64) for run_id in run_ids}


def _truth(label_NK: Label, logit_NK: NDArray[np.float32], threshold_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the true values [K, Q] of the quantities, NaN with fewer than 10 positive or negative images."""
    out = np.full((label_NK.shape[1], len(QUANTITIES)), np.nan)
    for k, threshold in enumerate(threshold_K):
        labeled = label_NK[:, k] >= 0
        label, logit = label_NK[labeled, k], logit_NK[labeled, k].astype(np.float64)
        if min(label.sum(), len(label) - label.sum()) < 10:
            continue
        called = logit >= threshold
        out[k] = (
            metrics.auroc(label, logit),
            metrics.sensitivity(label, called),
            metrics.specificity(label, called),
            float((called == (label == 1)).mean()),
            calibration_metrics.ece(label, sigmoid(logit)),
            float(label.mean()),
        )
    return out


if __name__ == "__main__":
    main()
