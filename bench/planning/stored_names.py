"""Find runs and grids of a store by the names that a user gives. This module imports no slow library: a wrong name is refused at once."""

from collections.abc import Sequence
from pathlib import Path

from bench.config.registry import Registry
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError


def store_with(root: Path, grid: str | None, runs: Sequence[str] = ()) -> Store:
    """Return the store in the folder `root`, which has the named grid and runs.

    `runs`: first characters of run ids; one that fits several runs passes, because a grid may decide between them. Without
    `grid`, the runs decide the grid; without runs, the store must have only one grid. Raises StoreError for a missing store,
    grid or run.
    """
    store = Store.open(root, create=False)
    ids = store.run_ids()
    for prefix in runs:
        if not any(run_id.startswith(prefix) for run_id in ids):
            find_run(store, prefix)
    if grid is not None or not runs:
        find_grid(store, grid)
    return store


def find_run(store: Store, prefix: str) -> str:
    """Return the full id of the stored run whose id begins with `prefix`.

    Raises StoreError when no run or several runs match.
    """
    matches = [run_id for run_id in store.run_ids() if prefix and run_id.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    what = f"{len(matches)} runs begin with {prefix!r}" if matches else f"no run {prefix!r} in the store"
    near = matches or StoreError.nearest(prefix, store.run_ids(), 3, 0.0)
    fix = f"`bench list runs` shows all; e.g. {', '.join(near[:3])}" if near else "make one with `bench run`"
    raise StoreError(what, str(store.root), fix)


def find_grid(store: Store, name: str | None) -> str:
    """Return the name of a stored grid; without a name, the name of the only grid in the store.

    Raises StoreError for an unknown grid, and without a name if the store has no grid or several.
    """
    names = sorted(path.stem for path in (store.root / "grids").glob("*.json"))
    if name is None and len(names) == 1:
        return names[0]
    if name is not None and name in names:
        return name
    file = store.root / "grids" / f"{name}.json"
    if not names:
        fix = "run a grid in this store (`bench run --store`), or give another store"
        raise StoreError("the store has no grid", str(file if name else store.root), fix)
    what = f"no grid {name!r} in the store" if name else f"{len(names)} grids in the store"
    where = str(file if name else file.parent)
    raise StoreError(what, where, f"name one with --grid: {', '.join(names)}")


def check_entries(store: Store, option: str, names: Sequence[str], *others: str) -> None:
    """Raise ConfigError for a metric or cohort that no grid of the store has, nor the registry, nor `others`."""
    known = [*Registry.read().sections.get(f"{option}s", ()), *others]
    for file in sorted((store.root / "grids").glob("*.json")):
        content = store.read_json("grids", file.name)
        entries = content if option == "cohort" else content.get("settings", {})
        known += [entry["name"] for entry in entries.get("cohorts" if option == "cohort" else "custom_metrics", ())]
    ConfigError.check_choices(option, names, known)
