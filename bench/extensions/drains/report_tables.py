"""The table `drains` of a report."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from bench.extensions.drains.annotations import KEY, stored_drains
from bench.extensions.drains.schemas import SCHEMAS
from bench.planning.protocol import CohortRole
from bench.results.cross_run_tables import ScoredRuns
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.scoring.bootstrap.area_intervals import paired_interval
from bench.scoring.bootstrap.resamples import FOR_DETAIL
from bench.scoring.scored_split import ScoredSplit, Settings
from harmonize.labels.findings import UNMAPPED_CODE

FINDING = "Pneumothorax"
WITH, WITHOUT, DIFFERENCE = "with", "without", "difference"
Row = tuple[str, str, str, str, float, float, float, int, int]


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return the table; it is empty if no cohort of the grid has annotated drains, or no run learned Pneumothorax."""
    rows: list[Row] = []
    for name, stored in runs.manifest.extras.get(KEY, {}).items():
        drains = stored_drains(runs.manifest.store, stored)
        internal, *external = runs.manifest.planned_cohorts
        cohorts = (internal, *(cohort for cohort in external if cohort.name == name))
        # drains are of images, also where scores are of studies
        manifest = replace(runs.manifest, planned_cohorts=cohorts, unit="")
        split = CohortRole.of(cohorts[-1]).headline_name
        labels: dict[tuple[str, str, str], CohortLabels] = {}
        for run_id in runs.run_ids:
            run = manifest.run_of[run_id]
            if FINDING in run.config.findings:
                for scored in load_scored_splits(manifest, run, run.config, labels):
                    if (scored.dataset, scored.split) == (name, split):
                        column = run.config.findings.index(FINDING)
                        rows += _rows(run_id, scored, column, drains, manifest.settings)
    table = pd.DataFrame(rows, columns=list(SCHEMAS["drains"]))
    of_recipes = runs.recipes.averaged(table, ("dataset", "drain")) if len(table) else table
    return {"drains": pd.concat([of_recipes, table], ignore_index=True) if len(of_recipes) else table}


def _rows(
    run_id: str, scored: ScoredSplit, column: int, drains: Mapping[str, bool], settings: Settings
) -> Iterator[Row]:
    """Yield the rows of one run; an AUROC with fewer than `min_count` patients of a class is NaN."""
    from bench.scoring.metrics_of_split import AUROC, measure  # imported here, because it compiles functions

    label = scored.labels()[:, column]
    drain = np.array([drains.get(str(image)) for image in scored.image_id], object)
    found = {}
    for name, level in ((WITH, True), (WITHOUT, False)):
        kept = (label == 0) | ((label == 1) & (drain == level))
        # the images that are left out keep their patients, so that both AUROCs have the same resamples
        state = np.where(kept, scored.state[:, column], np.int8(UNMAPPED_CODE))[:, None].astype(np.int8)
        part = replace(scored, logit=scored.logit[:, [column]], state=state, patient_groups=None)
        measured = measure(part, None, settings, only=AUROC, most=FOR_DETAIL)
        value, replicates = float(measured.value[AUROC][0]), measured.replicates[AUROC][0]
        low, high = map(float, measured.bounds[AUROC][:, 0])
        num_positive = int((kept & (label == 1)).sum())
        found[name] = value, low, high, replicates, num_positive
        yield run_id, scored.dataset, scored.split, name, value, low, high, int(kept.sum()), num_positive
    *numbers, (with_drain, without) = zip(found[WITH], found[WITHOUT], strict=True)
    value, bounds = numbers[0][0] - numbers[0][1], paired_interval(*map(np.array, numbers))
    num = int((label == 0).sum()) + with_drain + without
    yield run_id, scored.dataset, scored.split, DIFFERENCE, value, *bounds, num, min(with_drain, without)
