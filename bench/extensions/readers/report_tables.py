"""The tables of readers of a report, for the recipes with the highest external AUROC."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bench.extensions.readers.cohorts import IMAGE, READER, stored
from bench.extensions.readers.reader_statistics import (
    GRID,
    NONE,
    at_point,
    curve,
    difference,
    fleiss,
    points,
    sensitivity_at,
    share_below,
)
from bench.extensions.readers.schemas import SCHEMAS
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort
from bench.planning.protocol import CohortRole
from bench.results.cross_run_tables import ScoredRuns
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.sample import Sample
from bench.scoring.score_rows import frame
from bench.store.checked_folders import CheckedFolder
from bench.store.store import table_of
from harmonize.labels.findings import ABSENT, PRESENT

MOST = 10  # maximum number of recipes
Rows = dict[str, list[tuple[object, ...]]]


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return all tables of readers; they are empty without stored answers."""

    def auroc(recipe: str) -> float:
        names = f"auroc/{EXTERNAL}", f"auroc/{runs.manifest.source}"
        return next((runs.covariances.value(recipe, name) for name in names if runs.covariances.has(recipe, name)), 0.0)

    best = sorted(runs.recipes.runs_of, key=auroc, reverse=True)[:MOST]
    return measured(runs.manifest, {recipe: runs.recipes.runs_of[recipe] for recipe in best})


def measured(manifest: Manifest, recipes: Mapping[str, Sequence[str]]) -> dict[str, pd.DataFrame]:
    """Compute the tables of readers for recipes: recipe id -> ids of its runs."""
    rows: Rows = {name: [] for name in SCHEMAS}
    for cohort in manifest.cohorts:
        if (answers := stored(manifest, cohort)) is None:
            continue
        table = images(manifest, cohort)
        table = table[table[IMAGE].isin(answers[IMAGE])]
        logits = {run: logits_of(manifest, cohort, run) for ids in recipes.values() for run in ids}
        common = set(table[IMAGE].astype(str))  # the images that every run predicts
        for of_run in logits.values():
            common &= set(of_run.index)
        unit = pd.Index(sorted(common))
        if logits and len(unit):
            patient_of = dict(zip(table[IMAGE].astype(str), table["patient_id"].astype(str), strict=True))
            sample = Sample.of(np.array([patient_of[name] for name in unit], object), f"{cohort.name}/readers")
            scores = {recipe: [logits[run].reindex(unit) for run in ids] for recipe, ids in recipes.items()}
            answers = answers[answers[IMAGE].isin(unit)]
            for finding in (str(name) for name in answers if name not in (IMAGE, READER)):
                add_rows(rows, (cohort.name, finding), answers, unit, sample, scores, manifest.settings.min_count)
    return {name: frame(rows[name], columns) for name, columns in SCHEMAS.items()}


def images(manifest: Manifest, cohort: PlannedCohort) -> pd.DataFrame:
    """Return the images of a cohort table on which readers and networks are compared.

    These are all images of an external hospital, and the internal images that neither trained the network nor chose epoch and
    thresholds.
    """
    role, table = CohortRole.of(cohort), manifest.table(cohort)
    split = role.split_of(table, manifest.shared)
    of_cohort: pd.DataFrame = table[
        role.held_out_rows(split) if role.role == "internal" else role.predicted_rows(split)
    ]
    return of_cohort


def logits_of(manifest: Manifest, cohort: PlannedCohort, run: str) -> pd.DataFrame:
    """Return the logits of a run on the images of a cohort, by image."""
    folder, name = manifest.store.run_dir(run), f"predictions/{cohort.name}.parquet"
    return table_of(folder / name, CheckedFolder(folder).read(name)).set_index(IMAGE)


def add_rows(
    rows: Rows,
    at: tuple[str, str],
    answers: pd.DataFrame,
    unit: "pd.Index[str]",
    sample: Sample,
    scores: Mapping[str, Sequence[pd.DataFrame]],
    min_count: int,
) -> None:
    """Add the rows of one finding to the tables.

    at: cohort and finding. unit: ids of the images. sample: the patients of `unit`. scores: recipe -> for
    each run the logits of `unit`.
    """
    finding = at[-1]
    readers = sorted(answers[READER].unique())
    state = answers[finding].to_numpy(np.int8, na_value=NONE)
    answer_RN = np.full((len(readers), len(unit)), NONE, np.int8)
    place = pd.Index(readers).get_indexer(pd.Index(answers[READER])), unit.get_indexer(pd.Index(answers[IMAGE]))
    answer_RN[place] = np.where(np.isin(state, (PRESENT, ABSENT)), state, NONE)
    kappa, num_images, num_answers = fleiss(answer_RN)
    if not num_images:
        return
    asked = int((answer_RN != NONE).any(1).sum())
    rows["reader_agreement"].append((*at, asked, kappa, num_images, num_answers))
    of_readers = points(answer_RN, sample, min_count)
    for recipe, runs in scores.items() if of_readers else ():
        if any(finding not in run for run in runs):
            continue
        network, drawn = [], []
        for point in of_readers.values():
            of_runs = [run[finding].to_numpy(np.float64) for run in runs]
            values, influences = zip(*(at_point(point, score, sample) for score in of_runs), strict=True)
            network.append((float(np.mean(values)), np.mean(influences, 0)))
            drawn += [sensitivity_at(GRID, *curve(point, score)) for score in of_runs]
        differences = np.stack([difference(point, *of) for point, of in zip(of_readers.values(), network, strict=True)])
        rows["reader_shares"].append((recipe, *at, len(of_readers), *share_below(differences)))
        mean = np.mean(drawn, axis=0)
        rows["reader_curves"] += [(recipe, *at, a, b) for a, b in zip(GRID.tolist(), mean.tolist(), strict=True)]
        for i, (r, point) in enumerate(of_readers.items()):
            counts = (len(point.rows), int(point.reference.sum()), point.num_patients, point.num_undecided)
            bounded = np.stack([point.value, point.low, point.high], 1).ravel().tolist()
            numbers = (network[i][0], *differences[i])
            rows["reader_points"].append((recipe, *at, int(readers[r]), *counts, *bounded, *map(float, numbers)))
