"""Check the files of a bundle and write them as a store, so that the usual scoring code can read them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.config.tta_and_ensembles import TTA
from bench.extensions.bundles.archive import read_json, refused
from bench.extensions.bundles.imported_models import is_exposure, is_passport, same_model
from bench.extensions.bundles.limits import COHORT_NAME
from bench.extensions.bundles.pseudonyms import image_names, kinds, patient_names, table_id
from bench.extensions.bundles.recompute import with_titles
from bench.extensions.bundles.tables import facts_in, read_columns
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import SCHEMA, PlannedCohort, PlannedRun
from bench.planning.run import RunSpec, read_run
from bench.scoring.patient_groups import SEXES
from bench.scoring.scored_split import READINGS
from bench.scoring.studies import IMAGE
from bench.store.checked_files import read_cohort, write_cohort
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, canonical_json, short_hash, table_facts, write_bytes, write_table
from harmonize.cohorts import label_mapping
from harmonize.datasets import LAYOUTS, SPLITS, VIEWS
from harmonize.errors import CxrError, StoreError
from harmonize.labels.findings import STATES, labels_yaml, space
from reports.schemas.exposure import NO

BUNDLE_SCHEMA = 1  # increase this number when the format of bundles changes
DERIVED_KINDS = ("tta", "ensemble", "panel")
_NUMBER, _TEXT, _TEXTS = (int, float, type(None)), (str,), (list, dict)
RECORDS: dict[str, dict[str, tuple[type, ...]]] = {  # JSON file of a run, without ".json" -> key -> allowed types
    "trained": {
        **dict.fromkeys(("best_epoch", "gradient_evaluations", "peak_memory_bytes", "micro_batch"), _NUMBER),
        "unlearnt": _TEXTS,
        "stopped": _TEXT,
        "compiled": _TEXT,
        "elsewhere": _TEXT,
        "given_vectors": _TEXT,
        "probe": (dict,),
        "zero_shot": _TEXT,
        "lora": (dict,),
    },
    "cost": {
        **dict.fromkeys(
            (
                "deployed_params",
                "flops",
                "image_size",
                "images_per_second",
                "macs",
                "params",
                "peak_memory_bytes",
                "trainable_params",
            ),
            _NUMBER,
        ),
        "not_counted": _TEXTS,
        "throughput_device": _TEXT,
    },
    "seal": dict.fromkeys(("weights_after", "weights_before"), _TEXT),
    "env": {
        **dict.fromkeys(("commit", "device", "diff_sha256", "machine"), _TEXT),
        "seconds": _NUMBER,
        "versions": _TEXTS,
        "hardware": _TEXTS,
    },
}
HISTORY = {  # column of history.parquet -> kind, a key of `tables.KINDS`
    "epoch": "count",
    "train_loss": "number",
    "seconds": "number",
    "val_auroc": "number",
    "val_loss": "number",
    "lr": "number",
    "gradient_evaluations": "count",
}
_HEX = re.compile(r"[0-9a-f]{6,64}")


def read_bundle(folder: Path, root: Path, where: str, registry: Registry) -> Manifest:
    """Check the unpacked bundle in `folder`, write its content as a store at `root`, and return the manifest. Nothing is scored.

    Titles of runs come from `registry` if it has the registry entries that the run names. `where`: path of the bundle, for error
    messages. Raises StoreError for invalid keys, names, types or label states, and for a run id that is not the hash of run.json.
    Also raises StoreError for predictions of other images than those of the cohort, and for metrics that `registry` does not have.
    """
    try:
        store = Store.open(root)
        manifest = _checked(read_json(folder / "manifest.json", where), store, where, registry)
        for cohort in manifest.planned_cohorts:
            _cohort(folder, store, cohort, where)
        for run in (*manifest.runs, *manifest.derived):
            _run(folder, manifest, run, where)
        _check_runs(manifest, where)
        manifest = with_titles(manifest, registry)
        manifest.write()
        return manifest
    except StoreError:
        raise
    except (CxrError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        reason = error.what if isinstance(error, CxrError) else f"{type(error).__name__}: {error}"
        raise refused(f"its content is inconsistent ({reason[:300]})", where) from error


def _require(condition: object, what: str, where: str) -> None:
    """Raise StoreError with the reason `what` unless the condition holds."""
    if not condition:
        raise refused(what, where)


def bundle_document(manifest: Manifest) -> dict[str, Any]:
    """Return the content of manifest.json in a bundle: a manifest without what others cannot use or compute themselves."""
    kept = replace(
        manifest,
        references=(),
        analyses=(),
        bundles=(),
        compared=None,
        search=None,
        extras={},
        scored_from="",
        scored_how="",
        scored_by="",
    )
    return {key: value for key, value in kept.document.items() if key != "links"}  # its reader adds them


def _checked(content: Mapping[str, Any], store: Store, where: str, registry: Registry) -> Manifest:
    """Return the manifest in manifest.json.

    Raises StoreError unless manifest.json has the right keys, types and names, and metrics that `registry` has. Raises
    ValueError for a value of another form.
    """
    schema = content.get("schema")
    _require(schema == SCHEMA, f"manifest.json has schema {schema!r}, this version reads {SCHEMA}", where)
    check_texts(content, where)
    manifest = Manifest.of(content, store=store)
    _require(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", manifest.name), "the grid's name is not a valid folder name", where)
    for key in ("title", "command", "source", "mapping", "reading", "threshold"):
        _require(isinstance(getattr(manifest, key), str), f"manifest.json: {key} is not a text", where)
    for key in ("min_count", "bins", "duplicates"):
        count = getattr(manifest, key)
        _require(type(count) is int and count >= 0, f"manifest.json: {key} is not a count", where)
    _require(
        manifest.mapping in label_mapping.MAPPINGS
        and manifest.settings.reading in READINGS
        and manifest.settings.unit == IMAGE
        and type(manifest.phantom) is bool,
        "manifest.json: invalid mapping, reading, unit or phantom",
        where,
    )
    names = [cohort.name for cohort in manifest.planned_cohorts]
    _require(
        len({name.casefold() for name in names}) == len(names) > 0,
        "two cohorts have the same name, or there is no cohort",
        where,
    )
    roles = [cohort.role for cohort in manifest.planned_cohorts]
    _require(
        roles == ["internal", *["external"] * (len(names) - 1)] and names[0] == manifest.source,
        "the internal cohort is not first",
        where,
    )
    installed = {entry.name: canonical_json(asdict(entry)) for entry in registry.custom_metrics}
    for metric in manifest.custom_metrics:
        if installed.get(metric.name) != canonical_json(asdict(metric)):
            fix = "install the plug-in with the metric, or give its registry with --registry; code from a bundle is never run"
            raise refused(f"it needs the metric {metric.name!r}, which this installation does not have", where, fix)
    same = canonical_json(bundle_document(manifest)) == canonical_json(content)
    _require(same, "manifest.json has missing or unknown keys", where)
    return manifest


def check_texts(value: Any, where: str, depth: int = 0) -> None:
    """Check all texts inside a JSON value, including keys.

    Raises StoreError if a text is too long or has control characters, which a terminal would execute, and if the value is
    nested more than 12 levels deep. `depth`: the level of `value`.
    """
    _require(depth < 12, "manifest.json is nested too deeply", where)
    if isinstance(value, str):
        _require(len(value) <= 2000 and value.isprintable(), "a text is too long or has control characters", where)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            check_texts(key, where, depth + 1)
            check_texts(inner, where, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check_texts(inner, where, depth + 1)


def _cohort(folder: Path, store: Store, cohort: PlannedCohort, where: str) -> None:
    """Check the entry and the table of a cohort, and write the table into the store. The new ids are made from the ordinals."""
    name = cohort.name
    _require(not cohort.hospitals, f"{name!r} is a pool of hospitals", where)
    _require(COHORT_NAME.fullmatch(name) and name != "external", f"{name!r} is not a valid cohort name", where)
    _require(
        cohort.layout in LAYOUTS and cohort.headline_split in ("all", *SPLITS),
        f"{name}: invalid layout or headline split",
        where,
    )
    _require(_HEX.fullmatch(cohort.tag) and _HEX.fullmatch(cohort.origin), f"{name}: invalid tag or origin", where)
    for key, kind in (("flow", int), ("fingerprints", str), ("facts", str), ("no_lungs", float)):
        _require(
            _is_mapping_to(getattr(cohort, key), kind), f"{name}: {key} must be a mapping to {kind.__name__}", where
        )
    counts = (cohort.absent, cohort.unreadable, *cohort.flow.values())
    _require(all(type(count) is int and count >= 0 for count in counts), f"{name}: invalid counts", where)
    children = labels_yaml()["datasets"].get(cohort.layout, {}).get("ages") == "children"
    _require(cohort.of_children == children, f"{name}: whether all patients are children contradicts its layout", where)
    path = folder / "cohorts" / f"{name}.parquet"
    _require(path.is_file(), f"the table of {name} is missing", where)
    _require(set(facts_in(path, where)) == {"columns"}, f"the table of {name} has unknown metadata", where)
    columns = facts_in(path, where).get("columns", "").split("\x1f")
    head = ["image", "patient", "split", "view", "sex", "device", "age"]
    all_findings = {finding for names in labels_yaml()["spaces"] for finding in space(names)}
    mappings = (*label_mapping.MAPPINGS, label_mapping.REPORT)
    findings = [c.partition(":")[2] if c.partition(":")[0] in mappings else c for c in columns[len(head) :]]
    _require(
        columns[: len(head)] == head and set(findings) <= all_findings and len(set(columns)) == len(columns),
        f"{name}: invalid columns",
        where,
    )
    splits = {*SPLITS, ""} if cohort.role == "external" else SPLITS
    words = {"split": splits, "view": VIEWS, "sex": ("", *SEXES)}
    frame = read_columns(path, kinds(columns), where, words)
    _require(table_id(frame) == cohort.id, f"the id of {name} does not match its table: a cell was changed", where)
    _require(
        frame["image"].is_unique and frame["image"].is_monotonic_increasing and (frame["image"] >= 0).all(),
        f"{name}: images are repeated or not sorted",
        where,
    )
    empty = cohort.headline_split != "all" and cohort.headline_split not in set(frame["split"])
    _require(not empty or cohort.role == "internal", f"{name}: no image has the split {cohort.headline_split}", where)
    age = frame["age"].dropna()
    _require((age % 10 == 5).all() and age.between(5, 95).all(), f"{name}: ages are finer than decades", where)
    for column in columns[len(head) :]:
        _require(
            set(frame[column].dropna()) <= set(STATES), f"{name}: {column} has values that are not label states", where
        )
    table = frame.drop(columns=["image", "patient"])
    table.insert(0, "patient_id", patient_names(cohort.tag, frame["patient"].to_numpy(np.int32)))
    table.insert(0, "image_id", image_names(cohort.tag, frame["image"].to_numpy(np.int32)))
    write_cohort(store.root / "cohorts" / f"{name}-{cohort.id}.parquet", table, cohort.id)


def _is_mapping_to(value: Any, kind: type) -> bool:
    """Return whether `value` is a mapping whose values all have the type `kind`."""
    return isinstance(value, dict) and all(type(inner) is kind for inner in value.values())


def _run(folder: Path, manifest: Manifest, run: PlannedRun, where: str) -> None:
    """Check a run's entry in the manifest, its records and its predictions, and write them into the store."""
    run_id, config, store = run.id, run.config, manifest.store
    _require(re.fullmatch(r"[0-9a-f]{12}", run_id), f"{run_id!r} is not a valid run id", where)
    valid = is_exposure(run.exposure) and (not run.is_imported or is_passport(run.passport))
    _require(valid, f"{run_id}: invalid data exposure", where)
    titles = {"architecture"} if run.kind else set(config.named)
    titled = _is_mapping_to(run.titles, str) and set(run.titles) == titles
    texts = (run.kind, run.name, run.family, run.licence, run.corpus)
    _require(titled and all(isinstance(text, str) for text in texts), f"{run_id}: invalid titles or texts", where)
    source = folder / "runs" / run_id
    document = read_json(source / "run.json", where)
    _require(short_hash(canonical_json(document)) == run_id, f"run.json of {run_id} does not hash to its id", where)
    target = store.begin(run_id, canonical_json(document))
    for name, types in RECORDS.items():
        record = read_json(source / f"{name}.json", where)
        valid = all(isinstance(value, types.get(key, ())) for key, value in record.items())
        _require(valid, f"{name}.json of {run_id} has unknown keys or wrong types", where)
        check_texts(record, where)
        write_bytes(target / f"{name}.json", canonical_json(record))
    unlearned = read_json(source / "trained.json", where).get("unlearnt", [])
    _require(
        isinstance(unlearned, list) and set(unlearned) <= set(config.findings),
        f"trained.json of {run_id} names findings that the run does not have",
        where,
    )
    seal = read_json(source / "seal.json", where)
    _require(seal["weights_before"] == seal["weights_after"], f"the seal of {run_id} is broken", where)
    if not run.kind:
        _require(
            not facts_in(source / "history.parquet", where), f"the history of {run_id} has unknown metadata", where
        )
        write_table(target / "history.parquet", read_columns(source / "history.parquet", HISTORY, where))
        stored = read_run(store, run_id)
        require_stated(run, stored, manifest.planned_cohorts, where)
    for cohort in manifest.planned_cohorts:
        has_seal = run.is_imported or not run.kind
        _predictions(source, target, store, cohort, run_id, config, seal["weights_after"] if has_seal else None, where)
    CheckedFolder(target).mark_done()


def require_stated(run: PlannedRun, stored: RunSpec, cohorts: Sequence[PlannedCohort], where: str) -> None:
    """Raise StoreError if the manifest hides that a run sees the images of external hospitals, as its run.json says."""
    external = [cohort.name for cohort in cohorts if cohort.role != "internal"]
    answers = {name: run.exposure.get(name, {}).get("answer", NO) for name in external}
    stated = run.test_time is stored.sees_external_images
    _require(
        stated and not (stored.sees_external_images and NO in answers.values()),
        f"the manifest does not state that {run.id} sees the images of external hospitals",
        where,
    )


def _predictions(
    source: Path,
    target: Path,
    store: Store,
    cohort: PlannedCohort,
    run_id: str,
    config: RunConfig,
    weights: str | None,
    where: str,
) -> None:
    """Check the predictions of a run on a cohort and write them into the run's folder `target`.

    `weights`: the hash of the weights in the run's seal. The metadata of the predictions must state the same hash. None skips
    this check.
    """
    path = source / "predictions" / f"{cohort.name}.parquet"
    name = f"the predictions of {run_id} on {cohort.name}"
    _require(path.is_file(), f"{name} are missing", where)
    facts = facts_in(path, where)
    _require(
        set(facts) == {"fingerprint", "weights", "cohort", "logits"} and facts["cohort"] == cohort.id,
        f"{name} belong to another cohort",
        where,
    )
    _require(
        weights is None or facts["weights"] == weights, f"{name} come from other weights than the seal states", where
    )
    frame = read_columns(path, {"image": "ordinal", **dict.fromkeys(config.findings, "logit")}, where)
    _require(
        table_id(frame) == facts["logits"], f"{name} differ from the export: a logit or an image was changed", where
    )
    table = read_cohort(store.root / "cohorts" / f"{cohort.name}-{cohort.id}.parquet", ["image_id"])
    ids = image_names(cohort.tag, frame.pop("image").to_numpy(np.int32))
    _require(
        len(set(ids)) == len(ids) and set(ids) == set(table["image_id"]),
        f"{name} have repeated images, or other images than the cohort",
        where,
    )
    _require(np.isfinite(frame.to_numpy(np.float32)).all(), f"{name} have values that are not finite", where)
    frame.insert(0, "image_id", ids)
    write_table(target / "predictions" / f"{cohort.name}.parquet", frame, facts)


def made_of(manifest: Manifest, run_id: str) -> str:
    """Return a hash of the data from which the scores of a run are computed: the labels and logits on all cohorts."""
    folder = manifest.store.run_dir(run_id) / "predictions"
    facts = [table_facts(folder / f"{cohort.name}.parquet") for cohort in manifest.cohorts]
    return short_hash(canonical_json([[f["cohort"], f["logits"]] for f in facts]))


def _check_runs(manifest: Manifest, where: str) -> None:
    """Raise StoreError if a run's entry in the manifest contradicts its run.json or its source runs."""
    store, internal = manifest.store, manifest.planned_cohorts[0].origin
    configs = {}
    for run in manifest.runs:
        stored = read_run(store, run.id)
        _require(stored.config == run.config, f"the configuration of {run.id} differs from its run.json", where)
        document = store.read_json(run.id[:2], run.id, "run.json")
        _require(
            document["internal"] == internal,
            f"run {run.id} was trained on another cohort than {manifest.source}",
            where,
        )
        configs[run.id] = stored.config
    has_runs = len(configs) == len(manifest.runs) and (configs or manifest.imported)
    _require(has_runs, "it has no run, or a run twice", where)
    for run in manifest.derived:
        document = store.read_json(run.id[:2], run.id, "run.json")
        same = document["kind"] == run.kind and document["sources"] == list(run.sources)
        if run.is_imported:
            _require(same_model(run, document, internal), f"imported model {run.id} differs from its run.json", where)
            continue
        views = [list(view) for view in TTA.get(run.name, ())] if run.kind == "tta" else []
        _require(run.kind in DERIVED_KINDS and document["views"] == views, f"{run.id} is of another kind", where)
        _require(
            same and sorted(run.of) == sorted(_trained_sources(manifest, run)),
            f"derived run {run.id} has other source runs than its run.json states",
            where,
        )
        config = configs[run.of[0]].of_panel if run.kind == "panel" else configs[run.of[0]]
        _require(config == run.config, f"the configuration of {run.id} differs from its source runs", where)


def _trained_sources(manifest: Manifest, run: PlannedRun) -> set[str]:
    """Return the ids of the trained runs from which a derived run is computed, directly or through other derived runs."""
    derived = {own.id: own for own in manifest.derived}
    out = {source for source in run.sources if source not in derived}
    return out.union(*(_trained_sources(manifest, derived[source]) for source in run.sources if source in derived))
