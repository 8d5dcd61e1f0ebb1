"""A stored grid as the library returns it: with the ranking of its recipes as a table, and a short text for notebooks."""

from dataclasses import dataclass, fields
from html import escape
from typing import Self

import pandas as pd

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.grid_recipes import recipes_of, with_chosen_runs
from bench.results.read_predictions import load_estimates, load_scores
from bench.results.run_table import ranked_ids, read_records, run_title
from bench.scoring.across_runs.ranks import ranks
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports.schemas.criterion import DEFAULT
from reports.schemas.select import select

_SCORES = ("external", "gap", "internal")  # AUROCs and their difference, each with an interval


@dataclass(frozen=True, kw_only=True, repr=False)
class GridResult(Manifest):
    """A stored grid with its ranking. A notebook shows the ranking in place of the fields."""

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Self:
        """Return the grid of a manifest."""
        return cls(**{field.name: getattr(manifest, field.name) for field in fields(manifest)})

    def ranking(self) -> pd.DataFrame:
        """Return one row per recipe, best first; without rows if nothing is ranked.

        Columns: recipe, runs, group (recipes of one number are tied), rank_low and rank_high, and the macro AUROCs `external` and
        `internal` and the `gap`, each with the bounds `_low` and `_high` of its 95 % interval. Without external hospitals, recipes are
        ranked by `internal`.
        """
        grid = with_chosen_runs(self)
        ids = ranked_ids(grid, read_records(grid))
        estimates = load_estimates(grid, ids)
        recipes = recipes_of(grid, estimates.values)
        of_runs, gaps_of_runs = (
            select(load_scores(grid, ids, "scores"), internal=grid.source),
            load_scores(grid, ids, "gaps"),
        )
        aurocs = recipes.replaced(of_runs, recipes.of_scores(of_runs))
        gaps = recipes.replaced(gaps_of_runs, recipes.of_gaps(gaps_of_runs))
        criterion = DEFAULT if grid.external or grid.left_out else DEFAULT._replace(dataset=grid.source)
        ranked = ranks(aurocs, recipes.covariances(estimates), criterion)
        by_id = {run.id: run for run in grid.ranked}
        values = {
            "external": aurocs[aurocs["dataset"] == EXTERNAL],
            "internal": aurocs[aurocs["dataset"] == grid.source],
            "gap": gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] == MACRO)],
        }
        members = [recipes.runs_of[recipe] for recipe in ranked["run_id"]]
        columns: dict[str, object] = {
            "recipe": [_title(grid, by_id[runs[0]], len(runs)) for runs in members],
            "runs": [", ".join(runs) for runs in members],
            **{name: ranked[name].to_numpy() for name in ("group", "rank_low", "rank_high")},
        }
        for name in _SCORES:
            of_recipe = values[name].set_index("run_id").reindex(ranked["run_id"])
            columns |= {
                f"{name}{end}": of_recipe[f"value{end}".replace("value_", "")].to_numpy()
                for end in ("", "_low", "_high")
            }
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        """Return name, title, number of runs and hospitals of the grid."""
        hospitals = ", ".join(cohort.name for cohort in self.external)
        return f"grid {self.name} ({self.title}): {len(self.runs)} runs, trained on {self.source}, tested on {hospitals or 'no other hospital'}"

    def _repr_html_(self) -> str:
        table = self.ranking()
        shown = pd.DataFrame({"recipe": table["recipe"], "group": table["group"]})
        for name in _SCORES:
            cells = zip(*(table[f"{name}{end}"] for end in ("", "_low", "_high")), strict=True)
            shown[name] = [
                f"{value:.3f} [{low:.3f}, {high:.3f}]" if value == value else "" for value, low, high in cells
            ]
        ranked = shown.to_html(index=False) if len(shown) else "<p>Nothing is ranked yet.</p>"
        notice = f"<p>{escape(SYNTHETIC_NOTICE)}</p>" if self.phantom else ""
        return f"<p>{escape(repr(self))}</p>{ranked}<p>Macro AUROC [95 % interval]. Recipes of one group are tied.</p>{notice}"


def _title(grid: Manifest, run: PlannedRun, num_seeds: int) -> str:
    """Return the title of a recipe, given one of its runs."""
    name = grid.names.get(run.id)
    return f"{name.recipe}, {num_seeds} seeds" if name and num_seeds > 1 else run_title(grid, run)
