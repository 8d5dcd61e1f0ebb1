"""Expected scores of a grid's runs at a hospital without labels, from stored scores and the logits at this hospital.

Neither images nor torch are needed. Labels of the hospital are never read.
Shapes: R runs, K findings, N images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from bench.extensions.estimates.local_labels import COLUMNS, LocalLabels, label_table, measured, read_local_labels
from bench.extensions.estimates.quantities import QUANTITIES, finite_mean
from bench.extensions.estimates.stored_runs import InternalFindings, internal_findings_of
from bench.extensions.next_hospital.new_hospital import predictions
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.grid_recipes import configuration, with_chosen_runs
from bench.results.read_predictions import load_scores, scored_ids
from bench.scoring.across_runs.recipes import seed_groups
from bench.scoring.gaps.gap import EXTERNAL
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError, DatasetError
from reports.formatting import plural
from reports.schemas.select import select

Array = NDArray[np.float64]
Logits = Mapping[str, pd.DataFrame]  # run id -> image_id, and one column of logits for each finding

HERE = "here"  # name of the hospital without labels in the table `estimates`
CONSTANT = "all images have the same logit"  # a reason why nothing is estimated
SMALLEST_FIRST = ("ece",)  # quantities of which the smallest value is best
PREDICTED = ("predicted", "predicted_low", "predicted_high")
# columns of `ExpectedScores.table`
TABLE = ("run_id", "finding", "quantity", "value", "low", "high", "reason", *PREDICTED)


@dataclass(frozen=True, eq=False)  # without slots, which cached properties do not allow
class ExpectedScores:
    """Expected scores of R runs and K findings at a hospital without labels.

    results: quantity -> values with intervals and reasons. means: quantity -> means over findings, and ranks. errors: mean
    absolute error of the macro AUROC, of the estimator and of the mean gap, if each labeled hospital is left out in turn.
    learned_from: titles of the labeled hospitals. predicted: what to expect without any image of the hospital: rows of the
    table `next_hospital`; recipes: the runs by recipe, in the order of the page.
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
    measured: pd.DataFrame  # see `measured` of bench.extensions.estimates.local_labels, empty without labels
    notes: tuple[str, ...]
    predicted: pd.DataFrame
    recipes: tuple[tuple[str, ...], ...]

    @cached_property
    def predictions(self) -> dict[tuple[str, str, str], tuple[float, float, float]]:
        """Return run id, quantity and finding -> expected value at any such hospital, with its 95 % prediction interval."""
        known = self.predicted[self.predicted["reason"] == ""]
        keys = zip(known["run_id"], known["metric"], known["finding"], strict=True)
        numbers = known[["value", "new_low", "new_high"]].to_numpy(np.float64)
        return {key: (row[0], row[1], row[2]) for key, row in zip(keys, numbers.tolist(), strict=True)}

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
                    stated = bool(result.stated[r, k])
                    rows.append(
                        (run_id, finding, quantity, *(numbers if stated else (np.nan,) * 3), result.reason[r, k])
                    )
                numbers = mean.value[r], mean.low[r], mean.high[r]
                reason = "" if mean.findings else "no finding has a value"
                rows.append((run_id, "macro", quantity, *numbers, reason))
        unknown = (np.nan,) * 3
        rows = [(*row, *self.predictions.get((row[0], row[2], row[1]), unknown)) for row in rows]
        return pd.DataFrame(rows, columns=list(TABLE))


def expected_scores(
    manifest: Manifest,
    logits: Logits,
    estimator: str = MEAN_GAP,
    widest: float | None = None,
    labels: Path | None = None,
) -> ExpectedScores:
    """Estimate the scores of some runs at a hospital without labels.

    logits: for each run, the logits of the hospital's images. All runs need the same images and findings. estimator: one of
    ESTIMATORS. widest: an interval with a larger half width is replaced by its reason (see `expected`). labels: a table with
    labels of some images (see `read_local_labels`).

    Raises ConfigError for an unknown estimator, and for runs with different findings. Raises DatasetError for logits that
    are missing, are not finite, or belong to different images.
    """
    run_ids = tuple(logits)
    findings = checked_request(manifest, run_ids, estimator)
    first = logits[run_ids[0]]
    logit_of = {run_id: _checked(run_id, table, findings, first) for run_id, table in logits.items()}
    internal_of_runs = internal_findings_of(manifest, run_ids, findings)
    if without_val := [run_id for run_id in run_ids if run_id not in internal_of_runs]:
        what = f"run {without_val[0]} has no prediction of the validation split"
        raise ConfigError(what, "bench estimate", "choose other runs with --run")
    from_labels = pd.DataFrame(columns=list(COLUMNS))
    notes: list[str] = []
    if labels is not None:
        local = read_local_labels(labels, first["image_id"].astype(str).tolist(), findings)
        from_labels, notes = _from_labels(local, findings, internal_of_runs, logit_of)
    hospitals, not_unseen = _labeled_hospitals(manifest, run_ids)
    stored = load_scores(manifest, run_ids, "estimates")
    at_labeled = known_values(stored, run_ids, findings, manifest.source, hospitals)
    estimates_here = _estimates_here(findings, internal_of_runs, logit_of)
    # reasons [R, K] why there is no estimate, "" if there is one
    why_none = why_not_estimated(at_labeled, estimates_here, len(first))
    for r, logit_NK in enumerate(logit_of.values()):
        if len(logit_NK) >= LEAST_IMAGES:
            why_none[r, np.ptp(logit_NK, 0) == 0] = CONSTANT
    num_images_labeled = [len(manifest.table(cohort)) for cohort in manifest.external if cohort.name in hospitals]
    differences = ExpectedDifferences.of(estimator, at_labeled, estimates_here, num_images_labeled, len(first))
    results = {
        q: expected(estimator, at_labeled[q], estimates_here[q], why_none, widest, q, differences) for q in QUANTITIES
    }
    means = {q: macros(at_labeled[q], results[q], why_none == "", q in SMALLEST_FIRST) for q in QUANTITIES}
    return ExpectedScores(
        manifest,
        estimator,
        run_ids,
        findings,
        num_images=len(first),
        learned_from=tuple(manifest.titles[name] for name in hospitals),
        results=results,
        means=means,
        errors={name: _error_of_means(name, at_labeled["auroc"]) for name in (estimator, MEAN_GAP)},
        measured=from_labels,
        notes=(*notes, *not_unseen),
        predicted=predictions(manifest, run_ids, findings, hospitals),
        recipes=_recipes(manifest, run_ids),
    )


def _from_labels(
    labels: LocalLabels,
    findings: Sequence[str],
    internal_of_runs: InternalFindings,
    logit_of: Mapping[str, NDArray[np.float32]],
) -> tuple[pd.DataFrame, list[str]]:
    """Return the scores that some labels of the hospital give (see `measured`), and notes about the labels."""
    table = measured(labels, findings, internal_of_runs, logit_of)
    notes = list(labels.notes)
    labeled = [name for name in labels.state if labels.labeled(name).any()]
    if unmeasured := [name for name in labeled if name not in set(table["finding"])]:
        why = "too few validation patients of the internal hospital have or lack it, or no run learned it"
        notes.append(f"No score is measured of {', '.join(unmeasured)}: {why}.")
    return table, notes


def _error_of_means(estimator: str, known: KnownValues) -> float:
    """Compute the mean absolute error of the mean over findings, over runs and labeled hospitals that are left out."""
    return float(finite_mean(np.abs(finite_mean(left_out(estimator, known) - known.truth, 2)), (0, 1)))


def without_images(manifest: Manifest, run_ids: Sequence[str]) -> ExpectedScores:
    """Return what to expect of runs at a hospital without any image: the prediction intervals, and no estimate.

    Raises ConfigError for runs with different findings.
    """
    findings = checked_request(manifest, run_ids, MEAN_GAP)
    hospitals, notes = _labeled_hospitals(manifest, run_ids)
    shape = len(run_ids), len(findings)
    none, reason = np.full(shape, np.nan), np.full(shape, f"no images: {LEAST_IMAGES} images needed", object)
    errors = np.empty((0, *shape))
    nothing = ExpectedValues(none, none, np.zeros(shape), reason, errors, none, np.ones(shape))
    means = macros(KnownValues(none, errors, {}), nothing, np.zeros(shape, bool))
    predicted = predictions(manifest, run_ids, findings, hospitals)
    return ExpectedScores(
        manifest,
        MEAN_GAP,
        tuple(run_ids),
        findings,
        num_images=0,
        learned_from=tuple(manifest.titles[name] for name in hospitals),
        results=dict.fromkeys(QUANTITIES, nothing),
        means=dict.fromkeys(QUANTITIES, means),
        errors={},
        measured=pd.DataFrame(columns=list(COLUMNS)),
        notes=tuple(notes),
        predicted=predicted,
        recipes=_recipes(manifest, run_ids),
    )


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
    no run is finished.
    """
    manifest = with_chosen_runs(manifest)
    runs = list(manifest.run_of.values())
    finished = set(scored_ids(manifest, runs))
    if not chosen:
        ranked = [run for run in manifest.ranked if run.id in finished]
        if not ranked:
            where = str(manifest.store.root)
            if exposed := [run.id for run in runs if run.id in finished and manifest.exposed(run)]:
                what = "no finished run is ranked: each had seen an external hospital, or may have seen it"
                fix = f"`bench run --grid {manifest.name}` finishes the others; or " if manifest.ranked else ""
                raise ConfigError(what, where, f"{fix}choose runs with --run: {', '.join(exposed)}")
            raise ConfigError("the grid has no finished run", where, f"bench run --grid {manifest.name}")
        return ranked
    found = []
    for text in dict.fromkeys(chosen):
        matching = [run for run in runs if run.id.startswith(text) and run.id in finished]
        if len(matching) != 1:
            ids = ", ".join(sorted(finished))
            raise ConfigError(
                f"{len(matching)} finished runs of the grid match {text!r}", "--run", f"choose from: {ids}"
            )
        found += [run for run in matching if run not in found]
    return found


def _findings(manifest: Manifest, run_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the findings of the runs that the grid scores; raise ConfigError if the runs have different findings."""
    findings = {run_id: manifest.scored_findings(manifest.run_of[run_id]) for run_id in run_ids}
    first = findings[run_ids[0]]
    for run_id, own in findings.items():
        if own != first:
            fix = "choose runs with the same findings: --run ID"
            raise ConfigError(f"runs {run_ids[0]} and {run_id} have different findings", "bench estimate", fix)
    return first


def _checked(run_id: str, table: pd.DataFrame, findings: Sequence[str], first: pd.DataFrame) -> NDArray[np.float32]:
    """Return the logits [N, K] of a run in the order of the images in `first`; errors as in `expected_scores`."""
    where = f"logits of run {run_id}"
    if missing := [name for name in ("image_id", *findings) if name not in table]:
        raise DatasetError(f"no column {missing[0]!r}", where, "give image_id, and a column of logits for each finding")
    if table.empty:
        raise DatasetError("the table has no images", where, "give one row for each image")
    images = table["image_id"].astype(str).where(table["image_id"].notna(), "")
    if repeated := images[images.duplicated() | (images == "")].tolist():
        what = f"the image {repeated[0]!r} is listed twice" if repeated[0] else "an image has no image_id"
        raise DatasetError(what, where, "give each image once, with its id")
    row = pd.Index(images).get_indexer(pd.Index(first["image_id"].astype(str)))
    if len(table) != len(first) or (row < 0).any():
        raise DatasetError("the runs have different images", where, "predict the same images with every run")
    with np.errstate(over="ignore"):  # a number above the range of float32 becomes infinite
        logit_NK: NDArray[np.float32] = (
            table[list(findings)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float32)[row]
        )
    missing_NK = ~np.isfinite(logit_NK)
    if missing_NK.any():
        n, k = np.argwhere(missing_NK)[0]
        image, cell = images.iloc[row[n]], table[findings[k]].iloc[row[n]]
        what = f"{int(missing_NK.sum()):,} of {missing_NK.size:,} logits are no finite numbers, first {cell!s} ({findings[k]} of {image})"
        raise DatasetError(what, where, "give a finite number for each image and finding")
    if logit_NK.size >= LEAST_IMAGES and logit_NK.min() >= 0:
        kind, most = ("probabilities", 1) if logit_NK.max() <= 1 else ("percentages", max(100, logit_NK.max()))
        fix = "give logits, log(p / (1 - p)) of a probability p"
        raise DatasetError(f"all values are from 0 to {most:g}: these are {kind}, not logits", where, fix)
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
    findings: Sequence[str], internal_of_runs: InternalFindings, logit_of: Mapping[str, NDArray[np.float32]]
) -> dict[str, dict[str, Array]]:
    """Return quantity -> estimator -> estimates [R, K] at the hospital without labels."""
    rows: list[estimate_rows.Row] = []
    for run_id, known in internal_of_runs.items():
        rows += estimate_rows.rows(run_id, findings, known, HERE, logit_of[run_id])
    stated = by_estimator(estimate_rows.frame_of(rows), list(internal_of_runs), findings, [HERE])
    return {quantity: {name: value[0] for name, value in of.items()} for quantity, of in stated.items()}


def read_logits(folder: Path, runs: Sequence[PlannedRun]) -> Logits:
    """Read the files `<run id>.csv` or `.parquet` of a folder. Raises DatasetError for a missing or unreadable file."""
    if not folder.is_dir():
        fix = f"give a folder with {runs[0].id}.csv or .parquet, and one file for each other run"
        raise DatasetError("there is no such folder of logits", str(folder), fix)
    logits: dict[str, pd.DataFrame] = {}
    for run in runs:
        path = next((p for end in ("parquet", "csv") if (p := folder / f"{run.id}.{end}").is_file()), None)
        if path is None:
            raise DatasetError(f"no logits of run {run.id}", str(folder), f"add {run.id}.csv or .parquet")
        try:
            logits[run.id] = read_user_table(path, dtype={"image_id": str})
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read the table: {str(error)[:200]}", str(path), "write it again") from error
    return logits
