"""Read the request of `bench run`, and check everything that can be checked before images are drawn or read.

This module imports neither pandas nor torch, so that a wrong request is refused within a second or two.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.config.grid import Grid
from bench.config.imported_model import Declared
from bench.config.preprocessing_ops import input_size
from bench.config.registry import BUILT_IN_WEIGHTS, Entry, Registry, installed
from bench.config.run_config import NAMED
from bench.planning.run import own_weights_path, starting_weights, weights_path
from bench.runs.model_reference import folder_of
from bench.store.store import Progress
from bench.study.starting_weights import fetch, hub_weights, tag_of
from bench.system.hub_client import cache_folder, is_reachable
from harmonize.cohorts.specs import read_data, with_gold
from harmonize.errors import SetupError


@dataclass(frozen=True)
class Request:
    """A grid with its registry, read and checked once. `command`: the command line that repeats the request."""

    grid: Grid
    registry: Registry
    command: str
    hub_weights: tuple[Entry, ...] = ()  # architectures whose starting weights come from timm's hub

    @classmethod
    def read(cls, grid_name: str, registry_file: Path | None, data: Path | None, weights: Path | None) -> Self:
        """Read registry and grid, and check that the grid can be run with or without these data and weights.

        Raises ConfigError, RegistryError or SetupError for an invalid request.
        """
        registry = Registry.read(registry_file)
        grid = Grid.read(grid_name, registry)
        command = " ".join(["bench run --grid", grid_name if grid_name == grid.name else Path(grid.path).name])
        command += (" --data DATA" if data else "") + (" --weights WEIGHTS" if weights else "")
        command += " --registry REGISTRY" if registry_file else ""
        _check_data(grid, data)
        check_weights_files(grid, registry, weights)
        from_hub = () if weights else tuple(_pretrained(grid, registry))
        for entry in from_hub:
            starting_weights(entry, registry.find("weights", "imagenet", grid.path), None, registry.path)
        return cls(grid, registry, command, from_hub)


@dataclass(frozen=True)
class EvaluationRequest:
    """A request of `bench evaluate`, read and checked before torch is imported.

    The model has a declaration (model.yaml), or a folder that `bench upload` wrote (a downloaded repository of the hub).
    """

    declared: Declared | None
    grid: Grid
    registry: Registry
    folder: Path | None = None
    model_name: str = ""  # as it is shown in the command of the grid

    @classmethod
    def read(cls, model: str | Path, grid_name: str, registry_file: Path | None, data: Path | None) -> Self:
        """Read the model, registry and grid, and check that the grid can be evaluated with or without these data.

        `model`: path of a model.yaml, folder of an upload, or repository of the hub. Raises ConfigError, RegistryError or DatasetError
        for an invalid request, StoreError for a folder without a model, SetupError for a repository that cannot be downloaded.
        """
        path = Path(model)
        is_declared = path.is_file() or path.suffix in (".yaml", ".yml")
        declared, registry = Declared.read(path) if is_declared else None, Registry.read(registry_file)
        grid = Grid.read(grid_name, registry)
        _check_data(grid, data)
        folder = None if is_declared else folder_of(str(model))
        return cls(declared, grid, registry, folder, path.name)


def _check_data(grid: Grid, data: Path | None) -> None:
    """Raise ConfigError or DatasetError if the grid cannot be run with these data, or without data."""
    if data is None:
        grid.check_synthetic()
    else:
        grid.check_cohorts(with_gold(read_data(data), grid.cohort_names), data)


def check_weights_files(grid: Grid, registry: Registry, folder: Path | None) -> None:
    """Raise SetupError if the folder of starting weights does not exist, or lacks files; name all missing files.

    Files that the registry names must exist, too. `folder`: folder of --weights, or None.
    """
    if folder is not None and not folder.is_dir():
        fix = "give the folder that holds the safetensors files"
        raise SetupError("no such folder of weights", str(folder), fix)
    named = {config.weights for config in grid.configs} - {*BUILT_IN_WEIGHTS}
    own = [registry.find("weights", name, grid.path) for name in sorted(named)]
    missing_own = [path for entry in own if not (path := own_weights_path(entry, folder, registry.path)).is_file()]
    if missing_own:
        what = f"{len(missing_own)} of {len(own)} files of starting weights in the registry are missing"
        fix = "put each file there, or correct `file:` of its entry in the section `weights`"
        raise SetupError(what, ", ".join(map(str, missing_own)), fix)
    if folder is None:
        return
    files = {weights_path(entry, folder) for entry in _pretrained(grid, registry)}
    missing = sorted(file.name for file in files if not file.is_file())
    if missing:
        what = f"{len(missing)} of {len(files)} files of starting weights are missing: {', '.join(missing)}"
        fix = "put them into this folder, or leave --weights out to download them from timm's hub"
        raise SetupError(what, str(folder), fix)


def check_hub_weights(entries: Iterable[Entry]) -> None:
    """Raise SetupError if starting weights are neither in the hub's cache nor downloadable; name all missing models.

    The network is only used if weights are missing.
    """
    files = [hub_weights(entry) for entry in {tag_of(entry): entry for entry in entries}.values()]
    missing = [file.source or file.name for file in files if file.state == "missing"]
    if missing and not is_reachable():
        what = f"{len(missing)} of {len(files)} models have no starting weights on this machine, "
        what += "and huggingface.co cannot be reached"
        fix = "where there is a network, run `bench weights GRID`, and copy the hub's cache "
        fix += f"({cache_folder()}); or put files TAG.safetensors into a folder and give --weights FOLDER"
        raise SetupError(what, ", ".join(sorted(missing)), fix)


def fetch_hub_weights(entries: Iterable[Entry], progress: Progress) -> None:
    """Download missing starting weights, once, before any run trains. Raises SetupError as `check_hub_weights` and `fetch`."""
    entries = list(entries)
    check_hub_weights(entries)
    fetch([hub_weights(entry) for entry in {tag_of(entry): entry for entry in entries}.values()], progress)


def _pretrained(grid: Grid, registry: Registry) -> list[Entry]:
    """Return the architectures that a grid trains from their ImageNet weights."""
    names = dict.fromkeys(config.architecture for config in grid.configs if config.weights == "imagenet")
    return [registry.find("architectures", name, grid.path) for name in names]


def check_foreign(grid: Grid, registry: Registry) -> None:
    """Raise ConfigError or RegistryError for an unusable entry that is not part of the project.

    An entry is unusable if its code cannot be imported or does not accept its options. It is also unusable if it names a timm
    model that does not exist, or that does not accept images of this size. Tests cover the project's own entries, so these are
    not imported here.
    """
    shipped = installed("registry.yaml")
    own = (registry if registry.path.resolve() == shipped.resolve() else Registry.read(shipped)).sections
    named = {(section, getattr(config, key)) for config in grid.configs for key, section in NAMED.items()}
    for section, name in sorted(named):
        entry = registry.find(section, name, grid.path)
        if entry.plugin or entry != own[section].get(name):
            entry.check()
    for config in grid.configs:
        entry = registry.find("architectures", config.architecture, grid.path)
        if entry.use == "bench.models.network:timm_model" and "params" not in entry.facts:
            from bench.models.network import (
                check_timm,  # importing timm takes seconds
            )

            size = input_size(registry.find("preprocessing", config.preprocessing, grid.path).facts)
            check_timm(entry.options, config.channels, size, f"{grid.path}: {config.architecture}")
