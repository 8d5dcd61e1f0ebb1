"""Write the weights of a run into a bundle, and read them. Weights are optional, and must match the seal of the run."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bench.config.registry import Registry
from bench.extensions.bundles import limits
from bench.extensions.bundles.archive import read_json, refused
from bench.planning.run import RunSpec
from bench.runs.model_reference import foreign_code
from bench.store.checked_folders import REFERENCE, WEIGHTS, CheckedFolder
from bench.store.store import canonical_json, write_bytes
from harmonize.errors import ConfigError, StoreError


def write_weights(run_folder: Path, folder: Path) -> None:
    """Copy the weights of a run and, if it exists, its reference histogram (reference.json) into the bundle's folder `folder`.

    Raises StoreError for weights that are missing or damaged, and ConfigError for weights that are too large for a bundle.
    """
    weights = run_folder / WEIGHTS
    if not weights.is_file():
        fix = "export without --with-weights, or from the store that trained the run"
        raise StoreError(f"run {run_folder.name} has no weights in this store", str(weights), fix)
    CheckedFolder(run_folder).check_weights()
    if weights.stat().st_size > limits.MOST_MEMBER_BYTES:
        what = f"the weights of run {run_folder.name} have more than {limits.MOST_MEMBER_BYTES:,} bytes"
        raise ConfigError(what, "--with-weights", "export without it; share the weights with `bench upload`")
    write_bytes(folder / WEIGHTS, weights.read_bytes())
    if (run_folder / REFERENCE).is_file():
        write_bytes(folder / REFERENCE, canonical_json(json.loads(CheckedFolder(run_folder).read(REFERENCE))))


def read_weights(source: Path, target: Path, run: RunSpec, weights: str, registry: Registry, where: str) -> None:
    """Check the weights and the reference histogram of a bundle's run, if it has them, and copy them.

    `source`: the run's folder in the unpacked bundle. `target`: its folder in the store. `weights`: the hash of the weights in
    the run's seal. Raises StoreError for weights with another hash, and for a reference that is not one list of numbers. Also
    raises StoreError for weights of a run that names code outside the registry, because prediction would import this code.
    """
    if (source / WEIGHTS).is_file():
        if named := foreign_code(run, registry):
            fix = "install the plug-in, give its registry with --registry, or ask for a bundle without weights"
            raise refused(
                f"run {source.name} has weights and names code that is not in the registry: {named}", where, fix
            )
        if tensors_sha256(source / WEIGHTS, where) != weights:
            raise refused(f"{WEIGHTS} of run {source.name} are not the weights that the seal states", where)
        write_bytes(target / WEIGHTS, (source / WEIGHTS).read_bytes())
    if (source / REFERENCE).is_file():
        content = read_json(source / REFERENCE, where)
        numbers = [number for values in content.values() for number in (values if isinstance(values, list) else [None])]
        if len(content) != 1 or not all(type(number) in (int, float) for number in numbers):
            raise refused(f"{REFERENCE} of run {source.name} is not a list of numbers", where)
        write_bytes(target / REFERENCE, canonical_json(content))


def tensors_sha256(path: Path, where: str) -> str:
    """Return the SHA-256 of the tensors in a safetensors file (64 hex digits). Raises StoreError for a damaged file.

    `bench.models.predict.weights_sha256` gives the same hash for the network that has these tensors.
    """
    digest = hashlib.sha256()
    try:
        with safe_open(path, framework="numpy") as file:
            for name in sorted(file.keys()):
                digest.update(name.encode())
                digest.update(file.get_tensor(name).tobytes())
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise refused(f"{path.name} cannot be read: {error}", where) from error
    return digest.hexdigest()
