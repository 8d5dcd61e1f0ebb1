"""Read the test-time augmentations (TTA) and ensembles of a grid. Both are rows of the leaderboard that need no training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from bench.config.registry import Entry, Registry
from bench.config.run_config import RunConfig, choice, from_dict
from harmonize.errors import ConfigError

View = tuple[bool, float]  # whether the image is mirrored; rotation in degrees counterclockwise

# four_views: the views of the project CheXVision; three_views: for networks that were not trained on mirrored images
TTA: Mapping[str, tuple[View, ...]] = {
    "four_views": ((False, 0.0), (True, 0.0), (False, 7.0), (False, -7.0)),
    "three_views": ((False, 0.0), (False, 7.0), (False, -7.0)),
}


@dataclass(frozen=True, slots=True)
class Ensemble:
    """One ensemble: runs whose probabilities are averaged."""

    name: str
    configs: tuple[RunConfig, ...]
    tta: str = ""  # name of the TTA whose probabilities are averaged; "": probabilities without TTA are averaged


def read_tta(raw: object, configs: Sequence[RunConfig], registry: Registry, where: str) -> tuple[str, ...]:
    """Return the names of the TTAs of a grid.

    Raises ConfigError for an unknown name, and for mirrored views of a run that was trained without mirroring. Also raises
    ConfigError for a run on given vectors, because no network can read the changed images.
    """
    if not isinstance(raw, list) or len(set(map(str, raw))) != len(raw):
        raise ConfigError("tta must be a list of different names", where, f"write [{next(iter(TTA))}]")
    for name in raw:
        if name not in TTA:
            raise ConfigError(f"unknown TTA {name!r}", where, f"choose from: {', '.join(TTA)}")
        for config in configs if any(mirrored for mirrored, _ in TTA[name]) else ():
            if not _mirrors(registry.find("augmentation", config.augmentation, where)):
                fix = "use three_views, or an augmentation with hflip"
                what = f"{name} mirrors images, but the augmentation {config.augmentation!r} does not"
                raise ConfigError(what, where, fix)
    for config in configs if raw else ():
        if registry.find("architectures", config.architecture, where).given_features:
            fix = "remove `tta`, or move the runs on given vectors into another grid"
            raise ConfigError(f"{config.architecture} has vectors and no network, so it cannot have TTA", where, fix)
    return tuple(map(str, raw))


def _mirrors(augmentation: Entry) -> bool:
    """Return whether an augmentation entry mirrors images, either with its option `hflip` or with one of its steps."""
    # a step is a name, or a mapping from its name to options
    steps = ([step] if isinstance(step, str) else step for step in augmentation.options.get("steps", ()))
    return bool(augmentation.options.get("hflip")) or any("hflip" in names for names in steps)


@dataclass(frozen=True, slots=True)
class _Block:
    """An ensemble as written: its name, the conditions of its runs, and its TTA."""

    name: Annotated[str, Meta(pattern=r"\S")]
    of: dict[str, Any] = field(default_factory=dict)
    tta: str = ""
    mean: Annotated[str, choice("probability")] = "probability"


def read_ensembles(
    raw: object,
    configs: Sequence[RunConfig],
    tta: Sequence[str],
    meets: Callable[[RunConfig, Mapping[str, Any], str], bool],
    where: str,
) -> tuple[Ensemble, ...]:
    """Return the ensembles of a grid. `meets(config, conditions, where)` returns whether a run meets all conditions of the key `of`.

    Raises ConfigError for an unknown key, a repeated name, conditions that no run meets, and a TTA that the grid does
    not make. Also raises ConfigError for two ensembles with the same runs and TTA, and for an ensemble of runs with
    different findings, left-out hospitals or validation splits.
    """
    if not isinstance(raw, list) or not all(isinstance(block, Mapping) for block in raw):
        raise ConfigError("ensembles must be a list of blocks", where, "write `- {name: both, of: {seed: [0, 1]}}`")
    ensembles: list[Ensemble] = []
    for i, block in enumerate(raw):
        location = f"{where}[{i}]"
        stated = from_dict(_Block, block, location)
        name, views = stated.name, stated.tta
        if views and views not in tta:
            raise ConfigError(f"the grid has no TTA {views!r}", f"{location}.tta", f"add `tta: [{views}]` to the grid")
        members = tuple(config for config in configs if meets(config, stated.of, f"{location}.of"))
        if not members:
            fix = "correct the names or values"
            raise ConfigError("no run of the grid meets these conditions", f"{location}.of", fix)
        _check_together(members, f"{location}.of")
        for other in ensembles:
            if other.name == name:
                raise ConfigError(f"two ensembles have the name {name!r}", f"{location}.name", "rename one of them")
            if (set(other.configs), other.tta) == (set(members), views):
                raise ConfigError(f"{name!r} and {other.name!r} have the same runs", location, "remove one of them")
        ensembles.append(Ensemble(name, members, views))
    return tuple(ensembles)


def _check_together(members: Sequence[RunConfig], where: str) -> None:
    """Raise ConfigError unless the probabilities of these runs can be averaged, and the average be tested as one run."""
    if len({(c.space, c.task, getattr(c, "finding", "")) for c in members}) > 1:
        fix = "choose runs that learn the same findings"
        raise ConfigError("the runs of an ensemble must have the same findings", where, fix)
    if len({c.leave_out for c in members}) > 1:
        what = "the runs of an ensemble leave out different hospitals: each left-out hospital trained the other runs"
        fix = "write one ensemble for each hospital, with `leave_out: HOSPITAL` in `of`"
        raise ConfigError(what, where, fix)
    if len({c.drawn_by for c in members}) > 1:
        what = "the seeds of an ensemble have different validation splits: only images that all of them predict would be left"
        raise ConfigError(what, where, "choose runs of one seed, or train with `resample: none`")
