"""The files of starting weights that a grid needs: list them, check them, and fetch those that are missing.

This module imports torch only for models of timm that are not part of the project.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.config.grid import Grid
from bench.config.registry import BUILT_IN_WEIGHTS, Entry, Registry, installed
from bench.planning.run import path_of_entry, weights_path
from bench.store.file_integrity import file_sha256
from bench.system.hub_client import cached_path, download
from harmonize.errors import SetupError
from harmonize.progress import Progress

# shipped architectures whose weights are files of timm's releases on GitHub, not of the hub
RELEASES = ("legacy_xception.tf_in1k",)
HUB_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class StartingWeights:
    """One file of starting weights."""

    name: str  # the timm model, or the registry entry of the section `weights`
    corpus: str  # images on which the network was trained before; "" if not stated
    licence: str
    state: str  # present, missing or damaged
    path: str  # path of the file, or the place where it belongs
    num_bytes: int  # size of the file; 0 if unknown
    exact: bool  # whether the size is the size of the file, not an estimate from the number of parameters
    sha256: str  # "" for a file that is not there
    source: str  # where to get the file


def needed(grid: Grid, registry: Registry, folder: Path | None) -> list[StartingWeights]:
    """Return the files of starting weights of a grid, each once; `folder` is the folder of --weights, or None."""
    own, tags, files = {}, {}, {}
    for config in grid.configs:
        weights = registry.find("weights", config.weights, grid.path)
        entry = registry.find("architectures", config.architecture, grid.path)
        if weights.name not in BUILT_IN_WEIGHTS:
            own[weights.name] = weights
        elif weights.name == "imagenet" and folder is not None:
            files[weights_path(entry, folder)] = entry
        elif weights.name == "imagenet":
            tags[tag_of(entry)] = entry
    return [
        *(_local(path_of_entry(entry, "file", folder, registry.path), entry, entry.name) for entry in own.values()),
        *(_local(path, entry, tag_of(entry)) for path, entry in files.items()),
        *hub_weights(tags.values()),
    ]


def tag_of(architecture: Entry) -> str:
    """Return the name of an architecture's timm model, which contains the tag of its weights: MODEL.TAG."""
    return str(architecture.options.get("name", architecture.name))


def fetch(weights: Sequence[StartingWeights], progress: Progress) -> list[StartingWeights]:
    """Download missing files of timm into the caches of the hub and of torch; return all files with their new state.

    Raises SetupError with all files that cannot be downloaded.
    """
    missing = [one for one in weights if one.state == "missing" and not one.source.startswith("put ")]
    failed = {}
    for i, one in enumerate(missing):
        progress(f"fetch {one.name}", i, len(missing))
        try:
            if one.source.startswith("https://"):
                from bench.models.network import download_release  # imports torch, which takes seconds

                download_release(one.source)
            else:
                download(one.source, HUB_FILE)
        except Exception as error:  # noqa: BLE001  (the client raises its own errors, those of httpx and of the system)
            failed[one.source] = " ".join(str(error).split())[:200]
    progress("fetch starting weights", len(missing), len(missing))
    if failed:
        what = f"{len(failed)} of {len(missing)} files cannot be downloaded: {next(iter(failed.values()))}"
        fix = "check the network, or put files TAG.safetensors into a folder and give --weights FOLDER"
        raise SetupError(what, ", ".join(failed), fix)
    return [_fetched(one) if one in missing else one for one in weights]


def _fetched(row: StartingWeights) -> StartingWeights:
    if not row.source.startswith("https://"):
        return _with_cached_file(row)
    return _released(row.name, Entry("architectures", row.name, facts={"corpus": row.corpus}, licence=row.licence))


def repositories(tags: Mapping[str, Entry]) -> dict[str, str]:
    """Return {timm model with tag: hub repository of its weights}. Models whose weights are not on the hub are left out."""
    names = {tag: f"timm/{tag}" for tag in tags if tag not in RELEASES}
    shipped = Registry.read(installed("registry.yaml")).sections["architectures"]
    foreign = [tag for tag in names if tags[tag] != shipped.get(tags[tag].name)]
    unknown = [tag for tag in foreign if not cached_path(names[tag], HUB_FILE)]
    if unknown:
        from bench.models.network import hub_repository  # imports torch, which takes seconds

        # for a model that is not part of the project, only timm knows whether its weights are on the hub
        names |= {tag: hub_repository(tag) for tag in unknown}
    return {tag: name for tag, name in names.items() if name}


def _local(path: Path, entry: Entry, name: str) -> StartingWeights:
    """Return a file of --weights or of the registry, with its hash and state."""
    source = f"put {path.name} into {path.parent}"
    corpus, licence = str(entry.facts.get("corpus", "")), entry.licence
    if not path.is_file():
        size = _approximate_bytes(entry)
        return StartingWeights(name, corpus, licence, "missing", str(path), size, False, "", source)
    sha256 = file_sha256(path)
    damaged = not _is_safetensors(path) or entry.facts.get("sha256", sha256) != sha256
    state = "damaged" if damaged else "present"
    return StartingWeights(name, corpus, licence, state, str(path), path.stat().st_size, True, sha256, source)


def hub_weights(entries: Iterable[Entry], check: bool = True) -> list[StartingWeights]:
    """Return the files of timm models in the caches of the hub and of torch, each once.

    Without `check`, files are not read: they have no hash, and damaged files count as present.
    """
    by_tag = {tag_of(entry): entry for entry in entries}
    on_hub = repositories(by_tag)
    return [
        _on_hub(tag, entry, on_hub[tag], check) if tag in on_hub else _released(tag, entry, check)
        for tag, entry in by_tag.items()
    ]


def _on_hub(tag: str, entry: Entry, repository: str, check: bool) -> StartingWeights:
    """Return the file of a timm model in the hub's cache."""
    corpus = str(entry.facts.get("corpus", ""))
    where = f"https://huggingface.co/{repository}"
    size = _approximate_bytes(entry)
    row = StartingWeights(tag, corpus, entry.weights_licence, "missing", where, size, False, "", repository)
    return _with_cached_file(row, check)


def _released(tag: str, entry: Entry, check: bool = True) -> StartingWeights:
    """Return the file of a timm model in torch's cache. The name of such a file contains the start of its SHA-256."""
    from bench.models.network import release_file  # imports torch, which takes seconds

    url, path = release_file(tag)
    corpus, size = str(entry.facts.get("corpus", "")), _approximate_bytes(entry)
    row = StartingWeights(tag, corpus, entry.weights_licence, "missing", url or "no file of timm", size, False, "", url)
    if not url or not path.is_file():
        return row
    present = _present(row, path)
    if not check:
        return present
    sha256 = file_sha256(path)
    state = "present" if sha256.startswith(path.stem.rpartition("-")[2]) else "damaged"
    return replace(present, state=state, sha256=sha256)


def _with_cached_file(row: StartingWeights, check: bool = True) -> StartingWeights:
    """Return the row with the state of the file in the hub's cache, if the file is there.

    The cache names a large file by its SHA-256, so a file whose SHA-256 differs from its name is damaged.
    """
    path = cached_path(row.source, HUB_FILE)
    if not path:
        return row
    present = _present(row, path)
    if not check:
        return present
    sha256, stated = file_sha256(path), path.resolve().name
    damaged = not _is_safetensors(path) or (len(stated) == len(sha256) and stated != sha256)
    return replace(present, state="damaged" if damaged else "present", sha256=sha256)


def _present(row: StartingWeights, path: Path) -> StartingWeights:
    """Return `row` with path, size and state "present" of the file at `path`, which exists. The file is not read."""
    return replace(row, state="present", path=str(path), num_bytes=path.stat().st_size, exact=True)


def _approximate_bytes(entry: Entry) -> int:
    """Return the size in bytes of a network's weights, four per parameter; 0 if the registry states no number of parameters."""
    return round(4e6 * float(entry.facts.get("params", 0)))


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is complete: its header is readable and states the size of the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return bool(list(file.keys()))
    except (OSError, SafetensorError):
        return False
