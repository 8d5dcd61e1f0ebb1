"""Make the plan of a grid: read and check the cohorts, then make the runs.

Every error that can be detected before training is raised here. This module does not import torch.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.config.settings import Settings
from bench.planning.auxiliary_targets import check_targets
from bench.planning.derived_runs import DerivedRun, derived_runs
from bench.planning.exposure import Exposure
from bench.planning.external_overlap import compare_patients, find_equal_tables
from bench.planning.overlap import refuse_internal_again, refuse_shared_patients
from bench.planning.planned_grid import Overlap
from bench.planning.protocol import CohortRole
from bench.planning.read_cohorts import read_cohorts
from bench.planning.run import RunSpec
from bench.planning.training_groups import check_groups
from bench.store.checked_files import cohort_problem, read_cohort, write_cohort
from bench.store.store import Store
from harmonize.cohorts.cohort import Cohort, training_column
from harmonize.cohorts.pool_names import is_pool
from harmonize.cohorts.pooled import Place, hospital_of, members_of, places_of
from harmonize.cohorts.specs import read_data
from harmonize.cohorts.splits import refuse_two_splits
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import space
from harmonize.labels.states import states
from harmonize.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRef(CohortRole):
    """A cohort as a worker gets it: its role, the path of its table in the store, and the root folder of its images."""

    name: str
    id: str
    layout: str
    root: Path
    table: Path
    synthetic: bool = False  # whether a program drew the images
    # where the hospitals of the cohort are: one place, or one for each hospital of a pool
    places: tuple[Place, ...] = ()

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return all or some columns of the cohort table. Raises StoreError if the table differs from its checksum."""
        return read_cohort(self.table, columns)


@dataclass(frozen=True, slots=True)
class Plan:
    """A grid on given data: the cohorts, and the runs to train and to derive."""

    grid: Grid
    store: Store
    cohorts: Mapping[str, Cohort]
    refs: tuple[CohortRef, ...]  # the internal hospital first
    runs: tuple[RunSpec, ...]
    command: str
    settings: Settings  # how the grid is scored
    derived: tuple[DerivedRun, ...] = ()  # TTA runs first, then panels, then ensembles
    overlaps: tuple[Overlap, ...] = ()  # one for each pair of external cohorts
    left_out: tuple[Overlap, ...] = ()  # the first cohort of an overlap contains the second, which is not in the plan
    # run id -> what its starting weights had seen, if anything
    exposures: Mapping[str, Exposure] = field(default_factory=dict)

    @property
    def phantom(self) -> bool:
        """Return whether the cohorts are synthetic."""
        return next(iter(self.cohorts.values())).phantom

    @property
    def scored_tables(self) -> dict[str, pd.DataFrame]:
        """Return {name of an external cohort: the scored rows of its table}."""
        tables = {ref.name: self.cohorts[ref.name].table for ref in self.refs[1:]}
        return {ref.name: tables[ref.name][ref.headline_rows(tables[ref.name]["split"])] for ref in self.refs[1:]}

    def without(self, repeated: Sequence[Overlap]) -> "Plan":
        """Return the plan without the second cohort of each of these overlaps, because the first cohort contains it."""
        names = {overlap.cohorts[1] for overlap in repeated}
        return replace(
            self,
            cohorts={name: cohort for name, cohort in self.cohorts.items() if name not in names},
            refs=tuple(ref for ref in self.refs if ref.name not in names),
            overlaps=tuple(overlap for overlap in self.overlaps if not names & set(overlap.cohorts)),
            left_out=(*self.left_out, *repeated),
        )

    def heading(self, runs: Sequence[RunSpec]) -> str:
        """Return the name of the grid, and the number of the given runs in each state, as one line."""
        words = {"done": "done", "started": "started", "failed": "failed", "absent": "to do"}
        states = Counter[str](self.store.state(run.id) for run in runs)
        counts = ", ".join(f"{states[state]} {word}" for state, word in words.items() if states[state])
        return f"grid {self.grid.name}: {len(runs)} runs ({counts})"

    def select(self, pattern: str | None) -> tuple[list[RunSpec], list[DerivedRun]]:
        """Return the selected runs and the selected derived runs. Without a pattern, all are selected.

        A run is selected if its id begins with the pattern, if its architecture matches the pattern, or if a derived
        run that matches (by id or name) needs the run. A derived run is selected if all runs that it needs are
        selected. Raises ConfigError if no run is selected.
        """
        if not pattern:
            return list(self.runs), list(self.derived)
        named = [d for d in self.derived if d.id.startswith(pattern) or fnmatchcase(d.name, pattern)]
        needed = {run.id for derived in named for run in derived.runs}
        chosen = [
            run
            for run in self.runs
            if run.id in needed or run.id.startswith(pattern) or fnmatchcase(run.config.architecture, pattern)
        ]
        if not chosen:
            fix = "give the first digits of a run id or an architecture; see --dry-run"
            raise ConfigError(f"no run matches {pattern!r}", "--only", fix)
        ids = {run.id for run in chosen}
        return chosen, [d for d in self.derived if ids.issuperset(run.id for run in d.runs)]


def training_labels(table: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Return training rows of the internal cohort with the labels on which a run trains.

    In a grid that compares label sources, the table has label columns of each source; the result has the labels of the
    run's source. In other grids, the table is returned unchanged. Validation and test labels are the same for all runs,
    so this function is not used for them.
    """
    names = {str(finding): training_column(config.label_source, str(finding)) for finding in space(config.space)}
    return table.assign(**{finding: table[name] for finding, name in names.items() if name in table})


def make_plan(
    grid: Grid,
    registry: Registry,
    store: Store,
    data: Path | None,
    weights: Path | None,
    workers: int,
    command: str,
    progress: Progress,
    *,
    tables_alone: bool = False,
) -> Plan:
    """Read and check the cohorts of a grid and make its runs; without data, make the phantom cohorts first.

    With `tables_alone`, the cohorts need no image files, because their predictions exist already.
    Raises ConfigError, DatasetError or SetupError when grid and data do not fit.
    """
    cohorts = read_cohorts(grid, store, data, workers, progress, tables_alone=tables_alone)
    internal, *external = cohorts.values()
    training = members_of(internal)
    for i, hospital in enumerate(training):
        refuse_internal_again(hospital, [*training[i + 1 :], *external])
    refs = tuple(_ref(store, registry, cohort, grid.train_on) for cohort in cohorts.values())
    _check_training(refs[0], cohorts[grid.train_on], grid.configs)
    runs = tuple(RunSpec.of(config, registry, refs[0].id, weights) for config in grid.configs)
    for run in {(run.group_column, _training_data(run.config), run.config.schedule): run for run in runs}.values():
        if run.group_column:
            _check_groups(refs[0], cohorts[grid.train_on], run)
    images = {name: cohort.table["image_id"].astype(str).tolist() for name, cohort in cohorts.items()}
    for given in {given for run in runs if (given := run.entries["architecture"].given_features)}:
        given.check_tables(runs, grid.train_on, images)
    derived = derived_runs(runs, grid.tta, grid.ensembles, grid.choose)
    for i, hospital in enumerate(training):
        refuse_shared_patients(store, hospital, [*training[i + 1 :], *external])
    bins = int(registry.find("metrics", "ece", "metrics").options.get("bins", 15))
    for ref in refs:
        if cohort_problem(ref.table):  # the table is missing, damaged or without a checksum
            write_cohort(ref.table, cohorts[ref.name].table, ref.id)
    settings = replace(grid.settings, bins=bins, mapping=runs[0].config.mapping, custom_metrics=registry.custom_metrics)
    plan = Plan(grid, store, cohorts, refs, runs, command, settings, derived)
    # once for all runs with the same starting weights, because a list of images may have a million rows
    start_of = {run.id: (run.config.architecture, run.config.weights) for run in runs}
    one_of_each = {start_of[run.id]: run for run in runs}
    named = read_data(data) if data else ()  # `seen` may name cohorts that this grid does not have
    found = {start: Exposure.of_run(run, cohorts, registry.path, weights, named) for start, run in one_of_each.items()}
    declared = {  # given vectors that saw nothing are stated, too: without starting weights, they would look random
        (name, start)
        for (name, start), run in one_of_each.items()
        if not found[name, start].saw_nothing
        or (start == "none" and not Exposure.saw_no_data(start, run.entries["architecture"]))
    }
    exposures = {run_id: found[start] for run_id, start in start_of.items() if start in declared}
    plan = replace(plan, exposures=exposures)
    plan = plan.without(find_equal_tables(external, plan.scored_tables))
    return replace(plan, overlaps=compare_patients(list(plan.cohorts.values())[1:], plan.scored_tables))


def _training_data(config: RunConfig) -> tuple[object, ...]:
    """Return the settings of a run that select and label its training data.

    Runs with equal settings need only one check of the internal cohort.
    """
    data = (
        config.split,
        config.drawn_by,
        config.cohort,
        config.schedule.watched,
        config.leave_out,
        config.label_source,
    )
    return (*data, config.findings, config.blank, config.auxiliary_heads, config.added_head)


def _check_training(ref: CohortRef, cohort: Cohort, configs: Sequence[RunConfig]) -> None:
    """Raise DatasetError when a run cannot be trained or tested on the internal cohort, or if no recipe could be ranked.

    A recipe whose runs leave out different hospitals is ranked only if all these runs learn the same findings.
    """
    # recipe -> one row for each fold: the hospital that is left out, and the findings
    folds: dict[tuple[object, ...], list[tuple[str, _Learnable]]] = {}
    # one check for all runs with the same training data, because a split of a large cohort takes more than a second
    for config in {_training_data(config): config for config in configs}.values():
        found = config.leave_out, _check_internal(ref, cohort, config)
        folds.setdefault(_training_data(replace(config, leave_out="")), []).append(found)
    problems = [_unequal(of_recipe) for of_recipe in folds.values()]
    if all(problems):
        fix = (
            "choose hospitals that label the same findings, or write one grid for each hospital that is left out, "
            "with `leave_out:` in `base` and without `leave_one_out`"
        )
        raise DatasetError(f"{problems[0]}, so nothing could be ranked", str(cohort.root), fix)


class _Learnable(NamedTuple):
    """Findings of a run: `surely` have both classes as `_absent` counts them, `possibly` under some policy for uncertain labels."""

    surely: frozenset[str]
    possibly: frozenset[str]


def _unequal(folds: Sequence[tuple[str, _Learnable]]) -> str:
    """Return a sentence if a run of a recipe learns findings that another cannot learn, "" otherwise."""
    learned = frozenset().union(*(fold.surely for _, fold in folds))
    for left_out, fold in folds:
        if missing := learned - fold.possibly:
            return f"the run that leaves out {left_out} cannot learn {', '.join(sorted(missing))}, but other runs do"
    return ""


def _check_internal(ref: CohortRef, cohort: Cohort, config: RunConfig) -> _Learnable:
    """Return the findings that a run can learn. Raise DatasetError when it cannot be trained or tested on the internal cohort.

    The reasons are an empty split, a patient in two splits, a split in which no finding has both present and absent
    images, or missing targets of auxiliary heads. In a pool, every hospital needs its own splits.
    """
    split = ref.split_of(cohort.table, config)
    where = str(cohort.root)
    hospital = hospital_of(cohort.name, cohort.table["image_id"])
    for name in config.hospitals:
        _check_splits(name, cohort.table[hospital == name], split[hospital == name], config, where)
    labels = training_labels(cohort.table[split == "train"], config)
    check_targets(labels, config, where)
    if config.added_head:  # a zero-shot network needs no image of a finding
        return _Learnable(frozenset(config.findings), frozenset(config.findings))
    state_NK = states(labels, config.findings)
    surely = _in_both_classes(state_NK, config.findings, (1,), _absent(config))
    return _Learnable(surely, _in_both_classes(state_NK, config.findings, (1, -1), (0, -1, -2)))


def _check_splits(hospital: str, table: pd.DataFrame, split: "pd.Series[str]", config: RunConfig, where: str) -> None:
    """Raise DatasetError when a split of a training hospital is empty, shares a patient or lacks a class."""
    for name in ("train", "val", "test"):
        if not (split == name).any():
            fix = "give the cohort more patients, or change `split` in the grid"
            raise DatasetError(f"the {name} split of {hospital} is empty ({len(table)} images in all)", where, fix)
    refuse_two_splits(table, split, where)
    for name in config.schedule.watched:
        if not (split == name).any():
            fix = "remove schedule.stop_on and schedule.select_on: the split val is then used"
            raise DatasetError(f"{hospital} has no {name} split, which schedule.stop_on or select_on names", where, fix)
    for name in ("train", *config.schedule.watched):
        rows = table[split == name]
        in_training = name == "train"
        state_NK = states(training_labels(rows, config) if in_training else rows, config.findings)
        absent = _absent(config) if in_training else (0, -2)
        if not _in_both_classes(state_NK, config.findings, (1,), absent):
            fix = "choose a cohort or label space with present and absent images of at least one finding"
            fix += ", or `blank: zero`" if in_training and config.blank == "ignore" else ""
            raise DatasetError(f"no finding has both classes in the {name} split of {hospital}", where, fix)


def _absent(config: RunConfig) -> tuple[int, int]:
    """Return the states that count as absent in training.

    With `blank: ignore`, "not mentioned" (-2) does not count, but "uncertain" (-1) may count.
    """
    return (0, -1) if config.blank == "ignore" else (0, -2)


def _in_both_classes(
    state_NK: NDArray[np.int8], findings: Sequence[str], present: Sequence[int], absent: Sequence[int]
) -> frozenset[str]:
    """Return the findings with a state of `present` in some images, and a state of `absent` in others."""
    both_K = np.logical_and(np.isin(state_NK, present).any(axis=0), np.isin(state_NK, absent).any(axis=0)).tolist()
    return frozenset(finding for finding, both in zip(findings, both_K, strict=True) if both)


def _headline_split(registry: Registry, cohort: Cohort) -> str:
    """Return the headline split of a cohort: "all" if the dataset names none, or if the split that it names has no image."""
    named = str(registry.sections["datasets"][cohort.layout].facts.get("headline_split", "all"))
    return named if (cohort.table["split"] == named).any() else "all"


def _check_groups(ref: CohortRef, cohort: Cohort, run: RunSpec) -> None:
    """Raise DatasetError when the internal cohort does not have the groups that the algorithm of a run compares."""
    trained = np.isin(hospital_of(cohort.name, cohort.table["image_id"]), run.config.hospitals)
    is_training_N = ref.split_of(cohort.table, run.config).to_numpy(str)[trained] == "train"
    batch = run.config.schedule.effective_batch_size(int(is_training_N.sum()))
    check_groups(cohort.table[trained], is_training_N, run.group_column, batch, str(cohort.root))


def _ref(store: Store, registry: Registry, cohort: Cohort, internal: str) -> CohortRef:
    """Return the cohort as a worker gets it: role, headline split, paths of table and images.

    `internal` is the name of the internal cohort.
    """
    members = members_of(cohort) if is_pool(cohort.name) else ()
    return CohortRef(
        name=cohort.name,
        id=cohort.id,
        role="internal" if cohort.name == internal else "external",
        layout=cohort.layout,
        root=cohort.root,
        table=store.root / "cohorts" / f"{cohort.name}-{cohort.id}.parquet",
        headline_split=_headline_split(registry, cohort),
        headline_splits=tuple((member.name, _headline_split(registry, member)) for member in members),
        synthetic=cohort.phantom,
        places=places_of(cohort),
    )
