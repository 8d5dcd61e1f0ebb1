"""Report tables that do not depend on scores: cohorts, splits and training history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.planning.exposure import Exposure
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.protocol import CohortRole
from bench.results.read_predictions import CohortLabels, labels_of, load_scored_splits, reference
from bench.scoring.scored_split import without
from bench.store.checked_folders import CheckedFolder
from harmonize.cohorts.cohort import ADULT_FROM
from harmonize.cohorts.splits import refuse_two_splits
from harmonize.labels.findings import UNMAPPED_CODE, space
from reports.schemas.exposure import NO
from reports.schemas.select import MACRO_AUROC, select
from reports.schemas.tables import SCHEMAS
from reports.tables import rows_of

_STATES = {"present": 1, "absent": 0, "uncertain": -1, "not_mentioned": -2, "unmapped": UNMAPPED_CODE}


def findings_of(manifest: Manifest) -> list[str]:
    """Return the scored findings that at least one run of the grid learns, in the order of the grid's label space."""
    configs = [run.config for run in manifest.runs or manifest.imported]
    learned = {finding for config in configs for finding in config.findings}
    findings = [finding for finding in space(configs[0].space) if finding in learned]
    return [finding for finding in findings if finding not in manifest.uncounted(findings)]


@dataclass(frozen=True, slots=True)
class CohortTables:
    """The report tables about the data, and numbers of patients and images."""

    frames: dict[str, pd.DataFrame]  # name -> table: cohorts, splits and prevalence
    test_images: int  # number of images behind the headline scores; an image of a pool counts once


def cohort_tables(manifest: Manifest, findings: list[str]) -> CohortTables:
    """Build the tables `cohorts`, `splits` and `prevalence` (label states of `findings`) for all cohorts of a grid.

    A pool has the images of those of its hospitals on which at least one run trains. A hospital that a run leaves out has a row
    of its own as an external hospital.
    """
    config = manifest.shared
    rows, splits, prevalence = [], [], []
    tested: dict[str, list[pd.Series[str]]] = {}  # id of a cohort -> ids of images behind headline scores
    for cohort in (manifest.cohorts[0], *manifest.unseen):
        labels = labels_of(manifest, cohort, config, findings)
        if cohort.hospitals:
            labels = labels.of_hospitals([hospital.name for hospital in manifest.pooled])
        table, flow, role = labels.table, cohort.flow, CohortRole.of(cohort)
        internal = role.role == "internal"
        hospital = manifest.hospital(cohort)
        split = pd.Series(labels.split, index=table.index)
        if internal:
            refuse_two_splits(table, split, cohort.name)
        sex, view, age = table["sex"], table["view"], table["age"]
        if manifest.of_bundles:  # middles of decades: from 10 to 19 years are children and adults
            age = age.mask(age == ADULT_FROM // 10 * 10 + 5)
        rows.append(
            {
                "dataset": cohort.name,
                "role": cohort.role,
                "layout": cohort.layout,
                "title": hospital.title,
                "place": hospital.place,
                "label_source": reference(manifest, cohort),
                "found": flow.get("found", len(table)),
                "absent": cohort.absent,
                "not_frontal": flow.get("not_frontal", 0),
                "unreadable": cohort.unreadable,
                "used": len(table) - cohort.unreadable,
                "patients": table["patient_id"].nunique(),
                "female": int((sex == "F").sum()),
                "male": int((sex == "M").sum()),
                "age_median": float(age.median()),
                "ages": len(table) if cohort.of_children else int(age.notna().sum()),
                "children": len(table) if cohort.of_children else int((age < ADULT_FROM).sum()),
                "ap": int((view == "AP").sum()),
                "pa": int((view == "PA").sum()),
                "headline_split": role.headline_name,
                "fingerprint": "/".join(sorted(set(cohort.fingerprints.values()))),
                "licence": manifest.licence(cohort),
            }
        )
        split_masks = [(cohort.headline_split, pd.Series(role.headline_rows(split), index=split.index))]
        if internal:
            split_masks = [(name, split == name) for name in sorted(set(labels.split))]
        for name, mask in split_masks:
            splits.append(
                {
                    "dataset": cohort.name,
                    "split": name,
                    "images": int(mask.sum()),
                    "patients": table.loc[mask, "patient_id"].nunique(),
                }
            )
            if name == rows[-1]["headline_split"]:
                # the images of a hospital that is left out are rows of the pool's table
                tested.setdefault(cohort.id or manifest.cohorts[0].id, []).append(table.loc[mask, "image_id"])
            for k, finding in enumerate(findings):
                state = labels.state_NK[mask.to_numpy(), k]
                counts = {column: int((state == code).sum()) for column, code in _STATES.items()}
                prevalence.append({"dataset": cohort.name, "split": name, "finding": finding, **counts})
    frames = {
        "cohorts": pd.DataFrame(rows),
        "splits": pd.DataFrame(splits),
        "prevalence": pd.DataFrame(prevalence),
    }
    test_images = sum(ids[0].size if len(ids) == 1 else pd.concat(ids).nunique() for ids in tested.values())
    return CohortTables(frames, test_images)


class ExposureTable:
    """The table `exposure` of a report."""

    @staticmethod
    def of(manifest: Manifest, frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """Return one row for each model and external hospital; no rows if no model was pretrained or trained elsewhere.

        `frames`: the tables `scores` and `recipes`, both with the recipes; without scores, there are no rows. A model is a
        recipe, a scored run that is in no recipe, or an imported model. Only models whose exposure is "no" (they have
        seen nothing of this hospital) have a rank, and only if they score the findings of the model with the most findings there.
        """
        scores, recipes = frames.get("scores"), frames.get("recipes")
        entries = _entries(manifest, scores, recipes) if scores is not None else []
        if scores is None or not any(_has_history(run) for _, (run, *_) in entries):
            return pd.DataFrame(columns=list(SCHEMAS["exposure"]))
        aurocs = _aurocs(scores)
        clean = _CleanScores(manifest)
        rows = [
            _row(manifest, entry, runs_there, hospital, aurocs, clean)
            for entry, runs in entries
            for hospital, runs_there in _external_hospitals(manifest, runs).items()
        ]
        return _ranked(pd.DataFrame(rows, columns=[*SCHEMAS["exposure"], "aurocs"]))


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


def _aurocs(scores: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    """Return {(run or recipe, dataset): {finding, or "macro": AUROC}}, without missing AUROCs."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    rows = select(scores, finding=None).dropna(subset=["value"])
    for run, dataset, finding, value in rows_of(rows, "run_id", "dataset", "finding", "value"):
        found.setdefault((str(run), str(dataset)), {})[str(finding)] = float(value)
    return found


def _row(
    manifest: Manifest,
    entry: str,
    runs: Sequence[PlannedRun],
    dataset: str,
    aurocs: Mapping[tuple[str, str], dict[str, float]],
    clean: "_CleanScores",
) -> dict[str, Any]:
    stated = manifest.exposure(runs[0])[dataset]
    own = dict(aurocs.get((entry, dataset), {}))
    value = own.pop(MACRO_AUROC["finding"], np.nan)
    row = dict.fromkeys(SCHEMAS["exposure"], np.nan) | {"run_id": entry, "dataset": dataset, "listed": 0}
    row |= {"answer": stated["answer"], "value": value, "aurocs": own, "clean_n": 0}
    if "list" in stated:
        row |= {"listed": int(stated["listed"]), **clean.of(runs, dataset, str(stated["list"]))}
    return row


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Add rank and num_ranked: the rank among the unseen models of a hospital; 0 for a model without rank.

    The mean over the findings of the model with the most findings decides, because the macros of two models may be over other findings.
    """
    means = pd.Series(np.nan, table.index)
    for _, unseen in table[(table["answer"] == NO) & table["value"].notna()].groupby("dataset"):
        most = max(unseen["aurocs"], key=len)
        means[unseen.index] = np.array([np.mean([own.get(f, np.nan) for f in most]) for own in unseen["aurocs"]])
    ranks = means.groupby(table["dataset"]).rank(ascending=False, method="min")
    num = means.notna().groupby(table["dataset"]).transform("sum")
    out = table.assign(rank=ranks.fillna(0).astype("int64"), num_ranked=num.astype("int64"))
    counts = dict.fromkeys(("listed", "clean_n"), "int64")
    numbers = dict.fromkeys(("value", "clean_value", "clean_low", "clean_high"), "float64")
    return out.astype(counts | numbers)[list(SCHEMAS["exposure"])]


class _CleanScores:
    """The scores on the images that no list names. Labels are read once."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest.by_image  # a list names images
        self.labels: dict[tuple[str, str, str], CohortLabels] = {}

    def of(self, runs: Sequence[PlannedRun], dataset: str, name: str) -> dict[str, Any]:
        """Return the columns clean_* of a recipe at a hospital; {} if the store does not have the list `name`."""
        seen = Exposure.listed(self.manifest.store, name)
        if seen is None:
            return {}
        from bench.scoring.clean_images import clean_macro, clean_score  # imported here, because it compiles functions

        macros = []
        for run in runs:
            config = run.config
            splits = load_scored_splits(self.manifest, run, config, self.labels)
            trained = CheckedFolder(self.manifest.store.run_dir(run.id)).facts()["trained"]
            splits = [without(split, trained.get("unlearnt", []), config.findings) for split in splits]
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
        }
