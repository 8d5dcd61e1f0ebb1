"""Collect the tables of a report from the store."""

from collections import ChainMap
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import metadata
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from bench.planning.manifest import Manifest
from bench.results.cohort_tables import ExposureTable, cohort_tables, findings_of
from bench.results.cross_run_tables import RunComparison, across, stored_analyses
from bench.results.derived_differences import derived_differences
from bench.results.grid_recipes import trials_table, with_chosen_runs
from bench.results.long_tables import LongTables
from bench.results.read_predictions import FRAMES, load_scores
from bench.results.run_table import RunRecords, histories, learns, ranked_ids, read_records, runs_table, unlearnt_by
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.diagnostics import among_runs
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metric_bounds import DIFFERENCE
from harmonize.cohorts.hospital_names import hospital_name
from harmonize.cohorts.pool_names import hospitals_of
from reports import extensions, failed_parts, hooks
from reports.report_data.page_rows import DETAILED, DETAILS, detailed_ids, shown_scores
from reports.schemas.criterion import further_scores
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables

# columns of the table `costs` that come from the file cost.json of a run
_COST = tuple(c for c in SCHEMAS["costs"] if c not in {"run_id", "seconds_per_epoch"})
_COMPARED = (
    "scores",
    "gaps",
    "mappings",
    "costs",
    *(score.METRIC for score in further_scores()),
)  # tables from which the comparisons of runs are computed
AVERAGED = "decomposition"  # the table of DETAILS whose rows are averaged over the runs of a recipe


def tables(manifest: Manifest, with_images: bool = False, long_tables: LongTables | None = None) -> Tables:
    """Build all tables of a grid's report.

    Runs without scores are listed with their state and the reason. `with_images`: allow real radiographs in the gallery;
    synthetic radiographs are always allowed. `long_tables` writes all rows of the long tables to files; the result then
    has only those rows of the long tables that the page shows.
    """
    report = _Report(manifest, with_images, long_tables)
    meta = report.meta
    if failed := failed_parts.so_far():
        meta["failed"] = [{"name": part.name, "reason": part.reason} for part in failed]
    frames = {name: frame for name, frame in report.frames.items() if len(frame.columns)}
    return Tables(meta, {name: frame[list(SCHEMAS[name])].reset_index(drop=True) for name, frame in frames.items()})


class _Report:
    """The parts of a report. A part is made when another part first reads it, so no order of the parts is written down."""

    def __init__(self, manifest: Manifest, with_images: bool, long_tables: LongTables | None) -> None:
        self.tried, self.search = trials_table(manifest), manifest.search
        self.manifest = with_chosen_runs(manifest, self.tried)
        self.with_images, self.long_tables = with_images, long_tables
        self.records = read_records(self.manifest)
        self.scored = ranked_ids(self.manifest, self.records)
        scored = [run_id for run_id, record in self.records.items() if record.is_scored]
        self.all_ids = [*self.scored, *(run_id for run_id in scored if run_id not in self.scored)]  # ranked runs first
        self.findings = findings_of(self.manifest)
        self.uncounted = self.manifest.uncounted(
            [finding for run in self.manifest.run_of.values() for finding in run.config.findings]
        )
        self.history = histories(self.manifest)
        self.data = cohort_tables(self.manifest, self.findings)
        self.analyses = self.manifest.analysis_states()

    @cached_property
    def of_runs(self) -> dict[str, pd.DataFrame]:
        """The tables of cohorts and runs that comparisons of runs read; all rows except rows of recipes."""
        runs = runs_table(self.manifest, self.history, self.records)
        frames = {"runs": runs, "published": _published(self.manifest), **self.data.frames, "trials": self.tried}
        if self.all_ids:
            frames["costs"] = _costs(self.records, self.all_ids, self.history)
            frames |= {name: self._of_grid(self._load(name)) for name in FRAMES if name not in DETAILS}
            num_runs = len(self.manifest.runs) + len(self.manifest.derived)
            frames["diagnostics"] = among_runs(frames["diagnostics"], num_runs)
        if self.scored:
            trained = {run.id: self.history[run.id] for run in self.manifest.runs if run.id in self.all_ids}
            empty = pd.DataFrame(columns=list(SCHEMAS["history"]))  # the history of a grid without trained runs
            rows = [history.assign(run_id=run_id) for run_id, history in trained.items()] or [empty]
            frames["history"] = pd.concat(rows, ignore_index=True)
        return frames

    @cached_property
    def comparison(self) -> RunComparison | None:
        """The tables that compare recipes, and the rows of recipes; None without ranked runs."""
        if not self.scored:
            return None
        compared = {name: _of_runs(self.of_runs[name], self.scored) for name in _COMPARED}
        others = {name: self.of_runs[name] for name in ("history", "runs")}
        return across(self.manifest, compared | others, self.scored, self.findings)

    @cached_property
    def compared(self) -> dict[str, pd.DataFrame]:
        """The tables `of_runs`, and the tables that compare recipes. With `long_tables`, `scores` has only rows of the page."""
        if self.comparison is None:
            return self.of_runs
        frames = self.of_runs | self.comparison.tables
        frames["derived"] = derived_differences(self.manifest, frames["scores"])
        if self.long_tables:
            frames["scores"] = shown_scores(frames["scores"])
            # to free the memory of the rows that are not shown: they were compared, and are in the files
            del self.of_runs["scores"]
        return frames

    @cached_property
    def detailed(self) -> set[str] | None:
        """The ids of the recipes and runs for which the page shows the tables DETAILS; None for all of them."""
        if not self.long_tables or len(self.all_ids) <= DETAILED:
            return None
        of_recipes = [self.comparison.of_recipes["runs"]] if self.comparison else []
        return detailed_ids({**self.compared, "runs": pd.concat([self.compared["runs"], *of_recipes])})

    @cached_property
    def with_analyses(self) -> tuple[dict[str, pd.DataFrame], dict[str, object]]:
        """All tables without the rows of recipes, also of analyses, and the facts of analyses."""
        frames = dict(self.compared)
        if self.all_ids:
            # AVERAGED has the rows of all runs until `frames` has averaged them
            frames |= {name: self._load(name, None if name == AVERAGED else self.detailed) for name in DETAILS}
        for name, table in stored_analyses(self.manifest, self.all_ids, self.analyses).items():
            frames[name] = pd.concat([frames[name], table], ignore_index=True) if name in frames else table
        frames = {name: self._of_grid(table) for name, table in frames.items()}
        facts = _of_analyses(self.manifest, frames, self.with_images)
        return frames, facts

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables."""
        frames = dict(self.with_analyses[0])
        if self.comparison:
            recipes = self.comparison.recipes
            tested = {analysis.run for analysis in self.manifest.analyses if analysis.name == "transplants"}
            rows = self.comparison.of_recipes | _shortcut_scores(frames, recipes, tested) | _components(frames, recipes)
            frames |= _with_recipes(frames, rows, self.long_tables)
            if self.detailed is not None:
                frames[AVERAGED] = _of_runs(frames[AVERAGED], self.detailed)
        frames["exposure"] = ExposureTable.of(self.manifest, frames)
        return frames

    def _of_grid(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table without findings that the grid left out."""
        known = self.uncounted and "finding" in table
        return table[~table["finding"].isin(self.uncounted)] if known else table

    def _load(self, name: str, shown: Collection[str] | None = None) -> pd.DataFrame:
        """Return a score table: all rows, or with `long_tables` the rows that the page shows (see `LongTables.load`)."""
        if self.long_tables:
            return self.long_tables.load(self.manifest, self.all_ids, name, shown)
        return load_scores(self.manifest, self.all_ids, name)

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata, see `Tables`."""
        manifest, search, findings = self.manifest, self.search, self.findings
        of_cohorts = extensions.modules(hooks.Cohorts)
        dates = self.frames["runs"].set_index("run_id")["date"].reindex(self.all_ids)
        return {
            "title": manifest.title,
            "grid": manifest.name,
            "source": manifest.source,
            "phantom": manifest.phantom,
            "settings": msgspec.to_builtins(manifest.settings),
            **({"useful": manifest.useful} if manifest.useful else {}),
            **({"peaks": peaks} if (peaks := _peaks(manifest, self.records, self.history)) else {}),
            "date": max(dates, default=""),  # date of the last run
            "software": _software(),
            "links": dict(manifest.links),
            "split": asdict(manifest.shared.split),
            "command": manifest.command,
            "created_from": self.all_ids,
            "findings": findings,
            "notes": _notes(manifest),
            "unlearnt": unlearnt_by(manifest, self.all_ids, self.records),
            "learns": learns(manifest, findings, self.all_ids, self.scored, self.records),
            "analyses": self.analyses,
            **self.with_analyses[1],
            "stated": _stated(manifest),
            "bundles": _submissions(manifest),
            "duplicates": manifest.duplicates,
            # a grid whose runs all leave out the same hospital has the page of a grid that trains on the others
            "pool": [hospital.name for hospital in manifest.pooled] if len(manifest.pooled) > 1 else [],
            "leave_one_out": manifest.leaves_one_out,
            "test_images": self.data.test_images,
            "compared": _compared(manifest),
            **ChainMap(*failed_parts.of_extensions("facts", of_cohorts, lambda each: {**each.meta(manifest)})),
            **({"search": {"trials": search.trials, "seed": search.seed, "over": dict(search.over)}} if search else {}),
            "datasets": {
                c.name: {
                    **asdict(manifest.hospital(c)),
                    "flow": dict(c.flow),
                    "no_lungs": dict(c.no_lungs),
                    "approximate": manifest.approximate(c, findings),
                    **({"ages": "children"} if c.of_children else {}),
                }
                for c in (manifest.cohorts[0], *manifest.pooled, *manifest.unseen)
            },
        }


def _of_analyses(manifest: Manifest, frames: dict[str, pd.DataFrame], with_images: bool) -> dict[str, object]:
    """Add to `frames` the tables that extensions compute from finished analyses; return their facts. Extensions that fail are left out."""
    facts: dict[str, object] = {}

    def make(module: hooks.Analyses) -> tuple[dict[str, pd.DataFrame], Mapping[str, object]]:
        tables, own = module.tables(manifest, frames, with_images)
        return {name: table[list(SCHEMAS[name])] for name, table in tables.items()}, own

    for further, own in failed_parts.of_extensions("tables of analyses", extensions.modules(hooks.Analyses), make):
        frames |= further
        facts |= own
    return facts


def _with_recipes(
    frames: Mapping[str, pd.DataFrame], of_recipes: Mapping[str, pd.DataFrame], long_tables: LongTables | None
) -> dict[str, pd.DataFrame]:
    """Return the tables of runs with the rows of recipes; long tables get only the rows that the page shows."""
    out = {}
    for name, rows in of_recipes.items():
        if long_tables:
            long_tables.append(name, rows)
        shown = shown_scores(rows) if long_tables and name == "scores" else rows
        out[name] = pd.concat([frames[name], shown], ignore_index=True) if len(shown) else frames[name]
    return out


def _compared(manifest: Manifest) -> dict[str, object]:
    """Return the grid's record of patients and images that several cohorts share; {} for merged grids.

    Under "left_out", the row of each cohort that is left out of the grid also gets the title of the cohort.
    """
    if not manifest.compared:
        return {}
    rows = [
        {**asdict(row), "title": hospital_name(row.cohorts[1], row.layouts[1], {}, manifest.phantom).short}
        for row in manifest.compared.left_out
    ]
    return {**asdict(manifest.compared), "left_out": rows}


def _shortcut_scores(
    frames: Mapping[str, pd.DataFrame], recipes: Recipes, tested: Collection[str]
) -> dict[str, pd.DataFrame]:
    """Return the rows of recipes for the shortcut scores that the ranking shows: source probe and causal score.

    The rows belong to the tables `sources` (source probe) and `transplants` (causal score). tested: the runs for which the grid
    plans region transplant tests; with the key `seeds`, they are some runs of each recipe.
    """
    out = {}
    if "sources" in frames:
        rows = frames["sources"]
        rows = rows[(rows["probe"] == "features") & (rows["shots"] == 0) & (rows["metric"] == "balanced_accuracy")]
        out["sources"] = recipes.averaged(rows, ("control",), ("value", "chance"))
    if "transplants" in frames:
        rows = frames["transplants"]
        rows = rows[(rows["kind"] == "causal") & (rows["finding"] == MACRO)]
        key = ("donor", "host", "subset", "measure")
        runs_of = {name: tuple(i for i in ids if i in tested) or ids for name, ids in recipes.runs_of.items()}
        out["transplants"] = replace(recipes, runs_of=runs_of).averaged(
            rows, key, ("effect", "value", "control"), DIFFERENCE
        )
    return out


def _components(frames: Mapping[str, pd.DataFrame], recipes: Recipes) -> dict[str, pd.DataFrame]:
    """Return the rows of recipes for the table `decomposition`: components of the macro gaps."""
    rows = frames[AVERAGED]
    key = ("dataset", "metric", "finding", "part")
    return {AVERAGED: recipes.averaged(rows[rows["finding"] == MACRO], key, ("value", "least", "most"), DIFFERENCE)}


def _of_runs(frame: pd.DataFrame, run_ids: Collection[str]) -> pd.DataFrame:
    """Return the rows of the given runs; if no other run has rows, return the table itself without a copy."""
    own = frame["run_id"].isin(list(run_ids))
    return frame if own.all() else frame[own]


def _published(manifest: Manifest) -> pd.DataFrame:
    """Return one row for each published score that the grid lists under `references`."""
    rows = [
        (row.name, row.setting, row.source, dataset, split, finding, row.metric, value)
        for row in manifest.references
        for dataset, split, finding, value in row.numbers
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["published"]))


def _peaks(manifest: Manifest, records: RunRecords, history: Mapping[str, pd.DataFrame]) -> list[dict[str, object]]:
    """Return the highest test AUROC over all epochs of each run with `schedule.audit`, and the AUROC of its selected epoch."""
    peaks: list[dict[str, object]] = []
    for run_id, epochs in history.items():
        selected = records[run_id].facts["trained"].get("best_epoch")
        for split in ("test", "expert_test"):
            auroc = epochs.set_index("epoch").get(f"{split}_auroc", pd.Series(dtype=float)).to_dict()
            if selected in auroc:
                peak = max(auroc, key=auroc.__getitem__)
                values = {"epoch": peak, "peak": auroc[peak], "selected": auroc[selected]}
                peaks.append({"run": str(manifest.names[run_id]), "split": split, **values})
    return peaks


def _costs(records: RunRecords, scored: list[str], history: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for run_id in scored:
        cost, spent = records[run_id].facts["cost"], history[run_id]["seconds"]
        seconds = float(spent.median()) if len(spent) else np.nan
        left_out = {"not_counted": ", ".join(cost.get("not_counted", []))}
        rows.append({"run_id": run_id, **{k: cost.get(k) for k in _COST}, **left_out, "seconds_per_epoch": seconds})
    frame = pd.DataFrame(rows)
    counted = [
        name for name in _COST if name not in {"throughput_device", "not_counted"}
    ]  # an unmeasured cost is None and becomes NaN
    frame[counted] = frame[counted].apply(pd.to_numeric)
    return frame.astype({"peak_memory_bytes": "float64", "images_per_second": "float64"})


def _software() -> dict[str, str]:
    """Return the version of this software and the address of its repository ("" if the package states no address)."""
    stated = metadata("unseen-cxr")
    urls = dict(text.split(", ", 1) for text in stated.get_all("Project-URL") or [])
    return {"version": str(stated["Version"]), "repository": urls.get("Repository", "")}


def _stated(manifest: Manifest) -> list[str]:
    """Return the facts that the submitters of merged bundles state, and that nobody could check."""
    return list(dict.fromkeys(fact for bundle in manifest.bundles or () for fact in bundle.stated))


def _submissions(manifest: Manifest) -> dict[str, list[dict[str, str]]]:
    """Return {run id: file and signer of each verified bundle with this run}; {} for a grid that was not merged."""
    submissions: dict[str, list[dict[str, str]]] = {}
    for bundle in manifest.bundles or ():
        for run_id in bundle.run_ids:
            submissions.setdefault(run_id, []).append({"file": bundle.file, "signed_by": bundle.signed_by})
    return submissions


def _notes(manifest: Manifest) -> list[str]:
    notes = []
    if manifest.scored_from:
        how = f"{manifest.scored_how} ({manifest.scored_by})"
        notes.append(f"Scored again from the stored predictions of the grid {manifest.scored_from}: {how}.")
    if manifest.bundles is not None:
        names = ", ".join(bundle.file for bundle in manifest.bundles)
        notes.append(
            f"Made from bundles of predictions ({names}), which were scored again here. Verified: the scores follow from the logits. Not verified: "
            "that the logits come from the stated networks. Not in bundles: images, weights and features, and so source "
            "classifiers, heat maps and region transplant tests. Only scored images are counted, and each age is the middle of its decade."
        )
        if stated := _stated(manifest):
            notes.append(f"Stated by the submitters, not checked: {'; '.join(stated)}.")
    settings = manifest.phantom_settings
    trained = {hospital.name: manifest.hospital(hospital).short for hospital in manifest.pooled}
    first = hospitals_of(manifest.source)[0]  # the only hospital of a pool that prints the tag
    planted = trained.get(first, "") if trained else "The synthetic training hospital"
    if settings and settings.shortcut and planted:
        notes.append(
            f"{planted} prints a PORT tag on about {50 + 50 * settings.shortcut:g} % of the images with {settings.finding} "
            f"and on about {50 - 50 * settings.shortcut:g} % of the others. At other hospitals, the tag is unrelated to findings. "
            f"So the program that makes the images causes the gap of {settings.finding} on purpose."
        )
    if manifest.imported and not manifest.runs:
        notes.append(
            "No run was trained here. The internal hospital is the cohort whose validation patients set thresholds and calibration; gaps "
            "are relative to its scores. The passport of each model declares its earlier training data."
        )
    learned = {manifest.scored_findings(run) for run in manifest.runs}
    if len(learned) > 1:
        consequence = (
            "Ranks and means over runs therefore compare findings, not networks. Read this page finding by finding."
        )
        if tuple(findings_of(manifest)) in learned:
            consequence = "Only runs that learn all findings are ranked and enter means over runs. Compare the others finding by finding."
        note = f"The runs of this grid learn different findings, and each macro average is over the findings of its run. {consequence}"
        notes.append(note)
    return notes
