"""Delete a run of the store, unless a process works on it."""

import contextlib
import shutil
from dataclasses import replace

from bench.planning.manifest import read_manifest
from bench.store.lease import lease
from bench.store.store import Store
from harmonize.errors import StoreError


def needed_by(store: Store, run_id: str) -> list[str]:
    """Return the ids of the derived runs that are computed directly from a run."""
    derived = []
    for candidate in store.run_ids():
        with contextlib.suppress(StoreError):
            if run_id in store.read_json(candidate[:2], candidate, "run.json").get("sources", ()):
                derived.append(candidate)
    return derived


def _remove_from_grids(store: Store, run_id: str) -> None:
    """Remove an imported model from the manifests of all grids.

    Trained runs stay in the manifests, because `bench run` can train them again.
    """
    for path in (store.root / "grids").glob("*.json"):
        manifest = read_manifest(store, path.stem)
        remaining = tuple(run for run in manifest.derived if run.id != run_id or not run.is_imported)
        if len(remaining) < len(manifest.derived):
            replace(manifest, derived=remaining).write()


def delete(store: Store, run_id: str) -> None:
    """Delete a run and all its scores. Raises StoreError while another process holds the run.

    The file DONE is deleted first. So a run whose deletion is interrupted does not look finished.
    """
    folder = store.run_dir(run_id)
    with lease(folder) as mine:
        if not mine:
            fix = "stop the process, or wait for its end"
            raise StoreError(f"a process is working on run {run_id}", str(folder / "LOCK"), fix)
        (folder / "DONE").unlink(missing_ok=True)
        _remove_from_grids(store, run_id)
        for scores in (store.root / "scores" / run_id, *(store.root / "scores").glob(f"as-*/{run_id}")):
            shutil.rmtree(scores, ignore_errors=True)
        (folder / "run.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()  # the folder of all runs whose ids begin with the same two digits; rmdir fails if it has other runs
