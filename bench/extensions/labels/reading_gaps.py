"""The tables `reading_gaps` and `mean_reading_gaps` of a report."""

import pandas as pd

from bench.extensions.labels.schemas import SCHEMAS
from bench.results.cross_run_tables import ScoredRuns
from bench.results.read_predictions import load_scores
from bench.scoring.across_runs.ranks import mean_gaps
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.metric_bounds import DIFFERENCE
from bench.scoring.scored_split import READINGS

NUMBERS = ("value", "same_findings", "internal", "external", "changed_internal", "changed")


def reading_tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return both tables; they are empty if no reading changes a label.

    A reading without a mean over hospitals, such as one that changes no label of some runs of each recipe, is left out of
    `mean_reading_gaps`.
    """
    empty = {name: pd.DataFrame(columns=list(SCHEMAS[name])) for name in ("reading_gaps", "mean_reading_gaps")}
    stored = load_scores(runs.manifest, runs.run_ids, "reading_gaps")
    if not len(stored):
        return empty
    of_recipes = runs.recipes.averaged(stored, ("reading", "dataset"), NUMBERS, DIFFERENCE)
    rows = runs.recipes.replaced(stored, of_recipes)
    gaps = runs.frames["gaps"]
    gaps = gaps[(gaps["finding"] == MACRO) & gaps["dataset"].isin(rows["dataset"])]
    gaps = runs.recipes.replaced(gaps, runs.recipes.of_gaps(gaps))
    gaps = gaps.assign(same_findings=gaps["value"], changed_internal=0.0, changed=0.0)
    of_grid = _means(runs, gaps, runs.manifest.settings.reading, "gap")
    readings = [name for name in READINGS if (rows["reading"] == name).any()]
    others = [_means(runs, rows[rows["reading"] == name], name, f"reading_gap/{name}") for name in readings]
    others = [means for means in others if EXTERNAL in set(means["dataset"])]
    means = pd.concat([of_grid, *others], ignore_index=True)[list(SCHEMAS["mean_reading_gaps"])]
    return {
        "reading_gaps": pd.concat([of_recipes, stored], ignore_index=True) if len(of_recipes) else stored,
        "mean_reading_gaps": means if others else empty["mean_reading_gaps"],
    }


def _means(runs: ScoredRuns, rows: pd.DataFrame, reading: str, prefix: str) -> pd.DataFrame:
    """Return the rows of one reading, from the gaps of recipes; `prefix`: start of the names of their estimates."""
    means = mean_gaps(rows.assign(finding=MACRO), runs.covariances, prefix)
    of_hospital = rows.groupby("dataset")
    further = of_hospital[["same_findings", "changed_internal", "changed"]].mean()
    further["num_findings"] = of_hospital["num_findings"].min()
    return means.assign(reading=reading).join(further, on="dataset")
