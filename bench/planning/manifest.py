"""The manifest of a grid, stored as grids/<name>.json: the cohorts and runs that `bench run` planned.

Scoring and reporting start from the manifest, without the data files and the images.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from bench.config.registry import Entry
from bench.config.run_config import RunConfig
from bench.config.run_names import RunName
from bench.config.settings import IMAGE
from bench.planning.exposure import Exposure
from bench.planning.imported_run import dropped_models, kept_models
from bench.planning.jobs import analysis_jobs, analysis_key, predicted
from bench.planning.overlap import compared_cohorts
from bench.planning.plan import CohortRef, Plan
from bench.planning.planned_grid import (
    SCHEMA,
    ComparedCohorts,
    PlannedAnalysis,
    PlannedCohort,
    PlannedGrid,
    PlannedRun,
    PlannedSearch,
)
from bench.planning.stored_names import find_grid
from bench.store.checked_files import read_cohort, read_grid, write_grid
from bench.store.checked_folders import AnalysisFolder
from bench.store.file_integrity import json_object
from bench.store.store import Store, canonical_json, short_hash
from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.hospital_names import HospitalName, hospital_name
from harmonize.cohorts.label_mapping import grade, source_of
from harmonize.cohorts.pooled import HOSPITAL, hospital_of, joined_facts, members_of
from harmonize.errors import CxrError, StoreError
from reports import extensions, hooks
from reports.schemas.exposure import LABELS, NO

if TYPE_CHECKING:
    from harmonize.cache.cache import ImageCache  # this module imports OpenCV

SYNTHETIC = "synthetic"  # key of env.json: whether a program drew the training images
TIMM, TIMM_WEIGHTS = "https://github.com/huggingface/pytorch-image-models", "https://huggingface.co/timm/"


@dataclass(frozen=True, kw_only=True)  # without slots, because `ranked` and `names` are cached
class Manifest(PlannedGrid):
    """A stored manifest: runs, cohorts and settings of a grid, and the store that has its runs."""

    store: Store

    @property
    def by_image(self) -> Self:
        """Return the manifest with images as the unit of scores."""
        return replace(self, settings=replace(self.settings, unit=IMAGE))

    @property
    def of_bundles(self) -> bool:
        """Return whether the grid was merged from bundles, which have no features, native labels or original ids."""
        return self.bundles is not None

    @property
    def scores(self) -> Path:
        """Return the folder of the grid's scores. Scores that `bench score --as` wrote have a folder of their own."""
        folder = self.store.root / "scores"
        return folder / f"as-{self.name}" if self.scored_from else folder

    def uncounted(self, findings: Sequence[str]) -> list[str]:
        """Return the given findings that have no scores because `bench score --as --findings` left them out."""
        scored = self.settings.findings or findings
        return [finding for finding in findings if finding not in scored]

    def scored_findings(self, run: PlannedRun) -> tuple[str, ...]:
        """Return the findings of a run that the grid scores, in the order of the run's logits."""
        return tuple(finding for finding in run.config.findings if finding not in self.uncounted(run.config.findings))

    @cached_property
    def ranked(self) -> list[PlannedRun]:
        """Return the ranked runs: runs and panels that learn all findings of the grid; no network of a panel.

        A finding belongs to the grid if the grid scores it and at least one run learns it. If no run or panel learns all findings, the panels
        are ranked or, without panels, all runs. In a grid without trained runs, the imported models are ranked. A model
        that had seen an external hospital, or may have seen it, is never ranked.
        """
        if not self.runs:
            return [run for run in self.imported if not self.exposed(run)]
        learns = {run.id: set(self.scored_findings(run)) for run in self.runs}
        panels = [run for run in self.derived if run.kind == "panel"]
        learns |= {panel.id: set().union(*(learns[run_id] for run_id in panel.of)) for panel in panels}
        everything = set().union(*learns.values())
        in_panels = {run_id for panel in panels for run_id in panel.of}
        whole = [run for run in (*self.runs, *panels) if learns[run.id] == everything and run.id not in in_panels]
        ranked = whole or panels or list(self.runs)
        return [run for run in ranked if not self.exposed(run)]

    def exposure(self, run: PlannedRun) -> dict[str, dict[str, Any]]:
        """Return what a run or an imported model had seen of each cohort before it was trained here.

        The result is {cohort: {"answer", ...}}, see `Exposure.document`. A derived run has the strongest answers of its
        runs, without lists.
        """
        names = [cohort.name for cohort in (self.cohorts[0], *self.unseen)]
        if run.is_imported:
            stated = run.passport.get("answers", {})
            seen = {name: {"answer": LABELS if name in run.passport["seen"] else NO} for name in names}
            return {name: dict(stated.get(name, seen[name])) for name in names}
        if not run.kind:
            return {name: dict(run.exposure.get(name, {"answer": NO})) for name in names}
        parts = [self.exposure(part) for part in self.runs if part.id in run.of]
        return {name: {"answer": Exposure.strongest(part[name]["answer"] for part in parts)} for name in names}

    def exposed(self, run: PlannedRun) -> list[str]:
        """Return the external cohorts whose answer is not "no": the model had seen them, or nobody knows."""
        answers = self.exposure(run)
        return [cohort.name for cohort in self.external_to(run) if answers[cohort.name]["answer"] != NO]

    def external_to(self, run: PlannedRun) -> list[PlannedCohort]:
        """Return the external hospitals of a run: the external cohorts, and the hospital of the pool that the run leaves out."""
        return [hospital for hospital in self.unseen if hospital.name not in run.config.hospitals]

    def trained_at(self, *runs: PlannedRun) -> list[PlannedCohort]:
        """Return the hospitals on which all given runs trained: the internal cohort, or hospitals of the pool.

        If the runs share no hospital of the pool, the result is the whole pool as one cohort.
        """
        left_out = {run.config.leave_out for run in runs}
        return [hospital for hospital in self.pooled if hospital.name not in left_out] or self.cohorts[:1]

    @cached_property
    def names(self) -> dict[str, RunName]:
        """Return {run id: name} of the trained runs. A name has the settings that vary in this grid."""
        names = RunName.among([run.flat_config for run in self.runs], [run.titles for run in self.runs])
        return dict(zip([run.id for run in self.runs], names, strict=True))

    @property
    def imported(self) -> list[PlannedRun]:
        """Return the imported models."""
        return [run for run in self.derived if run.is_imported]

    @property
    def shared(self) -> RunConfig:
        """Return the configuration of the first run, for the settings that all runs share.

        Shared settings are, for example, internal hospital, label space, label mapping and splits. It leaves out a hospital
        only if all runs leave out this one.
        """
        config = (self.runs or self.imported)[0].config
        return replace(config, leave_out="") if self.leaves_one_out else config

    @cached_property
    def cohorts(self) -> list[PlannedCohort]:
        """Return the cohorts, the internal hospital first.

        A pool has the name, the texts and the counts of those of its hospitals on which at least one run trains.
        """
        internal, *external = self.planned_cohorts
        if self.pooled == list(internal.hospitals):
            return [internal, *external]
        flow: dict[str, int] = {}
        for hospital in self.pooled:
            flow |= {key: flow.get(key, 0) + number for key, number in hospital.flow.items()}
        absent, unreadable = (sum(getattr(h, key) for h in self.pooled) for key in ("absent", "unreadable"))
        facts = joined_facts([h.facts for h in self.pooled], [self.hospital(h) for h in self.pooled])
        return [replace(internal, flow=flow, absent=absent, unreadable=unreadable, facts=facts), *external]

    @property
    def external(self) -> list[PlannedCohort]:
        """Return the cohorts of external hospitals."""
        return [cohort for cohort in self.cohorts if cohort.role == "external"]

    @property
    def unseen(self) -> list[PlannedCohort]:
        """Return the hospitals that are external to any run: the external cohorts, and the hospitals of the pool that runs leave out."""
        return [*self.external, *self.left_out]

    @property
    def averaged(self) -> list[PlannedCohort]:
        """Return the hospitals of `unseen` in means over hospitals: hospitals of adults, or all if all are of children."""
        return [cohort for cohort in self.unseen if not cohort.of_children] or self.unseen

    @cached_property
    def _names_left_out(self) -> set[str]:
        """Return the hospitals that the runs leave out; the set has "" if a run leaves none out."""
        return {run.config.leave_out for run in self.runs}

    @cached_property
    def pooled(self) -> list[PlannedCohort]:
        """Return the hospitals of the pool on which at least one run trains, [] if the internal cohort is one hospital."""
        # no run trains on a hospital only if all runs leave out this hospital
        return [hospital for hospital in self.planned_cohorts[0].hospitals if self._names_left_out != {hospital.name}]

    @cached_property
    def left_out(self) -> list[PlannedCohort]:
        """Return the hospitals of the pool that a run leaves out: external hospitals of this run."""
        return [hospital for hospital in self.planned_cohorts[0].hospitals if hospital.name in self._names_left_out]

    @property
    def leaves_one_out(self) -> bool:
        """Return whether the runs leave out different hospitals, so that each is external to some runs only."""
        return len(self._names_left_out) > 1

    @property
    def places(self) -> list[tuple[str, str, str, str]]:
        """Return name, role, id and headline split (the split on the leaderboard) of each cohort."""
        return [(c.name, c.role, c.id, c.headline_split) for c in self.cohorts]

    def predicted(self, run_id: str) -> list[list[Any]]:
        """Return one row per cohort: name, role, id, headline split, and hashes of predicted images and weights."""
        return predicted(self.store, run_id, self.places)

    def scores_key(self, run_id: str, version: int) -> str:
        """Return a hash of everything on which the scores of a run depend. `version`: version of the scoring code."""
        settings = asdict(self.settings)
        inputs = [version, run_id, self.predicted(run_id), settings, settings.pop("findings") or "all"]
        inputs += filter(None, (module.key(self) for module in extensions.modules(hooks.Cohorts)))
        return short_hash(canonical_json(inputs), 32)

    def analysis_states(self) -> list[dict[str, Any]]:
        """Return one row for each planned analysis: name, run_id, options, state and reason.

        run_id is "" for an analysis of the cohorts. options has the options that differ from the defaults. state is
        done, failed or absent; reason is the damage or the error as a text, "" if there is none.
        """
        facts: dict[str, list[list[Any]]] = {}  # run id -> facts, read once for all analyses of a run
        rows = []
        for analysis in self.analyses:
            if analysis.run not in facts:
                facts[analysis.run] = self.predicted(analysis.run)
            key = analysis_key(analysis.identity, facts[analysis.run], analysis.per_run)
            row = {"name": analysis.name, "run_id": analysis.run if analysis.per_run else ""}
            state, reason = AnalysisFolder(self.store.root / analysis.folder).state(key)
            rows.append({**row, "options": dict(analysis.identity[2]), "state": state, "reason": reason})
        return rows

    def hospital(self, cohort: PlannedCohort) -> HospitalName:
        """Return the name of a cohort's hospital for readers; a phantom cohort does not get the name of a real hospital."""
        return hospital_name(cohort.name, cohort.layout, cohort.facts, self.phantom)

    @property
    def titles(self) -> dict[str, str]:
        """Return {cohort: title of its hospital for readers}."""
        return {cohort.name: self.hospital(cohort).title for cohort in (self.cohorts[0], *self.unseen)}

    def internal_name(self, *runs: PlannedRun) -> HospitalName:
        """Return the name of the hospital on which the runs trained. Several hospitals have a joined name (see `trained_at`)."""
        return HospitalName.joined([self.hospital(hospital) for hospital in self.trained_at(*runs)])

    def titles_of(self, *runs: PlannedRun) -> dict[str, str]:
        """Return `titles` and the titles of all hospitals of the pool; the internal cohort has the title of the runs' training hospitals."""
        of_pool = {hospital.name: self.hospital(hospital).title for hospital in self.pooled}
        return {**of_pool, **self.titles, self.source: self.internal_name(*runs).title}

    def licence(self, cohort: PlannedCohort) -> str:
        """Return the license of a cohort's images, "" if none is stated, "synthetic images" for a phantom cohort."""
        return "synthetic images" if self.phantom else cohort.facts.get("licence", "")

    def approximate(self, cohort: PlannedCohort, findings: Sequence[str]) -> list[str]:
        """Return the findings that the labels of the cohort's dataset match only approximately.

        The list is empty for phantom cohorts and for cohorts of the layout `table` (a user's own table).
        """
        if self.phantom or cohort.layout == "table":
            return []
        source = source_of(cohort.layout, cohort.facts)
        return [finding for finding in findings if grade(cohort.layout, finding, source) == "approximate"]

    def with_imported_models(self, before: PlannedGrid) -> tuple[Self, list[str]]:
        """Return the manifest with the imported models of an earlier manifest, `before`, and the names of dropped models.

        A model is dropped if it cannot be compared with the runs of this manifest.
        """
        kept = kept_models(self.store, before, self)
        return replace(self, derived=(*self.derived, *kept)), dropped_models(self.store, before, kept)

    def with_imported_model(self, model: PlannedRun) -> Self:
        """Return the manifest with another imported model. An imported model of the same name is replaced."""
        others = (run for run in self.derived if (run.kind, run.name) != (model.kind, model.name))
        return replace(self, derived=(*others, model))

    def write(self) -> None:
        """Write grids/<name>.json."""
        write_grid(self.store, self.name, self.document)

    def table(self, cohort: PlannedCohort) -> pd.DataFrame:
        """Return the harmonized table of a cohort, or the rows of a hospital of the pool.

        Raises StoreError when the table is missing or damaged, or differs from its checksum.
        """
        if not cohort.id:
            pool = self.table(self.cohorts[0])
            rows: pd.DataFrame = pool[pool[HOSPITAL] == cohort.name].reset_index(drop=True)
            return rows
        return read_cohort(self.store.root / "cohorts" / f"{cohort.name}-{cohort.id}.parquet")


def read_manifest(store: Store, name: str | None) -> Manifest:
    """Return the manifest of a grid; without a name, of the only grid in the store.

    Raises StoreError if the manifest is missing, damaged, of another schema version or differs from its checksum. Also
    raises StoreError if no name is given and the store has several grids.
    """
    name = find_grid(store, name)
    content = read_grid(store, name)
    where = str(store.root / "grids" / f"{name}.json")
    fix = "run the grid again: finished runs are not trained again"
    if content.get("schema") != SCHEMA:
        raise StoreError("the manifest has another schema version", where, fix)
    try:
        return Manifest.of(content, store=store)
    except ValueError as error:
        raise StoreError(f"the manifest is damaged: {error}", where, fix) from error


def planned(store: Store, run_id: str, grid: str | None) -> tuple[Manifest, PlannedRun]:
    """Return the manifest that contains a run, and the run.

    `grid` is the name of the grid; None means the first grid, by name, that contains the run; a grid that was scored again under
    another name comes last. Raises StoreError when no manifest contains the run.
    """
    names = [grid] if grid else sorted(path.stem for path in (store.root / "grids").glob("*.json"))
    manifests = [read_manifest(store, name) for name in names]
    for manifest in sorted(manifests, key=lambda manifest: bool(manifest.scored_from)):
        if run_id in manifest.run_of:
            return manifest, manifest.run_of[run_id]
    where = str(store.root / "grids")
    fix = "name the grid of the run, or run that grid again"
    raise StoreError(f"no grid of the store contains run {run_id}", where, fix)


def trained_on_synthetic(store: Store, run_id: str) -> bool:
    """Return whether the training images of a run were synthetic, as its env.json or a readable manifest states.

    env.json is read first, because a run folder may have been copied without its manifest. The manifests are also read,
    because the env.json of a run from a bundle does not state whether the images were synthetic.
    """
    with contextlib.suppress(OSError, ValueError):  # a damaged env.json is no error here: loading the run reports it
        if json_object(store.run_dir(run_id) / "env.json").get(SYNTHETIC):
            return True
    for path in (store.root / "grids").glob("*.json"):
        with contextlib.suppress(CxrError):  # `bench check --store` reports damaged grids
            manifest = read_manifest(store, path.stem)
            if manifest.phantom and any(run.id == run_id for run in manifest.runs):
                return True
    return False


def write_manifest(
    plan: Plan, caches: Mapping[tuple[str, str], "ImageCache"], duplicates: int
) -> tuple[Manifest, list[str]]:
    """Write grids/<name>.json. Return the manifest, and the names of imported models that are no longer in it.

    An imported model stays in the manifest while it can be compared with the planned runs. `caches`: (cohort, key of
    the geometry) -> decoded images. `duplicates`: number of internal images with the same pixels as another patient's
    image in another split.
    """
    manifest, dropped = planned_manifest(plan, caches, duplicates), list[str]()
    with contextlib.suppress(StoreError):  # a damaged manifest names no imported model
        manifest, dropped = manifest.with_imported_models(read_manifest(plan.store, plan.grid.name))
    for exposure in plan.exposures.values():
        exposure.write(plan.store)
    manifest.write()
    return read_manifest(plan.store, plan.grid.name), dropped


def planned_manifest(plan: Plan, caches: Mapping[tuple[str, str], "ImageCache"], duplicates: int) -> Manifest:
    """Return the manifest of a plan: all that scoring and reporting read besides run folders and cohort tables.

    The arguments are as for `write_manifest`.
    """
    cohorts = []
    for ref in plan.refs:
        cohort = plan.cohorts[ref.name]
        own = {key: c for (name, key), c in caches.items() if name == ref.name}
        cohorts.append(
            PlannedCohort(
                name=ref.name,
                id=ref.id,
                role=ref.role,
                layout=ref.layout,
                headline_split=ref.headline_split,
                flow=dict(cohort.flow),
                absent=cohort.flow["absent"],
                unreadable=max((len(c.quarantine) for c in own.values()), default=0),
                fingerprints={key: c.fingerprint for key, c in sorted(own.items())},
                no_lungs=_no_lungs(plan, own),
                facts=cohort.facts,
                hospitals=_hospitals(ref, cohort, own),
            )
        )
    runs = [
        PlannedRun(
            id=run.id,
            config=run.config,
            titles={key: entry.title for key, entry in run.entries.items()},
            family=run.entries["architecture"].facts.get("family", "other"),
            licence=run.weights_entry.weights_licence,
            corpus=run.weights_entry.facts.get("corpus", ""),
            exposure=plan.exposures[run.id].document if run.id in plan.exposures else {},
        )
        for run in plan.runs
    ]
    derived = [
        PlannedRun(
            id=derived.id,
            kind=derived.kind,
            name=derived.name,
            sources=derived.sources,
            of=tuple(run.id for run in derived.runs),
            config=derived.config,
            titles={"architecture": derived.runs[0].entries["architecture"].title},
        )
        for derived in plan.derived
    ]
    grid = plan.grid
    return Manifest(
        store=plan.store,
        name=grid.name,
        title=grid.title,
        phantom=plan.phantom,
        source=grid.train_on,
        settings=plan.settings,
        useful=grid.useful,
        duplicates=duplicates,
        compared=_compared(plan, images=bool(caches)),
        links=links_of(pair for run in plan.runs for pair in run.entries.items()),
        command=plan.command,
        planned_cohorts=tuple(cohorts),
        runs=tuple(runs),
        derived=tuple(derived),
        references=grid.references,
        analyses=_analyses(plan),
        label_sources=grid.label_sources,
        training_sources=grid.training_sources,
        phantom_settings=grid.phantom if plan.phantom else None,
        search=_search(plan),
        extras={key: fact for module in extensions.modules(hooks.Cohorts) for key, fact in module.facts(plan).items()},
    )


def _search(plan: Plan) -> PlannedSearch | None:
    """Return the search of a plan's grid, None for a grid without `search`."""
    search = plan.grid.search
    if search is None:
        return None
    id_of = {run.config: run.id for run in plan.runs}
    settings = tuple(search.drawn(trial) for trial in range(search.trials))
    return PlannedSearch(
        **search.document, settings=settings, runs=tuple(tuple(id_of[c] for c in trials) for trials in search.configs)
    )


def _hospitals(ref: CohortRef, cohort: Cohort, caches: Mapping[str, "ImageCache"]) -> tuple[PlannedCohort, ...]:
    """Return the hospitals of a pool, () for another cohort.

    `caches`: key of the geometry -> decoded images of the pool.
    """
    if not ref.headline_splits:
        return ()
    splits = dict(ref.headline_splits)
    unreadable = [Counter(hospital_of(ref.name, cache.quarantine["image_id"])) for cache in caches.values()]
    return tuple(
        PlannedCohort(
            name=member.name,
            layout=member.layout,
            headline_split=splits[member.name],
            flow=dict(member.flow),
            absent=member.flow["absent"],
            unreadable=max((number[member.name] for number in unreadable), default=0),
            facts=member.facts,
        )
        for member in members_of(cohort)
    )


def _compared(plan: Plan, *, images: bool) -> ComparedCohorts:
    """Return the results of the comparison of cohorts. `images`: whether images were compared."""
    internal, *external = plan.cohorts.values()
    return ComparedCohorts(tuple(compared_cohorts(internal, external)), images, plan.overlaps, plan.left_out)


def links_of(entries: Iterable[tuple[str, Entry]]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the publications of registry entries: {configuration key: {entry: {"paper", "code" or "weights": text}}}.

    `entries`: pairs (configuration key, registry entry). A network of timm has the page of its pinned weights.
    """
    links: dict[str, dict[str, dict[str, str]]] = {}
    for key, entry in entries:
        of_timm = entry.use.partition(":")[2] == "timm_model"
        texts = {
            "paper": entry.paper,
            "code": str(entry.facts.get("code", "") or (TIMM if of_timm else "")),
            "weights": f"{TIMM_WEIGHTS}{entry.options['name']}" if of_timm else "",
        }
        stated = {kind: text for kind, text in texts.items() if text}
        if stated:
            links.setdefault(key, {})[entry.name] = stated
    return links


def _no_lungs(plan: Plan, caches: Mapping[str, "ImageCache"]) -> dict[str, float]:
    """Return {title of the preprocessing: share of images without detected lungs} for preprocessing that crops to lungs.

    `caches`: key of the geometry -> decoded images of one cohort.
    """
    rates = {}
    for run in plan.runs:
        cache = caches.get(run.geometry.key) if caches else None
        if cache and (rate := cache.fallback_rate) is not None:
            rates[run.entries["preprocessing"].title] = rate
    return rates


def _analyses(plan: Plan) -> tuple[PlannedAnalysis, ...]:
    """Return the planned analyses."""
    return tuple(
        PlannedAnalysis(
            name=job.analysis.name,
            identity=tuple(job.analysis.identity),
            run=job.run.id,
            per_run=job.analysis.kind.per_run,
            folder=str(job.folder.relative_to(plan.store.root)),
        )
        for job in analysis_jobs(plan, plan.runs)
    )
