"""The hooks: what the program asks of extensions. docs/dev/extensions.md explains how to write an extension.

Each hook is the type of a module: `ReportTables` is the type of the module `report_tables` of an extension. A function that is
abstract here, and a constant without a value here, are required. The other ones may be missing, and then are as here.
`reports.extensions` checks a module when it is loaded. This module imports the other packages for their types only.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import typer
    from markupsafe import Markup
    from numpy.typing import NDArray
    from torch import nn

    from bench.config.analyses import Kind
    from bench.config.registry import Entry
    from bench.config.run_config import RunConfig
    from bench.inputs.examples import Examples
    from bench.models.network import Network
    from bench.planning.manifest import Manifest
    from bench.planning.plan import Plan
    from bench.planning.planned_grid import PlannedCohort
    from bench.planning.run import RunSpec
    from bench.results.compare_two_runs import GridRun
    from bench.results.cross_run_tables import ScoredRuns
    from bench.scoring.influence import Estimate
    from bench.scoring.metrics_of_split import Key
    from bench.scoring.patient_groups import Text
    from bench.scoring.score_run import RunMetrics
    from bench.store.store import Store
    from bench.training.fit import TrainingResult
    from harmonize.cohorts.pooled import Place
    from harmonize.ground_truth.ground_truth import Truth
    from reports.html.section import PlacedSection
    from reports.report_data.hospitals_and_runs import Run
    from reports.report_data.rankings import Rows
    from reports.report_data.report_data import FurtherScore, ReportData
    from reports.schemas.criterion import Criterion
    from reports.sections.ranking_columns import RankingColumn
    from reports.tables import Tables


class Commands(Protocol):
    """Commands of the command line, each under a heading of the help (`rich_help_panel`, see `bench/cli/group.py`)."""

    @abstractmethod
    def add(self, app: typer.Typer) -> None:
        """Add the commands to the application."""


class Library(Protocol):
    """Functions of the Python library. `bench.api` offers the functions in `__all__`, and names them for editors and mypy."""

    __all__: Sequence[str]


class Schemas(Protocol):
    """Columns of the extension's tables, by name of the table.

    The tables that are computed for each run: tables in SHOWN and DETAILS are in the report, tables in DETAILS only for the first runs
    of a large study; the extension itself reads SCORE_TABLES. FLOATS: columns of numbers in rows of `bench/scoring/score_rows.py`.
    """

    SCHEMAS: Mapping[str, tuple[str, ...]]
    SHOWN: tuple[str, ...] = ()
    DETAILS: tuple[str, ...] = ()
    SCORE_TABLES: tuple[str, ...] = ()
    FLOATS: tuple[str, ...] = ()


class Scores(Protocol):
    """Scores of one run: its tables (`scores`: further rows of this table), and estimates with the influences of patients by name."""

    @abstractmethod
    def tables(self, run: RunMetrics) -> tuple[Mapping[str, pd.DataFrame], Mapping[str, Estimate]]:
        """Return the tables and the estimates; `run` has the metrics of all splits."""


class ReportTables(Protocol):
    """Tables of a report that compare runs, from the tables and covariances of all compared runs, and their recipes."""

    @abstractmethod
    def tables(self, runs: ScoredRuns) -> Mapping[str, pd.DataFrame]:
        """Return the tables by name."""


class Analyses(Protocol):
    """Analyses of finished runs, by the name that a grid gives."""

    KINDS: Mapping[str, Kind]

    def tables(
        self, manifest: Manifest, frames: Mapping[str, pd.DataFrame], with_images: bool
    ) -> tuple[Mapping[str, pd.DataFrame], Mapping[str, object]]:
        """Return tables from the stored ones (`frames`), and facts for `Tables.meta`.

        with_images: whether real radiographs may be shown.
        """
        return {}, {}


class Architectures(Protocol):
    """Features or an output layer that are not trained, for architectures whose entry has the key KEY."""

    KEY: str
    FEATURES: Features | None = None
    HEAD: Head | None = None


class Features(Protocol):
    """Features that no network computes. USE: the code of their entries (bench/extensions/embeddings/features.py)."""

    USE: str

    @abstractmethod
    def check_entry(self, block: Mapping[str, object], where: str) -> None:
        """Raise RegistryError for an invalid entry."""

    @abstractmethod
    def check(self, config: RunConfig, where: str) -> None:
        """Raise ConfigError for a run that needs a network."""

    @abstractmethod
    def check_tables(self, runs: Sequence[RunSpec], internal: str, images: Mapping[str, Sequence[str]]) -> None:
        """Raise DatasetError for planned runs whose features are incomplete. images: cohort -> ids of its images."""

    @abstractmethod
    def with_width(
        self, architecture: Entry, config: RunConfig, weights_dir: Path | None, registry_path: Path
    ) -> Entry:
        """Return the entry with the number of features as the option `width`."""

    @abstractmethod
    def identity(self, architecture: Entry) -> str:
        """Return what identifies the features in the run id."""

    @abstractmethod
    def of_images(self, architecture: Entry, cohort: str, image_id: Sequence[str]) -> NDArray[np.float32]:
        """Return the features [N, D] of images of a cohort."""


class Head(Protocol):
    """An output layer that is made without training, for the value KEY of a grid's `head` (bench/extensions/prompts/head.py)."""

    @abstractmethod
    def check(self, config: RunConfig, architecture: Entry, where: str) -> None:
        """Raise ConfigError for a run that cannot have the layer."""

    @abstractmethod
    def check_features(self, architecture: Entry, features: int, where: str) -> None:
        """Raise ConfigError if the layer does not fit the number of features."""

    @abstractmethod
    def stated(
        self, config: RunConfig, architecture: Entry, weights_dir: Path | None, registry_path: Path
    ) -> tuple[Mapping[str, object], Entry]:
        """Return what the run document states about the layer, and the entry with the path of its file."""

    @abstractmethod
    def replace_output_layer(self, backbone: nn.Module, num_findings: int, document: bytes) -> None:
        """Replace the output layer of a backbone by an empty layer, as the run document states it."""

    @abstractmethod
    def fit(
        self,
        run: RunSpec,
        network: Network,
        train: Examples,
        feature_ND: NDArray[np.float32],
        watched: Mapping[str, tuple[Examples, NDArray[np.float32]]],
    ) -> TrainingResult:
        """Make the layer of a run; the arguments are as for `fit_probe`."""


class Cohorts(Protocol):
    """What an extension knows of images and patients of cohorts, beyond their tables.

    FOLDERS: folders of the store that the report reads. ATTRIBUTES: names of further attributes of patients.
    """

    FOLDERS: tuple[str, ...] = ()
    ATTRIBUTES: tuple[str, ...] = ()

    def remarks(self, plan: Plan) -> Sequence[str]:
        """Return lines that `bench run` prints about a plan."""
        return ()

    def facts(self, plan: Plan) -> Mapping[str, object]:
        """Return what is added to the manifest of the grid (`Manifest.extras`)."""
        return {}

    def attributes(self, manifest: Manifest, cohort: PlannedCohort, table: pd.DataFrame) -> Mapping[str, Text]:
        """Return attributes of each image of a cohort's table, by which patient groups are scored."""
        return {}

    def key(self, manifest: Manifest) -> object:
        """Return what the attributes depend on, None without any."""
        return None

    def with_masks(self, truth: Truth, places: Sequence[Place], image_ids: Sequence[str]) -> Truth:
        """Return the locations with masks of lungs and heart, for heat maps and region transplant tests."""
        return truth

    def meta(self, manifest: Manifest) -> Mapping[str, object]:
        """Return what is added to `Tables.meta`."""
        return {}

    def problems(self, store: Store) -> Iterable[tuple[str, str, str]]:
        """Return name, problem and fix of each damaged file in FOLDERS."""
        return ()


class Notes(Protocol):
    """Sentences about two runs."""

    def of_comparison(self, planned: Sequence[GridRun], key: Key, table: pd.DataFrame) -> tuple[str, ...]:
        """Return sentences of `bench compare` about two runs. table: the result of `differences`."""
        return ()


class Sections(Protocol):
    """Sections of the page; each names its group, its scripts, and which section follows. Their templates are in the folder `templates`."""

    SECTIONS: tuple[PlacedSection, ...]

    def opening(self, data: ReportData) -> str:
        """Return a sentence on the first screen, "" for none."""
        return ""

    def gap_note(self, data: ReportData) -> tuple[str, str]:
        """Return the key of a section and a sentence that follows the sentence on the mean gap, "" for none."""
        return "", ""


class Rankings(Protocol):
    """Columns of the ranking, and a score of runs by which recipes can be ranked."""

    SCORE: RankedScore | None = None

    def columns(self, data: ReportData) -> Sequence[RankingColumn]:
        """Return columns of the ranking."""
        return ()


class RankedScore(Protocol):
    """A score of runs in the table of the name METRIC, whose estimates `Scores` returns."""

    METRIC: str
    TITLE: str
    NOTE: str

    @abstractmethod
    def scores(self, tables: Tables, rankings: Mapping[Criterion, Rows]) -> Mapping[tuple[str, str, str], FurtherScore]:
        """Return the macro score of each run and recipe at each hospital."""


class RunDetails(Protocol):
    """What the details of a run show in addition."""

    @abstractmethod
    def details(self, data: ReportData, run_ids: Collection[str]) -> Details:
        """Return what writes the details of these runs."""


class Details(Protocol):
    """The details of some runs. drawn: whether the details are a page of their own, without scripts."""

    def html(self, data: ReportData, run: Run, drawn: bool, /) -> Markup:
        """Return tables and pictures of a run."""

    def figures(self, data: ReportData, run: Run, /) -> Markup:
        """Return the figures of a run."""
