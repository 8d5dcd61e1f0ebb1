"""Notes on thresholds: what .5 would call at the internal hospital, and what the stored thresholds call externally, beside what is there."""

from collections.abc import Iterator, Sequence

import numpy as np

from bench.diagnostics.symptoms.failures import symptom
from bench.planning.manifest import Manifest
from bench.scoring.scored_split import ScoredSplit
from bench.store.store import read_table
from harmonize.checks.release import Check

_FACTOR = 2.0  # so many times more or fewer calls than images with the finding
_FEWEST = 20  # calls and images with the finding together: below that a factor of two is chance
_SHOWN = 3  # of them named


Counts = tuple[str, int, int]  # finding, images called, images that have it


def of_half(where: str, part: ScoredSplit, findings: Sequence[str]) -> Iterator[Check]:
    """Yield a note when calls at a probability of .5 are twice or half as many as the images at the internal hospital with a finding."""
    label, called = part.labels(), part.logit > 0
    rows = [
        (finding, int((called[:, k] & (label[:, k] >= 0)).sum()), int((label[:, k] == 1).sum()))
        for k, finding in enumerate(findings)
    ]
    if far := _far(rows):
        causes = (
            "weights, sampling, smoothing or few steps make scores of chances: use the run's own thresholds, as `bench predict RUN IMAGE` does",
            "a threshold of your own is meant for calibrated probabilities: column `calibrated` of `bench predict RUN IMAGE --csv`",
        )
        seen = f"{part.split} of {part.dataset}, {_sum(far, rows)}: {'; '.join(far[:_SHOWN])}"
        yield symptom(where, "a threshold of .5 does not fit", "note", seen, causes)


def of_calls(where: str, manifest: Manifest, run_id: str) -> Iterator[Check]:
    """Yield a note where the stored thresholds call twice or half as many external images as have a finding."""
    path = manifest.scores / run_id / "confusion.parquet"
    if not path.is_file():
        return
    table = read_table(path)
    table = table[table["operating_point"] == manifest.settings.threshold]
    seen = []
    for cohort in manifest.cohorts:
        mine = table[(table["dataset"] == cohort["name"]) & (table["split"] == cohort["headline_split"])]
        rows: list[Counts] = [
            (str(r.finding), int(r.true_positive + r.false_positive), int(r.true_positive + r.false_negative))
            for r in mine.itertuples()
        ]
        if cohort["role"] != "internal" and (far := _far(rows)):
            seen.append(f"{cohort['name']}, {_sum(far, rows)}: {far[0]}")
    if seen:
        causes = (
            "findings are rarer or commoner there than at the internal hospital, or images look otherwise: the page shows both (Calibration, Cohorts)",
            "to use the run there, choose thresholds on patients of that hospital, apart from those that judge it; it is not unseen then",
        )
        yield symptom(where, "thresholds of the internal hospital do not fit external", "note", "; ".join(seen), causes)


def _far(rows: Sequence[Counts]) -> list[str]:
    """Return what is called how often, of the findings whose calls are far from their number, the farthest first."""
    far = [
        (abs(float(np.log((called + 1) / (there + 1)))), f"{finding} called in {called:,}, there in {there:,}")
        for finding, called, there in rows
        if called + there >= _FEWEST and not 1 / _FACTOR <= (called + 1) / (there + 1) <= _FACTOR
    ]
    return [said for _, said in sorted(far, reverse=True)]


def _sum(far: Sequence[str], rows: Sequence[Counts]) -> str:
    return f"{len(far)} of {len(rows)} findings"
