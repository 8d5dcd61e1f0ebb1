"""A run that was trained in a different store, as an imported model: its declaration, its predictions, its hash and its cost.

`bench evaluate --model FOLDER` tests such a run on the cohorts of a grid. Nothing has to be declared: the folder that
`bench upload` wrote states preprocessing, findings and training data.

Legend: N images, K findings of the grid.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config.seen import OTHERS, SeenData
from bench.extensions.imported.declaration import DataExposure, ModelDeclaration, Outputs
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.models import cost
from bench.models.predict import weights_sha256
from bench.planning.image_caches import open_images
from bench.planning.plan import CohortRef
from bench.planning.run import RunSpec
from bench.runs.make_derived import cost_of
from bench.runs.model_reference import CONFIG, model_files
from bench.runs.provenance import device_name
from bench.runs.stored_run import StoredRun, logits
from bench.store.store import Store, canonical_json, short_hash
from harmonize.cache.cache import ImageCache
from harmonize.cohorts.pool_names import hospitals_of
from harmonize.datasets import LAYOUTS
from harmonize.images.pixels import Geometry
from harmonize.progress import Progress
from reports.schemas.exposure import LABELS, NO, UNKNOWN

_MOST_NAME = 60  # maximum number of characters in a model's name
_MOST_TEXT = 500  # maximum number of characters in other texts of a folder from elsewhere


def declared_run(folder: Path, stored: StoredRun, cohorts: Collection[str], *, synthetic: bool) -> ModelDeclaration:
    """Return the declaration of a run in a folder.

    `cohorts`: names of the grid's cohorts. `synthetic`: whether the grid has synthetic images. A run that was trained
    on synthetic images has seen no real cohort, and a run that was trained on real images has seen no synthetic cohort. So
    if only the run or only the grid is synthetic, the training cohort is not among the seen cohorts. What its starting
    weights had seen holds in any case.
    """
    stated = json.loads((folder / CONFIG).read_bytes()) if (folder / CONFIG).is_file() else {}
    trained_on = _block(stated, "trained_on")
    runs = [network.run for network in stored.networks]
    hospitals = tuple(dict.fromkeys(name for run in runs for name in run.config.hospitals))
    layouts = _block(trained_on, "hospitals")
    weights = dict.fromkeys(str(json.loads(run.document).get("weights", "unknown")) for run in runs)
    title = _text(trained_on, "title", " + ".join(hospitals))
    licence = _text(trained_on, "licence", "not stated")
    pretraining = _text(trained_on, "pretraining", ", ".join(weights))
    in_pools = [name for cohort in cohorts for name in hospitals_of(cohort)]
    names = {*cohorts, *in_pools, *LAYOUTS} - {"table"}
    known = [[key for key in (str(layouts.get(name, "")), name) if key in names] for name in hospitals]
    trained = tuple(dict.fromkeys(key for keys in known for key in keys)) if stored.synthetic == synthetic else ()
    others: tuple[str, ...] = ()
    if stored.synthetic != synthetic or not all(known):
        others = (f"{'synthetic images' if stored.synthetic else 'images'} of {title}",)
    exposure = DataExposure(trained, others, pretraining, licence)
    start = _seen_before(trained_on.get("seen", UNKNOWN), str(folder))
    start = {key: own for key, own in start.items() if key in {*cohorts, *LAYOUTS, OTHERS}}
    if any(own.answer != NO for own in start.values()):
        start |= dict.fromkeys(trained, SeenData(LABELS))
        had_seen = tuple(key for key, own in start.items() if own.had_seen and key != OTHERS)
        exposure = replace(exposure, cohorts=had_seen, seen=start)
    name = _text(stated, "name", "") or stored.title
    outputs = tuple(finding if finding in stored.learned else "" for finding in stored.findings)
    files = {str(path.relative_to(folder)): path for path in model_files(folder)}
    short = name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 3]}..."
    return ModelDeclaration(short, "run", stored.id, {}, files, None, Outputs("logit", outputs), exposure, str(folder))


def _block(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a block of a document. A folder from elsewhere may lack the block or have something else there; the result is then empty."""
    block = document.get(key)
    return block if isinstance(block, Mapping) else {}


def _text(document: Mapping[str, Any], key: str, default: str) -> str:
    """Return a text of a document, at most _MOST_TEXT characters. "?" replaces control characters, which could command a terminal."""
    text = str(document.get(key, default))[:_MOST_TEXT]
    return "".join(c if c.isprintable() else "?" for c in text)


def _seen_before(answers: Any, where: str) -> dict[str, SeenData]:
    """Return what the starting weights of a run had seen; `answers`: the key `seen` of the folder."""
    # as texts, because a list of images in a folder from elsewhere could name any file of this machine
    texts = {key: str(value) for key, value in answers.items()} if isinstance(answers, Mapping) else str(answers)
    return SeenData.parse(texts, Path(where), f"{where}: trained_on.seen")


def geometries(stored: StoredRun) -> list[RunSpec]:
    """Return one trained run for each image geometry (size and crop of the images) that the networks of `stored` need."""
    return list({network.geometry: network.run for network in reversed(stored.networks)}.values())[::-1]


def predict_run(
    stored: StoredRun, store: Store, ref: CohortRef, run: RunSpec, findings: Sequence[str], progress: Progress
) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return image ids [N] and logit_NK of a cohort. The logit of a finding that the run does not predict is 0.

    `run` is the model's run in the plan of the grid; the configuration of `run` selects the images.
    """
    caches = _caches(stored, store, ref)
    ids_by_form = {form: Examples.predicted(ref, run.config, cache).image_id for form, cache in caches.items()}
    first, *others = ids_by_form.values()
    image_id = first[np.logical_and.reduce([np.ones(len(first), bool), *(np.isin(first, ids) for ids in others)])]
    rows = {form: cache.rows(image_id.tolist()) for form, cache in caches.items()}

    def images(form: Geometry) -> tuple[BatchReader, NDArray[np.int64]]:
        return BatchReader(caches[form].images, stored.device), rows[form]

    own_NK = logits(stored, images, progress, f"predict {ref.name}")
    column = {finding: own_NK[:, k] for k, finding in enumerate(stored.findings) if finding in stored.learned}
    blank = np.zeros(len(image_id), np.float32)
    return image_id.astype(str), np.stack([column.get(finding, blank) for finding in findings], axis=1)


def fingerprint_of(stored: StoredRun, store: Store, ref: CohortRef) -> str:
    """Return the hash of the images that a run predicts in a cohort. If the run needs several geometries, return a hash of their hashes."""
    prints = [cache.fingerprint for cache in _caches(stored, store, ref).values()]
    return prints[0] if len(prints) == 1 else short_hash(canonical_json(prints), 64)


def weights_of(stored: StoredRun) -> str:
    """Return the SHA-256 of the weights of a run. If the run has several networks, return a hash of their hashes."""
    hashes = [weights_sha256(network.network) for network in stored.networks]
    return hashes[0] if len(hashes) == 1 else short_hash(canonical_json(hashes), 64)


def cost_of_run(stored: StoredRun) -> dict[str, Any]:
    """Return the cost of predicting one image (operations, parameters, speed), summed over the networks and views of the run."""
    if stored.trained is None:
        return cost_of([cost_of_run(source) for source in stored.sources], len(stored.views))
    network, size = stored.network, stored.run.input_size
    counted = cost.Cost.of(network, size)
    params = sum(p.numel() for p in network.parameters())
    return {
        "params": params,
        "trainable_params": params,
        "macs": counted.macs,
        "flops": counted.flops,
        "not_counted": list(counted.unsupported),
        "image_size": size,
        "peak_memory_bytes": None,
        "images_per_second": cost.throughput(network, size, stored.device),
        "throughput_device": device_name(stored.device, torch.get_num_threads()),
    }


def _caches(stored: StoredRun, store: Store, ref: CohortRef) -> dict[Geometry, ImageCache]:
    """Return the decoded images of a cohort for each geometry that the networks need."""
    return {run.geometry: open_images(store, ref, run.geometry) for run in geometries(stored)}
