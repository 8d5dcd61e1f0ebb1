"""From a grid and data on disk to a plan: cohorts read and checked, runs resolved, what is left to do.

Everything that can be found wrong before anything trains is found here. No torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.grid import Grid
from bench.config.registry import Entry, Registry
from bench.config.run_config import RunConfig, differing
from bench.planning.auxiliary_targets import check_targets
from bench.planning.derived_runs import Derived, derived_runs, missing_source
from bench.planning.protocol import CohortRole, internal_split
from bench.planning.run import Run, resolve
from bench.store.store import Progress, Store, table_facts, write_table
from harmonize.cohorts.cohort import Cohort, load
from harmonize.cohorts.specs import GOLD, CohortSpec, read_data, with_gold
from harmonize.cohorts.splits import shared_patients
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import UNMAPPED_CODE, check_source, labels_yaml, space

if TYPE_CHECKING:
    from harmonize.phantom import PhantomSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRef(CohortRole):
    """A cohort for a worker: its role, its table in the store, and the root of its images."""

    name: str
    id: str
    layout: str
    root: Path
    table: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid on given data: what to train and where to test."""

    grid: Grid
    store: Store
    cohorts: Mapping[str, Cohort]
    refs: tuple[CohortRef, ...]  # the internal hospital first
    runs: tuple[Run, ...]
    command: str
    bins: int  # of the calibration error
    metrics: tuple[Entry, ...] = ()  # those of the registry that are scored beside the built-in ones
    derived: tuple[Derived, ...] = ()  # made of the runs: TTA first, then ensembles, which may be of TTA rows

    @property
    def phantom(self) -> bool:
        """Whether the cohorts are synthetic."""
        return next(iter(self.cohorts.values())).phantom


def states(table: pd.DataFrame, findings: Sequence[str]) -> NDArray[np.int8]:
    """Return the label states [N, K] of a cohort table, null as -3."""
    columns = [table[f].fillna(UNMAPPED_CODE).to_numpy(np.int8) for f in findings]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0), np.int8)


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
    specs = with_gold(specs, names)
    for name in names:
        if name not in specs:
            fix = f"add {name!r} to the data, or take it out of the grid; found: {', '.join(specs) or 'nothing'}"
            raise ConfigError(f"the grid needs the cohort {name!r}", str(data), fix)
    _check_apart([specs[name] for name in names], str(data))
    first = grid.configs[0]
    cohorts: dict[str, Cohort] = {}
    for i, name in enumerate(names):
        progress(f"read {name}", i, len(names))
        cohorts[name] = load(cohort_spec(specs[name], grid), first.mapping, space(first.space))
    progress("read cohorts", len(names), len(names))
    if len({c.phantom for c in cohorts.values()}) > 1:
        raise ConfigError("phantom and real cohorts in one grid", str(data), "use one kind: their numbers never mix")
    for config in grid.configs:
        _check_internal(cohorts[grid.train_on], config)
    refs = tuple(_ref(store, registry, cohorts[name], "external" if i else "internal") for i, name in enumerate(names))
    runs = tuple(resolve(config, registry, refs[0].id, weights) for config in grid.configs)
    bins = int(registry.find("metrics", "ece", "metrics").options.get("bins", 15))
    derived = derived_runs(runs, grid.tta, grid.ensembles)
    return Plan(grid, store, cohorts, refs, runs, command, bins, registry.custom_metrics, derived)


def _check_apart(specs: Sequence[CohortSpec], where: str) -> None:
    """Raise ConfigError when an external cohort has the files of the internal cohort (the first): it would be tested on its own."""
    internal, *external = specs
    for spec in external:
        if (spec.root.resolve(), spec.table) == (internal.root.resolve(), internal.table):
            fix = "give each cohort its own root (or table)"
            raise ConfigError(f"the cohorts {internal.name!r} and {spec.name!r} are the same files", where, fix)


def cohort_spec(spec: CohortSpec, grid: Grid) -> CohortSpec:
    """Return where and how a cohort is read: as the data file says, and at the internal hospital as the grid says beyond it."""
    if spec.name != grid.train_on:
        return spec
    config = grid.configs[0]
    asked = differing(replace(config.cohort, limit=0))  # the limit is about training patients: the protocol has it
    choice = replace(spec.choice, **asked)
    source = spec.label_source if config.label_source == "default" else config.label_source
    hybrid = grid.label_sources or (spec.hybrid if source == spec.label_source else ())
    for _, other in grid.label_sources:
        check_source(spec.layout, other, f"{grid.path}: label_sources")
    return replace(spec, choice=choice, label_source=source, hybrid=hybrid)


def phantom_settings(grid: Grid) -> "PhantomSettings":
    """Return the synthetic cohorts that a grid asks for."""
    from harmonize.phantom import PhantomSettings

    choice = grid.phantom
    external = (name.removesuffix(GOLD) for name in grid.evaluate_on)
    images = {grid.train_on: choice.source, **dict.fromkeys(external, choice.external)}
    try:
        return PhantomSettings(
            seed=choice.seed,
            source=grid.train_on,
            images=images,
            size=choice.size,
            shortcut=choice.shortcut,
            finding=choice.finding,
        )
    except ValueError as error:
        raise ConfigError(
            str(error), f"{grid.path}: phantom", "see `bench data phantom --help` for the ranges"
        ) from error


def phantom_root(grid: Grid, store: Store) -> Path:
    """Return where a grid's synthetic cohorts lie in the store."""
    return store.root / "phantom" / phantom_settings(grid).key


def phantom_specs(grid: Grid, store: Store, workers: int, progress: Progress) -> dict[str, CohortSpec]:
    """Make the phantom cohorts of a grid in the store, once, and return where they are."""
    known = labels_yaml()["datasets"]
    for name in (grid.train_on, *grid.evaluate_on):
        if name.removesuffix(GOLD) not in known or name == "table":
            fix = "give --data with that cohort; synthetic cohorts exist for chexpert, mimic, nih, padchest, vindr and brax"
            raise ConfigError(f"there is no phantom of {name!r}", grid.path, fix)
    from harmonize.phantom import write_cohorts  # OpenCV draws them: not for what reads scores

    root = phantom_root(grid, store)
    write_cohorts(root, phantom_settings(grid), workers=workers, progress=progress)
    return read_data(root)


def _check_internal(cohort: Cohort, config: RunConfig) -> None:
    """Raise DatasetError when the training cohort cannot be trained on: an empty split, shared patients, one class only."""
    split = internal_split(cohort.table, config)
    where = str(cohort.root)
    for part in ("train", "val", "test"):
        if not (split == part).any():
            fix = "give the cohort more patients, or change `split` in the grid"
            raise DatasetError(
                f"the {part} split of {cohort.name} is empty ({len(cohort.table)} images in all)", where, fix
            )
    shared_patients(cohort.table, split, where)
    for part in config.schedule.watched:
        if not (split == part).any():
            fix = "choose on val: leave schedule.stop_on and schedule.select_on out"
            raise DatasetError(f"{cohort.name} has no {part} split to stop or select on", where, fix)
    for part in ("train", *config.schedule.watched):
        state_NK = states(cohort.table[split == part], config.findings)
        silent = part == "train" and config.blank == "ignore"  # what is not mentioned teaches nothing; uncertain may
        absent = (0, -1) if silent else (0, -2)
        both = ((state_NK == 1).any(axis=0) & np.isin(state_NK, absent).any(axis=0)).any()
        if not both:
            fix = "choose a cohort or label space with present and absent images of at least one finding"
            fix += ", or `blank: zero`" if silent else ""
            raise DatasetError(f"no finding has both classes in the {part} split of {cohort.name}", where, fix)
    check_targets(cohort.table[split == "train"], config, where)


def _ref(store: Store, registry: Registry, cohort: Cohort, role: str) -> CohortRef:
    path = store.root / "cohorts" / f"{cohort.name}-{cohort.id}.parquet"
    if table_facts(path).get("id") != cohort.id:
        write_table(path, cohort.table, {"id": cohort.id})
    headline = str(registry.sections["datasets"][cohort.layout].facts.get("headline_split", "all"))
    if headline != "all" and not (cohort.table["split"] == headline).any():
        headline = "all"
    return CohortRef(
        name=cohort.name,
        id=cohort.id,
        role=role,
        layout=cohort.layout,
        root=cohort.root,
        table=path,
        headline_split=headline,
    )


def describe(runs: Sequence[Run], store: Store) -> list[str]:
    """Return one line per run: id, names, seed, state."""
    single = any(r.config.finding for r in runs)
    columns = [
        [
            r.id,
            *([r.config.finding] if single else []),
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
    return _aligned(columns)


def describe_derived(derived: Sequence[Derived], store: Store) -> list[str]:
    """Return one line per derived run: id, kind, name, how many runs it is made of, state or what it waits for."""
    rows = []
    for each in derived:
        state = store.state(each.id)
        said = state if state != "absent" else missing_source(store, each.sources) or "to do"
        rows.append([each.id, each.kind, each.name, f"of {', '.join(each.sources)}", said])
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
