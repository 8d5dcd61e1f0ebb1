"""The analyses of finished runs that a grid requests, and their options.

An analysis reads the images of a finished run again and stores tables. Statistics that need no images are in
`bench.scoring`. A source classifier predicts the source (cohort) of an image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from bench.config.run_config import Positive, differing, from_dict
from harmonize.errors import ConfigError
from reports import extensions, hooks

Images = Annotated[int, Meta(ge=20)]


@dataclass(frozen=True, slots=True)
class Probes:
    """Options of the analysis `probes`: source classifiers on features of the run's trained network and of untrained networks."""

    per_source: Images = 250  # number of images per cohort on which the untrained networks are probed


@dataclass(frozen=True, slots=True)
class Acquisition:
    """Options of the analysis `acquisition`: source classifiers on descriptors and pixels of the images."""

    per_source: Images = 150  # images per cohort
    epochs: Positive = 6  # training epochs of the networks that predict the source
    folds: Positive = 2  # how many of five folds serve as the test fold; one network is trained for each test fold
    # number of images per fold with SHAP values, which explain the predictions of the classifiers on descriptors; these
    # classifiers are decision trees
    explained: Positive = 60


@dataclass(frozen=True, slots=True)
class Transplants:
    """Options of the region transplant test.

    images: maximum number of images per cohort, one per patient. all_pairs: whether regions are also transplanted from
    one external cohort to another; otherwise, the donor or the host is always internal.
    """

    images: Images = 96
    all_pairs: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of analysis: its code and its options."""

    use: str  # "module:function" that takes (AnalysisJob, folder, Progress); only workers import the module
    options: type[Any]  # class of the options: a frozen dataclass in which every field has a default
    # Whether the analysis uses the network of a run. An analysis with False uses only the images, so it is done once for
    # all runs with the same image geometry (size and crop of the images).
    per_run: bool = True
    version: int = 1  # increase this number if a change of the code may change results
    # whether the run's network must read images, so that a run on given vectors has no result
    reads_images: bool = False
    # whether the analysis reads the scores of the run; other analyses of single runs may begin before the run is scored
    reads_scores: bool = False
    # "module:function" that takes (Entry, RunConfig, input size, where) and raises ConfigError for a network of timm that the
    # analysis cannot use; "" for no check
    check: str = ""


KINDS: dict[str, Kind] = {
    "transplants": Kind(
        "bench.analyses.transplants:transplants", Transplants, version=2, reads_images=True, reads_scores=True
    ),
    "probes": Kind("bench.analyses.probes:probes", Probes, version=3),
    "acquisition": Kind("bench.analyses.acquisition:acquisition", Acquisition, per_run=False, version=2),
}


@dataclass(frozen=True, slots=True)
class Analysis:
    """One analysis that a grid requests."""

    name: str
    options: Any
    seeds: int = 0  # analyses only the runs of the first `seeds` seeds of each recipe; 0: of all seeds

    @property
    def kind(self) -> Kind:
        """Return the kind of the analysis: its code and its options."""
        return kinds()[self.name]

    @property
    def identity(self) -> list[Any]:
        """Return name, version and non-default options.

        The results of the analysis depend only on this list, on the run and on the images.
        """
        return [self.name, self.kind.version, differing(self.options)]


def kinds() -> dict[str, Kind]:
    """Return the kinds of analyses by name: the kinds of extensions, then KINDS."""
    return {name: kind for module in extensions.modules(hooks.Analyses) for name, kind in module.KINDS.items()} | KINDS


def read_analyses(raw: object, where: str) -> tuple[Analysis, ...]:
    """Return the analyses of a grid with their options: every kind of analysis that the grid does not set to `false`.

    `raw`: the value of the grid's key `analyses`; `false` means no analysis. An analysis without options in `raw` gets
    its default options. A name that ends in `?` is left out if no installed extension has this analysis. The key `seeds` is a
    whole number of at least 1: only the runs with the first seeds of each recipe are analysed. Raises ConfigError for an
    unknown name or option.
    """
    known = kinds()
    if isinstance(raw, bool):
        raw = dict.fromkeys(known, raw)
    if not isinstance(raw, Mapping):
        fix = f"write `analyses: false`, or a block with any of {', '.join(known)}"
        raise ConfigError(f"analyses must be a block of keys (got {raw!r})", where, fix)
    seeds = raw.get("seeds", 0)
    if "seeds" in raw and (isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1):
        fix = "write `seeds: 1` to analyse one run of each recipe, or leave the key out to analyse all"
        raise ConfigError(f"seeds must be a whole number of at least 1 (got {seeds!r})", f"{where}.seeds", fix)
    raw = {name: block for name, block in raw.items() if name != "seeds"}
    raw = {str(name).removesuffix("?"): block for name, block in raw.items() if not _is_left_out(str(name), known)}
    for name in raw:
        if name not in known:
            what = f"unknown analysis {name!r}"
            raise ConfigError(what, f"{where}.{name}", ConfigError.suggestion(name, [*known, "seeds"]))
    options = {name: raw.get(name, True) for name in known}
    return tuple(
        Analysis(name, from_dict(known[name].options, {} if block is True else block, f"{where}.{name}"), seeds)
        for name, block in options.items()
        if block is not False
    )


def _is_left_out(name: str, known: Mapping[str, Kind]) -> bool:
    return name.endswith("?") and name.removesuffix("?") not in known
