"""Numbers that others published: data beside the grids, shown beside our runs, never ranked, without intervals of ours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

METRICS = ("auroc", "auprc", "f1")
SPLITS = ("", "all", "train", "val", "test", "expert_valid", "expert_test")
_KEYS = ("name", "source", "setting", "metric", "numbers")


@dataclass(frozen=True, slots=True)
class Published:
    """One published row: `numbers` holds (dataset, split, finding or "macro", value)."""

    name: str
    source: str
    setting: str
    metric: str
    numbers: tuple[tuple[str, str, str, float], ...]


def read_published(paths: Sequence[Path]) -> tuple[Published, ...]:
    """Return the rows of the files, in their order.

    Raises ConfigError for an unknown key, metric, split or finding, a row without source, or a number out of range.
    """
    rows = []
    for path in paths:
        content = read_yaml(path)
        if not isinstance(content, list) or not content:
            raise ConfigError("not a list of published rows", str(path), "see grids/published/ for the form")
        rows += [_row(raw, f"{path}[{i}]") for i, raw in enumerate(content)]
    return tuple(rows)


def _row(raw: Any, where: str) -> Published:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{raw!r} is not a block of keys", where, "write `- {name: ..., source: ..., numbers: ...}`")
    for key in raw:
        if key not in _KEYS:
            raise ConfigError(f"unknown key {key!r}", where, f"known keys: {', '.join(_KEYS)}")
    for key in ("name", "source"):
        if not isinstance(raw.get(key), str) or not raw[key].strip():
            raise ConfigError(f"{key} is missing", where, "a published number needs the name and where it stands")
    metric = raw.get("metric", "auroc")
    if metric not in METRICS:
        raise ConfigError(f"no published metric {metric!r}", f"{where}.metric", f"one of {', '.join(METRICS)}")
    numbers = raw.get("numbers")
    if not isinstance(numbers, Mapping) or not numbers:
        raise ConfigError("numbers is missing", where, "write `numbers: {chexpert/test: {Edema: 0.92}}`")
    found = [number for place, values in numbers.items() for number in _numbers(str(place), values, where)]
    return Published(raw["name"], raw["source"], str(raw.get("setting", "")), metric, tuple(found))


def _numbers(place: str, values: Any, where: str) -> list[tuple[str, str, str, float]]:
    """Return the numbers of one dataset, written `dataset` or `dataset/split`."""
    dataset, _, split = place.partition("/")
    where = f"{where}.numbers.{place}"
    if split not in SPLITS:
        raise ConfigError(f"no split {split!r}", where, f"one of {', '.join(s for s in SPLITS if s)}")
    if not isinstance(values, Mapping):
        raise ConfigError(f"{values!r} is not a block of numbers", where, "write `{Edema: 0.92, macro: 0.88}`")
    known = {"macro", *(finding for names in labels_yaml()["spaces"].values() for finding in names)}
    out = []
    for finding, value in values.items():
        if finding not in known:
            close = get_close_matches(str(finding), known, n=1)
            fix = f"did you mean {close[0]!r}?" if close else "name a finding of harmonize/labels/labels.yaml, or macro"
            raise ConfigError(f"no finding {finding!r}", where, fix)
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 1:
            raise ConfigError(f"{finding} is {value!r}, not in [0, 1]", where, "correct the number")
        out.append((dataset, split, str(finding), float(value)))
    return out
