"""Learn from the stored logits of a grid how many labeled patients a new hospital needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.extensions.label_needs.draws import DRAWS, LEAST_DRAWS, LabeledColumn, recalibrated, summarize
from bench.planning.manifest import Manifest, planned, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.stored_names import find_run
from bench.results.grid_recipes import with_chosen_runs
from bench.results.read_predictions import CohortLabels, unfinished
from bench.results.run_table import run_title
from bench.results.scored_run import load_scored_run
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError
from harmonize.progress import Progress

STEP = "labels needed"  # name of the work in the progress display


@dataclass(frozen=True, slots=True)
class LabelNeeds:
    """The numbers of labeled patients that are needed, with the curves behind them.

    goal: highest ECE. needs, curves: tables with the columns NEEDS and CURVES of bench.extensions.label_needs.draws. runs: id and name of each run.
    hospitals: dataset -> title. left_out: sentences that name findings and hospitals without a result.
    """

    goal: float
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
    goal: float = 0.05,
    progress: Progress = lambda *_: None,
) -> LabelNeeds:
    """Draw labeled patients of each external hospital of a grid, and measure what their labels are good for.

    `run`: the start of a run's id; with None, all finished trained runs of the grid are measured together. goal: highest ECE.
    A finding of a hospital is used if at least 2 x min_count patients have an image with the finding, and as many an image
    without: one half of the patients is measured. A hospital that a run had seen, or may have seen, is left out for this run:
    its labels say little about a new hospital.

    Raises ConfigError for a finding that no run has. Raises StoreError for a run that is missing or unfinished, and if no
    finding of an external hospital that is new to a run has enough patients.
    """
    manifest, chosen = _chosen(store, grid, run)
    known = list(dict.fromkeys(name for entry in chosen for name in manifest.scored_findings(entry)))
    ConfigError.check_choices("finding", findings, known)
    draws = max(LEAST_DRAWS, DRAWS // len(chosen))
    drawn: list[pd.DataFrame] = []
    few: dict[str, list[str]] = {}  # hospital -> findings with too few patients
    left_out: list[str] = []
    labels: dict[tuple[str, str, str], CohortLabels] = {}
    least = 2 * manifest.settings.min_count
    for done, entry in enumerate(chosen):
        progress(STEP, done, len(chosen))
        # images are labeled, also where scores are of studies
        scored = load_scored_run(manifest.by_image, entry, labels)
        val = next((s for s in scored.scored_splits if (s.dataset, s.split) == (scored.internal, "val")), None)
        external = {hospital.name for hospital in manifest.external_to(entry)}
        for split in [split for split in scored.scored_splits if split.dataset in external]:
            title = manifest.titles[split.dataset]
            if split.dataset in manifest.exposed(entry):
                left_out.append(f"Not measured at {title}: run {entry.id}, which had or may have seen it.")
                continue
            for k, finding in enumerate(scored.findings):
                if finding in scored.unlearned or finding not in (findings or known):
                    continue
                column = LabeledColumn.of(split, k)
                if column.smaller_class() >= least:
                    internal = LabeledColumn.of(val, k) if val else None
                    bins = manifest.settings.bins
                    drawn.append(recalibrated(finding, split.dataset, column, internal, draws, bins))
                elif len(column.label) and finding not in few.setdefault(title, []):
                    few[title].append(finding)
    if not drawn:
        what = f"no finding has {least} patients with it and without it at an external hospital that is new to the runs"
        fix = "add a hospital to the grid, or choose other runs or findings"
        raise StoreError(what, f"grid {manifest.name}", fix)
    order = sorted(drawn, key=lambda table: known.index(table["finding"].iloc[0]))
    curves, needs = summarize(pd.concat(order), goal)
    names = [f"{entry.id} {run_title(manifest, entry)}" for entry in chosen]
    missing = f"fewer than {least} patients with or without the finding"
    left_out += [f"Left out at {title}: {', '.join(names_of)} ({missing})." for title, names_of in few.items()]
    return LabelNeeds(goal, names, needs, curves, manifest.titles, left_out, manifest.phantom)


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
