"""What a grid makes of its runs besides training them: views of test-time augmentation (TTA), and ensembles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bench.config.registry import Entry, Registry
from bench.config.run_config import RunConfig
from harmonize.errors import ConfigError

View = tuple[bool, float]  # mirrored, degrees anticlockwise

# four_views are CheXVision's; a network that never saw a mirrored chest gets three_views
TTA: Mapping[str, tuple[View, ...]] = {
    "four_views": ((False, 0.0), (True, 0.0), (False, 7.0), (False, -7.0)),
    "three_views": ((False, 0.0), (False, 7.0), (False, -7.0)),
}
_KEYS = ("name", "of", "tta", "mean")


@dataclass(frozen=True, slots=True)
class Ensemble:
    """One line of `ensembles`: the runs whose probabilities are averaged."""

    name: str
    configs: tuple[RunConfig, ...]
    tta: str = ""  # "" = the runs themselves, else their rows of this TTA


def read_tta(raw: object, configs: Sequence[RunConfig], registry: Registry, where: str) -> tuple[str, ...]:
    """Return the names of the TTAs of a grid.

    Raises ConfigError for an unknown name, and for mirrored views of a network that was not trained on mirrored images.
    """
    if not isinstance(raw, list) or len(set(map(str, raw))) != len(raw):
        raise ConfigError("tta is not a list of different names", where, f"write [{next(iter(TTA))}]")
    for name in raw:
        if name not in TTA:
            raise ConfigError(f"no TTA {name!r}", where, f"one of {', '.join(TTA)}")
        for config in configs if any(mirrored for mirrored, _ in TTA[name]) else ():
            if not _mirrors(registry.find("augmentation", config.augmentation, where)):
                fix = "use three_views, or an augmentation with hflip"
                what = f"{name} mirrors images, which training with augmentation {config.augmentation!r} does not"
                raise ConfigError(what, where, fix)
    return tuple(map(str, raw))


def _mirrors(augmentation: Entry) -> bool:
    """Whether an augmentation entry mirrors images: by its option `hflip`, or as one of its steps."""
    steps = augmentation.options.get("steps", ())
    return bool(augmentation.options.get("hflip")) or any("hflip" in (step, *_names(step)) for step in steps)


def _names(step: object) -> tuple[str, ...]:
    return tuple(map(str, step)) if isinstance(step, Mapping) else ()


def read_ensembles(
    raw: object,
    configs: Sequence[RunConfig],
    tta: Sequence[str],
    meets: Callable[[RunConfig, Mapping[str, Any], str], bool],
    where: str,
) -> tuple[Ensemble, ...]:
    """Return the ensembles of a grid; meets(config, conditions, place) says whether a run meets all conditions.

    Raises ConfigError for an unknown key, a name given twice, conditions that no run meets or that give the same runs,
    runs that do not learn the same, and a TTA that the grid does not make.
    """
    if not isinstance(raw, list) or not all(isinstance(block, Mapping) for block in raw):
        raise ConfigError("ensembles is not a list of blocks", where, "write `- {name: both, of: {seed: [0, 1]}}`")
    found: list[Ensemble] = []
    for i, block in enumerate(raw):
        place = f"{where}[{i}]"
        name, asked, views = _checked(block, tta, place)
        chosen = tuple(config for config in configs if meets(config, asked, f"{place}.of"))
        if not chosen:
            raise ConfigError("no run meets these conditions", f"{place}.of", "correct the names or values")
        if len({(c.space, c.task, getattr(c, "finding", "")) for c in chosen}) > 1:
            fix = "choose runs that learn the same findings"
            raise ConfigError("the runs of an ensemble learn different things", f"{place}.of", fix)
        for other in found:
            if other.name == name:
                raise ConfigError(f"two ensembles are called {name!r}", f"{place}.name", "give each a name of its own")
            if (set(other.configs), other.tta) == (set(chosen), views):
                raise ConfigError(f"{name!r} and {other.name!r} are the same runs", place, "remove one")
        found.append(Ensemble(name, chosen, views))
    return tuple(found)


def _checked(block: Mapping[str, Any], tta: Sequence[str], place: str) -> tuple[str, Mapping[str, Any], str]:
    """Return the name, the conditions and the TTA of one line."""
    for key in block:
        if key not in _KEYS:
            close = get_close_matches(str(key), _KEYS, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(_KEYS)}"
            raise ConfigError(f"unknown key {key!r}", place, fix)
    name, asked, views = block.get("name"), block.get("of", {}), block.get("tta", "")
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{name!r} does not name an ensemble", f"{place}.name", "write a few words")
    if not isinstance(asked, Mapping):
        raise ConfigError(f"{asked!r} is not a block of conditions", f"{place}.of", "write {architecture: [a, b]}")
    if block.get("mean", "probability") != "probability":
        raise ConfigError("only probabilities are averaged", f"{place}.mean", "write `mean: probability`")
    if views and views not in tta:
        raise ConfigError(f"the grid makes no {views!r} rows", f"{place}.tta", f"add `tta: [{views}]` to the grid")
    return name, asked, str(views)
