"""Build the table `exposure`: what each model had seen of each external hospital, and its score and rank there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.planning.exposure import Exposure
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.store.checked_folders import CheckedFolder
from reports.schemas.exposure import NO
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS
from reports.tables import rows_of


class ExposureTable:
    """The table `exposure` of a report."""

    @staticmethod
    def of(manifest: Manifest, frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """Return one row for each model and external hospital; no rows if no model was pretrained or trained elsewhere.

        `frames`: the tables `scores` and `recipes`, both with the recipes; without scores, there are no rows. A model is a
        recipe, a scored run that is in no recipe, or an imported model. Only models whose answer is "no" have a rank, and
        only if they score as many findings there as the model with the most findings.
        """
        scores, recipes = frames.get("scores"), frames.get("recipes")
        entries = _entries(manifest, scores, recipes) if scores is not None else []
        if scores is None or not any(_has_history(run) for _, (run, *_) in entries):
            return pd.DataFrame(columns=list(SCHEMAS["exposure"]))
        macros = _macro_aurocs(scores)
        clean = _CleanScores(manifest)
        rows = [
            _row(manifest, entry, runs_there, hospital, macros, clean)
            for entry, runs in entries
            for hospital, runs_there in _external_hospitals(manifest, runs).items()
        ]
        return _ranked(pd.DataFrame(rows, columns=[*SCHEMAS["exposure"], "num_findings"]))


def _has_history(run: PlannedRun) -> bool:
    """Return whether a model learned from other data before it came to this grid."""
    return run.is_imported or run.config.weights != "none" or bool(run.exposure)


def _entries(
    manifest: Manifest, scores: pd.DataFrame, recipes: pd.DataFrame | None
) -> list[tuple[str, list[PlannedRun]]]:
    """Return (id, runs) of each recipe, then of each other scored run and imported model."""
    runs_of: dict[str, list[str]] = {}
    for recipe, run_id in rows_of(recipes, "recipe_id", "run_id") if recipes is not None else ():
        runs_of.setdefault(str(recipe), []).append(str(run_id))
    of_recipes = {run_id for run_ids in runs_of.values() for run_id in run_ids}
    scored = set(scores["run_id"].unique())
    alone = [run for run in (*manifest.runs, *manifest.imported) if run.id in scored and run.id not in of_recipes]
    first = [(recipe, [manifest.run_of[run_id] for run_id in run_ids]) for recipe, run_ids in runs_of.items()]
    return [*first, *((run.id, [run]) for run in alone)]


def _external_hospitals(manifest: Manifest, runs: Sequence[PlannedRun]) -> dict[str, list[PlannedRun]]:
    """Return {external hospital of at least one of the runs: the runs to which it is external}."""
    runs_of: dict[str, list[PlannedRun]] = {}
    for run in runs:
        for hospital in manifest.external_to(run):
            runs_of.setdefault(hospital.name, []).append(run)
    return runs_of


def _macro_aurocs(scores: pd.DataFrame) -> dict[tuple[str, str], tuple[float, int]]:
    """Return {(run or recipe, dataset): (macro AUROC, number of findings)}."""
    rows = select(scores)
    cells = zip(*(rows[name] for name in ("run_id", "dataset", "value", "num_findings")), strict=True)
    return {(str(run), str(dataset)): (float(value), int(num)) for run, dataset, value, num in cells}


def _row(
    manifest: Manifest,
    entry: str,
    runs: Sequence[PlannedRun],
    dataset: str,
    macros: Mapping[tuple[str, str], tuple[float, int]],
    clean: "_CleanScores",
) -> dict[str, Any]:
    stated = manifest.exposure(runs[0])[dataset]
    value, num_findings = macros.get((entry, dataset), (np.nan, 0))
    row = dict.fromkeys(SCHEMAS["exposure"], np.nan) | {"run_id": entry, "dataset": dataset, "listed": 0}
    row |= {"answer": stated["answer"], "value": value, "num_findings": num_findings, "clean_n": 0, "clean_findings": 0}
    if "list" in stated:
        row |= {"listed": int(stated["listed"]), **clean.of(runs, dataset, str(stated["list"]))}
    return row


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Add rank and num_ranked: the rank of a value among the unseen models of a hospital; 0 for a model without rank."""
    usable = (table["answer"] == NO) & np.isfinite(table["value"].astype(float))
    most = table["num_findings"].where(usable, 0).groupby(table["dataset"]).transform("max")
    usable &= table["num_findings"] == most
    ranks = table["value"].astype(float).where(usable).groupby(table["dataset"]).rank(ascending=False, method="min")
    num = usable.groupby(table["dataset"]).transform("sum")
    out = table.assign(rank=ranks.fillna(0).astype("int64"), num_ranked=num.astype("int64"))
    counts = dict.fromkeys(("listed", "clean_n", "clean_findings"), "int64")
    numbers = dict.fromkeys(("value", "clean_value", "clean_low", "clean_high"), "float64")
    return out.astype(counts | numbers)[list(SCHEMAS["exposure"])]


class _CleanScores:
    """The scores on the images that no list names. Labels are read once."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.labels: dict[tuple[str, str, str], CohortLabels] = {}

    def of(self, runs: Sequence[PlannedRun], dataset: str, name: str) -> dict[str, Any]:
        """Return the columns clean_* of a recipe at a hospital; {} if the store does not have the list `name`."""
        seen = Exposure.listed(self.manifest.store, name)
        if seen is None:
            return {}
        from bench.scoring.clean_images import clean_macro, clean_score  # imported here, because it compiles functions
        from bench.scoring.score_run import without

        macros = []
        for run in runs:
            config = run.config
            splits = load_scored_splits(self.manifest, run, config, self.labels)
            trained = CheckedFolder(self.manifest.store.run_dir(run.id)).facts()["trained"]
            left_out = [*trained.get("unlearnt", []), *self.manifest.uncounted(config.findings)]
            splits = [without(split, left_out, config.findings) for split in splits]
            internal = self.manifest.source
            test = next((s for s in splits if (s.dataset, s.split) == (internal, "test")), None)
            external = next(split for split in splits if split.dataset == dataset)
            macros.append(clean_macro(external, seen, test, self.manifest.settings))
        found = clean_score(macros)
        return {
            "clean_value": found.value,
            "clean_low": found.low,
            "clean_high": found.high,
            "clean_n": found.n,
            "clean_findings": found.num_findings,
        }
