"""Find thresholds that do not fit: .5 at the internal hospital, and the stored thresholds at external hospitals.

A threshold fits if the number of positive calls is about the number of images with the finding.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bench.diagnostics.symptoms.failures import symptom
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_folders import ScoresFolder
from harmonize.checks.release import Check
from reports.tables import rows_of

# a threshold does not fit if one of the two numbers (positive calls, images with the finding) is more than this many
# times the other number
_FACTOR = 2.0
# a finding is checked only if its positive calls plus its images with the finding are at least this number; smaller numbers
# can differ by _FACTOR by chance
_MIN_COUNT = 20
_MAX_LISTED = 3  # maximum number of findings in the message


Counts = tuple[str, int, int]  # finding, number of positive calls, number of images with the finding


def half_threshold_notes(where: str, scored_split: ScoredSplit, findings: Sequence[str]) -> Iterator[Check]:
    """Yield a note if a probability threshold of .5 does not fit a finding of an internal split."""
    label, called = scored_split.labels(), scored_split.logit > 0
    rows = [
        (finding, int((called[:, k] & (label[:, k] >= 0)).sum()), int((label[:, k] == 1).sum()))
        for k, finding in enumerate(findings)
    ]
    if misfits := _misfits(rows):
        causes = (
            "outputs are not calibrated (class weights, sampling, smoothing, short training): use the run's thresholds, as `bench predict RUN IMAGE` does",
            "your own threshold needs calibrated probabilities: use the column `calibrated` of `bench predict RUN IMAGE --csv`",
        )
        listed = "; ".join(misfits[:_MAX_LISTED])
        observation = f"{scored_split.split} of {scored_split.dataset}, {_count(misfits, rows)}: {listed}"
        yield symptom(where, "a threshold of .5 does not fit", "note", observation, causes)


def external_threshold_notes(where: str, manifest: Manifest, run: PlannedRun) -> Iterator[Check]:
    """Yield a note if the stored thresholds do not fit a finding at external hospitals of the run."""
    folder = manifest.scores / run.id
    if not ScoresFolder(folder).key():
        return
    table = ScoresFolder(folder).table("confusion")
    table = table[table["operating_point"] == manifest.settings.threshold]
    observations = []
    for cohort in manifest.external_to(run):
        of_cohort = table[(table["dataset"] == cohort.name) & (table["split"] == cohort.headline_split)]
        counts = rows_of(of_cohort, "finding", "true_positive", "false_positive", "false_negative")
        rows: list[Counts] = [(str(name), int(tp + fp), int(tp + fn)) for name, tp, fp, fn in counts]
        if misfits := _misfits(rows):
            observations.append(f"{cohort.name}, {_count(misfits, rows)}: {misfits[0]}")
    if observations:
        causes = (
            "findings have another prevalence there, or images differ: the page shows both (Calibration, Cohorts)",
            "to use the run there, choose thresholds on patients of that hospital who are not scored; the hospital is then no longer unseen",
        )
        what = "internal thresholds do not fit external hospitals"
        yield symptom(where, what, "note", "; ".join(observations), causes)


def _misfits(rows: Sequence[Counts]) -> list[str]:
    """Return one text for each finding whose threshold does not fit. The finding whose two numbers differ most is first."""
    misfits = [
        (abs(float(np.log((called + 1) / (present + 1)))), f"{finding} called in {called:,}, present in {present:,}")
        for finding, called, present in rows
        if called + present >= _MIN_COUNT and not 1 / _FACTOR <= (called + 1) / (present + 1) <= _FACTOR
    ]
    return [description for _, description in sorted(misfits, reverse=True)]


def _count(misfits: Sequence[str], rows: Sequence[Counts]) -> str:
    return f"{len(misfits)} of {len(rows)} findings"
