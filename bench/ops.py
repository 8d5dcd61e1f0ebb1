"""The ops of a preprocessing entry and the steps of an augmentation: names, options, order. No torch."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from harmonize.pixels import Geometry

REGION_OPS = {"roi": {"centre": 0.9}, "adaptive_roi": {"margin": 0.1}}  # what is cut out: done once, in the image cache
CACHED_OPS = (*REGION_OPS, "clahe")  # they need neighbouring pixels: done once, on uint8, before everything else
TABLE_OPS = ("histstd", "histmatch")  # one 256-entry table for each image, before augmentation; learnt at home
TONE_OPS = ("minmax", "zscore", "imagenet")  # batched on the device, after augmentation
AUGMENT_STEPS = {  # of `bench.augment:chain`, with their options
    "crop": {"share", "p"},
    "hflip": {"p"},
    "warp": {"rotate", "translate", "scale", "p"},
    "jitter": {"brightness", "contrast", "p"},
    "gamma": {"low", "high", "p"},
    "blur": {"sigma", "p"},
    "erase": {"area", "ratio", "p"},
    "border": {"most", "p"},
}

_STAGES = {name: k for k, names in enumerate((REGION_OPS, ("clahe",), TABLE_OPS, TONE_OPS)) for name in names}
_OPTIONS = {name: set(options) for name, options in REGION_OPS.items()} | {
    "clahe": {"clip", "tiles"},
    "histstd": set(),
    "histmatch": set(),
    "minmax": {"pixels"},
    "zscore": {"pixels"},
    "imagenet": set(),
}


def geometry(options: Mapping[str, Any]) -> "Geometry":
    """Return the cached half of a preprocessing entry: size, fit and the ops before the tone.

    Raises ConfigError for a missing size, or a value or an op that cannot be.
    """
    from harmonize.pixels import Geometry  # it knows OpenCV and DICOM; a list of names needs neither

    clahe, region = None, None
    input_size(options)
    try:
        for name, given in parse(options.get("ops", ())):
            if unknown := set(given) - _OPTIONS[name]:
                known = " and ".join(sorted(_OPTIONS[name])) or "no option"
                raise ConfigError(f"{name} has no option {min(unknown)!r}", "preprocessing.ops", f"it has {known}")
            if given.get("pixels", "all") not in ("foreground", "all"):
                raise ConfigError(f"pixels is {given['pixels']!r}", "preprocessing.ops", "choose foreground or all")
            if name == "clahe":
                clahe = (float(given.get("clip", 2.0)), int(given.get("tiles", 8)))
            if name in REGION_OPS:
                ((option, usual),) = REGION_OPS[name].items()
                region = (name, float(given.get(option, usual)))
        return Geometry(int(options["size"]), str(options.get("fit", "squash")), clahe, region)
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error), "preprocessing", "correct the entry") from error


def input_size(options: Mapping[str, Any]) -> int:
    """Return the side in pixels of what the network sees: `input`, the centre of the cached image, else all of it.

    Raises ConfigError for a missing size, or an input that is larger.
    """
    if "size" not in options:
        raise ConfigError("size is missing", "preprocessing", "add `size: 224`, the side of the square input in pixels")
    size = int(options["size"])
    seen = int(options.get("input", size))
    if not 8 <= seen <= size or (size - seen) % 2:
        what = f"input {seen} is no centre of size {size}"
        raise ConfigError(what, "preprocessing.input", f"give a number from 8 to {size} that leaves equal margins")
    return seen


def images_per_pass(usual: int, side: int) -> int:
    """Return how many images one pass of a network takes: fewer above 512 pixels, so that its memory stays the same.

    >>> images_per_pass(64, 224), images_per_pass(64, 2048)
    (64, 4)
    """
    return max(1, usual * 512**2 // max(512, side) ** 2)


def parse(ops: Sequence[str | Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, options) of each op, written `name` or `{name: {option: value}}`.

    >>> parse([{"clahe": {"clip": 2.0}}, "imagenet"])
    [('clahe', {'clip': 2.0}), ('imagenet', {})]
    """
    parsed: list[tuple[str, dict[str, Any]]] = []
    for op in ops:
        name, options = _named(op, "op", _STAGES, "preprocessing.ops")
        if parsed:
            _check_order(parsed[-1][0], name)
        parsed.append((name, options))
    return parsed


def augment_steps(steps: Sequence[str | Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, options) of each step of an augmentation, written like ops.

    Raises ConfigError for a step or an option that does not exist.
    """
    named = [_named(step, "step", AUGMENT_STEPS, "augmentation.steps") for step in steps]
    for name, options in named:
        if unknown := set(options) - AUGMENT_STEPS[name]:
            known = ", ".join(sorted(AUGMENT_STEPS[name]))
            raise ConfigError(f"{name} has no option {min(unknown)!r}", "augmentation.steps", f"it has {known}")
    return named


def _named(item: object, what: str, known: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of an item written `name` or `{name: {option: value}}`."""
    name, options = next(iter(item.items())) if isinstance(item, Mapping) and len(item) == 1 else (item, {})
    if not isinstance(name, str) or name not in known:
        close = get_close_matches(str(name), known, n=1)
        fix = f"did you mean {close[0]!r}?" if close else f"known {what}s: {', '.join(known)}"
        raise ConfigError(f"no {what} {name!r}", where, fix)
    return name, dict(options or {})


def learnt_op(ops: Sequence[str | Mapping[str, Any]]) -> str | None:
    """Return the op that needs a reference learnt on training images; there is one at most."""
    return next((name for name, _ in parse(ops) if name in TABLE_OPS), None)


def _check_order(before: str, name: str) -> None:
    """Raise ConfigError when an op cannot follow another: region, CLAHE, table, tone is the order."""
    if before == "imagenet":
        raise ConfigError("imagenet is not the last op", "preprocessing.ops", "put it last: it makes the channels")
    if name in CACHED_OPS and _STAGES[before] >= _STAGES["histstd"]:
        raise ConfigError(f"{name} comes after {before}", "preprocessing.ops", "put it first: it is cached")
    if _STAGES[name] < _STAGES[before]:
        raise ConfigError(f"{name} comes after {before}", "preprocessing.ops", f"put {name} before {before}")
    if _STAGES[name] == _STAGES[before] and name not in TONE_OPS:
        raise ConfigError(f"{name} beside {before}", "preprocessing.ops", "choose one of them")
