"""`bench merge`: make one store and one leaderboard from the bundles of several laboratories."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from bench.extensions.bundles.match_images import same_images
from bench.extensions.bundles.verify import OpenBundle
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import MergedBundle, PlannedCohort, PlannedRun
from bench.store.checked_files import read_cohort, write_cohort
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, table_facts, write_bytes, write_table
from harmonize.errors import ConfigError, StoreError

_FIX_SETTINGS = "merge them into separate stores, or first score both with one grid: `bench score --as`"


@dataclass(slots=True)
class Merge:
    """The store that `bench merge` makes, and the content of the bundles that were added so far.

    cohorts        name -> cohort
    runs, derived  run id -> run
    origin         cohort -> path of the first bundle that has the cohort
    links          field of a configuration, such as "loss" -> registry entry -> its paper and code
    """

    store: Store
    cohorts: dict[str, PlannedCohort] = field(default_factory=dict)
    runs: dict[str, PlannedRun] = field(default_factory=dict)
    derived: dict[str, PlannedRun] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    links: dict[str, dict[str, Mapping[str, str]]] = field(default_factory=dict)
    bundles: list[MergedBundle] = field(default_factory=list)


def add(merged: Merge, bundle: OpenBundle, names: Mapping[str, str], first: Manifest, signed_by: str = "") -> None:
    """Add the runs and cohorts of a verified bundle to `merged`.

    Of a run of an earlier bundle, only predictions on further cohorts are added; on the others, the logits must be the same.
    `names`: cohort in the bundle -> new name. `signed_by`: "" if no signature was checked. Raises ConfigError for an unknown
    cohort in `names`; StoreError for other settings, other cohorts with one name, other logits or labels, and for
    a cohort without a common run.
    """
    manifest = bundle.manifest
    of_bundle, of_first = ({"source": m.source, "phantom": m.phantom, **asdict(m.settings)} for m in (manifest, first))
    for key, ours in of_bundle.items():
        if ours != (theirs := of_first[key]):
            what = f"the bundles have different settings: {key} is {ours!r} and {theirs!r}"
            raise StoreError(what, "", _FIX_SETTINGS)
    for old in names:
        if old not in {cohort.name for cohort in manifest.cohorts}:
            raise ConfigError(f"the bundle has no cohort {old!r}", str(bundle.path), "`bench verify` lists its cohorts")
    images: dict[str, Mapping[str, str]] = {}
    for cohort in manifest.cohorts:
        images[cohort.name] = _add_cohort(merged, bundle, cohort, names.get(cohort.name, cohort.name))
    for runs, added_runs in ((manifest.runs, merged.runs), (manifest.derived, merged.derived)):
        for run in runs:
            _add_run(merged, bundle, run, names, images)
            added_runs.setdefault(run.id, run)
    for key, entries in manifest.links.items():
        merged.links.setdefault(key, {}).update(entries)
    added = MergedBundle(bundle.path.name, bundle.id, tuple(manifest.run_of), bundle.stated, signed_by)
    merged.bundles.append(added)


def _add_cohort(merged: Merge, bundle: OpenBundle, cohort: PlannedCohort, name: str) -> Mapping[str, str]:
    """Store a cohort of a bundle under `name`, or join it with the stored cohort of this name.

    Returns {image id in the bundle: image id in the store}; {} if the ids are the same. Raises StoreError if the two cohorts
    differ.
    """
    table = bundle.manifest.table(cohort)
    stored_cohort = merged.cohorts.get(name)
    if stored_cohort is None:
        merged.cohorts[name] = replace(cohort, name=name)
        merged.origin[name] = str(bundle.path)
        write_cohort(_path_of(merged, name), table, cohort.id)
        return {}
    if (stored_cohort.origin, stored_cohort.role) != (cohort.origin, cohort.role):
        other = merged.origin[name]
        fix = f"rename one of them: --rename {bundle.path.name}:{cohort.name}=NEW_NAME"
        raise StoreError(f"two cohorts have the name {name!r}: in {other} and in this bundle", "", fix)
    shared = [
        run.id
        for run in bundle.manifest.runs
        if (merged.store.run_dir(run.id) / "predictions" / f"{name}.parquet").is_file()
    ]
    source = bundle.manifest.store
    ours = [CheckedFolder(merged.store.run_dir(i)).table(f"predictions/{name}.parquet") for i in shared]
    theirs = [CheckedFolder(source.run_dir(i)).table(f"predictions/{cohort.name}.parquet") for i in shared]
    return same_images(read_cohort(_path_of(merged, name)), table, ours, theirs, name)


def _path_of(merged: Merge, name: str) -> Path:
    return merged.store.root / "cohorts" / f"{name}-{merged.cohorts[name].id}.parquet"


def _add_run(
    merged: Merge,
    bundle: OpenBundle,
    run: PlannedRun,
    names: Mapping[str, str],
    images: Mapping[str, Mapping[str, str]],
) -> None:
    """Store a run of a bundle, or add its predictions on further cohorts to the run that is already stored.

    `names` is explained in `add`. `images`: cohort in the bundle -> result of `_add_cohort`. Raises StoreError for other weights or logits.
    """
    source, target = bundle.manifest.store.run_dir(run.id), merged.store.run_dir(run.id)
    if not (target / "run.json").is_file():
        merged.store.begin(run.id, (source / "run.json").read_bytes())
        for path in sorted(source.glob("*.json")) + sorted(source.glob("*.parquet")):
            write_bytes(target / path.name, path.read_bytes())
        _add_scores(merged, bundle.manifest.scores / run.id, renamed=bool(names) or any(images.values()))
    elif (target / "seal.json").read_bytes() != (source / "seal.json").read_bytes():
        fix = "the run was trained twice: merge only one of the bundles, or merge them into separate stores"
        raise StoreError(f"run {run.id} has different weights in an earlier bundle", "", fix)
    for cohort in bundle.manifest.cohorts:
        name = names.get(cohort.name, cohort.name)
        frame = CheckedFolder(source).table(f"predictions/{cohort.name}.parquet")
        if renamed := images[cohort.name]:
            frame = frame.assign(image_id=frame["image_id"].map(renamed)).sort_values("image_id", ignore_index=True)
        path = target / "predictions" / f"{name}.parquet"
        if path.is_file():
            if not _same_logits(CheckedFolder(target).table(f"predictions/{name}.parquet"), frame):
                fix = "one bundle is wrong: ask their makers, or merge only one of them"
                raise StoreError(f"run {run.id} has different logits on {name} in an earlier bundle", "", fix)
            continue
        facts = table_facts(source / "predictions" / f"{cohort.name}.parquet") | {"cohort": merged.cohorts[name].id}
        write_table(path, frame, facts)
    CheckedFolder(target).mark_done()


def _add_scores(merged: Merge, source: Path, renamed: bool) -> None:
    """Copy the scores of a verified bundle. They are computed again if their KEY differs from that of the merged store."""
    if source.is_dir() and not renamed:
        shutil.copytree(source, merged.store.root / "scores" / source.name)


def _same_logits(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    a, b = (frame.sort_values("image_id", ignore_index=True) for frame in (first, second))
    return bool(a.equals(b))


def finish(merged: Merge, name: str, title: str, first: Manifest, cohorts: Sequence[str]) -> Manifest:
    """Write and return the manifest of the merged store. `name` and `title` are those of the merged grid.

    `cohorts`: the external cohorts to keep; empty means all. The internal cohort is always kept. `first`: the first
    bundle's manifest. Raises ConfigError if no run was tested on all kept cohorts.
    """
    ConfigError.check_choices("cohort", cohorts, [*merged.cohorts])
    chosen = [c for n, c in merged.cohorts.items() if not cohorts or n == first.source or n in cohorts]
    complete = [
        run_id for run_id in (*merged.runs, *merged.derived) if all(_tested(merged, run_id, c.name) for c in chosen)
    ]
    if not complete:
        sets = "; ".join(f"{i}: {', '.join(n for n in merged.cohorts if _tested(merged, i, n))}" for i in merged.runs)
        fix = f"choose cohorts with --cohort ({sets})"
        raise ConfigError("no run was tested on every cohort, so the runs cannot be compared", "bench merge", fix)
    manifest = replace(
        first,
        store=merged.store,
        name=name,
        title=title,
        planned_cohorts=tuple(chosen),
        runs=tuple(merged.runs.values()),
        derived=tuple(merged.derived.values()),
        bundles=tuple(merged.bundles),
        links=merged.links,
    )
    manifest.write()
    return manifest


def _tested(merged: Merge, run_id: str, cohort: str) -> bool:
    """Return whether the merged store has the run's predictions on a cohort."""
    return (merged.store.run_dir(run_id) / "predictions" / f"{cohort}.parquet").is_file()
