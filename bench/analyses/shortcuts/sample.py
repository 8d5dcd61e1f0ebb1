"""The sample of images for all source classifiers of a grid: one image per patient, equally many images per source.

A source is a cohort. A source classifier (also called probe) predicts the source of an image. The sample is divided
into cross-validation folds.

Shapes: N images of all sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.metrics import require_finite
from harmonize.seeds import seed_for, stream

Codes = NDArray[np.int64]

NUM_FOLDS = 5
MIN_PATIENTS = 4 * NUM_FOLDS  # minimum number of patients per source: four in each fold
# maximum number of images per source; more images would improve a probe little, and take minutes for 100 runs
PER_SOURCE = 250


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Equally many images of each source, one per patient, in cross-validation folds."""

    names: tuple[str, ...]  # names of the sources
    source: Codes  # [N], index of each image's source in `names`
    row: Codes  # [N], row of each image in the table of its source
    ids: NDArray[np.object_]  # [N], "name of the source/patient id"
    fold: Codes  # [N], 0 to 4

    def gather(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the sampled rows of `arrays` (source -> one row per image), in the order of the sample.

        Raises ValueError for NaN and infinite values.
        """
        rows = np.concatenate([arrays[name][self.row[self.source == k]] for k, name in enumerate(self.names)])
        require_finite(rows, "values for source classifiers")
        return rows

    def subset(self, rows: NDArray[np.bool_] | Codes) -> "Sample":
        """Return the images of the sample that a mask or row indices select."""
        return replace(self, source=self.source[rows], row=self.row[rows], ids=self.ids[rows], fold=self.fold[rows])


def draw_sample(patients: Mapping[str, NDArray[Any]], seed: int = 0, per_source: int = PER_SOURCE) -> Sample | str:
    """Return the sample for all source classifiers of a grid, or a text with the reason why no sample can be drawn.

    patients: name of a cohort -> patient id of each of its images. Cohorts with fewer than 20 patients are left out; at
    least two cohorts must remain.
    """
    rows_of = {name: _one_image_per_patient(patients[name], seed, name) for name in sorted(patients)}
    large = {name: rows for name, rows in rows_of.items() if len(rows) >= MIN_PATIENTS}
    if len(large) < 2:
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in rows_of.items()) or "none"
        return f"a source classifier needs two cohorts of {MIN_PATIENTS} patients with features; there are: {sizes}"
    size = min(per_source, *(len(rows) for rows in large.values()))
    source = np.repeat(np.arange(len(large)), size)
    row = np.concatenate([rows[:size] for rows in large.values()]).astype(np.int64)
    ids = np.array([f"{name}/{patients[name][r]}" for name, rows in large.items() for r in rows[:size]], object)
    fold = np.empty(len(source), np.int64)
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed_for(seed, "source folds") % 2**32)
    for number, (_, test) in enumerate(splitter.split(row, source)):
        fold[test] = number
    return Sample(tuple(large), source, row, ids, fold)


def shuffled(sample: Sample, seed: int) -> Codes:
    """Return the sources of the images in random order within each fold, so that every fold stays balanced."""
    source = sample.source.copy()
    for number in range(NUM_FOLDS):
        inside = np.flatnonzero(sample.fold == number)
        source[inside] = stream(seed, "shuffled sources", number).permutation(source[inside])
    return source


def _one_image_per_patient(patient: NDArray[Any], seed: int, name: str) -> Codes:
    """Return the index of one random image of each patient; the patients are in random order."""
    order = stream(seed, "probe images", name).permutation(len(patient))
    _, first = np.unique(np.asarray(patient, dtype=str)[order], return_index=True)
    return np.asarray(order[np.sort(first)], np.int64)
