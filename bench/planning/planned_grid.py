"""The content of a manifest as records, and its JSON: no other module knows the keys of grids/<name>.json.

`PlannedGrid.of` reads the JSON and `PlannedGrid.document` writes the same bytes again. This module does not import pandas, so
that `bench list runs` answers quickly.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, Self

import msgspec

from bench.config.grid import PhantomChoice
from bench.config.published_results import PublishedResult
from bench.config.run_config import RunConfig, flat
from bench.config.settings import Settings

SCHEMA = 2  # increase this number when the format of manifests changes
IMPORTED = "external"  # the kind of an imported model
Json = Mapping[str, Any]
Count = Annotated[int, msgspec.Meta(ge=0)]  # the reader refuses negative numbers

# A cohort of two external cohorts is left out if at least this share of its scored images is also in the other. The share is
# below 1, because the comparison finds only 96 to 100 % of the copies that were encoded again.
SAME_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Overlap:
    """The numbers of images and patients that two external cohorts share.

    cohorts     names of the two cohorts, in the order of the grid unless `swapped` or `find_repeated` changed the order
    layouts     dataset layouts of the two cohorts
    num_images  number of scored images of each cohort
    images      for each cohort, the number of its scored images that the other cohort also scores; None if images were
                not compared
    patients    number of patients with scored images in both cohorts; None if patient ids cannot be compared
    """

    cohorts: tuple[str, str]
    layouts: tuple[str, str]
    num_images: tuple[int, int]
    images: tuple[int, int] | None = None
    patients: int | None = None

    @property
    def repeats_first(self) -> bool:
        """Return whether nearly all scored images of the second cohort are also in the first cohort.

        >>> Overlap(("a", "b"), ("nih", "nih"), (100, 98), (95, 95)).repeats_first
        True
        >>> Overlap(("a", "b"), ("nih", "nih"), (9, 100), (9, 9)).repeats_first
        False
        """
        return self.images is not None and self.images[1] >= SAME_SHARE * self.num_images[1] > 0

    @property
    def swapped(self) -> "Overlap":
        """Return the overlap with its two cohorts in the other order."""
        layouts, num_images = self.layouts[::-1], self.num_images[::-1]
        images = self.images[::-1] if self.images else None
        return Overlap(self.cohorts[::-1], layouts, num_images, images, self.patients)

    @property
    def is_shared(self) -> bool:
        """Return whether the cohorts share an image or a patient."""
        return any(self.images or ()) or bool(self.patients)


@dataclass(frozen=True, slots=True)
class ComparedCohorts:
    """The results of the comparison of cohorts.

    patients  names of the external cohorts whose patient ids were compared with the internal ids
    images    whether images were compared
    external  overlaps of the external cohorts
    left_out  overlaps whose second cohort was left out of the plan
    """

    patients: tuple[str, ...]
    images: bool
    external: tuple[Overlap, ...]
    left_out: tuple[Overlap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCohort:
    """A cohort of a grid, or a hospital of a pool. Such a hospital has no id: its images are rows of the pool's table."""

    name: str
    id: str = ""
    role: str = "external"  # internal or external
    layout: str
    headline_split: str  # the split on the leaderboard, if the cohort is external
    flow: Mapping[str, Count]  # number of images after each step of the selection
    absent: Count  # number of images whose files were missing
    unreadable: Count
    facts: Mapping[str, str]  # texts about the dataset
    fingerprints: Mapping[str, str] = field(default_factory=dict)  # key of the geometry -> hash of the decoded images
    # title of a preprocessing that crops to the lungs -> share of images without detected lungs
    no_lungs: Mapping[str, float] = field(default_factory=dict)
    hospitals: tuple["PlannedCohort", ...] = ()  # hospitals of a pool
    origin: str = ""  # of a cohort from a bundle: the id of the table from which it was exported
    tag: str = ""  # of a cohort from a bundle: part of the new ids of images and patients

    @property
    def of_children(self) -> bool:
        """Return whether all patients are children, by labels.yaml or by their recorded ages."""
        return self.facts.get("ages") == "children"


@dataclass(
    frozen=True, kw_only=True
)  # without slots, because a page compares the configuration of each run several times
class PlannedRun:
    """A trained run, a derived run, or an imported model of a grid."""

    id: str
    config: RunConfig
    titles: Mapping[str, str]  # field of the configuration -> title of the registry entry
    kind: str = ""  # "" for a trained run, tta, ensemble, panel, or IMPORTED
    # fields of trained runs
    family: str = ""  # family of the architecture
    licence: str = ""  # license of the pretrained weights
    corpus: str = ""  # images on which the weights were pretrained
    exposure: Mapping[str, Json] = field(default_factory=dict)  # see `Exposure.document`; {} if it had seen nothing
    recipe: RunConfig | None = None  # of a chosen run of a search: the configuration of trial 0
    # fields of derived runs and imported models
    name: str = ""
    sources: tuple[str, ...] = ()  # ids of the runs or TTA runs whose predictions are combined
    of: tuple[str, ...] = ()  # ids of the trained runs whose networks are used
    # of an imported model: see the extension `imported`
    passport: Json = field(default_factory=dict)

    @property
    def is_imported(self) -> bool:
        """Return whether this is an imported model."""
        return self.kind == IMPORTED

    @cached_property
    def compared_config(self) -> dict[str, Any]:
        """Return the configuration by which recipes are named and compared: of a chosen run of a search, that of its trial 0."""
        return asdict(self.recipe or self.config)

    @property
    def flat_config(self) -> dict[str, Any]:
        """Return `compared_config` without nesting: keys with dots, such as "cohort.limit"."""
        return flat(self.compared_config)


@dataclass(frozen=True, slots=True)
class PlannedAnalysis:
    """A planned analysis of a run, or of the cohorts (`per_run` False), which uses only the geometry of the run."""

    name: str
    identity: tuple[Any, ...]  # name, version, options that differ from the defaults
    run: str  # id
    per_run: bool
    folder: str  # path in the store


@dataclass(frozen=True, slots=True)
class PlannedSearch:
    """The search of a grid: its block, the settings of each trial ({} for trial 0), and the run ids of each combination by trial."""

    trials: int
    seed: int
    over: Json  # dotted key -> [kind, *values]
    settings: tuple[Json, ...]
    runs: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class MergedBundle:
    """A bundle of which a grid was merged."""

    file: str
    id: str
    run_ids: tuple[str, ...]
    stated: tuple[str, ...]  # facts that nobody could check
    signed_by: str  # "" if no signature was checked


@dataclass(frozen=True, kw_only=True)  # without slots, because subclasses cache properties
class PlannedGrid:
    """The content of a manifest: cohorts, runs and settings of a grid."""

    name: str
    title: str
    phantom: bool  # whether a program drew the images
    source: str  # name of the internal cohort
    command: str
    settings: Settings  # how the grid is scored
    useful: float = 0.0  # AUROC from which a model is useful at a new hospital; 0 for the default
    # number of internal images with the same pixels as another patient's image in another split
    duplicates: Count
    planned_cohorts: tuple[PlannedCohort, ...]  # the internal cohort first
    runs: tuple[PlannedRun, ...]  # trained runs, in the order of the grid
    derived: tuple[PlannedRun, ...]  # derived runs and imported models
    references: tuple[PublishedResult, ...]
    analyses: tuple[PlannedAnalysis, ...]
    label_sources: tuple[tuple[str, str], ...]  # finding, source
    training_sources: tuple[str, ...] = ()
    phantom_settings: PhantomChoice | None
    compared: ComparedCohorts | None = None  # None for a grid from bundles
    # publications of registry entries: field of the configuration -> entry -> {"paper", "code" or "weights": text}
    links: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    search: PlannedSearch | None = None
    bundles: tuple[MergedBundle, ...] | None = None  # None for a grid that was not made from bundles
    scored_from: str = ""  # of scores under another name: the grid that was scored again,
    scored_how: str = ""  # what was changed,
    scored_by: str = ""  # and the command
    extras: Json = field(default_factory=dict)  # what extensions have added

    @classmethod
    def of(cls, document: Json, **more: Any) -> Self:
        """Return the content of a manifest from its JSON object. `more`: fields of a subclass.

        Raises ValueError for a missing key or a value of a wrong type.
        """
        grid = msgspec.convert({**document, "planned_cohorts": document.get("cohorts")}, PlannedGrid)
        if grid.search and (lost := {run_id for runs in grid.search.runs for run_id in runs} - grid.run_of.keys()):
            raise ValueError(f"run {min(lost)} of the search is missing")
        return cls(**{own.name: getattr(grid, own.name) for own in fields(PlannedGrid)}, **more)

    @cached_property
    def run_of(self) -> dict[str, PlannedRun]:
        """Return {run id: run} of all runs, trained runs first."""
        return {run.id: run for run in (*self.runs, *self.derived)}

    @property
    def document(self) -> dict[str, Any]:
        """Return the content as a JSON object."""
        content = {own.name: msgspec.to_builtins(getattr(self, own.name)) for own in fields(PlannedGrid)}
        return {"schema": SCHEMA, "cohorts": content.pop("planned_cohorts"), **content}
