"""Scores of a hospital that may not give out predictions of single images: counts in bins, and the bounds that follow.

For each finding and patient group, a table counts positive and negative images in bins of the predicted probability. Bins are
merged until each bin with images has at least `least` of both classes: a bin of one class would reveal the labels of its images.
AUROC, calibration and net benefit then follow within bounds: the bounds hold for every set of predictions with these counts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.results.prediction_files import IMAGE, LabeledPredictions, read_table
from bench.scoring.scored_split import DROPPED
from bench.store.store import canonical_json, write_bytes
from harmonize.errors import ConfigError, StoreError

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
BINS = 100  # bins before merging
LEAST = 10  # smallest count of a class in a bin with images
ALL = "all"
_FIX = "ask the hospital for the file again"


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number that is known within bounds."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts of positive and negative images [B] in the bins between `edges` [B + 1], of one finding and patient group.

    A probability p is in bin i if edges[i] <= p < edges[i + 1]; the last bin contains 1.
    """

    edges: Array
    positive: Counts
    negative: Counts

    def auroc(self) -> Bounds:
        """Return the bounds of the AUROC: two images in one bin may stand in either order."""
        pairs = float(self.positive.sum() * self.negative.sum())
        below = np.concatenate([[0], np.cumsum(self.negative)[:-1]])
        sure, unsure = float((self.positive * below).sum()), float((self.positive * self.negative).sum())
        return Bounds(sure / pairs, (sure + unsure) / pairs)

    def mean_error(self) -> Bounds:
        """Return the bounds of the mean predicted probability minus the prevalence (calibration in the large)."""
        total = self.positive + self.negative
        prevalence = self.positive.sum() / total.sum()
        low, high = (
            float((total * ends).sum() / total.sum() - prevalence) for ends in (self.edges[:-1], self.edges[1:])
        )
        return Bounds(low, high)

    def calibration_error(self) -> Bounds:
        """Return the bounds of the expected calibration error (ECE) with these bins.

        The error of a bin is the distance between its share of positive images and its mean probability, which is between
        the edges.
        """
        total = self.positive + self.negative
        share = np.divide(self.positive, total, out=np.zeros(len(total)), where=total > 0)
        low, high = self.edges[:-1], self.edges[1:]
        nearest = np.maximum(0, np.maximum(low - share, share - high))
        farthest = np.maximum(share - low, high - share)
        weight = total / total.sum()
        return Bounds(float((weight * nearest).sum()), float((weight * farthest).sum()))

    def net_benefit(self, threshold: float) -> Bounds:
        """Return the bounds of the net benefit if images with a probability of at least `threshold` are called positive.

        The images of the bin that contains the threshold may be called or not. At an edge, the net benefit is exact.
        """
        sure, maybe = self.edges[:-1] >= threshold, self.edges[1:] > threshold
        total, odds = float((self.positive + self.negative).sum()), threshold / (1 - threshold)
        low = self.positive[sure].sum() - odds * self.negative[maybe].sum()
        high = self.positive[maybe].sum() - odds * self.negative[sure].sum()
        return Bounds(float(low / total), float(high / total))


def histograms(
    given: LabeledPredictions, groups: Mapping[str, Sequence[str]], least: int = LEAST
) -> dict[str, dict[str, Histogram]]:
    """Return {finding: {group: histogram}} of predictions with labels.

    groups: column -> its value for each image, such as {"sex": ["F", "M", ...]}. Images without a value are left out of all
    counts, and all groups of a finding have the same bins: so no count below `least` follows from a difference of counts. A
    column with a group that has fewer than `least` images of a class is left out as a whole; so is a finding. Raises
    ConfigError if nothing remains.
    """
    [split] = given.run.scored_splits
    out = {}
    for k, finding in enumerate(given.run.findings):
        label_N = split.labels()[:, k]
        scored_N = label_N != DROPPED
        for values in groups.values():
            scored_N &= np.asarray(values, dtype=str) != ""
        fine_N = np.minimum((expit(split.logit[scored_N, k].astype(np.float64)) * BINS).astype(int), BINS - 1)
        positive_N = label_N[scored_N] == 1
        members = {ALL: np.ones(len(fine_N), bool)}
        if min(positive_N.sum(), (~positive_N).sum()) < least:
            continue
        for column, values in groups.items():
            own = np.asarray(values, dtype=str)[scored_N]
            parts = {f"{column}={value}": own == value for value in sorted(set(own))}
            cells = [int((part & side).sum()) for part in parts.values() for side in (positive_N, ~positive_N)]
            if min(cells) >= least:
                members |= parts
        counts = [
            np.bincount(fine_N[part & side], minlength=BINS)
            for part in members.values()
            for side in (positive_N, ~positive_N)
        ]
        edges = _merged(np.stack(counts), least)
        merged = [np.add.reduceat(count, edges[:-1]) for count in counts]
        out[finding] = {
            group: Histogram(np.array(edges) / BINS, merged[2 * i], merged[2 * i + 1])
            for i, group in enumerate(members)
        }
    if not out:
        what = f"no finding has {least} images with and {least} without it"
        raise ConfigError(
            what, "bench board sealed aggregate", "nothing can be given out; lower --least only if you may"
        )
    return out


def _merged(counts_CB: Counts, least: int) -> list[int]:
    """Return the edges of merged bins, as indices; each bin is allowed (see `_allowed`).

    counts_CB: positive and negative images of the first group, of the second group, and so on. Bins are closed from the left as
    soon as they may be; what remains at the right end joins the last bin.
    """
    edges, current = [0], np.zeros(len(counts_CB), np.int64)
    for b in range(counts_CB.shape[1]):
        current = current + counts_CB[:, b]
        if _allowed(current, least):
            edges.append(b + 1)
            current = np.zeros(len(counts_CB), np.int64)
    if edges[-1] != counts_CB.shape[1]:
        edges[-1] = counts_CB.shape[1]
        while len(edges) > 2 and not _allowed(counts_CB[:, edges[-2] :].sum(1), least):
            del edges[-2]
    return edges if len(edges) > 1 else [0, counts_CB.shape[1]]


def _allowed(counts_C: Counts, least: int) -> bool:
    """Return whether each pair of counts (positive, negative) is 0 and 0, or has at least `least` of both."""
    pairs = counts_C.reshape(-1, 2)
    return bool(((pairs == 0).all(1) | (pairs >= least).all(1)).all())


def write_aggregate(path: Path, found: Mapping[str, Mapping[str, Histogram]], least: int) -> None:
    """Write histograms as JSON."""
    content = {
        finding: {
            group: {key: getattr(each, key).tolist() for key in ("edges", "positive", "negative")}
            for group, each in groups.items()
        }
        for finding, groups in found.items()
    }
    write_bytes(path, canonical_json({"schema": 1, "least": least, "findings": content}))


def read_aggregate(path: Path) -> dict[str, dict[str, Histogram]]:
    """Read what `write_aggregate` wrote. Raises StoreError for another file, and for a count below its least count."""
    try:
        content = json.loads(path.read_bytes())
        least = int(content["least"])
        return {
            str(finding): {str(group): _checked(row, least) for group, row in groups.items()}
            for finding, groups in content["findings"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"this is no aggregate of predictions: {str(error)[:200]}", str(path), _FIX) from error


def _checked(row: Mapping[str, Any], least: int) -> Histogram:
    edges = np.array(row["edges"], np.float64)
    positive, negative = (np.array(row[key], np.int64) for key in ("positive", "negative"))
    if not (len(positive) == len(negative) == len(edges) - 1 and (np.diff(edges) > 0).all()):
        raise ValueError("edges and counts do not fit")
    if (edges[0], edges[-1]) != (0, 1) or not _allowed(np.stack([positive, negative], 1), least):
        raise ValueError("a count is below the least count, or the edges do not cover 0 to 1")
    if min(positive.sum(), negative.sum()) < 1:
        raise ValueError("a class is absent")
    return Histogram(edges, positive, negative)


def group_values(path: Path, ids: Sequence[str], columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of columns of a table for images, in the order of `ids`; "" where a value is missing.

    Raises ConfigError for a missing column.
    """
    table = read_table(path)
    for column in columns:
        if column not in table:
            raise ConfigError(f"no column {column!r}", str(path), f"choose from: {', '.join(map(str, table.columns))}")
    rows: pd.DataFrame = table.set_index(IMAGE).reindex(list(ids))
    return {column: rows[column].fillna("").astype(str).tolist() for column in columns}
