"""Find the symptoms of common mistakes in a stored run.

The store is only read: records, training curves, logits and internal labels. A symptom is a `Check`, whose `fix` has one likely
cause per line, the most likely cause first.
"""

from bench.diagnostics.symptoms.failures import failure_symptoms
from bench.diagnostics.symptoms.logits import logit_symptoms
from bench.diagnostics.symptoms.predictions_and_labels import (
    LabelsCache,
    learned_splits,
    prediction_symptoms,
)
from bench.diagnostics.symptoms.training import epoch_symptoms, loss_symptoms, read_history
from bench.planning.manifest import Manifest, planned, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.store.store import Store
from harmonize.checks.release import Check
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
                splits = learned_splits(manifest, run, config, labels)
                if "val" in splits:
                    checks += epoch_symptoms(where, splits["val"], history, store.run_dir(run_id))
            checks += prediction_symptoms(where, manifest, run, loss_stuck)
    except StoreError:
        raise
    except (CxrError, KeyError) as error:
        return [Check("", where, "note", "", f"not checked: {error}")]
    return checks
