"""What `bench check` says about stored runs: symptoms of common mistakes."""

from bench.store.store import Store
from harmonize.checks.release import Check
from harmonize.errors import StoreError
from harmonize.progress import Progress


def of_run(store: Store, run_id: str) -> list[Check]:
    """Return the symptoms of a run; for a run without symptoms, a check that says so. Raises StoreError for a damaged file."""
    from bench.diagnostics.symptoms.run_symptoms import symptoms

    checks, state = symptoms(store, run_id), store.state(run_id)
    if any(check.level in ("fault", "warning") for check in checks):
        return checks
    level, result = ("ok", "none seen") if state == "done" else ("note", f"not checked: the run is {state}")
    return [Check("", f"run {run_id}: symptoms", level, "", result), *checks]


def of_store(store: Store, progress: Progress | None) -> list[Check]:
    """Return the symptoms of all runs; if there are none, return one check that says so. A run with a damaged file gets a note."""
    from bench.diagnostics.symptoms.run_symptoms import Grids, symptoms

    ids, checks, grids = store.run_ids(), list[Check](), Grids(store)
    for index, run_id in enumerate(ids):
        if progress:
            progress("check symptoms", index, len(ids))
        try:
            checks += symptoms(store, run_id, grids)
        except StoreError as error:  # the core reports the damaged file, too
            checks.append(Check("", f"run {run_id}: symptoms", "note", "", f"not checked: {error.what}", error.fix))
    if progress:
        progress("check symptoms", len(ids), max(1, len(ids)))
    return checks or [Check("", "symptoms", "ok", "", f"none seen in {len(ids)} runs")]
