"""The ops of a preprocessing entry: their names, their order, and which of them live in the image cache. No torch."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from harmonize.pixels import Geometry

CACHED_OPS = ("clahe",)  # they need neighbouring pixels: done once, on uint8, before everything else
TONE_OPS = ("minmax", "zscore", "imagenet")  # batched on the device, after augmentation


def geometry(options: Mapping[str, Any]) -> "Geometry":
    """Return the cached half of a preprocessing entry: size, fit and the ops before the tone.

    Raises ConfigError for a missing size, or a value or an op that cannot be.
    """
    from harmonize.pixels import Geometry  # it knows OpenCV and DICOM; a list of names needs neither

    if "size" not in options:
        raise ConfigError("size is missing", "preprocessing", "add `size: 224`, the side of the square input in pixels")
    clahe = None
    for name, given in parse(options.get("ops", ())):
        if name == "clahe":
            if unknown := set(given) - {"clip", "tiles"}:
                raise ConfigError(f"clahe has no option {min(unknown)!r}", "preprocessing.ops", "it has clip and tiles")
            clahe = (float(given.get("clip", 2.0)), int(given.get("tiles", 8)))
    try:
        return Geometry(int(options["size"]), str(options.get("fit", "squash")), clahe)
    except ValueError as error:
        raise ConfigError(str(error), "preprocessing", "correct the entry") from error


def parse(ops: Sequence[str | Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, options) of each op, written `name` or `{name: {option: value}}`.

    >>> parse([{"clahe": {"clip": 2.0}}, "imagenet"])
    [('clahe', {'clip': 2.0}), ('imagenet', {})]
    """
    parsed: list[tuple[str, dict[str, Any]]] = []
    for op in ops:
        name, options = next(iter(op.items())) if isinstance(op, Mapping) and len(op) == 1 else (op, {})
        known = [*CACHED_OPS, *TONE_OPS]
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"known ops: {', '.join(known)}"
            raise ConfigError(f"no op {name!r}", "preprocessing.ops", fix)
        if name in CACHED_OPS and any(before not in CACHED_OPS for before, _ in parsed):
            raise ConfigError(f"{name} comes after a tone op", "preprocessing.ops", "put it first: it is cached")
        parsed.append((str(name), dict(options or {})))
    return parsed
