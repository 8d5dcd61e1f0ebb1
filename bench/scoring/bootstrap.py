"""Metrics of many columns on the same resampled patients, without copying a single image.

A column is one finding of one model. It is sorted once; each replicate is the same walk with other weights, and 64
replicates are walked side by side. Counts are whole numbers, held exactly (in float64 up to 2^53), so ties and order
cost no accuracy.
Shapes: N images, C columns, B replicates. label_NC int8: 1 and 0, anything else takes no part in that column.
Results do not depend on the number of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from bench.scoring.calibration import ERRORS, Sums, bin_of, equal_mass_bin_of, errors_of, parts_of_sums
from bench.scoring.compiled import compiled
from bench.scoring.metrics import require_finite
from bench.scoring.resamples import LANES, Resamples

Array = NDArray[np.float64]
Labels = NDArray[np.int8]
Scores = NDArray[np.floating]

POSITIVE, LAST_OF_TIE = 1, 2  # bits
CALL_METRICS = ("f1", "precision", "sensitivity", "specificity", "npv")


@compiled
def _walk_ranks(  # noqa: C901 - one pass over the images: splitting it would hide the order
    patient: NDArray[np.int32], kind: NDArray[np.uint8], weight: NDArray[np.uint8], auroc: Array, auprc: Array
) -> None:
    """Fill both metrics [LANES] from images sorted by falling score; weight [num_patients, LANES] is one tile.

    AUROC = 1 - discordant pairs / all pairs (a tie is half a pair); AUPRC = sum of precision x added recall.
    """
    positives = np.zeros(LANES, np.int32)
    negatives = np.zeros(LANES, np.int32)
    tied_positives = np.zeros(LANES, np.int32)
    tied_negatives = np.zeros(LANES, np.int32)
    twice_discordant = np.zeros(LANES, np.float64)
    gained = np.zeros(LANES, np.float64)
    in_tie = False
    for i in range(patient.shape[0]):
        w = weight[patient[i]]
        if kind[i] == LAST_OF_TIE and not in_tie:  # a negative alone at its score: by far the most common
            for j in range(LANES):
                negatives[j] += w[j]
        elif kind[i] == LAST_OF_TIE | POSITIVE and not in_tie:
            for j in range(LANES):
                twice_discordant[j] += 2.0 * (np.float64(w[j]) * np.float64(negatives[j]))
            for j in range(LANES):
                positives[j] += w[j]
                gained[j] += (
                    np.float64(w[j]) * np.float64(positives[j]) / max(np.float64(positives[j] + negatives[j]), 1.0)
                )
        else:
            if kind[i] & POSITIVE:
                for j in range(LANES):
                    tied_positives[j] += w[j]
            else:
                for j in range(LANES):
                    tied_negatives[j] += w[j]
            in_tie = kind[i] & LAST_OF_TIE == 0
            if not in_tie:
                for j in range(LANES):
                    new = np.float64(tied_positives[j])
                    twice_discordant[j] += new * (2.0 * negatives[j] + tied_negatives[j])
                    positives[j] += tied_positives[j]
                    negatives[j] += tied_negatives[j]
                    gained[j] += new * np.float64(positives[j]) / max(np.float64(positives[j] + negatives[j]), 1.0)
                    tied_positives[j] = 0
                    tied_negatives[j] = 0
    for j in range(LANES):
        twice_pairs = 2.0 * np.float64(positives[j]) * np.float64(negatives[j])
        auroc[j] = (twice_pairs - twice_discordant[j]) / twice_pairs if twice_pairs > 0 else np.nan
        auprc[j] = gained[j] / positives[j] if twice_pairs > 0 else np.nan


@compiled
def _sum_groups(
    patient: NDArray[np.int32], group: NDArray[np.int32], value: Array, weight: NDArray[np.uint8], out: Array
) -> None:
    """Add weight x value [n, V] of each cell to its group: out [num_groups, V, LANES]."""
    for i in range(patient.shape[0]):
        w = weight[patient[i]]
        total = out[group[i]]
        for v in range(value.shape[1]):
            for j in range(LANES):
                total[v, j] += np.float64(w[j]) * value[i, v]


def taking_part(label_NC: Labels, column: int) -> NDArray[np.intp]:
    """Return the rows [n] whose label is 0 or 1."""
    return np.flatnonzero((label_NC[:, column] == 0) | (label_NC[:, column] == 1))


def _each(work: Callable[[int], None], num_columns: int, num_threads: int) -> None:
    """Do the work of each column, on threads if more than one is given."""
    if num_threads <= 1 or num_columns <= 1:
        for column in range(num_columns):
            work(column)
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(work, range(num_columns)))


def rank_metrics(resamples: Resamples, label_NC: Labels, score_NC: Scores, num_threads: int = 1) -> tuple[Array, Array]:
    """Return AUROC and AUPRC of each replicate, [C, B] each; NaN where a replicate lacks a class.

    Equal to scikit-learn on the resampled rows within 1e-12, ties included.
    """
    num_columns = label_NC.shape[1]
    num_tiles = resamples.weight.shape[0]
    auroc = np.full((num_columns, num_tiles, LANES), np.nan)
    auprc = np.full((num_columns, num_tiles, LANES), np.nan)

    def work(column: int) -> None:
        rows = taking_part(label_NC, column)
        score = score_NC[rows, column]
        require_finite(score, "scores")
        order = rows[np.argsort(-score, kind="stable")]
        ranked = score_NC[order, column]
        kind = np.where(label_NC[order, column] == 1, POSITIVE, 0).astype(np.uint8)
        if len(order):
            kind += np.where(np.append(ranked[1:] != ranked[:-1], True), LAST_OF_TIE, 0).astype(np.uint8)
        patient = resamples.patient[order]
        for tile in range(num_tiles):
            _walk_ranks(patient, kind, resamples.weight[tile], auroc[column, tile], auprc[column, tile])

    _each(work, num_columns, num_threads)
    return _flat(auroc, resamples.num), _flat(auprc, resamples.num)


def _flat(tiles: Array, num: int) -> Array:
    """Return [rows, tiles, LANES] as [rows, num]: without the lanes that pad the last tile."""
    kept: Array = tiles.reshape(tiles.shape[0], tiles.shape[1] * LANES)[:, :num]
    return kept


def grouped_sums(
    resamples: Resamples, rows: NDArray[np.intp], group: NDArray[np.integer], value: Array, num_groups: int
) -> Array:
    """Return the sums of V values over the images of each group, per replicate: [num_groups, V, B].

    rows, group [n] and value [n, V] describe the images that take part. Images of one patient and group are added first.
    """
    num_tiles, num_values = resamples.weight.shape[0], value.shape[1]
    out = np.zeros((num_tiles, num_groups, num_values, LANES))
    cell = resamples.patient[rows].astype(np.int64) * num_groups + group
    size = resamples.num_patients * num_groups
    used = np.flatnonzero(np.bincount(cell, minlength=size))
    total = np.stack([np.bincount(cell, each, minlength=size)[used] for each in value.T], axis=1)
    patient, which = (used // num_groups).astype(np.int32), (used % num_groups).astype(np.int32)
    for tile in range(num_tiles):
        _sum_groups(patient, which, total.astype(np.float64), resamples.weight[tile], out[tile])
    flat = _flat(out.reshape(num_tiles, num_groups * num_values, LANES).transpose(1, 0, 2), resamples.num)
    return flat.reshape(num_groups, num_values, resamples.num)


def _over(part: Array, whole: Array) -> Array:
    """Return part / whole, NaN where whole is 0."""
    ratio: Array = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


def calibration_metrics(
    resamples: Resamples, label_NC: Labels, prob_NC: Scores, bins: int = 15, num_threads: int = 1
) -> dict[str, Array]:
    """Return every error of `calibration.errors_of`, [C, B] each. Equal-mass bins are those of the images, not redrawn."""
    num_columns = label_NC.shape[1]
    out = {name: np.full((num_columns, resamples.num), np.nan) for name in ERRORS}

    def work(column: int) -> None:
        rows = taking_part(label_NC, column)
        prob = np.asarray(prob_NC[rows, column], np.float64)
        require_finite(prob, "probabilities")
        binned, whole = parts_of_sums(label_NC[rows, column], prob)
        wide = grouped_sums(resamples, rows, bin_of(prob, bins), binned, bins)
        mass = grouped_sums(resamples, rows, equal_mass_bin_of(prob, bins), binned, bins)
        [total] = grouped_sums(resamples, rows, np.zeros(len(rows), np.int64), whole, 1)
        for name, found in errors_of(Sums(wide, mass, total)).items():
            out[name][column] = found

    _each(work, num_columns, num_threads)
    return out


def calls(
    resamples: Resamples, label_NC: Labels, score_NC: Scores, threshold_RC: Array, num_threads: int = 1
) -> dict[str, Array]:
    """Return the CALL_METRICS, [R, C, B] each, of R thresholds per column.

    An image is called when score >= threshold. A NaN threshold gives NaN; so does a replicate without the class, or for
    precision without a call, or for npv with calls alone.
    """
    num_rules, num_columns = threshold_RC.shape
    out = {name: np.full((num_rules, num_columns, resamples.num), np.nan) for name in CALL_METRICS}

    def work(column: int) -> None:
        rows = taking_part(label_NC, column)
        known = np.flatnonzero(~np.isnan(threshold_RC[:, column]))
        rules: Sequence[int] = known[np.argsort(threshold_RC[known, column], kind="stable")].tolist()
        score = np.asarray(score_NC[rows, column], np.float64)
        require_finite(score, "scores")
        passed = np.searchsorted(threshold_RC[rules, column], score, side="right")  # how many thresholds it reaches
        levels = len(rules) + 1
        group = 2 * passed + (label_NC[rows, column] == 1)
        sums = grouped_sums(resamples, rows, group, np.ones((len(rows), 1)), 2 * levels)
        reached = np.cumsum(sums.reshape(levels, 2, -1)[::-1], axis=0)[::-1]  # [levels, negative/positive, B], exact
        all_negative, all_positive = reached[0]
        for level, rule in enumerate(rules, start=1):
            false, hit = reached[level]
            out["sensitivity"][rule, column] = _over(hit, all_positive)
            out["specificity"][rule, column] = _over(all_negative - false, all_negative)
            out["precision"][rule, column] = _over(hit, hit + false)
            missed, cleared = all_positive - hit, all_negative - false
            out["npv"][rule, column] = _over(cleared, cleared + missed)
            f1 = _over(2 * hit, hit + false + all_positive)
            out["f1"][rule, column] = np.where(all_positive > 0, f1, np.nan)

    _each(work, num_columns, num_threads)
    return out
