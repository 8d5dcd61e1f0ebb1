"""The content of a manifest as records, and its JSON: no other module knows the keys of grids/<name>.json.

`PlannedGrid.of` reads the JSON and `PlannedGrid.document` writes the same bytes again. This module does not import pandas, so
that `bench list runs` answers quickly.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self

from bench.config.grid import PhantomChoice
from bench.config.published_results import PublishedResult
from bench.config.registry import Entry
from bench.config.run_config import RunConfig, flat, from_dict
from harmonize.errors import CxrError

SCHEMA = 1  # increase this number when the format of manifests changes
IMPORTED = "external"  # the kind of an imported model
Json = Mapping[str, Any]

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

    @classmethod
    def of(cls, row: Json) -> Self:
        """Return an overlap from its stored form, a JSON object with lists in place of tuples."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
        return cls(**fields)

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
    flow: Mapping[str, int]  # number of images after each step of the selection
    absent: int  # number of images whose files were missing
    unreadable: int
    facts: Mapping[str, str]  # texts about the dataset
    fingerprints: Mapping[str, str] = field(default_factory=dict)  # key of the geometry -> hash of the decoded images
    # title of a preprocessing that crops to the lungs -> share of images without detected lungs
    no_lungs: Mapping[str, float] = field(default_factory=dict)
    hospitals: tuple["PlannedCohort", ...] = ()  # of a pool
    origin: str = ""  # of a cohort from a bundle: the id of the table from which it was exported
    tag: str = ""  # of a cohort from a bundle: part of the new ids of images and patients

    @property
    def of_children(self) -> bool:
        """Return whether all patients are children, as labels.yaml states about the layout."""
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
    # of trained runs
    family: str = ""  # of the architecture
    licence: str = ""  # license of the pretrained weights
    corpus: str = ""  # images on which the weights were pretrained
    exposure: Mapping[str, Json] = field(default_factory=dict)  # see `Exposure.document`; {} if it had seen nothing
    test_time: bool = False  # whether the run uses the images of external cohorts to predict them
    recipe: RunConfig | None = None  # of a chosen run of a search: the configuration of trial 0; not stored
    # of derived runs and imported models
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
    mapping: str
    min_count: int
    bins: int  # number of bins of the calibration error
    threshold: str = ""  # threshold rule; "" for the default
    reading: str = ""  # how uncertain and unmentioned labels are scored; "" for the default
    unit: str = ""  # of scores: image or study; "" for the default
    counted: tuple[str, ...] = ()  # findings that `bench score --as --findings` scores; () for all
    custom_metrics: tuple[Entry, ...]
    # number of internal images with the same pixels as another patient's image in another split
    duplicates: int
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
    links: Mapping[str, Mapping[str, Mapping[str, str]]]
    search: PlannedSearch | None = None
    bundles: tuple[MergedBundle, ...] | None = None  # None for a grid that was not made from bundles
    scored_from: str = ""  # of scores under another name: the grid that was scored again,
    scored_how: str = ""  # what was changed,
    scored_by: str = ""  # and the command
    extras: Json = field(default_factory=dict)  # what extensions have added

    @classmethod
    def of(cls, document: Json, **more: Any) -> Self:
        """Return the content of a manifest from its JSON object. `more`: fields of a subclass.

        Raises ValueError for a missing key or an invalid value.
        """
        try:
            return cls(**_fields(document), **more)
        except KeyError as error:
            raise ValueError(f"{error.args[0]} missing") from error
        except CxrError as error:
            raise ValueError(error.what) from error
        except (AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error

    @cached_property
    def run_of(self) -> dict[str, PlannedRun]:
        """Return {run id: run} of all runs, trained runs first."""
        return {run.id: run for run in (*self.runs, *self.derived)}

    @property
    def document(self) -> dict[str, Any]:
        """Return the content as a JSON object. Keys without value are left out."""
        optional = {
            **{key: getattr(self, key) for key in _TEXTS},
            "counted": list(self.counted),
            "training_sources": list(self.training_sources),
            "compared": self.compared and asdict(self.compared),
            "search": self.search and asdict(self.search),
        }
        return {
            "schema": SCHEMA,
            **{key: getattr(self, key) for key in _PLAIN},
            "doubles": self.duplicates,
            "links": self.links,
            "metrics": [asdict(entry) for entry in self.custom_metrics],
            "cohorts": [_cohort_document(cohort) for cohort in self.planned_cohorts],
            "runs": [_run_document(run) for run in self.runs],
            "derived": [_derived_document(run) for run in self.derived],
            "references": [asdict(row) for row in self.references],
            "analyses": [asdict(row) for row in self.analyses],
            "label_sources": [list(pair) for pair in self.label_sources],
            "phantom_settings": asdict(self.phantom_settings) if self.phantom_settings else {},
            **{key: value for key, value in optional.items() if value},
            **({} if self.bundles is None else {"bundles": [_bundle_document(bundle) for bundle in self.bundles]}),
            **self.extras,
        }


_PLAIN = ("name", "title", "phantom", "source", "command", "mapping", "min_count", "bins")
_TEXTS = ("threshold", "reading", "unit", "scored_from", "scored_how", "scored_by")  # missing if empty
_KEYS = {
    *(*_PLAIN, *_TEXTS, "schema", "doubles", "links", "counted", "training_sources", "compared", "search", "metrics"),
    *("cohorts", "runs", "derived", "references", "analyses", "label_sources", "phantom_settings"),
    "bundles",
}
_OF_HOSPITAL = ("layout", "headline_split", "flow", "absent", "unreadable", "facts")
_OF_COHORT = ("name", "id", "role", "fingerprints", "no_lungs", *_OF_HOSPITAL)
_OF_RUN = ("id", "titles", "family", "licence", "corpus")
_OF_DERIVED = ("id", "kind", "name", "titles")
_OF_BUNDLE = ("file", "id", "run_ids", "stated", "signed_by")


def _fields(document: Json) -> dict[str, Any]:
    """Return {field of PlannedGrid: value} of a JSON object."""
    phantom_settings, compared, search = (document.get(key) for key in ("phantom_settings", "compared", "search"))
    return {
        **{key: document[key] for key in _PLAIN},
        "duplicates": document["doubles"],
        **{key: document.get(key, "") for key in _TEXTS},
        **{key: tuple(document.get(key, ())) for key in ("counted", "training_sources")},
        "custom_metrics": tuple(Entry(**row) for row in document["metrics"]),
        "links": document.get("links", {}),  # manifest.json of a bundle has none: its reader adds them
        "planned_cohorts": tuple(map(_cohort, document["cohorts"])),
        "runs": tuple(map(_run, document["runs"])),
        "derived": tuple(map(_derived, document["derived"])),
        "references": tuple(
            PublishedResult(**{**row, "numbers": tuple(map(tuple, row["numbers"]))}) for row in document["references"]
        ),
        "analyses": tuple(
            PlannedAnalysis(**{**row, "identity": tuple(row["identity"])}) for row in document["analyses"]
        ),
        "label_sources": tuple((finding, source) for finding, source in document["label_sources"]),
        "phantom_settings": from_dict(PhantomChoice, phantom_settings, "phantom_settings")
        if phantom_settings
        else None,
        "compared": _compared(compared) if compared else None,
        "search": _search(search, {row["id"] for row in document["runs"]}) if search else None,
        "bundles": tuple(map(_bundle, document["bundles"])) if "bundles" in document else None,
        "extras": {key: value for key, value in document.items() if key not in _KEYS},
    }


def _search(row: Json, known: set[str]) -> PlannedSearch:
    """Return the search of a grid. Raises KeyError if one of its runs is not among the `known` runs."""
    runs = tuple(map(tuple, row["runs"]))
    for run_id in (run_id for trials in runs for run_id in trials if run_id not in known):
        raise KeyError(run_id)
    return PlannedSearch(**{**row, "settings": tuple(row["settings"]), "runs": runs})


def _compared(row: Json) -> ComparedCohorts:
    external, left_out = (tuple(map(Overlap.of, row[key])) for key in ("external", "left_out"))
    return ComparedCohorts(tuple(row["patients"]), row["images"], external, left_out)


def _cohort(row: Json) -> PlannedCohort:
    hospitals = tuple(
        PlannedCohort(name=name, **{key: facts[key] for key in _OF_HOSPITAL})
        for name, facts in row.get("hospitals", {}).items()
    )
    of_bundle = {key: row[key] for key in ("origin", "tag") if key in row}
    return PlannedCohort(**{key: row[key] for key in _OF_COHORT}, **of_bundle, hospitals=hospitals)


def _cohort_document(cohort: PlannedCohort) -> dict[str, Any]:
    hospitals = {h.name: {key: getattr(h, key) for key in _OF_HOSPITAL} for h in cohort.hospitals}
    optional = {"hospitals": hospitals, "origin": cohort.origin, "tag": cohort.tag}
    return {key: getattr(cohort, key) for key in _OF_COHORT} | {key: value for key, value in optional.items() if value}


def _config(row: Json) -> RunConfig:
    return from_dict(RunConfig, row["config"], f"run {row['id']}")


def _run(row: Json) -> PlannedRun:
    optional = {key: row[key] for key in ("exposure", "test_time") if key in row}
    return PlannedRun(**{key: row[key] for key in _OF_RUN}, config=_config(row), **optional)


def _run_document(run: PlannedRun) -> dict[str, Any]:
    optional = {"exposure": run.exposure, "test_time": run.test_time}
    own = {key: getattr(run, key) for key in _OF_RUN} | {"config": asdict(run.config)}
    return own | {key: value for key, value in optional.items() if value}


def _derived(row: Json) -> PlannedRun:
    sources, of = (tuple(row[key]) for key in ("sources", "of"))
    passport = {"passport": row["passport"]} if row["kind"] == IMPORTED else {}
    own = {key: row[key] for key in _OF_DERIVED}
    return PlannedRun(**own, config=_config(row), sources=sources, of=of, **passport)


def _derived_document(run: PlannedRun) -> dict[str, Any]:
    own = {key: getattr(run, key) for key in _OF_DERIVED}
    own |= {"config": asdict(run.config), "sources": list(run.sources), "of": list(run.of)}
    return own | ({"passport": run.passport} if run.is_imported else {})


def _bundle(row: Json) -> MergedBundle:
    own: dict[str, Any] = {key: tuple(row[key]) if isinstance(row[key], list) else row[key] for key in _OF_BUNDLE}
    return MergedBundle(**own)


def _bundle_document(bundle: MergedBundle) -> dict[str, Any]:
    own: dict[str, Any] = {key: getattr(bundle, key) for key in _OF_BUNDLE}
    lists = {key: list(value) for key, value in own.items() if isinstance(value, tuple)}
    return {**own, **lists, "runs": len(bundle.run_ids)}
