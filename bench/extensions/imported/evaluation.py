"""evaluate(): test an imported model on every cohort of a grid, and store the result as a run."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch

from bench.extensions.imported.declaration import ModelDeclaration
from bench.extensions.imported.networks import ImportedNetwork, declared_normalization, open_model, sha256_of
from bench.extensions.imported.predictions import Predictions, read_predictions
from bench.extensions.imported.request import EvaluationRequest
from bench.extensions.imported.rows import config_of, external_run, planned_model
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.models import cost
from bench.models.predict import predict
from bench.planning.exposure import Exposure
from bench.planning.image_caches import open_images, prepare
from bench.planning.imported_run import comparable
from bench.planning.manifest import Manifest, planned_manifest, read_manifest
from bench.planning.plan import Plan, make_plan
from bench.planning.planned_grid import PlannedRun
from bench.planning.remove_run import delete
from bench.planning.run import RunSpec
from bench.results.write_report import Report, score_and_report
from bench.runs.predict_cohorts import write_features
from bench.runs.provenance import device_name, environment
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import lease
from bench.store.store import Store, canonical_json, table_facts, write_bytes, write_table
from bench.study.job_progress import Display
from bench.study.plan_remarks import cohort_remarks
from harmonize.errors import CxrError, StoreError

if TYPE_CHECKING:
    from bench.models.network import Network


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """The result of an evaluation.

    `manifest`: manifest of the grid. `remarks`: notes for the owner of the model.
    """

    run: PlannedRun
    remarks: tuple[str, ...]
    manifest: Manifest
    report: Report


def evaluate(
    request: EvaluationRequest,
    store: Store,
    data: Path | None,
    device: str,
    workers: int,
    display: Display,
) -> ModelEvaluation:
    """Predict every cohort of the grid with an imported model, score the predictions, and write the page.

    A second call for the same model adds missing predictions. If the first call fails, the run of the model is deleted.
    `data`: None for synthetic cohorts. Raises
    ConfigError, SetupError or DatasetError for a model that does not match its declaration, StoreError if the stored grid has
    other cohorts.
    """
    declared, grid, registry = request.declared, request.grid, request.registry
    alone = replace(grid, configs=(replace(grid.configs[0], weights="none"),), tta=(), ensembles=(), analyses=())
    command = f"bench evaluate --model {request.model_name} --grid {grid.name}" + (" --data DATA" if data else "")
    no_network = declared.kind == "predictions"
    on = torch.device(device)
    if on.type == "cpu":
        torch.set_num_threads(max(1, workers))
    # the network is opened before the data are read, which can take minutes
    network = None if no_network else open_model(declared, alone.configs[0].findings, on)
    plan = make_plan(alone, registry, store, data, None, workers, command, display.progress, tables_alone=no_network)
    plan, before = _stored(store, plan)
    config = config_of(declared.name, plan.runs[0].config)
    seen = declared.exposure.seen
    exposure = Exposure.of(seen, plan.cohorts) if seen else None
    files = read_predictions(declared, plan.refs, config, store) if no_network else None
    declared = files.declared if files else declared
    missing = [finding for finding in config.findings if finding not in declared.predicted(config.findings)]
    source = _Source(declared, network, files, missing)
    weights = source.current_weights()
    run = external_run(declared, config, plan.refs[0].id, weights)
    plan = replace(plan, runs=(run,))
    images = None if files else prepare(plan, workers, display.progress)
    if images:
        images, found = images.compared(display.progress)
        plan = images.plan
        for line in cohort_remarks(plan, found):
            display.warn(line)
        if before:
            _require_comparable(plan, before)
        images.write_lists()
    caches, duplicates = (images.caches, images.count_duplicates()) if images else ({}, 0)
    manifest = before or replace(planned_manifest(plan, caches, duplicates), runs=())
    model = planned_model(run, declared, manifest.planned_cohorts, exposure)
    remarks = _store_run(plan, run, source, weights, on, display)
    if missing:
        remarks.insert(0, f"the model does not predict these findings, so they have no scores: {', '.join(missing)}")
    if exposure:
        exposure.write(store)
    manifest.with_imported_model(model).write()
    manifest = read_manifest(store, grid.name)
    report = score_and_report(manifest, None, display.progress, say=display.say)
    return ModelEvaluation(model, tuple(remarks), manifest, report)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """The source of the predictions: a network or files."""

    declared: ModelDeclaration
    network: ImportedNetwork | None
    files: Predictions | None
    missing: list[str]  # findings of the grid that the model does not predict

    def current_weights(self) -> str:
        """Compute the hash of the model's weights or files again, to detect changes during the evaluation."""
        return sha256_of(self.declared, self.network)


def _stored(store: Store, plan: Plan) -> tuple[Plan, Manifest | None]:
    """Return (the plan without the cohorts that the grid's stored manifest leaves out, this manifest).

    If the store has no manifest with the grid's name, the plan is unchanged and the manifest is None. Raises StoreError
    when the manifest has other cohorts, findings or splits than the plan: then the model cannot be compared with its runs.
    """
    if not plan.store.has_grid(plan.grid.name):
        return plan, None
    manifest = read_manifest(store, plan.grid.name)
    left_out = manifest.compared.left_out if manifest.compared else ()
    planned = {ref.name for ref in plan.refs}
    plan = plan.without([overlap for overlap in left_out if overlap.cohorts[1] in planned])
    _require_comparable(plan, manifest)
    return plan, manifest


def _require_comparable(plan: Plan, manifest: Manifest) -> None:
    """Raise StoreError when the runs of a stored manifest cannot be compared with the model."""
    same = [(c.name, c.id) for c in manifest.planned_cohorts] == [(ref.name, ref.id) for ref in plan.refs]
    if manifest.of_bundles or not same or not comparable(manifest.shared, plan.runs[0].config):
        what = f"the stored grid {plan.grid.name} has other cohorts, findings or splits"
        fix = "run the grid again with `bench run` first, or evaluate into another --store"
        raise StoreError(what, str(plan.store.root), fix)


def _store_run(
    plan: Plan, run: RunSpec, source: _Source, weights: str, device: torch.device, display: Display
) -> list[str]:
    """Write the files of the model's run and return remarks. If a new run fails, it is deleted; a run of an earlier call keeps its intact files."""
    before = plan.store.state(run.id)
    folder = plan.store.begin(run.id, run.document)
    try:
        with lease(folder) as is_free:
            if not is_free:
                raise StoreError("a process is at work on this model", str(folder / "LOCK"), "wait until it is done")
            plan.store.reopen(run.id)
            CheckedFolder(folder).discard_changed_files()
            began = time.time()
            remarks = (
                _copy(plan, folder, weights, source.files)
                if source.files
                else _predict(plan, run, folder, source, weights, device, display)
            )
            if source.current_weights() != weights:
                what = "zero-shot seal broken: the model changed while it was tested"
                raise StoreError(what, str(folder), "evaluate it again, and do not change its files")
            _records(folder, source, weights, device, began)
            CheckedFolder(folder).mark_done()
    except CxrError:
        if before == "absent":
            delete(plan.store, run.id)
        raise
    return remarks


def _copy(plan: Plan, folder: Path, weights: str, files: Predictions) -> list[str]:
    """Write the predictions of the model's files; return remarks on them."""
    for ref in plan.refs:
        facts = {"fingerprint": files.sha256[ref.name], "weights": weights, "cohort": ref.id}
        write_table(folder / "predictions" / f"{ref.name}.parquet", files.frames[ref.name], facts)
    return list(files.remarks)


def _predict(
    plan: Plan, run: RunSpec, folder: Path, source: _Source, weights: str, device: torch.device, display: Display
) -> list[str]:
    """Write the predictions on each cohort that has none, and before them the features if the network has any."""
    network, given = source.network, source.declared.input
    assert network is not None
    assert given is not None
    normalizer = declared_normalization(given)
    least, most = np.inf, -np.inf
    findings = list(run.config.findings)
    for ref in plan.refs:
        path = folder / "predictions" / f"{ref.name}.parquet"
        cache = open_images(plan.store, ref, run.geometry)
        facts = {"fingerprint": cache.fingerprint, "weights": weights, "cohort": ref.id}
        stored = table_facts(path)
        features_path = folder / "features" / f"{ref.name}.npz"
        is_stored = all(stored.get(key) == facts[key] for key in ("fingerprint", "weights"))
        if not is_stored or (network.has_features and not features_path.is_file()):
            chosen = Examples.predicted(ref, run.config, cache)
            reader = BatchReader(cache.images, device)
            sample, what = chosen.feature_indices, f"predict {ref.name}"
            logit_NK, features = predict(
                network, normalizer, reader, chosen.rows, device, "fp32", sample, display.progress, what
            )
            if network.has_features:
                write_features(features_path, chosen, sample, features)
            frame = pd.DataFrame(logit_NK, columns=findings)
            frame.insert(0, "image_id", chosen.image_id.astype(str))
            write_table(path, frame, facts)
        logit = pd.read_parquet(path, columns=source.declared.predicted(findings)).to_numpy()
        least, most = min(least, float(logit.min())), max(most, float(logit.max()))
    if source.declared.outputs.kind == "logit" and least >= 0 and most <= 1:
        return ["all outputs lie between 0 and 1: if they are probabilities, write `kind: probability`"]
    return []


def _records(folder: Path, source: _Source, weights: str, device: torch.device, began: float) -> None:
    """Write the records of the run: trained.json, seal.json, cost.json and env.json.

    `began`: time in seconds since 1970. The run has no history and no weights, because it was trained elsewhere.
    """
    trained = {"unlearnt": source.missing, "elsewhere": source.declared.name}
    records = {
        "trained": trained,
        "seal": {"weights_before": weights, "weights_after": weights},
        "cost": _cost(source.declared, source.network, device) if source.network else {},
        "env": environment(device, torch.get_num_threads(), began),
    }
    for name, content in records.items():
        write_bytes(folder / f"{name}.json", canonical_json(content))


def _cost(declared: ModelDeclaration, network: ImportedNetwork, device: torch.device) -> dict[str, Any]:
    """Return the cost of a model: parameters, operations per image, and predicted images per second.

    Operations are counted only for models of the kinds timm and function.
    """
    assert declared.input is not None
    size = declared.input.input or declared.input.size
    params = int(getattr(network.network, "num_params", 0)) or sum(p.numel() for p in network.parameters())
    facts: dict[str, Any] = {
        "params": params,
        "trainable_params": params,
        "image_size": size,
        "peak_memory_bytes": None,
    }
    measured = cast("Network", network)
    if declared.kind in ("timm", "function"):
        counted = cost.Cost.of(measured, size)
        facts |= {"macs": counted.macs, "flops": counted.flops, "not_counted": list(counted.not_counted)}
    speed = cost.throughput(measured, size, device, batch=network.batch)
    return facts | {"images_per_second": speed, "throughput_device": device_name(device, torch.get_num_threads())}
