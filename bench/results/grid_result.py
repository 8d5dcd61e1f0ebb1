"""A stored grid as the library returns it: with the ranking of its recipes as a table, and a short text for notebooks."""

from dataclasses import dataclass, fields
from html import escape
from typing import Self

import pandas as pd

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.grid_recipes import with_chosen_runs
from bench.results.report_state import current_tables
from bench.results.run_table import run_title
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports.report_data.report_data import read

_SCORES = ("external", "internal", "gap")  # AUROCs and their difference, each with an interval


@dataclass(frozen=True, kw_only=True, repr=False)
class GridResult(Manifest):
    """A stored grid with its ranking. A notebook shows the ranking in place of the fields."""

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Self:
        """Return the grid of a manifest."""
        return cls(**{field.name: getattr(manifest, field.name) for field in fields(manifest)})

    def ranking(self) -> pd.DataFrame:
        """Return one row per recipe, best first, as the page ranks them; without rows if nothing is ranked.

        Columns: recipe, runs, group (recipes of one number are tied), rank_low and rank_high, and the macro AUROCs `external` and
        `internal` and the `gap`, each with the bounds `_low` and `_high` of its 95 % interval. Without external hospitals, recipes are
        ranked by `internal`. If hospitals have too few findings in common for a mean, `external` is the AUROC of one finding; the
        attribute `attrs["ranked_by"]` names it.
        """
        data = read(current_tables(self))
        by_id = {run.id: run for run in with_chosen_runs(self).ranked}
        rows = []
        for run in data.ranked:
            ids, numbers = [member.id for member in run.members], list[float]()
            for score in (run.score if data.hospitals.external else run.external, run.internal, run.gap):
                numbers += (score.value, score.low, score.high)
            title = _title(self, by_id[ids[0]], len(ids))
            rows.append((title, ", ".join(ids), run.group, run.rank_low, run.rank_high, *numbers))
        scores = [f"{name}{end}" for name in _SCORES for end in ("", "_low", "_high")]
        table = pd.DataFrame(rows, columns=["recipe", "runs", "group", "rank_low", "rank_high", *scores])
        table.attrs["ranked_by"] = data.ranked_by.key
        return table

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
