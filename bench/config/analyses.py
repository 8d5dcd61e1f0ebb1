"""What a grid asks to be found out beside its scores: the analyses of finished runs, and how large each is.

An analysis looks at images again, so it is done by a worker, once, and its tables are stored; all else is in `scores`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bench.config.run_config import differing, from_dict, one_of
from harmonize.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Probes:
    """Options of `probes`."""

    per_source: int = 250  # images of each cohort that the untrained networks see

    def __post_init__(self) -> None:
        if self.per_source < 20:
            raise ValueError(f"per_source must be at least 20, not {self.per_source}")


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Options of `acquisition`."""

    per_source: int = 150  # images of each cohort
    epochs: int = 6  # of the networks that name the source
    folds: int = 2  # of five, on which these networks are judged
    explained: int = 60  # images of each fold whose trees are explained

    def __post_init__(self) -> None:
        for name, least in (("per_source", 20), ("epochs", 1), ("folds", 1), ("explained", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Transplants:
    """Options of the transplants between cohorts.

    images: at most so many of each cohort, one per patient. all_pairs: also between external cohorts, not only from and to the internal hospital.
    """

    images: int = 96
    all_pairs: bool = False

    def __post_init__(self) -> None:
        if self.images < 20:
            raise ValueError(f"images must be at least 20, not {self.images}")


METHODS = ("gradcam", "gradcam++", "hirescam")


@dataclass(frozen=True, slots=True)
class Attention:
    """Where a network looks: heat maps measured on a sample of every cohort, and a gallery."""

    images: int = 24  # with each finding, in each cohort: one per patient
    gallery: int = 1  # pictures of each finding, cohort and kind of case
    sanity: int = 12  # images at the internal hospital on which the maps themselves are checked; 0: no check
    method: str = "gradcam"

    def __post_init__(self) -> None:
        if self.images < 1 or self.gallery < 0 or self.sanity < 0:
            raise ValueError("images is at least 1, gallery and sanity at least 0")
        one_of("method", self.method, METHODS)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of analysis: the code that does it, what may be chosen of it."""

    use: str  # "module:function" with (AnalysisJob, folder, Progress); imported by the worker alone
    options: type[Any]  # a frozen dataclass, every field with a default
    per_run: bool = True  # False: about the cohorts alone, done once for each geometry of images
    version: int = 1  # raise it when the same run may give other numbers


KINDS: dict[str, Kind] = {
    "attention": Kind("bench.analyses.attention:attention", Attention, version=2),
    "transplants": Kind("bench.analyses.transplants:transplants", Transplants, version=2),
    "probes": Kind("bench.analyses.probes:probes", Probes),
    "acquisition": Kind("bench.analyses.acquisition:acquisition", Acquisition, per_run=False),
}


@dataclass(frozen=True, slots=True)
class Analysis:
    """One analysis that a grid asks for."""

    name: str
    options: Any

    @property
    def kind(self) -> Kind:
        """Return what is known of its kind."""
        return KINDS[self.name]

    @property
    def identity(self) -> list[Any]:
        """Return what decides its numbers beside run and images; options at their default are left out."""
        return [self.name, self.kind.version, differing(self.options)]


def read_analyses(raw: object, where: str) -> tuple[Analysis, ...]:
    """Return the analyses of a grid: all, with their options, but those that are `false`.

    Raises ConfigError for an unknown name or option.
    """
    if isinstance(raw, bool):
        raw = dict.fromkeys(KINDS, raw)
    if not isinstance(raw, Mapping):
        fix = f"write `analyses: false`, or a block with any of {', '.join(KINDS)}"
        raise ConfigError(f"{raw!r} is not a block of analyses", where, fix)
    for name in raw:
        if name not in KINDS:
            close = get_close_matches(str(name), KINDS, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KINDS)}"
            raise ConfigError(f"no analysis {name!r}", f"{where}.{name}", fix)
    asked = {name: raw.get(name, True) for name in KINDS}
    return tuple(
        Analysis(name, from_dict(KINDS[name].options, {} if choice is True else choice, f"{where}.{name}"))
        for name, choice in asked.items()
        if choice is not False
    )
