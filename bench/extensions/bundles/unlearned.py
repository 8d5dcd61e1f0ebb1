"""Check which findings the runs of a bundle could not learn.

A run cannot learn a finding if all or none of its training images have it. The record `trained.json` names these findings, and
scoring leaves them out. A sender could name the findings with the lowest scores, too, to hide them.
"""

import numpy as np

from bench.extensions.bundles.archive import refused
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.protocol import CohortRole
from bench.results.run_table import unlearnt
from bench.store.checked_folders import CheckedFolder
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT
from harmonize.labels.states import states


def check_unlearned(manifest: Manifest) -> None:
    """Raise StoreError if a run names a finding as not learned, and the bundle contradicts."""
    for run in (*manifest.runs, *manifest.derived):
        for finding in _stated(manifest, run.id):
            if not _is_plausible(manifest, run, finding):
                what = f"run {run.id} states that it could not learn {finding}, but its labels or logits contradict"
                fix = "leave the finding out for all runs: bench score --as NAME --findings ..., then bench export --grid NAME"
                raise refused(what, fix)


def _stated(manifest: Manifest, run_id: str) -> list[str]:
    return unlearnt(manifest, CheckedFolder(manifest.store.run_dir(run_id)).facts())


def _is_plausible(manifest: Manifest, run: PlannedRun, finding: str) -> bool:
    """Return whether a run may not have learned a finding.

    A trained run: fewer than `min_count` validation and test patients of the training hospital have the finding, or do not
    have it. An imported model has logits of 0, which `bench evaluate` writes. A derived run: a source run did not learn the
    finding, or no run of a panel has it.
    """
    if run.is_imported:
        folder = CheckedFolder(manifest.store.run_dir(run.id))
        tables = (folder.table(f"predictions/{cohort.name}.parquet") for cohort in manifest.cohorts)
        return not any(np.any(table[finding].to_numpy() != 0) for table in tables)
    if run.kind:
        of_panel = run.kind == "panel" and finding not in {
            source.config.finding for source in manifest.runs if source.id in run.sources
        }
        return of_panel or any(finding in _stated(manifest, source) for source in run.sources)
    cohort = manifest.cohorts[0]
    table = manifest.table(cohort)
    table = table[CohortRole.of(cohort).split_of(table, run.config).isin(("val", "test"))]
    state = states(table, [finding])[:, 0]
    absent = (state == ABSENT) | ((state == NOT_MENTIONED) & (run.config.blank == "zero"))
    patients = [table.loc[rows, "patient_id"].nunique() for rows in (state == PRESENT, absent)]
    return bool(min(patients) < manifest.settings.min_count)
