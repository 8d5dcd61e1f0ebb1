"""Expected scores of a grid's runs at a hospital without labels, from stored scores and the logits at this hospital.

Neither images nor torch are needed. Labels of the hospital are never read.
Shapes: R runs, K findings, N images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.estimates import estimate_rows
from bench.extensions.estimates.estimators import MEAN_GAP, check_estimator
from bench.extensions.estimates.expected_scores import (
    LEAST_IMAGES,
    ExpectedDifferences,
    ExpectedValues,
    Macros,
    expected,
    left_out,
    macros,
    why_not_estimated,
)
from bench.extensions.estimates.known_values import KnownValues, by_estimator, known_values
from bench.extensions.estimates.local_labels import COLUMNS, label_table, measured, read_local_labels
from bench.extensions.estimates.quantities import QUANTITIES, finite_mean
from bench.extensions.estimates.stored_runs import InternalFindings, internal_findings_of
from bench.extensions.next_hospital.new_hospital import predictions
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.grid_recipes import configuration, with_chosen_runs
from bench.results.read_predictions import load_scores, scored_ids
from bench.scoring.across_runs.recipes import seed_groups
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError, DatasetError
from reports.formatting import plural
from reports.schemas.select import select

Array = NDArray[np.float64]
Logits = Mapping[str, pd.DataFrame]  # run id -> image_id, and one column of logits for each finding

HERE = "here"  # name of the hospital without labels in the table `estimates`
CONSTANT = "all images have the same logit"  # a reason why nothing is estimated
SMALLEST_FIRST = ("ece",)  # quantities of which the smallest value is best
UNKNOWN = (np.nan, np.nan, np.nan)  # a value with its interval
# columns of `ExpectedScores.table`
TABLE = (
    *("run_id", "finding", "quantity", "value", "low", "high", "reason"),
    *("predicted", "predicted_low", "predicted_high"),
)


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedScores:
    """Expected scores of R runs and K findings at a hospital without labels.

    results: quantity -> values with intervals and reasons. means: quantity -> means over findings, and ranks. errors: mean
    absolute error of the macro AUROC, of the estimator and of the mean gap, if each labeled hospital is left out in turn.
    learned_from: titles of the labeled hospitals. measured: scores from labels of this hospital, empty without labels (see
    `local_labels.measured`). predictions: run id, quantity and finding -> expected value at any such hospital, with its 95 %
    prediction interval, which needs no image. recipes: the runs by recipe, in the order of the page of the grid.
    """

    manifest: Manifest
    estimator: str
    run_ids: tuple[str, ...]
    findings: tuple[str, ...]
    num_images: int
    learned_from: tuple[str, ...]
    results: Mapping[str, ExpectedValues]
    means: Mapping[str, Macros]
    errors: Mapping[str, float]
    measured: pd.DataFrame
    notes: tuple[str, ...]
    predictions: Mapping[tuple[str, str, str], tuple[float, float, float]]
    recipes: tuple[tuple[str, ...], ...]

    @property
    def table(self) -> pd.DataFrame:
        """Return one row per run, finding (or "macro") and quantity: value, low, high (90 % interval) and reason.

        The three numbers are NaN if there is a reason. predicted, predicted_low, predicted_high: what to expect without
        any image of this hospital, with the 95 % prediction interval; NaN if unknown.
        """
        rows: list[tuple[Any, ...]] = []
        for quantity, result in self.results.items():
            mean = self.means[quantity]
            for r, run_id in enumerate(self.run_ids):
                for k, finding in enumerate(self.findings):
                    numbers = (result.value[r, k], result.low[r, k], result.high[r, k])
                    stated = numbers if result.stated[r, k] else UNKNOWN
                    rows.append((run_id, finding, quantity, *stated, result.reason[r, k]))
                reason = "" if mean.findings else "no finding has a value"
                rows.append((run_id, MACRO, quantity, mean.value[r], mean.low[r], mean.high[r], reason))
        rows = [(*row, *self.predictions.get((row[0], row[2], row[1]), UNKNOWN)) for row in rows]
        return pd.DataFrame(rows, columns=list(TABLE))


def expected_scores(
    manifest: Manifest,
    logits: Logits,
    estimator: str = MEAN_GAP,
    labels: Path | None = None,
    notes: Sequence[str] = (),
) -> ExpectedScores:
    """Estimate the scores of some runs at a hospital without labels.

    logits: for each run, the logits of the hospital's images. All runs need the same images and findings. With tables
    without images (see `no_images`), only the prediction intervals are known. estimator: one of ESTIMATORS. labels: a table
    with labels of some images (see `read_local_labels`). notes: are added to the notes of the result.

    Raises ConfigError for an unknown estimator, and for runs with different findings. Raises DatasetError for logits that
    are missing, are not finite, or belong to different images.
    """
    run_ids = tuple(logits)
    findings = checked_request(manifest, run_ids, estimator)
    first = logits[run_ids[0]]
    num_images = len(first)
    logit_of = {run_id: _checked(run_id, table, findings, first) for run_id, table in logits.items()}
    internal_of_runs = internal_findings_of(manifest, run_ids, findings)
    without_val = [run_id for run_id in run_ids if run_id not in internal_of_runs]
    if num_images and without_val:
        what = f"run {without_val[0]} has no prediction of the validation split"
        raise ConfigError(what, "bench estimate", "choose other runs with --run")
    from_labels = pd.DataFrame(columns=list(COLUMNS))
    if labels is not None:
        local = read_local_labels(labels, first["image_id"].astype(str).tolist(), findings)
        from_labels = measured(local, findings, internal_of_runs, logit_of)
        unmeasured = [name for name in local.state if name not in set(from_labels["finding"])]
        few = "too few labels, or too few patients of internal validation"
        notes = [*notes, *local.notes, *(f"No score of {name} is measured: {few}." for name in unmeasured)]
    hospitals, not_unseen = _labeled_hospitals(manifest, run_ids)
    stored = load_scores(manifest, run_ids, "estimates")
    at_labeled = known_values(stored, run_ids, findings, manifest.source, hospitals)
    estimates_here = _estimates_here(run_ids, findings, internal_of_runs, logit_of)
    # reasons [R, K] why there is no estimate, "" if there is one
    why_none = why_not_estimated(at_labeled, estimates_here, num_images)
    for r, logit_NK in enumerate(logit_of.values()):
        if num_images >= LEAST_IMAGES:
            why_none[r, np.ptp(logit_NK, 0) == 0] = CONSTANT
    num_images_labeled = [len(manifest.table(cohort)) for cohort in manifest.external if cohort.name in hospitals]
    differences = ExpectedDifferences.of(estimator, at_labeled, estimates_here, num_images_labeled, num_images)
    results = {q: expected(estimator, at_labeled[q], estimates_here[q], why_none, q, differences) for q in QUANTITIES}
    return ExpectedScores(
        manifest,
        estimator,
        run_ids,
        findings,
        num_images=num_images,
        learned_from=tuple(manifest.titles[name] for name in hospitals),
        results=results,
        means={q: macros(at_labeled[q], results[q], why_none == "", q in SMALLEST_FIRST) for q in QUANTITIES},
        errors={name: _error_of_means(name, at_labeled["auroc"]) for name in (estimator, MEAN_GAP)},
        measured=from_labels,
        notes=(*notes, *not_unseen),
        predictions=predictions(manifest, run_ids, findings, hospitals),
        recipes=_recipes(manifest, run_ids),
    )


def no_images(run_ids: Sequence[str], findings: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return logits without images, for `expected_scores`."""
    return {run_id: pd.DataFrame(columns=["image_id", *findings]) for run_id in run_ids}


def _error_of_means(estimator: str, known: KnownValues) -> float:
    """Compute the absolute error of the mean over findings, averaged over runs and labeled hospitals, each left out once."""
    error_HR = finite_mean(left_out(estimator, known) - known.truth, 2)
    return float(finite_mean(np.abs(error_HR), (0, 1)))


def _recipes(manifest: Manifest, run_ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the runs by recipe, the highest mean external AUROC first, as on the page; recipes without a score are last."""
    rows = select(load_scores(manifest, run_ids, "scores"), dataset=EXTERNAL)
    area = rows.set_index("run_id")["value"].to_dict()
    groups = seed_groups({run_id: configuration(manifest.run_of[run_id]) for run_id in run_ids})
    score = {group[0]: np.nan_to_num(np.mean([area.get(run_id, np.nan) for run_id in group])) for group in groups}
    return tuple(tuple(group) for group in sorted(groups, key=lambda group: (-score[group[0]], group[0])))


def checked_request(
    manifest: Manifest, run_ids: Sequence[str], estimator: str, labels: Path | None = None
) -> tuple[str, ...]:
    """Return the findings of a request, before images are predicted; errors as in `expected_scores`."""
    check_estimator(estimator)
    findings = _findings(manifest, run_ids)
    if labels is not None:
        label_table(labels, findings)  # an error is better before the images are predicted
    return findings


def runs_to_estimate(manifest: Manifest, chosen: Sequence[str] = ()) -> list[PlannedRun]:
    """Return the finished and scored runs of a grid: those whose ids start with a text in `chosen`, by default the ranked runs.

    Imported models are included if they are chosen. Raises ConfigError if a text matches no run or several runs, and if
    no ranked run is finished.
    """
    manifest = with_chosen_runs(manifest)
    runs = list(manifest.run_of.values())
    finished = set(scored_ids(manifest, runs))
    ids = ", ".join(sorted(finished))
    if not chosen:
        ranked = [run for run in manifest.ranked if run.id in finished]
        if not ranked:
            what = "no finished run is ranked: a run that had seen an external hospital, or may have seen it, is not"
            choose = f", or choose runs with --run: {ids}" if ids else ""
            raise ConfigError(what, str(manifest.store.root), f"bench run --grid {manifest.name}{choose}")
        return ranked
    found = []
    for text in chosen:
        matching = [run for run in runs if run.id.startswith(text) and run.id in finished]
        if len(matching) != 1:
            what = f"{len(matching)} finished runs of the grid match {text!r}"
            raise ConfigError(what, "--run", f"choose from: {ids}")
        found += [run for run in matching if run not in found]
    return found


def _findings(manifest: Manifest, run_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the findings of the runs that the grid scores; raise ConfigError if the runs have different findings."""
    findings = {run_id: manifest.scored_findings(manifest.run_of[run_id]) for run_id in run_ids}
    first = findings[run_ids[0]]
    for run_id, of_run in findings.items():
        if of_run != first:
            fix = "choose runs with the same findings: --run ID"
            raise ConfigError(f"runs {run_ids[0]} and {run_id} have different findings", "bench estimate", fix)
    return first


def _checked(run_id: str, table: pd.DataFrame, findings: Sequence[str], first: pd.DataFrame) -> NDArray[np.float32]:
    """Return the logits [N, K] of a run in the order of the images in `first`; errors as in `expected_scores`."""
    where = f"logits of run {run_id}"
    if missing := [name for name in ("image_id", *findings) if name not in table]:
        raise DatasetError(f"no column {missing[0]!r}", where, "give image_id, and a column of logits for each finding")
    images, expected_images = (pd.Index(of["image_id"].astype(str)) for of in (table, first))
    if not images.is_unique or set(images) != set(expected_images):
        what = "an image is listed twice, or the runs have different images"
        raise DatasetError(what, where, "predict the same images with every run, and give each image once")
    numbers = table[list(findings)].apply(pd.to_numeric, errors="coerce")
    with np.errstate(over="ignore"):  # a number above the range of float32 becomes infinite
        logit_NK: NDArray[np.float32] = numbers.to_numpy(np.float32)[images.get_indexer(expected_images)]
    if not np.isfinite(logit_NK).all():
        raise DatasetError("a logit is no finite number", where, "give a finite number for each image and finding")
    if logit_NK.size >= LEAST_IMAGES and logit_NK.min() >= 0:
        what = "no value is negative: these are probabilities or percentages, not logits"
        raise DatasetError(what, where, "give logits, log(p / (1 - p)) of a probability p")
    return logit_NK


def _labeled_hospitals(manifest: Manifest, run_ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the external hospitals that no run had seen, and notes about the others.

    The score at a hospital that a run had seen does not show what to expect at a hospital that it had not seen. A hospital
    is left out for all runs, so that runs are compared at equal hospitals.
    """
    exposed = {run_id: manifest.exposed(manifest.run_of[run_id]) for run_id in run_ids}
    hospitals, notes = [], []
    for name in (cohort.name for cohort in manifest.external):
        if ids := [run_id for run_id in run_ids if name in exposed[run_id]]:
            who = f"run {ids[0]}" if len(ids) == 1 else plural(len(ids), "run")
            notes.append(f"Not used: scores at {manifest.titles[name]}, which {who} had seen, or may have seen.")
        else:
            hospitals.append(name)
    return hospitals, notes


def _estimates_here(
    run_ids: Sequence[str],
    findings: Sequence[str],
    internal_of_runs: InternalFindings,
    logit_of: Mapping[str, NDArray[np.float32]],
) -> dict[str, dict[str, Array]]:
    """Return quantity -> estimator -> estimates [R, K] at the hospital without labels."""
    rows: list[estimate_rows.Row] = []
    for run_id, known in internal_of_runs.items():
        rows += estimate_rows.rows(run_id, findings, known, HERE, logit_of[run_id])
    stated = by_estimator(estimate_rows.frame_of(rows), run_ids, findings, [HERE])
    return {quantity: {name: value[0] for name, value in estimates.items()} for quantity, estimates in stated.items()}


def read_logits(folder: Path, runs: Sequence[PlannedRun]) -> Logits:
    """Read the files `<run id>.csv` or `.parquet` of a folder. Raises DatasetError for a missing or unreadable file."""
    logits: dict[str, pd.DataFrame] = {}
    for run in runs:
        paths = (folder / f"{run.id}.parquet", folder / f"{run.id}.csv")
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise DatasetError(f"no logits of run {run.id}", str(folder), f"add {run.id}.csv or .parquet")
        try:
            logits[run.id] = read_user_table(path, dtype={"image_id": str})
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read the table: {str(error)[:200]}", str(path), "write it again") from error
    return logits
