"""Find the symptoms of common mistakes in a stored run.

The store is only read: records, training curves, logits and internal labels. A symptom is a `Check`, whose `fix` has one likely
cause per line, the most likely cause first.
"""

from collections.abc import Iterator

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.distances import distance_notes
from bench.diagnostics.symptoms.failures import failure_symptoms
from bench.diagnostics.symptoms.logits import logit_symptoms
from bench.diagnostics.symptoms.predictions_and_labels import (
    LabelsCache,
    learned_splits,
    prediction_symptoms,
)
from bench.diagnostics.symptoms.thresholds import external_threshold_notes, half_threshold_notes
from bench.diagnostics.symptoms.training import epoch_symptoms, loss_symptoms, read_history
from bench.planning.manifest import Manifest, planned, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import labels_of
from bench.store.store import Store
from harmonize.checks.release import Check
from harmonize.cohorts.pooled import hospital_of
from harmonize.errors import CxrError, StoreError


class Grids:
    """The manifests of a store's grids, for checking many runs: each manifest, and the labels of its runs, are read only once."""

    def __init__(self, store: Store) -> None:
        self._store, self._read = store, dict[str, tuple[Manifest, LabelsCache]]()

    def planned(self, run_id: str) -> tuple[Manifest, PlannedRun, LabelsCache]:
        """Return the first manifest that has the run, the run, and the cache of the manifest's labels.

        Raises StoreError if no manifest has the run.
        """
        for name in sorted(path.stem for path in (self._store.root / "grids").glob("*.json")):
            if name not in self._read:
                self._read[name] = read_manifest(self._store, name), {}
            manifest, labels = self._read[name]
            if run_id in manifest.run_of:
                return manifest, manifest.run_of[run_id], labels
        return *planned(self._store, run_id, None), {}


def symptoms(store: Store, run_id: str, grids: Grids | None = None) -> list[Check]:
    """Return the symptoms of a finished or failed run; [] for another run, and for a run without symptoms.

    `grids`: the manifests that were already read for other runs. Raises StoreError for a damaged file;
    `bench.diagnostics.store_audit` lists all damaged files.
    """
    where = f"run {run_id}"
    if store.state(run_id) == "failed":
        return list(failure_symptoms(where, (store.run_dir(run_id) / "FAILED").read_text(errors="replace")))
    if store.state(run_id) != "done":
        return []
    try:
        manifest, run, labels = (grids or Grids(store)).planned(run_id)
        config = run.config
        history = read_history(store.run_dir(run_id))
        of_loss = list(loss_symptoms(where, history)) if history is not None else []
        of_logits = list(logit_symptoms(where, manifest, run, config))
        checks = [*of_loss, *of_logits]
        if not any(check.level == "fault" for check in of_logits):  # the other checks need finite logits
            loss_stuck = any("loss does not" in check.what for check in of_loss)
            if history is not None and not manifest.scored_from:
                _, splits = learned_splits(manifest, run, config, labels)
                if "val" in splits:
                    checks += epoch_symptoms(where, splits["val"], history, store.run_dir(run_id))
            checks += prediction_symptoms(where, manifest, run, loss_stuck)
    except StoreError:
        raise
    except (CxrError, KeyError) as error:
        return [Check("", where, "note", "", f"not checked: {error}")]
    return checks


def notes(store: Store, run_id: str, sound: bool) -> list[Check]:
    """Return notes on a finished run: findings without AUROC, thresholds that do not fit, and hospitals with far images.

    A note does not mean that there is a mistake. `sound`: whether the run has no fault; thresholds are checked only if it is True.
    """
    where = f"run {run_id}"
    manifest, run = planned(store, run_id, None)
    checks = list(_too_few(where, manifest, run.config))
    if sound:
        findings, splits = learned_splits(manifest, run, run.config)
        if "test" in splits:
            checks += half_threshold_notes(where, splits["test"], findings)
        checks += external_threshold_notes(where, manifest, run)
    return [*checks, *distance_notes(where, manifest, run_id)]


def _too_few(where: str, manifest: Manifest, config: RunConfig) -> Iterator[Check]:
    """Yield a note that lists the findings that too few patients of the internal test split have for an AUROC.

    Each hospital of a pool is scored alone, so the patients of the hospital with most patients count.
    """
    labels = labels_of(manifest, manifest.cohorts[0], config)
    test, patients = labels.split == "test", labels.table["patient_id"].to_numpy(str)
    hospital = hospital_of(config.train_on, labels.table["image_id"])
    tests = [test & (hospital == name) for name in config.hospitals]
    counts = [
        (finding, max(len(set(patients[rows & (labels.state_NK[:, k] == 1)])) for rows in tests))
        for k, finding in enumerate(config.findings)
    ]
    few = [f"{finding} ({number})" for finding, number in counts if number < manifest.settings.min_count]
    if not few:
        return
    minimum = manifest.settings.min_count
    place = "the internal test split" if len(tests) == 1 else "the test split of each training hospital"
    observation = f"fewer than {minimum} patients of {place} have the finding: {', '.join(few)}"
    fix = "use more data, or another internal hospital; `min_count` of the grid sets the minimum"
    yield Check("", f"{where}: findings without an AUROC", "note", "", observation, fix)
