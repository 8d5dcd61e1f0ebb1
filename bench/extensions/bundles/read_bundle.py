"""Check the files of a bundle and write them as a store, so that the usual scoring code can read them."""

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.config.settings import IMAGE
from bench.config.tta_and_ensembles import TTA
from bench.extensions.bundles.archive import read_json, refused
from bench.extensions.bundles.limits import COHORT_NAME
from bench.extensions.bundles.pseudonyms import image_names, kinds, patient_names, table_id
from bench.extensions.bundles.records import RECORDS, Answer, Passport, fits
from bench.extensions.bundles.tables import facts_in, read_columns
from bench.extensions.bundles.titles import with_titles
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import SCHEMA, PlannedCohort, PlannedRun
from bench.planning.run import parse_run
from bench.scoring.patient_groups import SEXES
from bench.store.checked_files import read_cohort, write_cohort
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, canonical_json, short_hash, table_facts, write_bytes, write_table
from harmonize.cohorts import label_mapping
from harmonize.cohorts.cohort import ADULT_FROM
from harmonize.datasets import LAYOUTS, SPLITS, VIEWS
from harmonize.errors import CxrError, StoreError
from harmonize.labels.findings import HYBRID, STATES, labels_yaml, space

BUNDLE_SCHEMA = 1  # increase this number when the format of bundles changes
HEAD = ("image", "patient", "split", "view", "sex", "device", "age")  # first columns of a cohort's table
DERIVED_KINDS = ("tta", "ensemble", "panel")
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


def read_bundle(folder: Path, root: Path, registry: Registry) -> Manifest:
    """Check the unpacked bundle in `folder`, write its content as a store at `root`, and return the manifest. Nothing is scored.

    Titles of runs come from `registry` if it has the registry entries that the run names. Raises StoreError for invalid keys,
    names, types or label states, and for a run id that is not the hash of run.json. Also raises StoreError for predictions that
    lack an image of the cohort or have others, and for metrics that `registry` does not have.
    """
    try:
        store = Store.open(root)
        manifest = _checked(read_json(folder / "manifest.json"), store, registry)
        for cohort in manifest.planned_cohorts:
            _cohort(folder, store, cohort)
        for run in manifest.run_of.values():
            _run(folder / "runs" / run.id, manifest, run)
        manifest = with_titles(manifest, registry)
        manifest.write()
        return manifest
    except StoreError:
        raise
    except (CxrError, KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        reason = error.what if isinstance(error, CxrError) else f"{type(error).__name__}: {error}"
        raise refused(f"its content is inconsistent ({reason[:300]})") from error


def _require(condition: object, what: str) -> None:
    """Raise StoreError with the reason `what` unless the condition holds."""
    if not condition:
        raise refused(what)


def bundle_document(manifest: Manifest) -> dict[str, Any]:
    """Return the content of manifest.json in a bundle: a manifest without what others cannot use or compute themselves."""
    kept = replace(manifest, references=(), analyses=(), bundles=(), compared=None, search=None, extras={})
    kept = replace(kept, scored_from="", scored_how="", scored_by="")
    return {key: value for key, value in kept.document.items() if key != "links"}  # its reader adds them


def _checked(content: Mapping[str, Any], store: Store, registry: Registry) -> Manifest:
    """Return the manifest in manifest.json.

    Raises StoreError unless manifest.json has the right keys and names, and metrics that `registry` has. Raises ValueError
    for a value of another type.
    """
    if (schema := content.get("schema")) != SCHEMA:
        fix = "run its grids again and export again: finished runs are not trained again"
        raise refused(f"manifest.json has schema {schema!r}, this version reads {SCHEMA}", fix)
    check_texts(content)
    manifest = Manifest.of(content, store=store)
    _require(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", manifest.name), "the grid's name is not a valid folder name")
    _require(manifest.settings.unit == IMAGE, "manifest.json: invalid unit")
    names = [cohort.name for cohort in manifest.planned_cohorts]
    unique = len({name.casefold() for name in names}) == len(names) > 0
    _require(unique, "two cohorts have the same name, or there is no cohort")
    roles = [cohort.role for cohort in manifest.planned_cohorts]
    in_order = roles == ["internal", *["external"] * (len(names) - 1)] and names[0] == manifest.source
    _require(in_order, "the internal cohort is not first")
    unique = len(manifest.run_of) == len(manifest.runs) + len(manifest.derived)
    _require(unique and (manifest.runs or manifest.imported), "it has no run, or a run twice")
    installed = {entry.name: canonical_json(asdict(entry)) for entry in registry.custom_metrics}
    for metric in manifest.settings.custom_metrics:
        if installed.get(metric.name) != canonical_json(asdict(metric)):
            fix = "install the extension with the metric, or give its registry with --registry; code from a bundle is never run"
            raise refused(f"it needs the metric {metric.name!r}, which this installation does not have", fix)
    document = bundle_document(manifest)
    for key in (
        "runs",
        "derived",
    ):  # a bundle of an earlier version lacks the settings that were added since, at their defaults
        for run, complete in zip(content[key], document[key], strict=True):
            run["config"] = complete["config"] | run["config"]
    _require(canonical_json(document) == canonical_json(content), "manifest.json has missing or unknown keys")
    return manifest


def check_texts(value: Any, depth: int = 0) -> None:
    """Check all texts inside a JSON value, including keys.

    Raises StoreError if a text is too long or has control characters, which a terminal would execute, and if the value is
    nested more than 12 levels deep. `depth`: the level of `value`.
    """
    _require(depth < 12, "manifest.json is nested too deeply")
    if isinstance(value, str):
        _require(len(value) <= 2000 and value.isprintable(), "a text is too long or has control characters")
    elif isinstance(value, Mapping | list):
        for inner in (*value, *value.values()) if isinstance(value, Mapping) else value:
            check_texts(inner, depth + 1)


def _cohort(folder: Path, store: Store, cohort: PlannedCohort) -> None:
    """Check the entry and the table of a cohort, and write the table into the store. The new ids are made from the ordinals."""
    name = cohort.name
    _require(not cohort.hospitals, f"{name!r} is a pool of hospitals")
    _require(COHORT_NAME.fullmatch(name) and name != "external", f"{name!r} is not a valid cohort name")
    known = cohort.layout in LAYOUTS and cohort.headline_split in ("all", *SPLITS)
    _require(known, f"{name}: invalid layout or headline split")
    _require(_HEX.fullmatch(cohort.tag) and _HEX.fullmatch(cohort.origin), f"{name}: invalid tag or origin")
    path = folder / "cohorts" / f"{name}.parquet"
    facts = facts_in(path)
    _require(set(facts) == {"columns"}, f"the table of {name} has unknown metadata")
    columns = facts["columns"].split("\x1f")
    head, states = columns[: len(HEAD)], columns[len(HEAD) :]
    all_findings = {finding for names in labels_yaml()["spaces"] for finding in space(names)}
    mappings = (*label_mapping.MAPPINGS, label_mapping.REPORT)
    findings = {c.partition(":")[2] if c.partition(":")[0] in mappings else c for c in states}
    known = head == [*HEAD] and findings <= all_findings and len(set(columns)) == len(columns)
    _require(known, f"{name}: invalid columns")
    frame = read_columns(path, kinds(columns))
    splits = {*SPLITS, ""} if cohort.role == "external" else {*SPLITS}
    for column, words in {"split": splits, "view": {*VIEWS}, "sex": {"", *SEXES}}.items():
        _require(set(frame[column]) <= words, f"{name}: {column} has a text that is not allowed in this column")
    _require(table_id(frame) == cohort.id, f"the id of {name} does not match its table: a cell was changed")
    image, patient = (frame.pop(key).to_numpy(np.int32) for key in ("image", "patient"))
    _require((np.diff(image, prepend=-1) > 0).all(), f"{name}: images are repeated or not sorted")
    empty = cohort.headline_split != "all" and cohort.headline_split not in set(frame["split"])
    _require(not empty or cohort.role == "internal", f"{name}: no image has the split {cohort.headline_split}")
    age = frame["age"].dropna()
    _require((age % 10 == 5).all() and age.between(5, 95).all(), f"{name}: ages are finer than decades")
    children = labels_yaml()["datasets"].get(cohort.layout, {}).get("ages") == "children"
    fits_ages = children or not cohort.of_children or age.max() < ADULT_FROM
    what = f"{name}: whether all patients are children contradicts its layout and ages"
    _require(fits_ages and cohort.of_children >= children, what)
    for column in states:
        _require(set(frame[column].dropna()) <= set(STATES), f"{name}: {column} has values that are not label states")
    frame.insert(0, "patient_id", patient_names(cohort.tag, patient))
    frame.insert(0, "image_id", image_names(cohort.tag, image))
    write_cohort(store.root / "cohorts" / f"{name}-{cohort.id}.parquet", frame, cohort.id)


def _run(folder: Path, manifest: Manifest, run: PlannedRun) -> None:
    """Check a run's entry in the manifest, its records and its predictions, and write them into the store.

    `folder`: the folder of the run in the unpacked bundle.
    """
    run_id = run.id
    _require(re.fullmatch(r"[0-9a-f]{12}", run_id), f"{run_id!r} is not a valid run id")
    exposures = [run.exposure, run.passport.get("answers", {})]
    valid = all(fits(exposure, dict[str, Answer]) for exposure in exposures)
    valid = valid and (not run.is_imported or fits(run.passport, Passport))
    listed = [("list" in row) == ("listed" in row) for exposure in exposures for row in exposure.values()]
    _require(valid and all(listed), f"{run_id}: invalid data exposure")
    _require(set(run.titles) == ({"architecture"} if run.kind else set(run.config.named)), f"{run_id}: invalid titles")
    document = read_json(folder / "run.json")
    _require(short_hash(canonical_json(document)) == run_id, f"run.json of {run_id} does not hash to its id")
    target = manifest.store.begin(run_id, canonical_json(document))
    records = {name: read_json(folder / f"{name}.json") for name in RECORDS}
    for name, record in records.items():
        _require(fits(record, RECORDS[name]), f"{name}.json of {run_id} has unknown keys or wrong types")
        check_texts(record)
        write_bytes(target / f"{name}.json", canonical_json(record))
    known = set(records["trained"].get("unlearnt", ())) <= set(run.config.findings)
    _require(known, f"trained.json of {run_id} names findings that the run does not have")
    weights = records["seal"]["weights_after"]
    _require(records["seal"]["weights_before"] == weights, f"the seal of {run_id} is broken")
    if run.is_imported:
        same = msgspec.convert(document["config"], RunConfig) == run.config and document["kind"] == run.kind
        same = same and document["internal"] == manifest.planned_cohorts[0].origin and not (run.sources or run.of)
        _require(same, f"imported model {run_id} differs from its run.json")
    elif run.kind:
        _check_derived(manifest, run, document)
    else:
        _check_trained(manifest, run, document)
        _require(not facts_in(folder / "history.parquet"), f"the history of {run_id} has unknown metadata")
        write_table(target / "history.parquet", read_columns(folder / "history.parquet", HISTORY))
    for cohort in manifest.planned_cohorts:
        _predictions(folder, manifest, cohort, run, weights)
    CheckedFolder(target).mark_done()


def _check_trained(manifest: Manifest, run: PlannedRun, document: Mapping[str, Any]) -> None:
    """Raise StoreError if a trained run's entry in the manifest contradicts its run.json (`document`)."""
    same_configuration = parse_run(document, run.id, "").config == run.config
    _require(same_configuration, f"the configuration of {run.id} differs from its run.json")
    internal = manifest.planned_cohorts[0].origin
    _require(document["internal"] == internal, f"run {run.id} was trained on another cohort than {manifest.source}")


def _check_derived(manifest: Manifest, run: PlannedRun, document: Mapping[str, Any]) -> None:
    """Raise StoreError if a derived run's entry in the manifest contradicts its run.json (`document`) or its source runs."""
    views = [list(view) for view in TTA.get(run.name, ())] if run.kind == "tta" else []
    known = run.kind in DERIVED_KINDS and document["kind"] == run.kind and document["views"] == views
    _require(known, f"{run.id} is of another kind")
    same = document["sources"] == list(run.sources) and sorted(run.of) == sorted(_trained_sources(manifest, run))
    _require(same, f"derived run {run.id} has other source runs than its run.json states")
    config = manifest.run_of[run.of[0]].config
    config = config.of_panel if run.kind == "panel" else config
    config = replace(config, label_source=HYBRID) if "choose" in document else config
    _require(config == run.config, f"the configuration of {run.id} differs from its source runs")


def _trained_sources(manifest: Manifest, run: PlannedRun) -> set[str]:
    """Return the ids of the trained runs from which a derived run is computed, directly or through other derived runs."""
    sources = [manifest.run_of[source] for source in run.sources]
    return {i for source in sources for i in (_trained_sources(manifest, source) if source.kind else {source.id})}


def _predictions(folder: Path, manifest: Manifest, cohort: PlannedCohort, run: PlannedRun, weights: str) -> None:
    """Check the predictions of a run on a cohort and write them into the store.

    `folder`: the folder of the run in the unpacked bundle. `weights`: the hash of the weights in the run's seal. The metadata of the
    predictions of a run that is not derived must state the same hash.
    """
    store, file = manifest.store, f"predictions/{cohort.name}.parquet"
    path, name = folder / file, f"the predictions of {run.id} on {cohort.name}"
    facts = facts_in(path)
    known = set(facts) == {"fingerprint", "weights", "cohort", "logits"} and facts["cohort"] == cohort.id
    _require(known, f"{name} belong to another cohort")
    same = facts["weights"] == weights or (run.kind and not run.is_imported)
    _require(same, f"{name} come from other weights than the seal states")
    frame = read_columns(path, {"image": "ordinal", **dict.fromkeys(run.config.findings, "logit")})
    _require(table_id(frame) == facts["logits"], f"{name} differ from the export: a logit or an image was changed")
    table = read_cohort(store.root / "cohorts" / f"{cohort.name}-{cohort.id}.parquet", ["image_id", "split"])
    ids = image_names(cohort.tag, frame.pop("image").to_numpy(np.int32))
    every = set(table["image_id"])
    draws_own = cohort.role == "internal" and run.config.drawn_by is not None  # other seeds validate on other patients
    needed = set(table.loc[table["split"] != "val", "image_id"]) if draws_own else every
    same = len(set(ids)) == len(ids) and needed <= set(ids) <= every
    _require(same, f"{name} have repeated images, or other images than the cohort")
    _require(np.isfinite(frame.to_numpy(np.float32)).all(), f"{name} have values that are not finite")
    frame.insert(0, "image_id", ids)
    write_table(store.run_dir(run.id) / file, frame, facts)


def made_of(manifest: Manifest, run_id: str) -> str:
    """Return a hash of the data from which the scores of a run are computed: the labels and logits on all cohorts."""
    folder = manifest.store.run_dir(run_id) / "predictions"
    facts = [table_facts(folder / f"{cohort.name}.parquet") for cohort in manifest.cohorts]
    return short_hash(canonical_json([[f["cohort"], f["logits"]] for f in facts]))
