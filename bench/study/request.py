"""Read the request of `bench run`, and check all that can be checked without making or reading images.

This module imports neither pandas nor torch, so that a wrong request is refused within a second or two.
"""

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.config.grid import Grid
from bench.config.preprocessing_ops import input_size
from bench.config.registry import BUILT_IN_WEIGHTS, Entry, Registry, installed
from bench.config.run_config import RunConfig
from bench.planning.run import CHOSEN, PANEL, RunSpec, path_of_entry, starting_weights, weights_path
from bench.store.store import Store
from bench.study.starting_weights import StartingWeights, fetch, hub_weights
from bench.system.hub_client import cache_folder, is_reachable
from harmonize.cohorts.specs import read_data, with_gold
from harmonize.errors import ConfigError, SetupError
from harmonize.progress import Progress

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Request:
    """A grid that will be run, after it was read and checked. `command`: the command line that repeats the request."""

    grid: Grid
    registry: Registry
    data: Path | None  # folder of datasets or data file; None: synthetic cohorts
    weights: Path | None  # folder of starting weights; None: they come from timm's hub
    command: str

    @classmethod
    def read(cls, grid_name: str, registry_file: Path | None, data: Path | None, weights: Path | None) -> Self:
        """Read registry and grid, and check the request as `of` does."""
        registry = Registry.read(registry_file)
        grid = Grid.read(grid_name, registry)
        name = grid_name if grid_name == grid.name else Path(grid.path).name
        return cls.of(grid, registry, data, weights, command(name, data, weights, registry_file))

    @classmethod
    def of(cls, grid: Grid, registry: Registry, data: Path | None, weights: Path | None, command: str) -> Self:
        """Check that the grid can be run with the given data and weights; each of the two may be None.

        Raises ConfigError, RegistryError or SetupError for an invalid request.
        """
        check_data(grid, data)
        check_weights_files(grid, registry, weights)
        request = cls(grid, registry, data, weights, command)
        for entry in request.hub_architectures:
            starting_weights(entry, registry.find("weights", "imagenet", grid.path), None, registry.path)
        check_foreign(grid, registry)
        _check_added_heads(grid, registry, weights)
        return request

    def check_only(self, pattern: str | None) -> None:
        """Raise ConfigError for a pattern of --only that neither begins an id nor fits a name (see `Plan.select`)."""
        grid, names = self.grid, [config.architecture for config in self.grid.configs]
        names += [*grid.tta, *(ensemble.name for ensemble in grid.ensembles), PANEL, CHOSEN]
        if pattern and not re.fullmatch("[0-9a-f]+", pattern) and not fnmatch.filter(names, pattern):
            fix = f"give the first digits of an id, or one of {', '.join(dict.fromkeys(names))}"
            raise ConfigError(f"no run matches {pattern!r}", "--only", fix)

    @property
    def hub_architectures(self) -> list[Entry]:
        """Return the architectures whose starting weights come from timm's hub."""
        return [] if self.weights else _pretrained(self.grid, self.registry)

    def check_weights(self, store: Store) -> None:
        """Raise SetupError if starting weights of a grid are neither in the hub's cache nor downloadable.

        A grid that the store already has is not checked.
        """
        if not store.has_grid(self.grid.name):
            checked_hub_weights(self.hub_architectures)

    def fetch_weights(self, runs: Iterable[RunSpec], store: Store, progress: Progress) -> None:
        """Download the missing starting weights of the untrained runs, before any of these runs trains.

        Raises SetupError if a file cannot be downloaded.
        """
        fetch(checked_hub_weights(self.architectures_to_fetch(runs, store)), progress)

    def architectures_to_fetch(self, runs: Iterable[RunSpec], store: Store) -> list[Entry]:
        """Return the architectures of the runs that are not trained yet and start from weights of timm's hub."""
        return [run.entries["architecture"] for run in runs if run.starts_from_hub and not run.is_trained(store)]

    def missing_weights(self, architectures: Iterable[Entry]) -> list[str]:
        """Return lines of text that say which starting weights of timm's hub are not on this machine, and how to get them.

        The list is empty if no file is missing. The function does not use the internet.
        """
        files = hub_weights(architectures, check=False)
        missing = [file for file in files if file.state == "missing"]
        if not missing:
            return []
        return [
            f"{len(missing)} of {len(files)} files of starting weights are not on this machine:",
            *(f"  {file.name}: {file.path}" for file in missing),
            "`bench run` downloads them. Without a network:",
            f"  run `bench weights GRID` on another machine and copy {cache_folder()}",
            "  or put files TAG.safetensors into a folder and give --weights FOLDER",
        ]


def command(grid: str, data: Path | None, weights: Path | None, registry: Path | None) -> str:
    """Return the command line that runs a grid again, with placeholders for paths.

    >>> command("demo", None, None, None), command("mine.yaml", Path("d"), None, Path("r.yaml"))
    ('bench run --grid demo', 'bench run --grid mine.yaml --data DATA --registry REGISTRY')
    """
    options = {"--data DATA": data, "--weights WEIGHTS": weights, "--registry REGISTRY": registry}
    return " ".join([f"bench run --grid {grid}", *(option for option, path in options.items() if path)])


def check_data(grid: Grid, data: Path | None) -> None:
    """Raise ConfigError or DatasetError if the grid cannot be run with these data, or without data."""
    if data is None:
        grid.check_synthetic()
    else:
        grid.check_cohorts(with_gold(read_data(data), grid.hospitals), data)


def check_weights_folder(folder: Path | None) -> None:
    """Raise SetupError if the folder of --weights does not exist; None is no folder."""
    if folder is not None and not folder.is_dir():
        raise SetupError("no such folder of weights", str(folder), "give the folder that holds the safetensors files")


def check_weights_files(grid: Grid, registry: Registry, folder: Path | None) -> None:
    """Raise SetupError if the folder of starting weights does not exist, or if files of starting weights are missing.

    `folder`: folder of --weights, or None. Without a folder, only the files are checked that entries of the registry name.
    The error names all missing files.
    """
    check_weights_folder(folder)
    named = {config.weights for config in grid.configs} - {*BUILT_IN_WEIGHTS}
    own = [registry.find("weights", name, grid.path) for name in sorted(named)]
    missing_own = [path for entry in own if not (path := path_of_entry(entry, "file", folder, registry.path)).is_file()]
    if missing_own:
        what = f"{len(missing_own)} of {len(own)} files of starting weights in the registry are missing"
        fix = "put each file there or into the folder of --weights, or correct `file:` of its registry entry"
        raise SetupError(what, ", ".join(map(str, missing_own)), fix)
    if folder is None:
        return
    files = {weights_path(entry, folder) for entry in _pretrained(grid, registry)}
    missing = sorted(file.name for file in files if not file.is_file())
    if missing:
        what = f"{len(missing)} of {len(files)} files of starting weights are missing: {', '.join(missing)}"
        fix = "put them into this folder, or leave --weights out to download them from timm's hub"
        raise SetupError(what, str(folder), fix)


def checked_hub_weights(entries: Iterable[Entry]) -> list[StartingWeights]:
    """Return the files of starting weights of timm models.

    The function uses the internet only if files are missing. Raises SetupError, with the names of all missing models, if they are
    neither in the hub's cache nor downloadable.
    """
    files = hub_weights(entries, check=False)
    missing = [file.source or file.name for file in files if file.state == "missing"]
    if missing and not is_reachable():
        what = f"{len(missing)} of {len(files)} models have no starting weights on this machine, "
        what += "and huggingface.co cannot be reached"
        fix = "where there is a network, run `bench weights GRID`, and copy the hub's cache "
        fix += f"({cache_folder()}); or put files TAG.safetensors into a folder and give --weights FOLDER"
        raise SetupError(what, ", ".join(sorted(missing)), fix)
    return files


def _pretrained(grid: Grid, registry: Registry) -> list[Entry]:
    """Return the architectures that a grid trains from their ImageNet weights."""
    names = dict.fromkeys(config.architecture for config in grid.configs if config.weights == "imagenet")
    return [registry.find("architectures", name, grid.path) for name in names]


def check_foreign(grid: Grid, registry: Registry) -> None:
    """Raise ConfigError or RegistryError for an unusable entry that is not part of the project.

    An entry is unusable if its code cannot be imported or does not accept its options. It is also unusable if it names a timm
    model that does not exist, or that does not accept images of the run's size. The project's own entries are not imported
    here, because tests cover them.
    """
    shipped = installed("registry.yaml")
    own = (registry if registry.path.resolve() == shipped.resolve() else Registry.read(shipped)).sections
    named = {(section, getattr(config, key)) for config in grid.configs for key, section in config.named.items()}
    for section, name in sorted(named):
        entry = registry.find(section, name, grid.path)
        if entry.extension or entry != own[section].get(name):
            entry.check()
    for config in grid.configs:
        entry = registry.find("architectures", config.architecture, grid.path)
        if (config.is_frozen and not entry.given_features) or _compares_features(config, registry):
            _features_of(entry, config, f"{grid.path}: {config.architecture}")
        if config.head == "lora":
            _check_lora(entry, config, f"{grid.path}: {config.architecture}")
        if config.head == "attention":
            _check_attention(entry, config, f"{grid.path}: {config.architecture}")
        if entry.use == "bench.models.network:timm_model" and "params" not in entry.facts:
            from bench.models.network import (
                check_timm,  # importing timm takes seconds
            )

            size = input_size(registry.find("preprocessing", config.preprocessing, grid.path).facts)
            check_timm(entry.options, config.channels, size, f"{grid.path}: {config.architecture}")
            for check in (analysis.kind.check for analysis in grid.analyses if analysis.kind.check):
                module, _, name = check.partition(":")
                getattr(import_module(module), name)(entry, config, size, f"{grid.path}: {config.architecture}")


def _check_added_heads(grid: Grid, registry: Registry, weights: Path | None) -> None:
    """Raise ConfigError or SetupError for a head of an extension that does not fit findings or network of a run."""
    for config in grid.configs:
        if config.added_head:
            entry = registry.find("architectures", config.architecture, grid.path)
            _, entry = config.added_head.stated(config, entry, weights, registry.path)
            where = f"{grid.path}: {config.architecture}"
            if entry.given_features:
                features = entry.given_features.with_width(entry, config, weights, registry.path).options["width"]
            else:
                features = _features_of(entry, config, where)
            config.added_head.check_features(entry, features, where)


def _check_attention(architecture: Entry, config: RunConfig, where: str) -> None:
    """Raise ConfigError for a network whose pooling cannot be replaced by attentive pooling."""
    from bench.models.attentive_pooling import AttentivePooling  # imports torch

    try:
        AttentivePooling.replacing(_without_weights(architecture, config))
    except ValueError as error:
        fix = "use a ViT, DINOv2, SigLIP or EVA of timm, or another head, such as `head: probe`"
        raise ConfigError(f"`head: attention` is impossible: {error}", where, fix) from error


def _without_weights(architecture: Entry, config: RunConfig) -> "nn.Module":
    """Return the network of an architecture, built without weights on torch's meta device."""
    import torch  # takes a second, and is only needed here

    with torch.device("meta"):
        backbone: nn.Module = architecture.load()(
            num_outputs=len(config.findings), in_channels=config.channels, **architecture.options
        )
    return backbone


def _check_lora(architecture: Entry, config: RunConfig, where: str) -> None:
    """Raise ConfigError for a network without linear layers to change."""
    import torch

    from bench.models.output_layers import output_layers

    backbone = _without_weights(architecture, config)
    outputs = output_layers(backbone)
    linear = [module for module in backbone.modules() if isinstance(module, torch.nn.Linear)]
    if all(any(module is layer for layer in outputs) for module in linear):
        fix = "use `head: own` or `head: probe`, or a transformer"
        raise ConfigError("`head: lora` is impossible: the network has no linear layers to change", where, fix)


def _compares_features(config: RunConfig, registry: Registry) -> bool:
    """Return whether the algorithm of a run needs the features of the images."""
    section = config.named.get("algorithm")
    facts = registry.find(section, config.algorithm, "algorithm").facts if section else {}
    return bool(facts.get("features"))


def _features_of(architecture: Entry, config: RunConfig, where: str) -> int:
    """Return the number of features of a network that is used without training it, or whose features an algorithm needs.

    Raises ConfigError for a network whose output layer is not one linear layer.
    """
    from bench.models.network import Network
    from bench.training import TrainingError
    from bench.training.probe import output_layer

    backbone = _without_weights(architecture, config)
    try:
        layer = output_layer(Network(backbone, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), config.channels))
    except TrainingError as error:
        key, plain = f"algorithm: {config.algorithm}", "algorithm: erm"
        if config.is_frozen:
            key, plain = f"head: {config.head}", "head: own"
        fix = f"use `{plain}`, or a network whose output layer is one linear layer"
        raise ConfigError(f"`{key}` is impossible: {error}", where, fix) from error
    return int(layer.weight.shape[1])
