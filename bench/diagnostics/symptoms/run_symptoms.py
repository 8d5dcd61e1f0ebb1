"""Look at a stored run for what usually goes wrong in this field.

Everything here is read from the store: records, curves, logits, labels at the internal hospital, and where heat maps lie. `relook` shows the
network its images again and finds what that alone can tell. A symptom is a `Check` whose `fix` has one cause per line, the
likeliest first.
"""

from collections.abc import Iterator

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.failures import of_failure
from bench.diagnostics.symptoms.heat_maps import of_heat
from bench.diagnostics.symptoms.logits import of_logits
from bench.diagnostics.symptoms.predictions_and_labels import external, judged_parts, of_parts
from bench.diagnostics.symptoms.thresholds import of_calls, of_half
from bench.diagnostics.symptoms.training import of_curve, strayed
from bench.planning.manifest import Manifest, planned
from bench.results.read_predictions import labels_of
from bench.store.store import Store
from harmonize.checks.release import Check
from harmonize.errors import CxrError, StoreError


def symptoms(store: Store, run_id: str) -> list[Check]:
    """Return the symptoms of a run of the store, none when it looks well or is not finished.

    Damaged files are not judged here: `bench.diagnostics.store_audit` names them.
    """
    where = f"run {run_id}"
    if store.state(run_id) == "failed":
        return list(of_failure(where, (store.run_dir(run_id) / "FAILED").read_text(errors="replace")))
    if store.state(run_id) != "done":
        return []
    try:
        manifest, run = planned(store, run_id, None)
        config = manifest.config(run)
        curve = list(of_curve(where, store.run_dir(run_id) / "history.parquet"))
        spoilt = list(of_logits(where, manifest, run, config))
        found = [*curve, *spoilt]
        if not any(check.level == "fault" for check in spoilt):  # what is not finite or no logit is not judged further
            findings, parts = judged_parts(manifest, run, config)
            if "val" in parts and not manifest.content.get("scored_from"):
                found += strayed(where, parts["val"], store.run_dir(run_id))
            found += of_parts(where, run, findings, parts, any("loss does not" in check.what for check in found))
        found += [*external(where, manifest, run_id), *of_heat(where, manifest, run_id)]
    except (CxrError, KeyError) as error:
        return [] if isinstance(error, StoreError) else [Check("", where, "note", "", f"not judged: {error}")]
    return found


def notes(store: Store, run_id: str, sound: bool) -> list[Check]:
    """Return what to know of a finished run that is no mistake: findings without an AUROC and, of a sound one, thresholds."""
    where = f"run {run_id}"
    manifest, run = planned(store, run_id, None)
    found = list(_too_few(where, manifest, manifest.config(run)))
    if sound:
        findings, parts = judged_parts(manifest, run, manifest.config(run))
        if "test" in parts:
            found += of_half(where, parts["test"], findings)
        found += of_calls(where, manifest, run_id)
    return found


def _too_few(where: str, manifest: Manifest, config: RunConfig) -> Iterator[Check]:
    """Yield a note about the findings that have no AUROC at the internal hospital for want of patients."""
    internal = next(cohort for cohort in manifest.cohorts if cohort["role"] == "internal")
    labels = labels_of(manifest, internal, config)
    test, patients = labels.split == "test", labels.table["patient_id"].to_numpy(str)
    counts = [
        (finding, len(set(patients[test & (labels.state_NK[:, k] == 1)]))) for k, finding in enumerate(config.findings)
    ]
    few = [f"{finding} ({number})" for finding, number in counts if number < manifest.settings.min_count]
    if not few:
        return
    seen = f"patients of the internal test split with it, fewer than {manifest.settings.min_count}: {', '.join(few)}"
    fix = "use more data, or another internal hospital; without it the finding has no score, by the grid's `min_count`"
    yield Check("", f"{where}: findings without an AUROC", "note", "", seen, fix)
