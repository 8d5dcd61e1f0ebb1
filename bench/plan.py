"""From a grid and data on disk to a plan: cohorts read and checked, runs resolved, what is left to do.

Everything that can be found wrong before anything trains is found here. No torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.config import RunConfig, differing, full
from bench.grid import Grid, split_of
from bench.ops import geometry
from bench.registry import Registry
from bench.run import Run, resolve
from bench.store import Progress, Store, canonical_json, short_hash, table_facts, write_bytes, write_table
from harmonize import labelmap
from harmonize.cache import ImageCache, open_cache
from harmonize.choose import sampled
from harmonize.cohort import Cohort, load
from harmonize.errors import ConfigError, DatasetError
from harmonize.findings import labels_yaml, space
from harmonize.phantom import PhantomSettings, write_cohorts
from harmonize.pixels import Geometry
from harmonize.specs import CohortSpec, read_data
from harmonize.splits import assign, shared_patients

EVALUATED_AT_HOME = ("val", "test", "expert_valid", "expert_test")


@dataclass(frozen=True, slots=True)
class CohortRef:
    """Where a worker finds one cohort: its table in the store and its images."""

    name: str
    id: str
    role: str  # home or away
    layout: str
    root: Path
    table: Path
    headline_split: str  # away: all or test


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid on given data: what to train and where to test."""

    grid: Grid
    store: Store
    cohorts: Mapping[str, Cohort]
    refs: tuple[CohortRef, ...]  # home first
    runs: tuple[Run, ...]
    command: str

    @property
    def phantom(self) -> bool:
        """Whether the cohorts are synthetic."""
        return next(iter(self.cohorts.values())).phantom


def make_plan(
    grid: Grid,
    registry: Registry,
    store: Store,
    data: Path | None,
    weights: Path | None,
    workers: int,
    command: str,
    progress: Progress,
) -> Plan:
    """Read and check the cohorts of a grid and resolve its runs; without data, make the phantom cohorts first.

    Raises ConfigError, DatasetError or SetupError for everything that would make the study wrong.
    """
    specs = read_data(data) if data else phantom_specs(grid, store, workers, progress)
    names = (grid.train_on, *grid.evaluate_on)
    for name in names:
        if name not in specs:
            fix = f"add {name!r} to the data, or take it out of the grid; found: {', '.join(specs) or 'nothing'}"
            raise ConfigError(f"the grid needs the cohort {name!r}", str(data), fix)
    cohorts: dict[str, Cohort] = {}
    for i, name in enumerate(names):
        progress(f"read {name}", i, len(names))
        cohorts[name] = load(cohort_spec(specs[name], grid), grid.configs[0].mapping, space(grid.configs[0].space))
    progress("read cohorts", len(names), len(names))
    if len({c.phantom for c in cohorts.values()}) > 1:
        raise ConfigError("phantom and real cohorts in one grid", str(data), "use one kind: their numbers never mix")
    for config in grid.configs:
        check_home(cohorts[grid.train_on], config)
    refs = tuple(_ref(store, registry, cohorts[name], "away" if i else "home") for i, name in enumerate(names))
    runs = tuple(resolve(config, registry, refs[0].id, weights) for config in grid.configs)
    return Plan(grid, store, cohorts, refs, runs, command)


def cohort_spec(spec: CohortSpec, grid: Grid) -> CohortSpec:
    """Return where and how a cohort is read: as the data file says, and at home as the grid says beyond it."""
    if spec.name != grid.train_on:
        return spec
    config = grid.configs[0]
    asked = differing(replace(config.cohort, limit=0))  # the limit is about training patients: home_split has it
    choice = replace(spec.choice, **asked)
    source = spec.label_source if config.label_source == "default" else config.label_source
    hybrid = spec.hybrid if source == spec.label_source else ()
    return replace(spec, choice=choice, label_source=source, hybrid=hybrid)


def phantom_settings(grid: Grid) -> PhantomSettings:
    """Return the synthetic cohorts that a grid asks for."""
    choice = grid.phantom
    images = {grid.train_on: choice.source, **dict.fromkeys(grid.evaluate_on, choice.external)}
    return PhantomSettings(
        seed=choice.seed,
        source=grid.train_on,
        images=images,
        size=choice.size,
        shortcut=choice.shortcut,
        finding=choice.finding,
    )


def phantom_root(grid: Grid, store: Store) -> Path:
    """Return where a grid's synthetic cohorts lie in the store."""
    return store.root / "phantom" / phantom_settings(grid).key


def phantom_specs(grid: Grid, store: Store, workers: int, progress: Progress) -> dict[str, CohortSpec]:
    """Make the phantom cohorts of a grid in the store, once, and return where they are."""
    known = labels_yaml()["datasets"]
    for name in (grid.train_on, *grid.evaluate_on):
        if name not in known or name == "table":
            fix = "give --data with that cohort; synthetic cohorts exist for chexpert, mimic, nih, padchest, vindr and brax"
            raise ConfigError(f"there is no phantom of {name!r}", grid.path, fix)
    root = phantom_root(grid, store)
    write_cohorts(root, phantom_settings(grid), workers=workers, progress=progress)
    return read_data(root)


def home_split(table: pd.DataFrame, config: RunConfig) -> "pd.Series[str]":
    """Return the split of each row of the training cohort; training patients beyond `cohort.limit` are in "unused"."""
    if (table["split"] == "test").all():  # a table without splits: at home its patients are divided like any other's
        table = table.assign(split="")
    split = assign(table, split_of(config))
    if config.cohort.limit:
        train = split == "train"
        kept = sampled(table.loc[train, "patient_id"], config.cohort.limit).reindex(table.index, fill_value=False)
        split = split.where(kept | ~train, "unused")
    return split


def check_home(cohort: Cohort, config: RunConfig) -> None:
    """Raise DatasetError when the training cohort cannot be trained on: an empty split, shared patients, one class only."""
    split = home_split(cohort.table, config)
    where = str(cohort.root)
    for part in ("train", "val", "test"):
        if not (split == part).any():
            fix = "give the cohort more patients, or change `split` in the grid"
            raise DatasetError(
                f"the {part} split of {cohort.name} is empty ({len(cohort.table)} images in all)", where, fix
            )
    shared_patients(cohort.table, split, where)
    for part in ("train", "val"):
        states = cohort.table.loc[split == part, list(space(config.space))]
        both = ((states == 1).any() & ((states == 0) | (states == -2)).any()).any()
        if not both:
            fix = "choose a cohort or label space with present and absent images of at least one finding"
            raise DatasetError(f"no finding has both classes in the {part} split of {cohort.name}", where, fix)


def _ref(store: Store, registry: Registry, cohort: Cohort, role: str) -> CohortRef:
    path = store.root / "cohorts" / f"{cohort.name}-{cohort.id}.parquet"
    if table_facts(path).get("id") != cohort.id:
        write_table(path, cohort.table, {"id": cohort.id})
    headline = str(registry.sections["datasets"][cohort.layout].facts.get("headline_split", "all"))
    if headline != "all" and not (cohort.table["split"] == headline).any():
        headline = "all"
    return CohortRef(cohort.name, cohort.id, role, cohort.layout, cohort.root, path, headline)


def geometry_of(run: Run) -> Geometry:
    """Return the cached half of a run's preprocessing: size, fit and CLAHE."""
    return geometry(run.preprocessing)


def open_images(
    store: Store, ref: CohortRef, geometry: Geometry, workers: int = 1, progress: Progress | None = None
) -> ImageCache:
    """Open the decoded images of a cohort, decoding what is not there yet."""
    table = pd.read_parquet(ref.table, columns=["image_id", "path"])
    folder = store.root / "cache" / short_hash(str(ref.root.resolve()).encode())  # two datasets may have one name
    return open_cache(ref.name, ref.root, table, geometry, folder, workers=workers, progress=progress)


def prepare(plan: Plan, workers: int, progress: Progress) -> dict[tuple[str, str], ImageCache]:
    """Decode every image that a run of the plan needs, once; return the caches by (cohort, geometry key)."""
    caches: dict[tuple[str, str], ImageCache] = {}
    for form in dict.fromkeys(geometry_of(run) for run in plan.runs):
        for ref in plan.refs:
            caches[ref.name, form.key] = open_images(plan.store, ref, form, workers, progress)
    for ref in plan.refs:
        bad = [
            plan.cohorts[ref.name].quarantine,
            *(c.quarantine for (name, _), c in caches.items() if name == ref.name),
        ]
        rows = pd.concat(bad).drop_duplicates()
        path = plan.store.root / "cohorts" / f"quarantine-{ref.name}.csv"
        if len(rows) or path.is_file():
            write_bytes(path, rows.to_csv(index=False).encode())
        doubts = plan.cohorts[ref.name].doubts
        path = plan.store.root / "cohorts" / f"doubts-{ref.name}.csv"
        if len(doubts) or path.is_file():
            write_bytes(path, doubts.to_csv(index=False).encode())
    return caches


def missing_predictions(plan: Plan, run: Run, caches: Mapping[tuple[str, str], ImageCache]) -> list[str]:
    """Return the cohorts whose predictions a run lacks or whose images have changed since."""
    folder, key = plan.store.run_dir(run.id), geometry_of(run).key
    names = []
    for ref in plan.refs:
        facts = table_facts(folder / "predictions" / f"{ref.name}.parquet")
        if facts.get("fingerprint") != caches[ref.name, key].fingerprint:
            names.append(ref.name)
    return names


def write_manifest(plan: Plan, caches: Mapping[tuple[str, str], ImageCache]) -> None:
    """Write grids/<name>.json: all that scoring and reporting need beside run folders and cohort tables."""
    cohorts: list[dict[str, Any]] = []
    for ref in plan.refs:
        cohort = plan.cohorts[ref.name]
        own = {key: c for (name, key), c in caches.items() if name == ref.name}
        cohorts.append(
            {
                "name": ref.name,
                "id": ref.id,
                "role": ref.role,
                "layout": ref.layout,
                "headline_split": ref.headline_split,
                "flow": dict(cohort.flow),
                "absent": len(cohort.quarantine),
                "unreadable": max((len(c.quarantine) for c in own.values()), default=0),
                "fingerprints": {key: c.fingerprint for key, c in sorted(own.items())},
                "facts": labelmap.facts(ref.layout, cohort.spec.label_source, cohort.table["split"]),
            }
        )
    runs = [
        {
            "id": run.id,
            "config": full(run.config),
            "changed": differing(run.config),
            "titles": {key: entry.title for key, entry in run.entries.items()},
            "family": run.entries["architecture"].facts.get("family", "other"),
            "size": run.preprocessing.get("size", 0),
        }
        for run in plan.runs
    ]
    grid = plan.grid
    manifest = {
        "schema": 1,
        "name": grid.name,
        "title": grid.title,
        "phantom": plan.phantom,
        "source": grid.train_on,
        "min_count": grid.min_count,
        "command": plan.command,
        "cohorts": cohorts,
        "runs": runs,
        "phantom_settings": full(grid.phantom) if plan.phantom else {},
    }
    write_bytes(plan.store.root / "grids" / f"{grid.name}.json", canonical_json(manifest))


def describe(runs: Sequence[Run], store: Store) -> list[str]:
    """Return one line per run: id, names, seed, state."""
    columns = [
        [
            r.id,
            r.config.architecture,
            r.config.optimizer,
            r.config.loss,
            r.config.uncertainty,
            r.config.preprocessing,
            f"seed {r.config.seed}",
            {"absent": "to do"}.get(state := store.state(r.id), state),
        ]
        for r in runs
    ]
    widths = [max(len(row[i]) for row in columns) for i in range(len(columns[0]))]
    return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in columns]
