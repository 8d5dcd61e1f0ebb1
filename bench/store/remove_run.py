"""Deleting a run: by its whole name, and only when nobody works on it."""

import contextlib
import shutil

from bench.store.lease import lease
from bench.store.store import Store, canonical_json, write_bytes
from harmonize.errors import StoreError


def needed_by(store: Store, run_id: str) -> list[str]:
    """Return the derived runs that are made of a run."""
    found = []
    for other in store.run_ids():
        with contextlib.suppress(StoreError):
            if run_id in store.read_json(other[:2], other, "run.json").get("sources", ()):
                found.append(other)
    return found


def _forget(store: Store, run_id: str) -> None:
    """Take a model from elsewhere out of the grids: what a grid trains it still plans, but this nobody makes again."""
    for path in (store.root / "grids").glob("*.json"):
        content = store.read_json("grids", path.name)
        left = [run for run in content.get("derived", []) if (run["id"], run["kind"]) != (run_id, "external")]
        if len(left) < len(content.get("derived", [])):
            write_bytes(path, canonical_json({**content, "derived": left}))


def delete(store: Store, run_id: str) -> None:
    """Delete a run and all scores of it.

    What is cut short half-way is no finished run any more: DONE goes first. Raises StoreError while a process holds the run.
    """
    folder = store.run_dir(run_id)
    with lease(folder) as mine:
        if not mine:
            raise StoreError(
                f"a process is at work on run {run_id}", str(folder / "LOCK"), "stop it, or wait until it is done"
            )
        (folder / "DONE").unlink(missing_ok=True)
        _forget(store, run_id)
        for scores in (store.root / "scores" / run_id, *(store.root / "scores").glob(f"as-*/{run_id}")):
            shutil.rmtree(scores, ignore_errors=True)
        (folder / "run.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()  # the folder of the first two digits, when it was the last one there
