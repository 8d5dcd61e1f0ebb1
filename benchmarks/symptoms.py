"""How often a page reports symptoms of technical faults: on simulated grids without a fault, and with a planted fault.

    python benchmarks/symptoms.py                    # writes benchmarks/symptoms.csv

A page has 4 or 500 runs, one internal and five external hospitals with IMAGES images each, 1 to 6 of a patient, and nine
findings with a prevalence of 5 to 30 %. All runs of a page have the same patients and labels. The logits of a patient's
images are correlated. A page without a fault has the stated true AUROC in every cell.

The rows "false: any symptom" count pages without a fault that have a false symptom: an AUROC that seems inverted, outputs that
seem to be in another order, or, if the true AUROC is at least .60, "hardly better than chance". Below .60, this last symptom is a
true statement about the networks, so it is counted apart. The rows "found" count pages on which a run with the planted fault is
reported; the other runs of the page only enlarge the correction.
An interval can only raise a p-value, so intervals are computed only for runs that have a symptom without them.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.config.settings import Settings
from bench.scoring import diagnostics
from bench.scoring.diagnostics import CONSTANT, ORDER, UNTRAINED, Area
from bench.scoring.intervals import wilson
from bench.scoring.means import macro
from bench.scoring.metrics_of_split import AUROC, measure
from bench.scoring.score_rows import Writer, frame
from bench.scoring.scored_split import ScoredSplit
from reports.schemas.tables import INVERTED, SCORES

Array = NDArray[np.float64]
Logits = NDArray[np.float32]
TABLE = Path(__file__).with_name("symptoms.csv")
FINDINGS = tuple("ABCDEFGHI")
PREVALENCE = np.linspace(0.05, 0.3, len(FINDINGS))
HOSPITALS = ("internal", "b", "c", "d", "e", "f")
IMAGES = 320


def hospital(draw: np.random.Generator, name: str, images: int) -> ScoredSplit:
    """Draw patients and labels of one hospital; each finding has ten positive patients or more. The logits are 0."""
    patient = np.repeat(np.arange(images), draw.integers(1, 7, images))[:images]
    num = int(patient[-1]) + 1
    positives = np.maximum(draw.binomial(num, PREVALENCE), Settings().min_count)
    rank = draw.random((num, len(FINDINGS))).argsort(0).argsort(0)
    label = (rank < positives)[patient].astype(np.int8)
    ids, split = np.array([f"{name}{i}" for i in range(images)], object), "test" if name == "internal" else "all"
    empty = np.zeros(label.shape, np.float32)
    return ScoredSplit(name, split, "report", ids, patient.astype(str).astype(object), empty, label)


def logits(draw: np.random.Generator, split: ScoredSplit, auroc: float) -> Logits:
    """Draw logits [N, K] with a true AUROC; half of the variance belongs to the patient, and findings are correlated."""
    patient = np.unique(split.patient_id.astype(str), return_inverse=True)[1]
    num, shape = int(patient.max()) + 1, split.state.shape
    of_patient = 0.5 * draw.normal(size=(num, 1)) + 0.5 * draw.normal(size=(num, shape[1]))
    noise = of_patient[patient] + np.sqrt(0.5) * draw.normal(size=shape)
    return np.asarray(noise + np.sqrt(2) * ndtri(auroc) * split.state, np.float32)


def found(splits: Sequence[ScoredSplit], num_runs: int) -> pd.DataFrame:
    """Return the symptoms that a run with these hospitals has on a page of `num_runs` runs, each at all HOSPITALS."""
    settings = Settings()
    writer = Writer("r", settings)
    for split in splits:
        measured = measure(split, None, settings, AUROC)
        writer.add_split(FINDINGS, measured, {AUROC: macro(measured, AUROC)})
    table = diagnostics.symptoms(splits, FINDINGS, "internal", frame(writer.rows, SCORES))
    # with fewer hospitals, the run has fewer AUROCs to correct for
    left_out = np.where(table["kind"] == INVERTED, len(HOSPITALS) / len(splits), 1.0)
    return diagnostics.among_runs(table.assign(p=table["p"] * left_out), num_runs)


def candidates(splits: Sequence[ScoredSplit], num_runs: int) -> set[str]:
    """Return the kinds of symptoms that a run would have if its intervals had the smallest possible width."""
    areas: dict[tuple[str, str], Area] = {}
    for split in splits:
        label, chance = split.state, diagnostics.chances(split)
        ranks = split.logit.argsort(0).argsort(0) + 1.0
        positive = label.sum(0)
        values = ((ranks * label).sum(0) - positive * (positive + 1) / 2) / (positive * (len(label) - positive))
        numbers = {f: (float(v), c) for f, v, c in zip(FINDINGS, values, chance, strict=True)}
        numbers["macro"] = float(values.mean()), float(np.sqrt((chance**2).sum()) / len(chance))
        areas |= {(split.dataset, finding): Area(v, 0.0, v, c) for finding, (v, c) in numbers.items()}
    symptoms = [*diagnostics.inverted(areas), *diagnostics.untrained("internal", areas["internal", "macro"])]
    symptoms += diagnostics.other_order(splits[0], FINDINGS)
    return {symptom.kind for symptom in symptoms if symptom.p * num_runs <= diagnostics.LEVEL}


def false_pages(seed: int, auroc: float, num_runs: int, pages: int) -> tuple[int, int]:
    """Count the pages without a fault that have a false symptom, and the pages with the symptom "hardly better than chance".

    Below HARDLY_BETTER, the latter is true, so it is no false symptom.
    """
    draw, counts = np.random.default_rng([seed, round(1000 * auroc), num_runs]), np.zeros(2, np.int64)
    true = {UNTRAINED} if auroc < diagnostics.HARDLY_BETTER else set()
    for _ in range(pages):
        hospitals = [hospital(draw, name, IMAGES) for name in HOSPITALS]
        kinds: set[str] = set()
        for _ in range(num_runs):
            splits = [split.of_run(logits(draw, split, auroc)) for split in hospitals]
            new = candidates(splits, num_runs) - kinds
            if new == {UNTRAINED}:
                kinds |= set(found(splits[:1], num_runs)["kind"])
            elif new:
                kinds |= set(found(splits, num_runs)["kind"])
        counts += [bool(kinds - true), UNTRAINED in kinds]
    return int(counts[0]), int(counts[1])


Fault = Callable[[Logits], Logits]
CYCLE, SWAP = [*range(1, len(FINDINGS)), 0], [*range(len(FINDINGS) - 2), len(FINDINGS) - 1, len(FINDINGS) - 2]


def one_inverted(logit: Logits) -> Logits:
    """Return the logits with the opposite sign of the most frequent finding, as if its labels were swapped."""
    return np.asarray(logit * np.array([1] * (len(FINDINGS) - 1) + [-1], np.float32))


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "all outputs negated at the internal hospital": (lambda logit: -logit, "internal", INVERTED),
    "all outputs negated at an external hospital": (lambda logit: -logit, "b", INVERTED),
    "labels of one finding swapped at an external hospital": (one_inverted, "b", INVERTED),
    "outputs in a cycle": (lambda logit: logit[:, CYCLE], "internal", ORDER),
    "two outputs swapped": (lambda logit: logit[:, SWAP], "internal", ORDER),
    "outputs of other images": (
        lambda logit: logit[np.random.default_rng(0).permutation(len(logit))],
        "internal",
        UNTRAINED,
    ),
    "constant output of one finding": (lambda logit: logit * np.float32([0] + [1] * 8), "internal", CONSTANT),
}


def found_pages(seed: int, fault: str, auroc: float, num_runs: int, images: int, pages: int) -> int:
    """Count the pages on which the planted fault of one run is reported, with the kind of the fault."""
    plant, where, kind = FAULTS[fault]
    draw, count = np.random.default_rng([seed, list(FAULTS).index(fault), num_runs, images]), 0
    for _ in range(pages):
        splits = []
        for name in HOSPITALS[:2]:
            split = hospital(draw, name, images)
            logit = logits(draw, split, auroc)
            splits.append(split.of_run(np.ascontiguousarray(plant(logit) if name == where else logit)))
        table = found(splits, num_runs)
        count += bool(((table["kind"] == kind) & (table["dataset"] == where)).any())
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table of the simulation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=2000, help="pages of 4 runs without a fault, for each AUROC")
    parser.add_argument("--large", type=int, default=60, help="pages of 500 runs without a fault, for each AUROC")
    parser.add_argument(
        "--planted", type=int, default=200, help="pages with a fault, for each fault and number of runs"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args(arguments)
    names = ("pages", "large", "planted", "seed")
    command = " ".join(["python benchmarks/symptoms.py", *(f"--{name} {getattr(options, name)}" for name in names)])
    rows: list[tuple[object, ...]] = []

    def add(what: str, auroc: float, runs: int, images: int, count: int, pages: int) -> None:
        low, high = wilson(np.array(count / pages), np.array(float(pages)))
        rows.append((what, auroc, runs, images, f"{count / pages:.3g}", f"{low:.3g}", f"{high:.3g}", pages, command))
        print(*rows[-1][:-1], sep=", ", flush=True)

    with ProcessPoolExecutor(options.processes) as pool:
        planted = {
            (fault, runs, images): pool.submit(found_pages, options.seed, fault, 0.8, runs, images, options.planted)
            for fault in FAULTS
            for runs, images in ((4, 2 * IMAGES), (500, 4 * IMAGES))
        }
        healthy = {
            (auroc, runs, pages): pool.submit(false_pages, options.seed, auroc, runs, pages)
            for runs, pages in ((4, options.pages), (500, options.large))
            for auroc in (0.5, 0.55, 0.6, 0.7)
        }
        for (fault, runs, images), of_fault in planted.items():
            add(f"found: {fault}", 0.8, runs, images, of_fault.result(), options.planted)
        for (auroc, runs, pages), of_pages in healthy.items():
            wrong, hardly = of_pages.result()
            add("false: any symptom", auroc, runs, IMAGES, wrong, pages)
            kind = "true" if auroc < diagnostics.HARDLY_BETTER else "false"
            add(f"{kind}: hardly better than chance", auroc, runs, IMAGES, hardly, pages)
    with options.output.open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    return 0


HEAD = ("what", "auroc", "runs", "images", "share", "low", "high", "num", "command")

if __name__ == "__main__":
    sys.exit(main())
