"""From the members of a bundle to a store that ordinary scoring reads. Everything is checked on the way; nothing is copied unread."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.grid import PhantomChoice
from bench.config.registry import Registry
from bench.config.run_config import NAMED, RunConfig, from_dict
from bench.planning.imported_run import KIND
from bench.planning.manifest import SCHEMA, Manifest, upgraded
from bench.planning.run import read_run
from bench.scoring.patient_groups import SEXES
from bench.sharing.bundle.archive import read_json, refused
from bench.sharing.bundle.imported_models import fits_passport, same_model
from bench.sharing.bundle.pseudonyms import image_names, kinds, patient_names, table_id
from bench.sharing.bundle.tables import facts_in, read_columns
from bench.store.checksums import mark_done
from bench.store.store import Store, canonical_json, short_hash, table_facts, write_bytes, write_table
from harmonize.cohorts import label_mapping as labelmap
from harmonize.datasets import LAYOUTS, SPLITS, VIEWS
from harmonize.errors import CxrError, StoreError
from harmonize.labels.findings import STATES, labels_yaml, space

KEPT = (
    "schema", "name", "title", "phantom", "source", "min_count", "bins", "mapping", "threshold", "counted", "metrics", "doubles",
    "command", "cohorts", "runs", "derived", "references", "analyses", "phantom_settings", "label_sources", "bundles",
)  # fmt: skip
OPTIONAL = ("threshold", "counted", "label_sources")
COHORT = (
    "name", "id", "origin", "tag", "role", "layout", "headline_split", "flow", "absent", "unreadable", "fingerprints", "no_lungs", "facts",
)  # fmt: skip
RUN = ("id", "config", "titles", "family", "licence", "corpus")
DERIVED = ("id", "kind", "name", "sources", "of", "config", "titles")
_NUMBER, _TEXT, _TEXTS = (int, float, type(None)), (str,), (list, dict)
RECORDS: dict[str, dict[str, tuple[type, ...]]] = {
    "trained": {**dict.fromkeys(("best_epoch", "gradient_evaluations", "peak_memory_bytes", "micro_batch"), _NUMBER),
                "unlearnt": _TEXTS, "stopped": _TEXT, "compiled": _TEXT, "elsewhere": _TEXT},
    "cost": {**dict.fromkeys(("deployed_params", "flops", "image_size", "images_per_second", "macs", "params", "peak_memory_bytes",
                              "trainable_params"), _NUMBER), "not_counted": _TEXTS, "throughput_device": _TEXT},
    "seal": dict.fromkeys(("weights_after", "weights_before"), _TEXT),
    "env": {**dict.fromkeys(("commit", "device", "diff_sha256", "machine"), _TEXT), "seconds": _NUMBER, "versions": _TEXTS,
            "hardware": _TEXTS},
}  # fmt: skip
HISTORY = {
    "epoch": "count", "train_loss": "number", "seconds": "number", "val_auroc": "number", "val_loss": "number", "lr": "number",
    "gradient_evaluations": "count",
}  # fmt: skip
COHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_HEX = re.compile(r"[0-9a-f]{6,64}")


def read_bundle(folder: Path, root: Path, where: str, registry: Registry) -> Manifest:
    """Write what an unpacked bundle holds as a store at `root` and return its manifest, unscored.

    Raises StoreError for whatever does not fit: keys, names, types, an id that is not the hash of what it names, labels that are
    no label states, predictions of images that the cohort lacks, metrics that this installation's registry does not have.
    """
    try:
        content = upgraded(dict(read_json(folder / "manifest.json", where)))
        store = Store.open(root)
        _check_manifest(content, where, registry)
        for cohort in content["cohorts"]:
            _cohort(folder, store, cohort, where)
        for run in (*content["runs"], *content["derived"]):
            _run(folder, store, content, run, where)
        _check_runs(store, content, where)
        write_bytes(root / "grids" / f"{content['name']}.json", canonical_json(content))
        return Manifest(store, content)
    except StoreError:
        raise
    except (CxrError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        said = error.what if isinstance(error, CxrError) else f"{type(error).__name__}: {error}"
        raise refused(f"its contents do not fit together ({said[:300]})", where) from error


def _must(condition: object, what: str, where: str) -> None:
    if not condition:
        raise refused(what, where)


def _check_manifest(content: Mapping[str, Any], where: str, registry: Registry) -> None:
    keys = set(content)
    _must(keys <= set(KEPT) and keys >= set(KEPT) - set(OPTIONAL), "manifest.json has other keys than one has", where)
    _must(
        content["schema"] == SCHEMA,
        f"manifest.json has schema {content['schema']!r}, this version reads {SCHEMA}",
        where,
    )
    _must(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", content["name"]), "the grid's name cannot name a folder", where)
    for key in ("title", "command", "source", "mapping"):
        _must(isinstance(content[key], str) and len(content[key]) <= 2000, f"manifest.json: {key} is no text", where)
    for key in ("min_count", "bins", "doubles"):
        _must(type(content[key]) is int and content[key] >= 0, f"manifest.json: {key} is no number", where)
    _must(
        content["mapping"] in labelmap.MAPPINGS and type(content["phantom"]) is bool,
        "manifest.json: odd mapping",
        where,
    )
    _must(content["references"] == [] and content["analyses"] == [], "it claims what no bundle has", where)
    if content["phantom_settings"]:
        from_dict(PhantomChoice, content["phantom_settings"], "phantom_settings")
    names = [cohort["name"] for cohort in content["cohorts"]]
    _must(len({name.casefold() for name in names}) == len(names) > 0, "two cohorts have one name", where)
    roles = [cohort["role"] for cohort in content["cohorts"]]
    _must(
        roles == ["internal", *["external"] * (len(names) - 1)] and names[0] == content["source"],
        "the internal cohort is not first",
        where,
    )
    _check_texts(content, where)
    known = {e.name: json.loads(canonical_json(asdict(e))) for e in registry.custom_metrics}
    for metric in content["metrics"]:
        if known.get(metric["name"]) != metric:
            fix = "install the plug-in that brings the metric, or name its registry with --registry; code named by a bundle is not run"
            raise refused(f"it is scored with the metric {metric['name']!r}, which is not known here", where, fix)


def _check_texts(value: Any, where: str, depth: int = 0) -> None:
    """Raise StoreError for a text that is long or has characters that a terminal would obey."""
    _must(depth < 12, "manifest.json is nested too deeply", where)
    if isinstance(value, str):
        _must(len(value) <= 2000 and value.isprintable(), "a text is too long or has control characters", where)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            _check_texts(key, where, depth + 1)
            _check_texts(each, where, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check_texts(each, where, depth + 1)


def _cohort(folder: Path, store: Store, cohort: Mapping[str, Any], where: str) -> None:
    """Write the table of a cohort as the store has it, with names in place of ordinals."""
    name = cohort["name"]
    _must(set(cohort) == set(COHORT), f"cohort {name!r} has other facts than one has", where)
    _must(COHORT_NAME.fullmatch(name) and name != "external", f"{name!r} cannot be a cohort's name", where)
    _must(
        cohort["layout"] in LAYOUTS and cohort["headline_split"] in ("all", *SPLITS),
        f"{name}: odd layout or split",
        where,
    )
    _must(_HEX.fullmatch(cohort["tag"]) and _HEX.fullmatch(cohort["origin"]), f"{name}: odd tag or origin", where)
    for key, kind in (("flow", int), ("fingerprints", str), ("facts", str), ("no_lungs", float)):
        _must(_holds(cohort[key], kind), f"{name}: {key} is no list of words and values", where)
    _must(type(cohort["absent"]) is int and type(cohort["unreadable"]) is int, f"{name}: odd counts", where)
    path = folder / "cohorts" / f"{name}.parquet"
    _must(path.is_file(), f"the table of {name} is absent", where)
    _must(set(facts_in(path, where)) == {"columns"}, f"the table of {name} has notes that no table has", where)
    columns = facts_in(path, where).get("columns", "").split("\x1f")
    head = ["image", "patient", "split", "view", "sex", "device", "age"]
    every = {finding for names in labels_yaml()["spaces"] for finding in space(names)}
    read = [c.partition(":")[2] if c.partition(":")[0] in labelmap.MAPPINGS else c for c in columns[len(head) :]]
    _must(
        columns[: len(head)] == head and set(read) <= every and len(set(columns)) == len(columns),
        f"{name}: odd columns",
        where,
    )
    frame = read_columns(path, kinds(columns), where)
    _must(table_id(frame) == cohort["id"], f"the id of {name} is not that of its table: a cell was changed", where)
    _must(
        frame["image"].is_unique and frame["image"].is_monotonic_increasing and (frame["image"] >= 0).all(),
        f"{name}: an image is there twice",
        where,
    )
    for column, words in (("split", SPLITS), ("view", VIEWS), ("sex", ("", *SEXES))):
        allowed = {*words, ""} if column == "split" and cohort["role"] == "external" else set(words)
        _must(set(frame[column]) <= allowed, f"{name}: a {column} is none", where)
    age = frame["age"].dropna()
    _must((age % 10 == 5).all() and age.between(5, 95).all(), f"{name}: ages finer than decades", where)
    for column in columns[len(head) :]:
        _must(set(frame[column].dropna()) <= set(STATES), f"{name}: {column} holds no label states", where)
    table = frame.drop(columns=["image", "patient"])
    table.insert(0, "patient_id", patient_names(cohort["tag"], frame["patient"].to_numpy(np.int32)))
    table.insert(0, "image_id", image_names(cohort["tag"], frame["image"].to_numpy(np.int32)))
    write_table(store.root / "cohorts" / f"{name}-{cohort['id']}.parquet", table, {"id": cohort["id"]})


def _holds(value: Any, kind: type) -> bool:
    """Whether a value is a mapping of words to values of one type."""
    return isinstance(value, dict) and all(type(each) is kind for each in value.values())


def _run(folder: Path, store: Store, content: Mapping[str, Any], run: dict[str, Any], where: str) -> None:
    """Write a run's records and predictions as the store has them."""
    run_id, there = run["id"], folder / "runs" / str(run["id"])
    kind = "kind" in run
    elsewhere = run.get("kind") == KIND
    wanted = (*DERIVED, "passport") if elsewhere else DERIVED if kind else RUN
    fits = set(run) == set(wanted) and (not elsewhere or fits_passport(run["passport"]))
    _must(fits, f"run {run_id!r} has other facts than one has", where)
    _must(re.fullmatch(r"[0-9a-f]{12}", run_id), f"{run_id!r} is no run's id", where)
    titled = set(run["titles"]) == ({"architecture"} if kind else set(NAMED)) and _holds(run["titles"], str)
    _must(
        titled
        and all(isinstance(run[key], str) for key in set(run) - {"config", "titles", "sources", "of", "passport"}),
        f"{run_id}: odd names",
        where,
    )
    document = read_json(there / "run.json", where)
    _must(
        short_hash(canonical_json(document)) == run_id, f"run.json of {run_id} is not what its id is the hash of", where
    )
    config = from_dict(RunConfig, run["config"], f"run {run_id}")
    run["config"] = asdict(config)  # keys that came after the bundle stand at their defaults
    here = store.begin(run_id, canonical_json(document))
    for name, keys in RECORDS.items():
        record = read_json(there / f"{name}.json", where)
        known = all(isinstance(value, keys.get(key, ())) for key, value in record.items())
        _must(known, f"{name}.json of {run_id} has other facts than one has", where)
        _check_texts(record, where)
        write_bytes(here / f"{name}.json", canonical_json(record))
    seal = read_json(there / "seal.json", where)
    _must(seal["weights_before"] == seal["weights_after"], f"the seal of {run_id} is broken", where)
    if not kind:
        _must(
            not facts_in(there / "history.parquet", where),
            f"the history of {run_id} has notes that no table has",
            where,
        )
        write_table(here / "history.parquet", read_columns(there / "history.parquet", HISTORY, where))
    for cohort in content["cohorts"]:
        _predictions(there, here, store, cohort, run_id, config, seal["weights_after"], kind and not elsewhere, where)
    mark_done(here)


def _predictions(
    there: Path, here: Path, store: Store, cohort: Mapping[str, Any], run_id: str, config: RunConfig, weights: str, derived: bool, where: str
) -> None:  # fmt: skip
    path = there / "predictions" / f"{cohort['name']}.parquet"
    name = f"the predictions of {run_id} on {cohort['name']}"
    _must(path.is_file(), f"{name} are absent", where)
    facts = facts_in(path, where)
    _must(
        set(facts) == {"fingerprint", "weights", "cohort", "logits"} and facts["cohort"] == cohort["id"],
        f"{name} are of another cohort",
        where,
    )
    _must(derived or facts["weights"] == weights, f"{name} are of other weights than the seal says", where)
    frame = read_columns(path, {"image": "ordinal", **dict.fromkeys(config.findings, "logit")}, where)
    _must(
        table_id(frame) == facts["logits"],
        f"{name} are not those that were exported: a logit or an image was changed",
        where,
    )
    known = pd.read_parquet(store.root / "cohorts" / f"{cohort['name']}-{cohort['id']}.parquet", columns=["image_id"])
    ids = image_names(cohort["tag"], frame.pop("image").to_numpy(np.int32))
    _must(
        len(set(ids)) == len(ids) and set(ids) <= set(known["image_id"]),
        f"{name} are of images that its table lacks",
        where,
    )
    _must(np.isfinite(frame.to_numpy(np.float32)).all(), f"{name} are not all finite", where)
    frame.insert(0, "image_id", ids)
    write_table(here / "predictions" / f"{cohort['name']}.parquet", frame, facts)


def made_of(manifest: Manifest, run_id: str) -> str:
    """Return what the scores of a run rest on, as a hash: the labels and the logits on each cohort."""
    folder = manifest.store.run_dir(run_id) / "predictions"
    facts = [table_facts(folder / f"{cohort['name']}.parquet") for cohort in manifest.cohorts]
    return short_hash(canonical_json([[f["cohort"], f["logits"]] for f in facts]))


def _check_runs(store: Store, content: Mapping[str, Any], where: str) -> None:
    """Raise StoreError for runs that their documents contradict."""
    internal = content["cohorts"][0]["origin"]
    configs = {}
    for run in content["runs"]:
        stored = read_run(store, run["id"])
        _must(
            asdict(stored.config) == run["config"],
            f"the configuration of {run['id']} is not that of its run.json",
            where,
        )
        document = store.read_json(run["id"][:2], run["id"], "run.json")
        _must(
            document["home"] == internal,
            f"run {run['id']} was trained on another cohort than {content['source']}",
            where,
        )
        configs[run["id"]] = stored.config
    foreign = any(run["kind"] == KIND for run in content["derived"])
    _must(len(configs) == len(content["runs"]) and (configs or foreign), "it holds no run, or one twice", where)
    for run in content["derived"]:
        document = store.read_json(run["id"][:2], run["id"], "run.json")
        same = document["kind"] == run["kind"] and document["sources"] == run["sources"]
        if run["kind"] == KIND:
            _must(same_model(run, document, internal), f"model {run['id']} is not what its run.json says", where)
            continue
        _must(
            same and set(run["of"]) <= set(configs),
            f"derived run {run['id']} is of other runs than its run.json says",
            where,
        )
        config = configs[run["of"][0]].of_panel if run["kind"] == "panel" else configs[run["of"][0]]
        _must(asdict(config) == run["config"], f"the configuration of {run['id']} is not that of its runs", where)
