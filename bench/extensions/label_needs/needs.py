"""Learn from the stored logits of a grid how many labeled patients a new hospital needs."""

from collections.abc import Mapping, Sequence
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
from bench.store.store import Store
from harmonize.errors import ConfigError, CxrError, StoreError
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
    known = list(dict.fromkeys(name for entry in chosen for name in manifest.scored_findings(entry)))
    ConfigError.check_choices("finding", findings, known)
    if not manifest.unseen:
        fix = "add a cohort to `evaluate_on` of the grid and run it again: nothing is trained again"
        raise ConfigError(f"the grid {manifest.name} has no external hospital", "evaluate_on", fix)
    draws = DRAWS if len(chosen) == 1 else max(LEAST_DRAWS, 2 * DRAWS // len(chosen))
    outcomes: list[Draws] = []
    few: dict[str, dict[str, int]] = {}  # hospital -> finding -> patients in the smaller class
    seen: dict[str, list[str]] = {}  # hospital -> runs that had seen it
    labels: dict[tuple[str, str, str], CohortLabels] = {}
    least = 2 * manifest.settings.min_count
    measured = False
    for done, entry in enumerate(chosen):
        progress(STEP, done, len(chosen))
        scored = load_scored_run(
            manifest.by_image, entry, labels
        )  # images are labeled, also where scores are of studies
        val = next((s for s in scored.scored_splits if (s.dataset, s.split) == (scored.internal, "val")), None)
        external = {hospital.name for hospital in manifest.external_to(entry)}
        exposed = manifest.exposed(entry)
        for split in [split for split in scored.scored_splits if split.dataset in external]:
            if split.dataset in exposed:
                seen.setdefault(manifest.titles[split.dataset], []).append(entry.id)
                continue
            measured = True
            for k, finding in enumerate(scored.findings):
                if finding in scored.unlearned or finding not in (findings or known):
                    continue
                column = LabeledColumn.of(split, k)
                if (num := column.smaller_class()) >= least:
                    internal = LabeledColumn.of(val, k) if val else None
                    bins = manifest.settings.bins
                    outcomes += recalibrated(finding, split.dataset, column, internal, draws, bins)
                elif len(column.label):  # without any label, the hospital does not state the finding at all
                    few.setdefault(manifest.titles[split.dataset], {})[finding] = num
    if not outcomes:
        raise _nothing(manifest, measured, least, findings)
    curves, needs = summarize(sorted(outcomes, key=lambda outcome: known.index(outcome.finding)), goals)
    names = [f"{entry.id} {run_title(manifest, entry)}" for entry in chosen]
    left_out = _left_out(few, seen, least)
    return LabelNeeds(goals, names, needs, curves, manifest.titles, left_out, manifest.phantom)


def _nothing(manifest: Manifest, measured: bool, least: int, findings: Sequence[str]) -> CxrError:
    """Return the error that no hospital could be measured."""
    if not measured:
        what = "the runs had seen each external hospital, or may have seen it"
        return ConfigError(what, f"grid {manifest.name}", "choose a run that had not, with --run")
    return StoreError(
        f"no finding has {least} patients with it and without it at an external hospital",
        str(manifest.store.root / "grids" / f"{manifest.name}.json"),
        f"{'remove --finding, or ' if findings else ''}lower the number: `bench score --as NAME --min-count N`, "
        "then use --grid NAME",
    )


def _left_out(few: Mapping[str, Mapping[str, int]], seen: Mapping[str, Sequence[str]], least: int) -> list[str]:
    """Name the findings that a hospital has too few patients for, and the runs that had seen a hospital."""
    out = [f"Left out at {title}: {', '.join(f'{name} ({n})' for name, n in of.items())}." for title, of in few.items()]
    if few:
        out.append(f"In brackets: patients with or without the finding, the smaller number. {least} are needed.")
    for title, ids in seen.items():
        runs = f"run{'s' if len(ids) > 1 else ''} {', '.join(ids)}"
        out.append(f"Not measured at {title}: {runs}, which had or may have seen it.")
    return out


def _chosen(store: Store, grid: str | None, run: str | None) -> tuple[Manifest, list[PlannedRun]]:
    """Return the grid and its runs: `run`, or all finished trained runs."""
    if run is None:
        manifest = with_chosen_runs(read_manifest(store, grid))
        finished = [entry for entry in manifest.runs if not unfinished(manifest, entry)]
        if not finished:
            what = f"the grid {manifest.name} has no finished run"
            raise StoreError(what, str(store.root), "finish it with `bench run`")
        return manifest, finished
    manifest, entry = planned(store, find_run(store, run), grid)
    if reason := unfinished(manifest, entry):
        raise StoreError(f"run {entry.id}: {reason}", str(store.run_dir(entry.id)), "finish it with `bench run`")
    return manifest, [entry]
