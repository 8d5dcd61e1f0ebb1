"""An imported model as a run of the store: its id, its row in a grid's manifest, its data exposure.

It is not trained here. Like a derived run it has a `kind` in its run.json: it is scored like a run, is listed apart from the
ranking, and cannot be trained again. In a grid without runs, the imported models that have not seen an external hospital
are ranked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from bench.config.imported_model import Declared
from bench.config.registry import Entry
from bench.config.run_config import RunConfig, differing
from bench.planning.run import Run
from bench.store.store import Store, canonical_json, short_hash
from harmonize.datasets import LAYOUTS
from harmonize.errors import ConfigError

KIND = "external"
SHARED = ("train_on", "space", "mapping", "label_source", "cohort", "split")  # what a model takes over of a grid's runs
FORMATS = {
    "timm": "a timm checkpoint", "onnx": "an ONNX file", "export": "a torch.export file", "function": "a function",
    "predictions": "predictions alone",
}  # fmt: skip


def config_of(name: str, grid: RunConfig) -> RunConfig:
    """Return the configuration of an imported model: findings and cohorts of the grid, no training."""
    grid = grid.of_panel
    shared = {key: getattr(grid, key) for key in SHARED}
    return RunConfig(name, optimizer="none", loss="none", uncertainty="none", preprocessing="own", **shared)


def external_run(declared: Declared, config: RunConfig, internal_id: str, weights: str) -> Run:
    """Return the run; its id hashes what decides the numbers, `weights` being the hash of what it is made of."""
    content = {
        "schema": 1, "kind": KIND, "sources": [], "config": differing(config), "model": declared.document, "home": internal_id,
        "weights": weights,
    }  # fmt: skip
    facts = declared.input.facts if declared.input else {}
    entries = {
        "architecture": Entry("architectures", declared.name, title=declared.name),
        "preprocessing": Entry("preprocessing", "own", facts=facts),
        "uncertainty": Entry("uncertainty", "none"),
    }
    document = canonical_json(content)
    return Run(short_hash(document), config, entries, document, None)


def row(run: Run, declared: Declared, cohorts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a manifest says of the model; `passport` is what its owner says, and which cohorts here that means.

    Raises ConfigError for a cohort that is neither here nor a dataset that is known.
    """
    seen = declared.exposure
    known = dict.fromkeys([*(str(c["name"]) for c in cohorts), *(name for name in LAYOUTS if name != "table")])
    for name in seen.cohorts:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            fix = f"{hint}known: {', '.join(known)}; anything else goes under `others`"
            raise ConfigError(f"no cohort {name!r}", f"{declared.where}: trained_on.cohorts", fix)
    overlap = [str(c["name"]) for c in cohorts if {str(c["name"]), str(c["layout"])} & set(seen.cohorts)]
    passport = {**json.loads(canonical_json(asdict(seen))), "format": declared.kind, "seen": overlap}
    return {
        "id": run.id, "kind": KIND, "name": declared.name, "sources": [], "of": [], "config": asdict(run.config),
        "titles": {"architecture": declared.name}, "passport": passport,
    }  # fmt: skip


def kept(store: Store, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the imported models that a grid keeps when it is planned again.

    They must be in the store, and cohorts, findings and splits must be those of their evaluation.
    """
    places = [[[c["name"], c["id"], c["role"]] for c in each["cohorts"]] for each in (before, after)]
    if places[0] != places[1]:
        return []
    return [
        each
        for each in before["derived"]
        if each["kind"] == KIND
        and store.state(each["id"]) == "done"
        and all(comparable(each["config"], run["config"]) for run in after["runs"][:1])
    ]


def dropped(store: Store, before: Mapping[str, Any], stays: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the imported models in the store that leave the grid."""
    ids = {each["id"] for each in stays}
    had = [each for each in before["derived"] if each["kind"] == KIND and each["id"] not in ids]
    return [str(each["name"]) for each in had if store.state(each["id"]) == "done"]


def comparable(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Return whether two configurations have the same findings, labels and splits."""
    limitless = [{**each, "cohort": {**each["cohort"], "limit": 0}} for each in (one, two)]
    return all(limitless[0][key] == limitless[1][key] for key in SHARED)


def planned_row(content: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the derived rows of a manifest with a model added; a model of the same name is replaced."""
    return [*(each for each in content["derived"] if (each["kind"], each["name"]) != (KIND, new["name"])), dict(new)]
