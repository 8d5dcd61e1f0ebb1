"""Load models from outside a store: from a folder that `bench upload` wrote, a repository of the Hugging Face hub, or a run's folder.

    stored = load_model("models/densenet", Path("runs"))     # a folder
    stored = load_model("lab/densenet-cxr", Path("runs"))    # a repository of the hub, downloaded once
    stored = load_model("3fa9", Path("runs"))                # a run of the store

A folder of `bench upload` has `config.json` (a run.json with findings and thresholds), `model.safetensors`, and for
runs with a histogram method `reference.json` (the reference histogram). A TTA, an ensemble or a panel has the files of
its networks in `members/<run id>/`. In a store, the folder of a run has `run.json` in
place of `config.json`.

config.json may come from anybody, and names the code of the network. So only code of the registry
is imported, unless the caller trusts the author.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from bench.config.registry import Registry
from bench.planning.run import RunSpec, parse_run
from bench.runs.elsewhere import elsewhere_table
from bench.runs.model_reference import CONFIG, MEMBERS, config_sha256, folder_of, foreign_code, is_outside
from bench.runs.networks import initial_network
from bench.runs.stored_run import COMBINED, POINTS, StoredRun, TrainedNetwork, combination, load
from bench.store.checked_folders import REFERENCE, WEIGHTS
from bench.store.file_integrity import file_sha256, json_object
from bench.store.store import Store, canonical_json, short_hash
from harmonize.errors import SetupError, StoreError


def load_model(
    reference: str, store: Path, device: str = "cpu", *, trust: bool = False, grid: str | None = None
) -> StoredRun:
    """Return a run that is ready to predict: a run of the store, a folder, or a repository of the hub.

    `grid`: see `load`. `trust`: whether code may be imported that is not in the registry. Raises StoreError for a run or a folder
    that cannot be read, SetupError for a repository that cannot be downloaded, and for code that is not trusted.
    """
    if is_outside(reference):
        return load_folder(folder_of(reference), device, trust=trust)
    return load(Store.open(store, create=False), reference, device, grid)


def load_folder(folder: Path, device: str = "cpu", *, trust: bool = False) -> StoredRun:
    """Return the run in a folder: a folder of `bench upload`, or the folder of a run in a store.

    Raises StoreError for files that are missing, damaged or of another version, SetupError for code that is not trusted.
    """
    if (folder / CONFIG).is_file():
        return _read_node(folder, folder, _config(folder), torch.device(device), trust)
    return load(Store.open(folder.resolve().parent.parent, create=False), folder.resolve().name, device)


def _config(folder: Path) -> dict[str, Any]:
    """Return the content of config.json. Raises StoreError if it is damaged, or not written by `bench upload`."""
    path = folder / CONFIG
    try:
        content = json_object(path)
    except (OSError, ValueError) as error:
        raise StoreError.unreadable(path, error) from error
    if not isinstance(content.get("document"), dict) or not isinstance(content.get("run"), str):
        fix = "give a folder that `bench upload` wrote; another model needs a model.yaml (docs/extensions/your-own-model.md)"
        raise StoreError(f"{CONFIG} describes no run of this program", str(path), fix)
    if content.get("sha256") != config_sha256(content):
        raise StoreError(f"{CONFIG} is not what was uploaded", str(path), "download the folder again")
    return content


def _read_node(root: Path, folder: Path, node: Mapping[str, Any], device: torch.device, trust: bool) -> StoredRun:
    """Return the run that `node`, a block of config.json, describes.

    `root`: folder of config.json. `folder`: folder with the weights of the run. Raises StoreError for a damaged block.
    """
    path = root / CONFIG
    try:
        run_id, document = str(node["run"]), node["document"]
        unlearnt = tuple(map(str, node["not_learnt"]))
        points = pd.DataFrame(node.get("operating_points", ()), columns=list(POINTS))
        known = elsewhere_table(node.get("elsewhere", ()))
        if document.get("kind") in COMBINED:
            if short_hash(canonical_json(document)) != run_id:
                raise StoreError("the document does not match the run id", str(path), "download the folder again")
            sources = {
                str(own["run"]): _read_node(root, root / MEMBERS / str(own["run"]), own, device, trust)
                for own in node["sources"]
            }
            in_order = [sources[source] for source in node.get("chosen", document["sources"])]
            combined = combination(run_id, document, in_order, unlearnt, points, str(node.get("name", "")))
            return replace(combined, elsewhere=known)
        run = parse_run(document, run_id, str(path))
        usual = {str(name): (float(low), float(high)) for name, (low, high) in node.get("gray_values", {}).items()}
        if list(node["findings"]) != list(run.config.findings):
            fix = "use the version that made the folder"
            raise StoreError("the findings of the model differ from those of this version of Unseen", str(path), fix)
        digests = {WEIGHTS: str(node["weights_sha256"]), REFERENCE: str(node.get("reference_sha256", ""))}
        synthetic = bool(node.get("synthetic", False))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise StoreError(f"{CONFIG} is damaged: {error!r}", str(path), "download the folder again") from error
    trained = _trained(run, folder, device, trust, unlearnt, points, usual, synthetic=synthetic, digests=digests)
    return replace(trained, elsewhere=known)


def _trained(
    run: RunSpec,
    folder: Path,
    device: torch.device,
    trust: bool,
    unlearnt: tuple[str, ...],
    points: pd.DataFrame,
    usual: Mapping[str, tuple[float, float]],
    *,
    synthetic: bool,
    digests: Mapping[str, str],
) -> StoredRun:
    """Return a trained run, ready to predict, with the weights in a folder.

    `usual`: usual range of gray values, as in `StoredRun`. `digests`: file -> expected SHA-256, "" if the run has no such file;
    {} if nothing is known.
    """
    weights = folder / WEIGHTS
    if not trust:
        _refuse_foreign_code(run, str(folder))
    fix = "download or copy the folder again, with all its files"
    if not weights.is_file():
        raise StoreError(f"run {run.id} cannot be loaded: its weights are missing", str(weights), fix)
    for name, digest in digests.items():
        if (folder / name).is_file() and file_sha256(folder / name) != digest:
            raise StoreError(f"run {run.id}: {name} is not what was uploaded", str(folder / name), fix)
    try:
        network = initial_network(run, None)
        network.load_state_dict(load_file(weights))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise StoreError(f"run {run.id} cannot be loaded: {error}", str(weights), fix) from error
    network = network.to(device).to(memory_format=torch.channels_last)
    own = TrainedNetwork.of(run, network, _reference(run, folder))
    return StoredRun(
        run.id, tuple(run.config.findings), device, unlearnt, points, own, usual=usual, synthetic=synthetic
    )


def _reference(run: RunSpec, folder: Path) -> dict[str, list[float]]:
    """Return {op: reference histogram} of a run; {} if no op of its preprocessing needs a reference histogram."""
    op, path = run.histogram_op, folder / REFERENCE
    if op is None:
        return {}
    try:
        return {op: [float(value) for value in json.loads(path.read_bytes())[op]]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "copy it again"
        raise StoreError(f"the histogram reference of {op} is missing or damaged", str(path), fix) from error


def _refuse_foreign_code(run: RunSpec, where: str) -> None:
    """Raise SetupError if a run names code that is not in the registry."""
    if named := foreign_code(run, Registry.read()):
        fix = "give --trust if you trust the author of the model and have the package of its architecture"
        raise SetupError(f"the model names code that is not in the registry: {named}", where, fix)
