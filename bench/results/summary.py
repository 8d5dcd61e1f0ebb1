"""The two main results of a grid, as lines of text."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from bench.config.settings import STUDY
from bench.planning.manifest import Manifest
from bench.results.cohort_tables import findings_of
from bench.results.grid_recipes import recipes_of, with_chosen_runs
from bench.results.read_predictions import load_estimates, load_scores
from bench.results.run_table import RunRecords, ranked_ids, read_records, run_title
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.store.lease import holder_of
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports.schemas.common_findings import common_findings
from reports.schemas.select import select
from reports.tables import Tables

WIDTH = 80  # characters of a line; a longer result takes two lines


class _RankedRecipes(NamedTuple):
    """The ranked recipes, with their rows of two tables.

    runs_of: recipe id -> run ids. aurocs: rows of the table `scores` (macro AUROC; internal: of the test split).
    of_findings: rows of the table `scores` of single runs (AUROC of each finding). gaps: rows of the table `gaps`.
    """

    runs_of: Mapping[str, Sequence[str]]
    aurocs: pd.DataFrame
    of_findings: pd.DataFrame
    gaps: pd.DataFrame


def summary(manifest: Manifest, tables: Tables | None = None) -> list[str]:
    """Return the two main results of a grid as lines: the best external macro AUROC and the smallest gap, over recipes.

    `tables`: the tables of a report that was just written; with None, the recipes are computed from the stored scores.
    If the images are synthetic, the last line says so.
    """
    manifest = with_chosen_runs(manifest)
    records = read_records(manifest)
    ids = ranked_ids(manifest, records)
    if not ids:
        return [_nothing_ranked(manifest, records)]
    if len({r.config.findings for r in manifest.ranked if r.id in ids}) > 1:
        return ["  the runs learn different findings: the page compares them finding by finding"]
    runs = {run.id: run for run in manifest.ranked}
    internal = manifest.source
    recipes = _from_scores(manifest, ids) if tables is None else _from_tables(tables, internal)
    lines = []
    untested = not manifest.unseen
    results = [
        ("best external macro AUROC", recipes.aurocs, EXTERNAL, False),
        ("smallest gap (shared findings)", recipes.gaps, EXTERNAL, True),
    ]
    for what, table, dataset, smallest_first in (
        [("best internal macro AUROC", recipes.aurocs, internal, False)] if untested else results
    ):
        rows = table[(table["dataset"] == dataset) & (table["finding"] == MACRO)].dropna(subset=["value"])
        if len(rows):
            top = rows.sort_values("value", ascending=smallest_first).iloc[0]
            run_ids = recipes.runs_of[str(top["run_id"])]
            name = run_title(manifest, runs[run_ids[0]], len(run_ids))
            interval = f" [{top['low']:.3f}, {top['high']:.3f}]"
            line = f"  {what:<30} {name:<24} {top['value']:.3f}{interval}"
            lines += [line] if len(line) <= WIDTH else [f"  {what}", f"    {name} {top['value']:.3f}{interval}"]
            lines += _near_chance(recipes.aurocs, internal, str(top["run_id"])) if smallest_first else []
            lines += [] if smallest_first or untested else _left_out(manifest, recipes.of_findings, run_ids)
    if not lines:
        lines.append("  nothing is ranked: the page gives the reason for each run")
    elif untested:
        lines.append("  no external hospital was tested")
    table_of = {cohort.name: manifest.table(cohort) for cohort in manifest.cohorts if manifest.settings.unit == STUDY}
    single = [name for name, table in table_of.items() if not table.duplicated(["patient_id", "study_id"]).any()]
    if single:
        lines.append(f"  scores of studies are scores of images at {', '.join(single)}: no study has two images there")
    return [*lines, SYNTHETIC_NOTICE] if manifest.phantom else lines


def _near_chance(aurocs: pd.DataFrame, internal: str, recipe: str) -> list[str]:
    """Return a line if a recipe's internal AUROC is not clearly above chance, so that a small gap is no praise; else []."""
    rows = aurocs[(aurocs["run_id"] == recipe) & (aurocs["dataset"] == internal) & (aurocs["finding"] == MACRO)]
    low = [(float(row["value"]), float(row["low"])) for row in rows.to_dict("records")]
    return [f"    its internal AUROC, {v:.3f}, is not clearly above chance" for v, lower in low if lower <= 0.5]


def _left_out(manifest: Manifest, of_findings: pd.DataFrame, run_ids: Sequence[str]) -> list[str]:
    """Return lines on the findings that the mean external AUROC of a recipe leaves out; [] if it leaves out none."""
    internal, of_runs = manifest.source, of_findings[of_findings["run_id"].isin(run_ids)]
    means = of_runs.groupby(["dataset", "split", "finding"], as_index=False)["value"].mean()
    rows = means[~means["dataset"].isin([internal, EXTERNAL]) & means["value"].notna()]
    test = means[(means["dataset"] == internal) & (means["split"] == "test")]
    scored = rows.pivot_table("value", "dataset", "finding").notna()
    inside = scored.columns.isin(test.loc[test["value"].notna(), "finding"])
    used = rows["finding"].isin(scored.columns[common_findings(scored.to_numpy(bool), inside)])
    left_out = rows[~used]
    if not len(left_out) or not len(test):  # without an internal test split, the mean is over every finding
        return []
    lowest = left_out.sort_values("value").iloc[0]
    num_used = rows.loc[used, "finding"].nunique()
    return [
        f"    mean over {num_used} of {len(findings_of(manifest))} findings",
        f"    lowest AUROC left out: {lowest['value']:.3f}, {lowest['finding']} at {manifest.titles[str(lowest['dataset'])]}",
    ]


def _nothing_ranked(manifest: Manifest, records: RunRecords) -> str:
    """Return why no run is ranked."""
    models = [run for run in (*manifest.runs, *manifest.imported) if records[run.id].is_scored]
    if not any(manifest.exposed(run) for run in models):
        is_held = any(
            holder_of(manifest.store.run_dir(run.id) / "LOCK").alive_here is not False for run in manifest.runs
        )
        return f"  no run has a score yet{': another process is at work on the runs' * is_held}"
    if manifest.ranked:
        return "  nothing is ranked yet: the runs that had seen no external hospital have no score"
    return "  nothing is ranked: each model had seen an external hospital, or may have seen it"


def _from_scores(manifest: Manifest, ids: Sequence[str]) -> _RankedRecipes:
    """Compute the recipes from the stored scores of the runs `ids`."""
    recipes = recipes_of(manifest, load_estimates(manifest, ids).values)
    scores, gaps = load_scores(manifest, ids, "scores"), load_scores(manifest, ids, "gaps")
    plain = select(scores, internal=manifest.source)
    aurocs = recipes.replaced(plain, recipes.of_scores(plain))
    return _RankedRecipes(recipes.runs_of, aurocs, _of_findings(scores), recipes.replaced(gaps, recipes.of_gaps(gaps)))


def _from_tables(tables: Tables, internal: str) -> _RankedRecipes:
    """Select the recipes from the tables of a report."""
    recipes = tables["recipes"].groupby("recipe_id", sort=False)["run_id"]
    runs_of = {str(recipe): run_ids.tolist() for recipe, run_ids in recipes}
    plain = select(tables["scores"], internal=internal)
    aurocs, gaps = (table[table["run_id"].isin(runs_of)] for table in (plain, tables["gaps"]))
    return _RankedRecipes(runs_of, aurocs, _of_findings(tables["scores"]), gaps)


def _of_findings(scores: pd.DataFrame) -> pd.DataFrame:
    plain = select(scores, finding=None)
    return plain[plain["finding"] != MACRO]
