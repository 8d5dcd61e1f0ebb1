"""Learn from the stored logits of a grid how many labeled patients a new hospital needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.extensions.label_needs.draws import (
    DRAWS,
    LEAST_DRAWS,
    Draws,
    LabeledColumn,
    recalibrated,
    summarize,
)
from bench.extensions.label_needs.goals import Goals
from bench.planning.manifest import Manifest, planned, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.stored_names import find_run
from bench.results.grid_recipes import with_chosen_runs
from bench.results.read_predictions import CohortLabels, unfinished
from bench.results.run_table import run_title
from bench.results.scored_run import load_scored_run
from bench.scoring.across_runs.paired_runs import ScoredRun
from bench.scoring.scored_split import ScoredSplit
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError
from harmonize.progress import Progress

STEP = "labels needed"  # name of the work in the progress display


@dataclass(frozen=True, slots=True)
class LabelNeeds:
    """The numbers of labeled patients that are needed, with the curves behind them.

    needs, curves: tables with the columns NEEDS and CURVES of bench.extensions.label_needs.draws. runs: id and name of each run.
    hospitals: dataset -> title. left_out: sentences that name findings and hospitals without a result.
    """

    goals: Goals
    runs: Sequence[str]
    needs: pd.DataFrame
    curves: pd.DataFrame
    hospitals: Mapping[str, str]
    left_out: Sequence[str]
    synthetic: bool


def labels_needed(
    store: Store,
    grid: str | None = None,
    run: str | None = None,
    findings: Sequence[str] = (),
    goals: Goals = Goals(),  # noqa: B008  (frozen)
    progress: Progress = lambda *_: None,
) -> LabelNeeds:
    """Draw labeled patients of each external hospital of a grid, and measure what their labels are good for.

    `run`: the start of a run's id; with None, all finished trained runs of the grid are measured together. A finding of
    a hospital is used if at least 2 x min_count patients have an image with the finding, and as many an image without:
    one half of the patients is measured.

    Raises ConfigError for a finding that no run has. Raises StoreError for a run that is missing or unfinished, and if no
    finding of an external hospital has enough patients.
    A hospital that a run had seen, or may have seen, is left out for this run: its labels say little about a new
    hospital. Raises ConfigError if no hospital is left.
    """
    manifest, chosen = _chosen(store, grid, run)
    known = dict.fromkeys(name for entry in chosen for name in manifest.scored_findings(entry))
    for name in findings:
        if name not in known:
            fix = f"choose from: {', '.join(known)}"
            raise ConfigError(f"the runs have no finding {name!r}", "--finding", fix)
    external = [hospital.name for hospital in manifest.unseen]
    if not external:
        raise ConfigError(
            f"the grid {manifest.name} has no external hospital",
            "evaluate_on",
            "add a cohort to `evaluate_on` of the grid and run it again: nothing is trained again",
        )
    draws = DRAWS if len(chosen) == 1 else max(LEAST_DRAWS, 2 * DRAWS // len(chosen))
    work = _Work(manifest, external, findings, goals, draws)
    outcomes: list[Draws] = []
    total = sum(len(manifest.external_to(entry)) for entry in chosen)
    for done, found in enumerate(work.outcomes(chosen), 1):
        outcomes += found
        progress(STEP, done, total)
    if not outcomes and not work.measured:
        what = "the runs had seen each external hospital, or may have seen it"
        raise ConfigError(what, f"grid {manifest.name}", "choose a run that had not, with --run")
    if not outcomes:
        raise StoreError(
            f"no finding has {2 * manifest.settings.min_count} patients with it and without it at an external hospital",
            str(store.root / "grids" / f"{manifest.name}.json"),
            f"{'remove --finding, or ' if findings else ''}lower the number: `bench score --as NAME --min-count N`, "
            "then use --grid NAME",
        )
    order = list(known)
    curves, needs = summarize(sorted(outcomes, key=lambda outcome: order.index(outcome.finding)), goals)
    names = [f"{entry.id} {run_title(manifest, entry)}" for entry in chosen]
    return LabelNeeds(goals, names, needs, curves, manifest.titles, work.sentences(), manifest.phantom)


def _chosen(store: Store, grid: str | None, run: str | None) -> tuple[Manifest, list[PlannedRun]]:
    """Return the grid and its runs: `run`, or all finished trained runs."""
    if run is None:
        manifest = with_chosen_runs(read_manifest(store, grid))
        finished = [entry for entry in manifest.runs if not unfinished(manifest, entry)]
        if not finished:
            raise StoreError(
                f"the grid {manifest.name} has no finished run",
                str(store.root),
                "finish it with `bench run`",
            )
        return manifest, finished
    manifest, entry = planned(store, find_run(store, run), grid)
    if reason := unfinished(manifest, entry):
        raise StoreError(f"run {entry.id}: {reason}", str(store.run_dir(entry.id)), "finish it with `bench run`")
    return manifest, [entry]


class _Work:
    """The measurement of the runs of a grid, one run at a time, so that memory does not grow with the number of runs."""

    def __init__(
        self, manifest: Manifest, external: Sequence[str], findings: Sequence[str], goals: Goals, draws: int
    ) -> None:
        # images are labeled, also where scores are of studies
        self.manifest = manifest.by_image
        self.external, self.findings, self.goals, self.draws = external, findings, goals, draws
        self.labels: dict[tuple[str, str, str], CohortLabels] = {}
        self.exposed: dict[str, list[str]] = {}  # dataset -> runs that are not measured there, because they had seen it
        self.measured = False  # whether a run was measured at a hospital
        self.too_few: dict[tuple[str, str], int] = {}  # (dataset, finding) -> patients in the smaller class

    def outcomes(self, runs: Sequence[PlannedRun]) -> Iterator[list[Draws]]:
        """Yield the outcomes of each run at each hospital."""
        for entry in runs:
            scored = load_scored_run(self.manifest, entry, self.labels)
            for hospital in self.manifest.external_to(entry):
                yield self._recalibrated(scored, hospital.name) if self._is_unseen(entry, hospital.name) else []

    def _is_unseen(self, entry: PlannedRun, dataset: str) -> bool:
        """Return whether the run had not seen a hospital; remember the runs that had, or may have."""
        exposed = dataset in self.manifest.exposed(entry)
        if exposed:
            self.exposed.setdefault(dataset, []).append(entry.id)
        self.measured |= not exposed
        return not exposed

    def sentences(self) -> list[str]:
        """Name the findings that a hospital has too few patients for, and the runs that had seen a hospital."""
        least = 2 * self.manifest.settings.min_count
        out = []
        for dataset in self.external:
            names = [f"{finding} ({num})" for (place, finding), num in self.too_few.items() if place == dataset]
            if names:
                out.append(f"Left out at {self.manifest.titles[dataset]}: {', '.join(names)}.")
        if out:
            out.append(f"In brackets: patients with or without the finding, the smaller number. {least} are needed.")
        for dataset, ids in self.exposed.items():
            if ids:
                runs = f"run{'s' if len(ids) > 1 else ''} {', '.join(ids)}"
                out.append(f"Not measured at {self.manifest.titles[dataset]}: {runs}, which had or may have seen it.")
        return out

    def _usable(self, run: ScoredRun, scored: ScoredSplit) -> dict[str, LabeledColumn]:
        """Return the findings of a hospital with enough patients, with their images; remember the others."""
        columns = {}
        for k, finding in enumerate(run.findings):
            if finding in run.unlearned or (self.findings and finding not in self.findings):
                continue
            column = LabeledColumn.of(scored, k)
            if (num := column.smaller_class()) >= 2 * self.manifest.settings.min_count:
                columns[finding] = column
            elif len(column.label):  # without any label, the hospital does not state the finding at all
                self.too_few[scored.dataset, finding] = num
        return columns

    def _recalibrated(self, run: ScoredRun, dataset: str) -> list[Draws]:
        val = next((s for s in run.scored_splits if (s.dataset, s.split) == (run.internal, "val")), None)
        outcomes: list[Draws] = []
        for scored in (split for split in run.scored_splits if split.dataset == dataset):
            for finding, column in self._usable(run, scored).items():
                internal = LabeledColumn.of(val, list(run.findings).index(finding)) if val else None
                bins = self.manifest.settings.bins
                outcomes += recalibrated(finding, dataset, column, internal, self.draws, bins)
        return outcomes
