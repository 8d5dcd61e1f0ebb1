"""`bench merge`: one store, and one leaderboard, of the bundles of several laboratories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.planning.manifest import Manifest
from bench.sharing.bundle.match_images import same_images
from bench.sharing.bundle.verify import Opened
from bench.store.checksums import mark_done
from bench.store.store import Store, canonical_json, table_facts, write_bytes, write_table
from harmonize.errors import ConfigError, StoreError

SETTINGS = ("source", "phantom", "min_count", "bins", "mapping", "threshold", "counted", "metrics")
_APART = "put them into stores of their own, or score them alike first: `bench score --as`"


@dataclass(slots=True)
class Merged:
    """What was taken so far: cohorts by name, runs by id."""

    store: Store
    cohorts: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    derived: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)  # cohort -> the bundle that it was first found in
    bundles: list[dict[str, Any]] = field(default_factory=list)


def add(merged: Merged, bundle: Opened, names: Mapping[str, str], first: Mapping[str, Any]) -> None:
    """Take the runs and cohorts of a verified bundle; `names`: old -> new names of its cohorts; first: settings to agree with.

    A run that was taken before gets the cohorts that it lacks; where it has them, its logits must be the same.
    Raises StoreError with the two bundles and the mend: other settings, cohorts of one name that are not one cohort, patients in
    another order without a run that both share, other logits or labels.
    """
    where, content = str(bundle.path), bundle.manifest.content
    for key in SETTINGS:
        if content.get(key) != first.get(key):
            raise StoreError(
                f"the bundles are not scored alike: {key} is {content.get(key)!r} and {first.get(key)!r}", where, _APART
            )
    for old in names:
        if old not in {cohort["name"] for cohort in bundle.manifest.cohorts}:
            raise ConfigError(f"no cohort {old!r} in the bundle", where, "see `bench verify` for what it holds")
    images: dict[str, Mapping[str, str]] = {}
    for cohort in bundle.manifest.cohorts:
        images[cohort["name"]] = _take_cohort(merged, bundle, cohort, names.get(cohort["name"], cohort["name"]))
    for kind, taken in (("runs", merged.runs), ("derived", merged.derived)):
        for run in content[kind]:
            _take_run(merged, bundle, run, names, images)
            taken.setdefault(run["id"], run)
    merged.bundles.append(
        {"file": bundle.path.name, "id": bundle.id, "runs": len(content["runs"]) + len(content["derived"])}
    )


def _take_cohort(merged: Merged, bundle: Opened, cohort: Mapping[str, Any], name: str) -> Mapping[str, str]:
    """Store a cohort under its name, or find its images in the one that is there: their names here by their names there."""
    table, where = bundle.manifest.table(cohort), str(bundle.path)
    known = merged.cohorts.get(name)
    if known is None:
        merged.cohorts[name] = {**cohort, "name": name}
        merged.origin[name] = where
        _write_cohort(merged, name, table)
        return {}
    if known["origin"] != cohort["origin"] or known["role"] != cohort["role"]:
        other = merged.origin[name]
        fix = f"tell them apart: --rename {bundle.path.name}:{cohort['name']}=NEW_NAME"
        raise StoreError(f"two cohorts bear the name {name!r}: of {other} and of this bundle", where, fix)
    here = pd.read_parquet(_path_of(merged, name))
    if known["tag"] != cohort["tag"]:
        shared = [
            run["id"]
            for run in bundle.manifest.runs
            if (merged.store.run_dir(run["id"]) / "predictions" / f"{name}.parquet").is_file()
        ]
        ours, theirs = (
            [pd.read_parquet(store.run_dir(i) / "predictions" / f"{n}.parquet") for i in shared]
            for store, n in ((merged.store, name), (bundle.manifest.store, cohort["name"]))
        )
        return same_images(here, table, ours, theirs, name, f"{merged.origin[name]} and {where}")
    common, again = here["image_id"].isin(table["image_id"]), table["image_id"].isin(here["image_id"])
    a, b = (t.sort_values("image_id", ignore_index=True) for t in (here[common], table[again]))
    if list(a.columns) != list(b.columns) or not a.equals(b):
        fix = "one of them is wrong, or they learn other findings: ask their makers, or merge them into stores of their own"
        raise StoreError(f"the labels of {name!r} are not those of {merged.origin[name]}", where, fix)
    if not again.all():
        joined = pd.concat([here, table[~again]], ignore_index=True)
        _write_cohort(merged, name, joined.sort_values("image_id", ignore_index=True))
    return {}


def _path_of(merged: Merged, name: str) -> Path:
    return merged.store.root / "cohorts" / f"{name}-{merged.cohorts[name]['id']}.parquet"


def _write_cohort(merged: Merged, name: str, table: pd.DataFrame) -> None:
    write_table(_path_of(merged, name), table, {"id": str(merged.cohorts[name]["id"])})


def _take_run(
    merged: Merged,
    bundle: Opened,
    run: Mapping[str, Any],
    names: Mapping[str, str],
    images: Mapping[str, Mapping[str, str]],
) -> None:
    """Store what a run has beyond what is there already."""
    there, here = bundle.manifest.store.run_dir(run["id"]), merged.store.run_dir(run["id"])
    where = str(bundle.path)
    if not (here / "run.json").is_file():
        merged.store.begin(run["id"], (there / "run.json").read_bytes())
        for path in sorted(there.glob("*.json")) + sorted(there.glob("*.parquet")):
            write_bytes(here / path.name, path.read_bytes())
    elif (here / "seal.json").read_bytes() != (there / "seal.json").read_bytes():
        fix = "the run was trained twice: merge the bundle of one training, or both into stores of their own"
        raise StoreError(f"run {run['id']} has other weights than in a bundle before", where, fix)
    for cohort in bundle.manifest.cohorts:
        name = names.get(cohort["name"], cohort["name"])
        frame = pd.read_parquet(there / "predictions" / f"{cohort['name']}.parquet")
        if renamed := images[cohort["name"]]:
            frame = frame.assign(image_id=frame["image_id"].map(renamed)).sort_values("image_id", ignore_index=True)
        path = here / "predictions" / f"{name}.parquet"
        if path.is_file():
            if not _same_logits(pd.read_parquet(path), frame):
                fix = "one of them is wrong: ask their makers, or merge one of them alone"
                raise StoreError(f"run {run['id']} has other logits on {name} than in a bundle before", where, fix)
            continue
        facts = table_facts(there / "predictions" / f"{cohort['name']}.parquet") | {
            "cohort": str(merged.cohorts[name]["id"])
        }
        write_table(path, frame, facts)
    mark_done(here)


def _same_logits(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    a, b = (frame.sort_values("image_id", ignore_index=True) for frame in (one, two))
    return (
        list(a.columns) == list(b.columns)
        and len(a) == len(b)
        and bool(
            (a["image_id"] == b["image_id"]).all()
            and np.array_equal(a.drop(columns="image_id"), b.drop(columns="image_id"))
        )
    )


def finish(merged: Merged, name: str, title: str, first: Mapping[str, Any], cohorts: Sequence[str]) -> Manifest:
    """Write the manifest of what was taken, of all cohorts or of the internal hospital and those named, and return it.

    Raises ConfigError for a cohort that is not there, and when no run has been tested on all of them.
    """
    internal = str(first["source"])
    for asked in cohorts:
        if asked not in merged.cohorts:
            raise ConfigError(
                f"no cohort {asked!r} in the bundles", "--cohort", f"there are {', '.join(merged.cohorts)}"
            )
    chosen = [c for n, c in merged.cohorts.items() if not cohorts or n == internal or n in cohorts]
    complete = [
        run_id for run_id in (*merged.runs, *merged.derived) if all(_tested(merged, run_id, c["name"]) for c in chosen)
    ]
    if not complete:
        sets = "; ".join(f"{i}: {', '.join(n for n in merged.cohorts if _tested(merged, i, n))}" for i in merged.runs)
        raise ConfigError(
            "no run was tested on every cohort, so nothing compares",
            "bench merge",
            f"choose some with --cohort ({sets})",
        )
    content = {**first, "name": name, "title": title, "cohorts": chosen, "bundles": merged.bundles}
    content |= {"runs": list(merged.runs.values()), "derived": list(merged.derived.values())}
    write_bytes(merged.store.root / "grids" / f"{name}.json", canonical_json(content))
    return Manifest(merged.store, content)


def _tested(merged: Merged, run_id: str, cohort: str) -> bool:
    return (merged.store.run_dir(run_id) / "predictions" / f"{cohort}.parquet").is_file()
