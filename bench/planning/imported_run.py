"""Represent an imported model as a run of the store: its id, its row in a grid's manifest, its data exposure.

Like a derived run, an imported model has a `kind` in its run.json. The kind says that the model is scored like a run
but cannot be trained here. Imported models are listed below the ranking. Only a grid without trained runs ranks the
imported models, except those that were trained on an external hospital.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from bench.config.imported_model import ModelDeclaration
from bench.config.registry import Entry
from bench.config.run_config import RunConfig, differing
from bench.config.seen import OTHERS
from bench.planning.exposure import Exposure
from bench.planning.run import Run
from bench.store.store import Store, canonical_json, short_hash
from harmonize.datasets import LAYOUTS
from harmonize.errors import ConfigError

KIND = "external"
# settings that an imported model takes over from the grid's runs
SHARED = ("train_on", "space", "mapping", "label_source", "cohort", "split")
FORMATS = {
    "timm": "a timm checkpoint",
    "onnx": "an ONNX file",
    "export": "a torch.export file",
    "function": "a function",
    "predictions": "predictions alone",
    "run": "a run of a different store",
}


def config_of(name: str, grid: RunConfig) -> RunConfig:
    """Return the configuration of an imported model: the SHARED settings of the grid's runs, and no training."""
    grid = grid.of_panel
    shared = {key: getattr(grid, key) for key in SHARED}
    return RunConfig(name, optimizer="none", loss="none", uncertainty="none", preprocessing="own", **shared)


def external_run(declared: ModelDeclaration, config: RunConfig, internal_id: str, weights: str) -> Run:
    """Return the run of an imported model. `weights`, the hash of the model's weights or files, is part of the run id."""
    content = {
        "schema": 1,
        "kind": KIND,
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
    return Run(short_hash(document), config, entries, document, None)


def row(
    run: Run,
    declared: ModelDeclaration,
    cohorts: Sequence[Mapping[str, Any]],
    exposure: Exposure | None = None,
    golden: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the row of an imported model in a manifest. `cohorts` are the cohorts of the manifest.

    The key `passport` has the declared data exposure of the model; its key `seen` has the cohorts of this grid whose
    data the model had seen. If the owner answers for each hospital, `exposure` has the answers, and the passport has the
    key `answers`. `golden`: record of the comparison with golden outputs, None if model.yaml names none. Raises ConfigError
    if the model declares a cohort that is neither in the grid nor a known dataset.
    """
    seen = declared.exposure
    known = [name for c in cohorts for name in (str(c["name"]), *c.get("hospitals", ()))]
    cohort_names = dict.fromkeys([*known, *(name for name in LAYOUTS if name != "table")])
    for name in (*seen.cohorts, *(name for name in seen.seen if name != OTHERS)):
        if name not in cohort_names:
            names = ", ".join(cohort_names)
            fix = f"{ConfigError.hint(name, cohort_names)}choose from: {names}; list other data under `others`"
            raise ConfigError(
                f"no cohort {name!r}", f"{declared.where}: trained_on.{'seen' if seen.seen else 'cohorts'}", fix
            )
    overlap = [str(c["name"]) for c in cohorts if _names_of(c) & set(seen.cohorts)]
    stated = {key: value for key, value in asdict(replace(seen, seen={})).items() if key != "seen"}
    passport = {**json.loads(canonical_json(stated)), "format": declared.kind, "seen": overlap}
    if exposure is not None:
        planned = {str(c["name"]) for c in cohorts}
        passport["answers"] = {name: answer for name, answer in exposure.document.items() if name in planned}
    if golden is not None:
        passport["golden"] = dict(golden)
    return {
        "id": run.id,
        "kind": KIND,
        "name": declared.name,
        "sources": [],
        "of": [],
        "config": asdict(run.config),
        "titles": {"architecture": declared.name},
        "passport": passport,
    }


def _names_of(cohort: Mapping[str, Any]) -> set[str]:
    """Return the names and layouts of a cohort and of its hospitals, if it is a pool. A model that had seen one had seen the pool."""
    hospitals = {**cohort.get("hospitals", {}), str(cohort["name"]): cohort}
    return {text for name, facts in hospitals.items() for text in (str(name), str(facts["layout"]))}


def kept_models(store: Store, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the manifest rows of the imported models that a grid keeps when the grid is planned again.

    `before` and `after` are the contents of the old and of the new manifest. A model is kept if it is in the store and
    if the grid still has the cohorts, findings and splits with which the model was evaluated.
    """
    old, new = ([[c["name"], c["id"], c["role"]] for c in content["cohorts"]] for content in (before, after))
    if old != new:
        return []
    return [
        model
        for model in before["derived"]
        if model["kind"] == KIND
        and store.state(model["id"]) == "done"
        and all(comparable(model["config"], run["config"]) for run in after["runs"][:1])
    ]


def dropped_models(store: Store, before: Mapping[str, Any], kept: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the imported models of the old manifest `before` that are in the store but not in `kept`."""
    ids = {row["id"] for row in kept}
    left = [row for row in before["derived"] if row["kind"] == KIND and row["id"] not in ids]
    return [str(row["name"]) for row in left if store.state(row["id"]) == "done"]


def comparable(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Return whether two configurations have equal SHARED settings; `cohort.limit` (training patients) may differ."""
    first, second = ({**config, "cohort": {**config["cohort"], "limit": 0}} for config in (one, two))
    return all(first[key] == second[key] for key in SHARED)


def planned_row(content: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the derived runs and imported models of a manifest together with a new imported model.

    An imported model of the same name is replaced.
    """
    return [*(row for row in content["derived"] if (row["kind"], row["name"]) != (KIND, new["name"])), dict(new)]
