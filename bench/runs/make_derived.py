"""derive_one(): make the predictions of a derived run from finished runs, without training.

Legend: M members (views or runs), N images, K findings, H and W pixels.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.config.tta_and_ensembles import View
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.models.network import Network
from bench.models.predict import predict, weights_sha256
from bench.planning.derived_runs import DerivedRun, logit_of_mean
from bench.planning.image_caches import open_images
from bench.planning.jobs import DerivedJob
from bench.planning.plan import CohortRef
from bench.planning.run import CHOSEN
from bench.runs.networks import normalization_of, trained_network
from bench.runs.provenance import environment
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import lease
from bench.store.store import Store, canonical_json, short_hash, table_facts, write_bytes, write_table
from bench.training import TrainingError
from harmonize.errors import StoreError
from harmonize.progress import Progress


def view_transform(view: View) -> Callable[[Tensor], Tensor]:
    """Return the function that turns images [N, 1, H, W] into one view. The corners of a rotated image are black."""
    from torchvision.transforms.functional import InterpolationMode, rotate  # the import takes two CPU seconds

    mirrored, degrees = view

    def transform(x_N1HW: Tensor) -> Tensor:
        x_N1HW = x_N1HW.flip(3) if mirrored else x_N1HW
        return rotate(x_N1HW, degrees, InterpolationMode.BILINEAR) if degrees else x_N1HW

    return transform


def derive_one(job: DerivedJob, progress: Progress) -> bool:
    """Finish a derived run; return False when another process works on the run.

    Raises StoreError when a source run is not finished, TrainingError when the weights of a network have changed.
    """
    store, derived, began = job.store, job.run, time.time()
    folder = store.begin(derived.id, derived.document)
    with lease(folder) as leased:
        if not leased:
            return False
        store.reopen(derived.id)
        if reason := store.first_unfinished(derived.sources):
            raise StoreError(reason, str(store.root), "run the grid again: missing runs are made first")
        CheckedFolder(folder).discard_changed_files()
        device = torch.device(job.device)
        if device.type == "cpu":
            torch.set_num_threads(derived.config.threads)
        stale = [ref for ref in job.refs if table_facts(_path(store, derived.id, ref)) != _facts(store, derived, ref)]
        network = _network(job, device) if derived.kind == "tta" and stale else None
        for i, ref in enumerate(stale):
            progress(f"average {ref.name}", i, len(stale))
            if network:
                ids, logit_NK = _views(job, ref, network, device, progress)
            else:
                ids, logit_NK = (
                    _side_by_side(store, derived, ref) if derived.kind == "panel" else _members(store, derived, ref)
                )
            columns = derived.config.findings if derived.kind == "panel" else _findings(store, derived, ref)
            frame = pd.DataFrame(logit_NK, columns=list(columns)[: logit_NK.shape[1]])
            frame.insert(0, "image_id", ids)
            write_table(_path(store, derived.id, ref), frame, _facts(store, derived, ref))
        if network and weights_sha256(network) != _facts(store, derived, job.refs[0])["weights"]:
            raise TrainingError("zero-shot seal broken: the weights changed while the views were predicted")
        for name, content in _records(store, derived).items():
            write_bytes(folder / f"{name}.json", canonical_json(content))
        if stale or not (folder / "env.json").is_file():
            write_bytes(folder / "env.json", canonical_json(environment(device, derived.config.threads, began)))
        CheckedFolder(folder).mark_done()
    return True


def _path(store: Store, run_id: str, ref: CohortRef) -> Path:
    return store.run_dir(run_id) / "predictions" / f"{ref.name}.parquet"


def _predictions(store: Store, run_id: str, ref: CohortRef) -> pd.DataFrame:
    """Return the predictions of a source run. Raises StoreError if they differ from their checksum."""
    return CheckedFolder(store.run_dir(run_id)).table(f"predictions/{ref.name}.parquet")


def _facts(store: Store, derived: DerivedRun, ref: CohortRef) -> dict[str, str]:
    return derived.prediction_facts(store, ref.name, ref.id)


def _findings(store: Store, derived: DerivedRun, ref: CohortRef) -> list[str]:
    """Return the prediction columns of the first source run: findings, then auxiliary heads."""
    return [str(c) for c in _predictions(store, derived.sources[0], ref).columns if c != "image_id"]


def _network(job: DerivedJob, device: torch.device) -> Network:
    """Return the frozen network of a derived run with test-time augmentation (TTA).

    Raises TrainingError when the stored weights are not the weights that made the stored predictions.
    """
    (run,) = job.run.runs
    network = trained_network(run, job.store, device)
    if weights_sha256(network) != _facts(job.store, job.run, job.refs[0])["weights"]:
        raise TrainingError(f"the stored weights of run {run.id} are not those of its predictions")
    return network


def _views(
    job: DerivedJob, ref: CohortRef, network: Network, device: torch.device, progress: Progress
) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Predict a cohort with test-time augmentation: return image ids [N], and the logits [N, K] of the mean probability over views."""
    (run,) = job.run.runs
    cache = open_images(job.store, ref, run.geometry)
    normalization = normalization_of(run, job.store, job.refs[0], network)
    chosen = Examples.predicted(ref, run.config, cache)
    reader = BatchReader(cache.images, device)
    precision = run.config.prediction_precision
    logits = []
    for i, view in enumerate(job.run.views, start=1):
        normalize = partial(normalization, augment=view_transform(view))
        what = f"view {i} of {ref.name}"
        logits.append(predict(network, normalize, reader, chosen.rows, device, precision, None, progress, what)[0])
    return chosen.image_id.astype(str), logit_of_mean(np.stack(logits))


def _members(store: Store, derived: DerivedRun, ref: CohortRef) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return image ids [N], and the logits [N, K] of the mean probability over runs, for the images that all runs predicted.

    Raises StoreError when the runs predict different findings.
    """
    frames = [_predictions(store, source, ref).set_index("image_id") for source in derived.sources]
    first = frames[0]
    for source, frame in zip(derived.sources, frames, strict=True):
        if list(frame.columns) != list(first.columns):
            fix = "choose runs that learn the same findings"
            raise StoreError("the runs of an ensemble predict different findings", str(_path(store, source, ref)), fix)
    ids = first.index[np.logical_and.reduce([first.index.isin(frame.index) for frame in frames])]
    return ids.to_numpy(str), logit_of_mean(np.stack([frame.loc[ids].to_numpy(np.float32) for frame in frames]))


def _side_by_side(store: Store, derived: DerivedRun, ref: CohortRef) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return image ids [N] and the logits [N, K] of a panel.

    Each finding has its own network. The logit of a finding without a network is 0.
    """
    frames = {
        f: _predictions(store, run_id, ref).set_index("image_id") for f, run_id in _networks(store, derived).items()
    }
    first = next(iter(frames.values())).index
    ids = first[np.logical_and.reduce([first.isin(frame.index) for frame in frames.values()])]
    findings = derived.config.findings
    columns = [frames[f].loc[ids, f] if f in frames else pd.Series(0.0, index=ids) for f in findings]
    return ids.to_numpy(str), np.stack([column.to_numpy(np.float32) for column in columns], axis=1)


def _networks(store: Store, derived: DerivedRun) -> dict[str, str]:
    """Return {finding: id of its run} of a panel: of several runs, the run with the best AUROC on the split that selected its epoch."""
    best: dict[str, tuple[float, str]] = {}
    for run in derived.runs:
        folder, value = CheckedFolder(store.run_dir(run.id)), 0.0
        if derived.name == CHOSEN:
            history = folder.table("history.parquet")
            is_best = history["epoch"] == folder.json("trained.json")["best_epoch"]
            auroc = history.loc[is_best, f"{run.config.schedule.select_on}_auroc"]
            value = float(auroc.fillna(0.0).iloc[0])
        if value > best.get(run.config.finding, (-1.0, ""))[0]:
            best[run.config.finding] = value, run.id
    return {finding: run_id for finding, (_, run_id) in best.items()}


def _records(store: Store, derived: DerivedRun) -> dict[str, dict[str, Any]]:
    """Return the records of a derived run, made from the records of its source runs.

    The records are `trained` (findings that were not learned, and the runs that a panel chooses), `seal` (hashes, such as
    those of the weights) and `cost`. The networks that a panel does not choose count for the seal only.
    """
    chosen = _networks(store, derived) if derived.name == CHOSEN else {}
    used = [s for s in derived.sources if not chosen or s in chosen.values()]
    records = {
        name: [CheckedFolder(store.run_dir(s)).json(f"{name}.json") for s in sources]
        for name, sources in (("trained", used), ("seal", derived.sources), ("cost", used))
    }
    unlearnt = dict.fromkeys(finding for facts in records["trained"] for finding in facts.get("unlearnt", []))
    # The panel did not learn a finding for which it has no network.
    if derived.kind == "panel":
        unlearnt |= dict.fromkeys(set(derived.config.findings) - {run.config.finding for run in derived.runs})
    seals = records["seal"]
    joined = {key: [seal[key] for seal in seals] for key in seals[0]}
    seal = {key: v[0] if len(v) == 1 else short_hash(canonical_json(v), 64) for key, v in joined.items()}
    return {
        "trained": {"unlearnt": list(unlearnt), **({"chosen": chosen} if chosen else {})},
        "seal": seal,
        "cost": cost_of(records["cost"], len(derived.views)),
    }


def cost_of(costs: Sequence[Mapping[str, Any]], num_views: int) -> dict[str, Any]:
    """Return the cost of one prediction: all networks once for an ensemble, one network `num_views` times for a TTA.

    `costs`: cost.json of each source run. Parameters and operations are summed. `images_per_second` follows from the summed
    time of one image; it is None unless all networks were timed on the same device. Peak memory is the maximum over the
    trainings, None if it is unknown for one training.
    """
    passes = max(1, num_views)
    devices = {str(cost["throughput_device"]) for cost in costs}
    speeds = [cost["images_per_second"] for cost in costs]
    timed = len(devices) == 1 and all(speeds)
    memory = [cost["peak_memory_bytes"] for cost in costs]
    return {
        **{key: sum(cost[key] for cost in costs) for key in ("params", "trainable_params")},
        **{key: passes * sum(cost[key] for cost in costs) for key in ("macs", "flops")},
        "not_counted": sorted({op for cost in costs for op in cost["not_counted"]}),
        "images_per_second": 1 / sum(passes / speed for speed in speeds) if timed else None,
        "throughput_device": next(iter(devices)) if timed else "",
        "peak_memory_bytes": max(memory) if all(memory) else None,
        "image_size": max(cost["image_size"] for cost in costs),
    }
