"""Represent an imported model as a run of the store: its id, its entry in a grid's manifest, its data exposure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from bench.config.registry import Entry
from bench.config.run_config import RunConfig, differing
from bench.config.seen import OTHERS
from bench.extensions.imported.declaration import ModelDeclaration
from bench.planning.exposure import Exposure
from bench.planning.imported_run import SHARED
from bench.planning.planned_grid import IMPORTED, PlannedCohort, PlannedRun
from bench.planning.run import RunSpec
from bench.store.store import canonical_json, short_hash
from harmonize.datasets import LAYOUTS
from harmonize.errors import ConfigError


def config_of(name: str, grid: RunConfig) -> RunConfig:
    """Return the configuration of an imported model: the SHARED settings of the grid's runs, and no training."""
    grid = grid.of_panel
    shared = {key: getattr(grid, key) for key in SHARED}
    return RunConfig(name, optimizer="none", loss="none", uncertainty="none", preprocessing="own", **shared)


def external_run(declared: ModelDeclaration, config: RunConfig, internal_id: str, weights: str) -> RunSpec:
    """Return the run of an imported model. `weights`, the hash of the model's weights or files, is part of the run id."""
    content = {
        "schema": 1,
        "kind": IMPORTED,
        "sources": [],
        "config": differing(config),
        "model": declared.document,
        "internal": internal_id,
        "weights": weights,
    }
    facts = declared.input.facts if declared.input else {}
    entries = {
        "architecture": Entry("architectures", declared.name, title=declared.name),
        "preprocessing": Entry("preprocessing", "own", facts=facts),
        "uncertainty": Entry("uncertainty", "none"),
    }
    document = canonical_json(content)
    return RunSpec(short_hash(document), config, entries, document, None)


def planned_model(
    run: RunSpec,
    declared: ModelDeclaration,
    cohorts: Sequence[PlannedCohort],
    exposure: Exposure | None = None,
) -> PlannedRun:
    """Return an imported model as a run of a manifest. `cohorts` are the cohorts of the manifest.

    Its `passport` has the declared data exposure of the model; the key `seen` has the cohorts of this grid whose
    data the model had seen. If the owner answers for each hospital, `exposure` has the answers, and the passport has the
    key `answers`. The key `stated` has date, paper, code and contact, if the owner states them.
    Raises ConfigError if the model declares a cohort that is neither in the grid nor a known dataset.
    """
    seen = declared.exposure
    known = [place.name for cohort in cohorts for place in (cohort, *cohort.hospitals)]
    cohort_names = dict.fromkeys([*known, *(name for name in LAYOUTS if name != "table")])
    for name in (*seen.cohorts, *(name for name in seen.seen if name != OTHERS)):
        if name not in cohort_names:
            names = ", ".join(cohort_names)
            fix = f"{ConfigError.hint(name, cohort_names)}choose from: {names}; list other data under `others`"
            what = f"no cohort {name!r}"
            raise ConfigError(what, f"{declared.where}: trained_on.{'seen' if seen.seen else 'cohorts'}", fix)
    overlap = [cohort.name for cohort in cohorts if _names_of(cohort) & set(seen.cohorts)]
    stated = {key: value for key, value in asdict(replace(seen, seen={})).items() if key != "seen"}
    passport = {**json.loads(canonical_json(stated)), "format": declared.kind, "seen": overlap}
    if declared.stated:
        passport["stated"] = dict(declared.stated)
    if exposure is not None:
        planned = {cohort.name for cohort in cohorts}
        passport["answers"] = {name: answer for name, answer in exposure.document.items() if name in planned}
    titles = {"architecture": declared.name}
    return PlannedRun(id=run.id, kind=IMPORTED, name=declared.name, config=run.config, titles=titles, passport=passport)


def _names_of(cohort: PlannedCohort) -> set[str]:
    """Return the names and layouts of a cohort and of its hospitals, if it is a pool. A model that had seen one had seen the pool."""
    return {text for place in (cohort, *cohort.hospitals) for text in (place.name, place.layout)}
