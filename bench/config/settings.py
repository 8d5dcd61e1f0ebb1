"""The settings of scoring: one record, which a grid, its manifest, bundles and the tables of a report contain."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from bench.config.registry import Entry
from bench.config.run_config import Positive, from_dict
from harmonize.errors import ConfigError

STANDARD = "standard"
UNITS = IMAGE, STUDY = "image", "study"


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting with named values: its option of `bench score`, its values, and what another value changes."""

    option: str
    values: tuple[str, ...]
    change: str


CHOICES: Mapping[str, Choice] = MappingProxyType(
    {
        "mapping": Choice("mapping", ("default", "strict", "broad"), "label mapping {}"),
        "reading": Choice(
            "labels-read",
            (STANDARD, "uncertain-present", "uncertain-absent", "unmentioned-dropped"),
            "labels read as {}",
        ),
        "threshold": Choice("threshold", ("f1_max", "youden", "sens_90", "f1_grid"), "calls at {}"),
        "unit": Choice("unit", UNITS, "scored by {}"),
    }
)
OF_GRID = ("min_count", "unit")  # settings that a grid file may state


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that affect scores; mapping, subgroup and selection are also columns of the tables of scores."""

    # a finding is scored if at least this many patients have a positive image, and at least this many a negative image
    min_count: Positive = 10
    bins: Positive = 15  # number of bins of the calibration error
    mapping: str = "default"
    reading: str = STANDARD  # how uncertain and unmentioned labels are scored
    unit: str = IMAGE
    subgroup: str = "all"
    selection: str = "best_val"
    threshold: str = "f1_max"  # rule that chooses the threshold for subgroups and for the page
    custom_metrics: tuple[Entry, ...] = ()  # metrics that the registry adds, each with its Python function
    findings: tuple[str, ...] = ()  # findings that `bench score --as --findings` scores; () for all

    def __post_init__(self) -> None:
        for name, choice in CHOICES.items():
            if (value := getattr(self, name)) not in choice.values:
                raise ValueError(f"{name} must be one of {', '.join(choice.values)}, not {value!r}")

    @classmethod
    def of_grid(cls, raw: Mapping[str, Any], path: str) -> Self:
        """Return the settings that the content of a grid file states. Raises ConfigError with the key of an invalid value."""
        return from_dict(cls, {key: raw[key] for key in OF_GRID if key in raw}, path)


def words_of(changes: Mapping[str, Any]) -> list[str]:
    """Return what changed settings change, in words. `changes`: field of `Settings` -> value.

    Raises ConfigError, which names the option of `bench score`, for an unknown value.
    """
    words = []
    for key, choice in CHOICES.items():
        if key in changes:
            ConfigError.check_choices(choice.option, [changes[key]], choice.values)
            words.append(choice.change.format(changes[key]))
    if "min_count" in changes:
        if (number := changes["min_count"]) < 1:
            raise ConfigError(f"--min-count is {number}", "--min-count", "give a number of patients from 1")
        words.append(f"numbers from {number} patients on")
    return words
