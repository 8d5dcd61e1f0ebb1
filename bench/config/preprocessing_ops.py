"""The ops of a preprocessing entry and the steps of an augmentation: names, options, order.

An op is one operation on an image, such as `clahe`. A region op crops the image to a rectangle. A table op maps gray
values with one table per image. This module does not import torch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from bench.config.registry import Entry
    from harmonize.images.pixels import Geometry

# op that crops the image to a rectangle -> {option: default}
REGION_OPS = {"roi": {"centre": 0.9}, "adaptive_roi": {"margin": 0.1}}
CACHED_OPS = (*REGION_OPS, "clahe")  # ops that need neighboring pixels, so they are applied before images are cached
# ops that map gray values with one table per image, before augmentation; the reference histogram, from which the tables
# follow, is computed from internal images
TABLE_OPS = ("histstd", "histmatch")
INTENSITY_OPS = ("minmax", "zscore", "imagenet")  # intensity normalization of batches on the device, after augmentation
# allowed values of an option: (description, minimum, maximum)
_SHARE = ("a number from 0 to 1", 0.0, 1.0)
_HALF = ("a number from 0 to 0.5", 0.0, 0.5)
_BELOW_1 = ("a number from 0 to 0.99", 0.0, 0.99)
_DEGREES = ("degrees from 0 to 180", 0.0, 180.0)
_STRENGTH = ("a number from 0 to 5", 0.0, 5.0)
_PART = ("a number from 0.05 to 1", 0.05, 1.0)
_ABOVE_0 = ("a number above 0", 1e-3, 1e3)
# step of `bench.inputs.augmentation:chain` -> its options -> allowed values
AUGMENT_STEPS: Mapping[str, Mapping[str, Any]] = {
    "crop": {"share": _SHARE, "p": _SHARE},
    "hflip": {"p": _SHARE},
    "warp": {"rotate": _DEGREES, "translate": _SHARE, "scale": _BELOW_1, "p": _SHARE},
    "jitter": {"brightness": _SHARE, "contrast": _SHARE, "p": _SHARE},
    "gamma": {"low": _ABOVE_0, "high": _ABOVE_0, "p": _SHARE},
    "blur": {"sigma": _SHARE, "p": _SHARE},
    "erase": {"area": _SHARE, "ratio": _ABOVE_0, "p": _SHARE},
    "border": {"most": _HALF, "p": _SHARE},
    "markers": {"most": _HALF, "p": _SHARE},
    "tones": {"strength": _STRENGTH, "p": _SHARE},
    "resolutions": {"least": _PART, "p": _SHARE},
}
# augmentations that accept uint8 images
READ_BYTES = {"bench.inputs.augmentation:affine", "bench.inputs.augmentation:chain"}
_PAIRS = {"area", "ratio"}  # options that are [minimum, maximum]
_AFFINE = {**AUGMENT_STEPS["warp"], **AUGMENT_STEPS["jitter"]}  # options of the augmentation `affine`

_STAGES = {name: k for k, names in enumerate((REGION_OPS, ("clahe",), TABLE_OPS, INTENSITY_OPS)) for name in names}
_OPTIONS = {name: set(options) for name, options in REGION_OPS.items()} | {
    "clahe": {"clip", "tiles"},
    "histstd": set(),
    "histmatch": set(),
    "minmax": {"pixels"},
    "zscore": {"pixels"},
    "imagenet": set(),
}


def geometry(options: Mapping[str, Any]) -> "Geometry":
    """Return the geometry: the part of a preprocessing entry whose result the image cache stores (size, fit, region op, CLAHE).

    Raises ConfigError for a missing size, an invalid value or an unknown op.
    """
    from harmonize.images.pixels import (
        Geometry,  # imports OpenCV and DICOM, which the rest of this module does not need
    )

    clahe, region = None, None
    input_size(options)  # raises ConfigError
    try:
        for name, given in parse(options.get("ops", ())):
            if unknown := set(given) - _OPTIONS[name]:
                valid_options = " and ".join(sorted(_OPTIONS[name])) or "no option"
                fix = f"it has {valid_options}"
                raise ConfigError(f"{name} has no option {min(unknown)!r}", "preprocessing.ops", fix)
            if given.get("pixels", "all") not in ("foreground", "all"):
                fix = "choose foreground or all"
                raise ConfigError(f"unknown value {given['pixels']!r} of pixels", "preprocessing.ops", fix)
            if name == "clahe":
                clahe = (float(given.get("clip", 2.0)), int(given.get("tiles", 8)))
            if name in REGION_OPS:
                ((option, usual),) = REGION_OPS[name].items()
                region = (name, float(given.get(option, usual)))
        fit, interpolation = str(options.get("fit", "squash")), str(options.get("interpolation", ""))
        return Geometry(int(options["size"]), fit, clahe, region, interpolation)
    except (ValueError, TypeError) as error:
        fix = "correct the value; docs/grids.md lists what each key takes"
        raise ConfigError(str(error), "preprocessing", fix) from error


def padded(options: Mapping[str, Any]) -> bool:
    """Return whether gray value 0 of the cached images means padding: only with `fit: letterbox`."""
    return options.get("fit") == "letterbox"


def input_size(options: Mapping[str, Any]) -> int:
    """Return the side in pixels of the network's input: `input` (a center crop of the cached image) if given, else `size`.

    Raises ConfigError for a missing size, and for an `input` that is below 8, above `size`, or leaves unequal margins.
    """
    if "size" not in options:
        raise ConfigError("size is missing", "preprocessing", "add `size: 224`, the side of the square image in pixels")
    size = int(options["size"])
    side = int(options.get("input", size))
    if not 8 <= side <= size or (size - side) % 2:
        what = f"images of {size} pixels cannot be cropped to {side} pixels around their center"
        raise ConfigError(what, "preprocessing.input", f"give a number from 8 to {size} that leaves equal margins")
    return side


def parse(ops: Sequence[str | Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, options) of each op. An op is written `name` or `{name: {option: value}}`.

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
    """Return (name, options) of each step of an augmentation. Steps are written like ops.

    Raises ConfigError for an unknown step or option, or a value out of range.
    """
    if isinstance(steps, str | Mapping) or not isinstance(steps, Sequence):
        fix = "write `steps: [hflip, {blur: {p: 0.5}}]`"
        raise ConfigError(f"steps must be a list (got {steps!r})", "augmentation.steps", fix)
    parsed = [_named(step, "step", AUGMENT_STEPS, "augmentation.steps") for step in steps]
    for name, options in parsed:
        if unknown := options.keys() - AUGMENT_STEPS[name].keys():
            valid_options = ", ".join(sorted(AUGMENT_STEPS[name]))
            raise ConfigError(f"{name} has no option {min(unknown)!r}", "augmentation.steps", f"it has {valid_options}")
        for option, value in options.items():
            _check_number(f"{name}.{option}", value, AUGMENT_STEPS[name][option], pair=option in _PAIRS)
        if options.get("low", 0.7) > options.get("high", 1.4):
            raise ConfigError(f"{name}.low is above {name}.high", "augmentation.steps", "set low below high")
    return parsed


def check_augmentation(entry: "Entry") -> None:
    """Raise ConfigError for invalid options of an augmentation of this project. Others are not checked."""
    if entry.use == "bench.inputs.augmentation:chain":
        augment_steps(entry.options.get("steps", ()))
    for option, value in entry.options.items() if entry.use == "bench.inputs.augmentation:affine" else ():
        if option in _AFFINE:
            _check_number(option, value, _AFFINE[option])
        elif option == "hflip" and type(value) is not bool:
            fix = "set true or false"
            raise ConfigError(f"hflip must be true or false (got {value!r})", f"augmentation.{entry.name}", fix)


def _check_number(name: str, value: object, allowed: tuple[str, float, float], *, pair: bool = False) -> None:
    """Raise ConfigError if the value is not an allowed number.

    With `pair`, the value must be [low, high], two allowed numbers with low <= high. `allowed`: (description, minimum,
    maximum).
    """
    description, low, high = allowed
    numbers: list[Any] = list(value) if pair and isinstance(value, list | tuple) else [value]
    valid = all(type(number) in (int, float) and low <= number <= high for number in numbers)
    if not valid or (pair and (len(numbers) != 2 or numbers[0] > numbers[1])):
        needed = f"[minimum, maximum], each {description}" if pair else description
        raise ConfigError(f"{name} must be {needed} (got {value!r})", "augmentation", f"write {needed}")


def _named(item: object, kind: str, names: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of an item written `name` or `{name: {option: value}}`."""
    name, options = next(iter(item.items())) if isinstance(item, Mapping) and len(item) == 1 else (item, {})
    if not isinstance(name, str) or name not in names:
        raise ConfigError(f"unknown {kind} {name!r}", where, ConfigError.suggestion(name, names))
    return name, dict(options or {})


def learned_op(ops: Sequence[str | Mapping[str, Any]]) -> str | None:
    """Return the op that needs a histogram of the training images as reference (histstd or histmatch), or None. `ops` has at most one of the two."""
    return next((name for name, _ in parse(ops) if name in TABLE_OPS), None)


def _check_order(before: str, name: str) -> None:
    """Raise ConfigError if the op `name` cannot follow the op `before`. The required order: region op, CLAHE, table op, intensity normalization."""
    if before == "imagenet":
        fix = "move imagenet to the end: it adds the channels"
        raise ConfigError("imagenet must be the last op", "preprocessing.ops", fix)
    if name in CACHED_OPS and _STAGES[before] >= _STAGES["histstd"]:
        fix = f"move {name} to the front: the image cache stores its result"
        raise ConfigError(f"{name} comes after {before}", "preprocessing.ops", fix)
    if _STAGES[name] < _STAGES[before]:
        raise ConfigError(f"{name} comes after {before}", "preprocessing.ops", f"move {name} before {before}")
    if _STAGES[name] == _STAGES[before] and name not in INTENSITY_OPS:
        raise ConfigError(f"{name} and {before} exclude each other", "preprocessing.ops", "choose one of them")
