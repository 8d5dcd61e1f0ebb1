"""Read published results of other work. Reports show these results next to the runs, without rank and interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

METRICS = ("auroc", "auprc", "f1")
SPLITS = ("", "all", "train", "val", "test", "expert_valid", "expert_test")
_KEYS = ("name", "source", "setting", "metric", "numbers")


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """The published results of one model. `numbers`: (dataset, split, finding or "macro", value) tuples."""

    name: str
    source: str
    setting: str
    metric: str
    numbers: tuple[tuple[str, str, str, float], ...]


def read_published(paths: Sequence[Path]) -> tuple[PublishedResult, ...]:
    """Return the published results: one for each row of the files, in the order of the files and their rows.

    Raises ConfigError for an unknown key, metric, split or finding, a row without source, or a number outside [0, 1].
    """
    rows = []
    for path in paths:
        content = read_yaml(path)
        if not isinstance(content, list) or not content:
            raise ConfigError("the file must be a list of rows", str(path), "see grids/published/ for examples")
        rows += [_row(raw, f"{path}[{i}]") for i, raw in enumerate(content)]
    return tuple(rows)


def _row(raw: Any, where: str) -> PublishedResult:
    if not isinstance(raw, Mapping):
        fix = "write `- {name: ..., source: ..., numbers: ...}`"
        raise ConfigError(f"a row must be a block of keys (got {raw!r})", where, fix)
    ConfigError.known_keys(raw, _KEYS, where)
    for key in ("name", "source"):
        if not isinstance(raw.get(key), str) or not raw[key].strip():
            raise ConfigError(
                f"{key} is missing", where, f"add `{key}: ...`: a row needs the model's name and the publication"
            )
    metric = raw.get("metric", "auroc")
    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}", f"{where}.metric", f"choose from: {', '.join(METRICS)}")
    numbers = raw.get("numbers")
    if not isinstance(numbers, Mapping) or not numbers:
        raise ConfigError("numbers is missing", where, "write `numbers: {chexpert/test: {Edema: 0.92}}`")
    rows = [row for split, values in numbers.items() for row in _numbers(str(split), values, where)]
    return PublishedResult(raw["name"], raw["source"], str(raw.get("setting", "")), metric, tuple(rows))


def _numbers(dataset_split: str, values: Any, where: str) -> list[tuple[str, str, str, float]]:
    """Return (dataset, split, finding, value) of each number in a block.

    `dataset_split`: the key of the block, DATASET or DATASET/SPLIT; without a split, the split is "". `values`: the block,
    finding (or "macro") -> value. Raises ConfigError for an unknown split or finding, or a value outside [0, 1].
    """
    dataset, _, split = dataset_split.partition("/")
    where = f"{where}.numbers.{dataset_split}"
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}", where, f"choose from: {', '.join(s for s in SPLITS if s)}")
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"numbers must be a block of findings (got {values!r})", where, "write `{Edema: 0.92, macro: 0.88}`"
        )
    names = {"macro", *(finding for space in labels_yaml()["spaces"].values() for finding in space)}
    rows = []
    for finding, value in values.items():
        if finding not in names:
            fix = ConfigError.suggestion(finding, names, "name a finding of harmonize/labels/labels.yaml, or macro")
            raise ConfigError(f"unknown finding {finding!r}", where, fix)
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 1:
            raise ConfigError(f"{finding} must be a number from 0 to 1 (got {value!r})", where, "correct the number")
        rows.append((dataset, split, str(finding), float(value)))
    return rows
