"""Read published results of other work. Reports show these results next to the runs, without rank and interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench.config.run_config import choice, from_dict
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

METRICS = ("auroc", "auprc", "f1")
SPLITS = ("", "all", "train", "val", "test", "expert_valid", "expert_test")


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
        rows += [_result(raw, f"{path}[{i}]") for i, raw in enumerate(content)]
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a file, as written."""

    name: Annotated[str, Meta(pattern=r"\S")]
    source: Annotated[str, Meta(pattern=r"\S")]  # the publication
    # DATASET or DATASET/SPLIT -> finding (or "macro") -> value
    numbers: Annotated[dict[str, dict[str, Any]], Meta(min_length=1)]
    setting: str = ""
    metric: Annotated[str, choice(*METRICS)] = "auroc"


def _result(raw: Any, where: str) -> PublishedResult:
    row = from_dict(_Row, raw, where)
    numbers = [n for split, values in row.numbers.items() for n in _numbers(split, values, f"{where}.numbers.{split}")]
    return PublishedResult(row.name, row.source, row.setting, row.metric, tuple(numbers))


def _numbers(dataset_split: str, values: Mapping[str, Any], where: str) -> list[tuple[str, str, str, float]]:
    """Return (dataset, split, finding, value) of each number; without a split, the split is "".

    Raises ConfigError for an unknown split or finding, and for a value that is no number from 0 to 1.
    """
    dataset, _, split = dataset_split.partition("/")
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}", where, f"choose from: {', '.join(s for s in SPLITS if s)}")
    names = {"macro", *(finding for space in labels_yaml()["spaces"].values() for finding in space)}
    for finding, value in values.items():
        if finding not in names:
            fix = ConfigError.suggestion(finding, names, "name a finding of harmonize/labels/labels.yaml, or macro")
            raise ConfigError(f"unknown finding {finding!r}", where, fix)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ConfigError(f"{finding} must be a number from 0 to 1 (got {value!r})", where, "correct the number")
    return [(dataset, split, finding, float(value)) for finding, value in values.items()]
