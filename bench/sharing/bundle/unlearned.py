"""Check which findings the runs of a bundle could not learn.

Scoring leaves out a finding that a run could not learn, because its training images are all present or all absent. The
record `trained.json` names these findings. A sender could name the findings with the lowest scores, too. So a bundle
must show that the statement is true:

- a trained run: the labels of the internal validation and test images, which the bundle has, or those of the training
  images, which only the owner of the data has;
- a derived run: the records of its source runs;
- an imported model: all its logits of the finding are 0, as `bench evaluate` writes them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.run_config import RunConfig
from bench.planning.imported_run import KIND
from bench.planning.manifest import Manifest
from bench.planning.plan import states, training_labels
from bench.planning.protocol import CohortRole
from bench.planning.restore_grid import cohorts_of
from bench.results.run_table import unlearnt
from bench.sharing.bundle.archive import refused
from bench.store.checked_folders import CheckedFolder
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT

LEAVE_OUT = "bench score --as NAME --findings ..., then bench export --grid NAME"
Contested = list[tuple[Mapping[str, Any], str]]  # run and finding


def check_unlearned(manifest: Manifest, where: str, data: Path | None) -> None:
    """Raise StoreError for a run that names a finding as not learned without evidence.

    `data`: folder of datasets, or data.yaml; its training labels then decide. None: the labels in the bundle decide.
    """
    for run in manifest.derived:
        _check_imported(manifest, run, where) if run["kind"] == KIND else _check_derived(manifest, run, where)
    contested = unlearned_without_evidence(manifest)
    if contested and data is None:
        run, finding = contested[0]
        what = f"run {run['id']} states that it could not learn {finding}, but the validation and test labels have both classes"
        fix = f"let the training labels decide with --data, or ask its maker to leave the finding out: {LEAVE_OUT}"
        raise refused(what, where, fix)
    if contested and data is not None:
        _check_training_labels(manifest, contested, data, where)


def unlearned_without_evidence(manifest: Manifest) -> Contested:
    """Return the trained runs and findings whose statement "not learned" contradicts the labels in the bundle.

    The validation and test patients are drawn like the training patients. If at least `min_count` of these patients
    have the finding, and as many do not have it, some training images most likely have the finding, and some do not.
    """
    internal = manifest.table(manifest.cohorts[0])
    least = manifest.settings.min_count
    out: Contested = []
    for run in manifest.runs:
        config = manifest.config(run)
        split = CohortRole.of(manifest.cohorts[0]).split_of(internal, config)
        held_out = internal[split.isin(("val", "test"))]
        for finding in unlearnt(manifest, run["id"]):
            if min(_count(held_out, config, finding, "patient_id")) >= least:
                out.append((run, finding))
    return out


def _count(table: pd.DataFrame, config: RunConfig, finding: str, unit: str) -> tuple[int, int]:
    """Return how many patients or images of a table have a finding, and how many do not have it.

    `unit`: column with the ids to count, patient_id or image_id. Uncertain labels do not count, because each label
    policy treats them in another way.
    """
    state = states(table, [finding])[:, 0]
    absent = (state == ABSENT) | ((state == NOT_MENTIONED) & (config.blank == "zero"))
    return table.loc[state == PRESENT, unit].nunique(), table.loc[absent, unit].nunique()


def _check_training_labels(manifest: Manifest, contested: Contested, data: Path, where: str) -> None:
    """Raise StoreError if the data have training images with a finding and training images without it.

    Unreadable images were not used in training, and nobody knows which images they were. So the statement is refused
    only if both numbers, with and without the finding, are larger than the number of unreadable images.
    """
    internal = manifest.cohorts[0]
    only_internal = Manifest(manifest.store, {**manifest.content, "cohorts": [internal]})
    table = cohorts_of(only_internal, data)[0].table
    for run, finding in contested:
        config = manifest.config(run)
        train = training_labels(table[CohortRole.of(internal).split_of(table, config) == "train"], config)
        present, absent = _count(train, config, finding, "image_id")
        if min(present, absent) > int(internal["unreadable"]):
            labels = f"{present:,} training images with the finding and {absent:,} without it"
            raise refused(
                f"run {run['id']} states that it could not learn {finding} without both labels, but the data have {labels}",
                where,
            )


def _check_derived(manifest: Manifest, run: Mapping[str, Any], where: str) -> None:
    """Raise StoreError unless a derived run names the findings that its source runs could not learn."""
    expected = set()
    for source in run["sources"]:
        expected |= set(CheckedFolder(manifest.store.run_dir(source)).facts()["trained"].get("unlearnt", []))
    if run["kind"] == "panel":
        expected |= set(manifest.config(run).findings) - {
            manifest.config(own).finding for own in manifest.runs if own["id"] in run["sources"]
        }
    if set(CheckedFolder(manifest.store.run_dir(run["id"])).facts()["trained"].get("unlearnt", [])) != expected:
        raise refused(f"{run['kind']} {run['id']} states other findings as not learned than its source runs", where)


def _check_imported(manifest: Manifest, run: Mapping[str, Any], where: str) -> None:
    """Raise StoreError if an imported model predicts a finding that it states as not predicted."""
    stated = unlearnt(manifest, run["id"])
    folder = manifest.store.run_dir(run["id"])
    for cohort in manifest.cohorts if stated else ():
        logits = CheckedFolder(folder).table(f"predictions/{cohort['name']}.parquet")
        for finding in stated:
            if np.any(logits[finding].to_numpy() != 0):
                what = f"model {run['id']} states that it does not predict {finding}, but its logits on {cohort['name']} vary"
                raise refused(what, where)
