"""Check which findings the runs of a bundle could not learn.

A run cannot learn a finding if all or none of its training images have it. The record `trained.json` names these findings, and
scoring leaves them out. A sender could name the findings with the lowest scores, too, to hide them. So they are checked:

- for a trained run, with the labels of the internal validation and test images, which the bundle has, or with the labels of
  the training images, which only the owner of the data has;
- for a derived run, with the records of its source runs;
- for an imported model, with its logits: `bench evaluate` writes 0 for a finding that the model does not predict.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.config.run_config import RunConfig
from bench.extensions.bundles.archive import refused
from bench.planning.manifest import Manifest
from bench.planning.plan import training_labels
from bench.planning.planned_grid import PlannedRun
from bench.planning.protocol import CohortRole
from bench.planning.restore_grid import cohorts_of
from bench.results.run_table import unlearnt
from bench.store.checked_folders import CheckedFolder
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT
from harmonize.labels.states import states

LEAVE_OUT = "bench score --as NAME --findings ..., then bench export --grid NAME"
Contested = list[tuple[PlannedRun, str]]


def check_unlearned(manifest: Manifest, where: str, data: Path | None) -> None:
    """Raise StoreError if a run names a finding as not learned, and the labels contradict.

    `data`: folder of datasets, or data.yaml, whose training labels decide. If `data` is None, the labels in the bundle decide.
    `where`: path of the bundle, for error messages.
    """
    for run in manifest.derived:
        _check_imported(manifest, run, where) if run.is_imported else _check_derived(manifest, run, where)
    contested = unlearned_without_evidence(manifest)
    if contested and data is None:
        run, finding = contested[0]
        what = f"run {run.id} states that it could not learn {finding}, but the validation and test labels have both classes"
        fix = f"let the training labels decide with --data, or ask its maker to leave the finding out: {LEAVE_OUT}"
        raise refused(what, where, fix)
    if contested and data is not None:
        _check_training_labels(manifest, contested, data, where)


def unlearned_without_evidence(manifest: Manifest) -> Contested:
    """Return the trained runs and findings for which the statement "not learned" contradicts the labels in the bundle.

    The validation and test patients come from the same hospital as the training patients. The statement is contradicted if at
    least `min_count` of the validation and test patients have the finding, and at least `min_count` do not have it. Then some
    training images most likely have the finding, and some do not.
    """
    internal = manifest.table(manifest.cohorts[0])
    least = manifest.settings.min_count
    out: Contested = []
    for run in manifest.runs:
        config = run.config
        split = CohortRole.of(manifest.cohorts[0]).split_of(internal, config)
        held_out = internal[split.isin(("val", "test"))]
        for finding in unlearnt(manifest, CheckedFolder(manifest.store.run_dir(run.id)).facts()):
            if min(_count(held_out, config, finding, "patient_id")) >= least:
                out.append((run, finding))
    return out


def _count(table: pd.DataFrame, config: RunConfig, finding: str, unit: str) -> tuple[int, int]:
    """Return how many patients or images of a table have a finding, and how many do not have it.

    `unit`: column with the ids to count, patient_id or image_id. "Not mentioned" counts as absent if the run trains so.
    Uncertain labels do not count, because the label policy of a run's configuration decides how training uses them.
    """
    state = states(table, [finding])[:, 0]
    absent = (state == ABSENT) | ((state == NOT_MENTIONED) & (config.blank == "zero"))
    return table.loc[state == PRESENT, unit].nunique(), table.loc[absent, unit].nunique()


def _check_training_labels(manifest: Manifest, contested: Contested, data: Path, where: str) -> None:
    """Raise StoreError if a run names a finding as not learned, but the data have training images with and without the finding.

    Unreadable images were not used in training, and the bundle does not say which images were unreadable. So the error is raised
    only if both numbers, with and without the finding, are larger than the number of unreadable images.
    """
    internal = manifest.cohorts[0]
    only_internal = replace(manifest, planned_cohorts=(internal,))
    table = cohorts_of(only_internal, data)[0].table
    for run, finding in contested:
        config = run.config
        train = training_labels(table[CohortRole.of(internal).split_of(table, config) == "train"], config)
        present, absent = _count(train, config, finding, "image_id")
        if min(present, absent) > internal.unreadable:
            labels = f"{present:,} training images with the finding and {absent:,} without it"
            raise refused(
                f"run {run.id} states that it could not learn {finding} without both labels, but the data have {labels}",
                where,
            )


def _check_derived(manifest: Manifest, run: PlannedRun, where: str) -> None:
    """Raise StoreError unless a derived run names exactly the findings that it cannot predict, given its source runs.

    These are the findings that its source runs could not learn and, for a panel, the findings without a source run.
    """
    expected = set()
    for source in run.sources:
        expected |= set(CheckedFolder(manifest.store.run_dir(source)).facts()["trained"].get("unlearnt", []))
    if run.kind == "panel":
        expected |= set(run.config.findings) - {own.config.finding for own in manifest.runs if own.id in run.sources}
    if set(CheckedFolder(manifest.store.run_dir(run.id)).facts()["trained"].get("unlearnt", [])) != expected:
        raise refused(f"{run.kind} {run.id} states other findings as not learned than its source runs", where)


def _check_imported(manifest: Manifest, run: PlannedRun, where: str) -> None:
    """Raise StoreError if an imported model states that it does not predict a finding, but has a logit other than 0 for it."""
    stated = unlearnt(manifest, CheckedFolder(manifest.store.run_dir(run.id)).facts())
    folder = manifest.store.run_dir(run.id)
    for cohort in manifest.cohorts if stated else ():
        logits = CheckedFolder(folder).table(f"predictions/{cohort.name}.parquet")
        for finding in stated:
            if np.any(logits[finding].to_numpy() != 0):
                what = f"model {run.id} states that it does not predict {finding}, but its logits on {cohort.name} vary"
                raise refused(what, where)
