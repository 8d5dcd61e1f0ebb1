"""Combine a few labels of a hospital with the predictions for all its images.

Shapes: N images of the hospital, n labeled images, K findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.estimates.prediction_powered import Images, combined_scores
from bench.extensions.estimates.quantities import QUANTITIES
from bench.extensions.estimates.stored_runs import InternalFindings
from bench.results.prediction_files import BLANK, IMAGE, PATIENT, label_states, read_table
from harmonize.datasets.ids import examples
from harmonize.errors import ConfigError

# columns of the table of `measured`. low, high: 90 % interval; labels_*: value and interval from the labels alone; num_patients: labeled patients
COLUMNS = (
    *("run_id", "finding", "quantity", "value", "low", "high"),
    *("labels_value", "labels_low", "labels_high", "num_patients"),
)


@dataclass(frozen=True, slots=True, eq=False)
class LocalLabels:
    """Labels of some images of the hospital.

    image [n]: index of each labeled image among the N images. state: finding -> label [n]: 1, 0, or another value where
    the image has no label of the finding. patient [N]: a code for each image's patient; an image without a patient id
    counts as a patient. notes: remarks about the table.
    """

    image: NDArray[np.intp]
    state: Mapping[str, NDArray[np.int8]]
    patient: NDArray[np.int64]
    notes: tuple[str, ...]

    def labeled(self, finding: str) -> NDArray[np.bool_]:
        """Return the mask [N] of images with a label, 1 or 0, of a finding."""
        mask = np.zeros(len(self.patient), bool)
        mask[self.image[np.isin(self.state[finding], (0, 1))]] = True
        return mask

    def unlabeled(self, finding: str) -> NDArray[np.bool_]:
        """Return the mask [N] of images whose patient has no label of a finding."""
        return ~np.isin(self.patient, self.patient[self.labeled(finding)])


def read_local_labels(path: Path, image_ids: Sequence[str], findings: Sequence[str]) -> LocalLabels:
    """Read a table of labels (CSV or Parquet): image_id, optionally patient_id, and a column for each labeled finding.

    An image_id is from the logits, or the file name of the image. A row without labels can state the patient of an
    unlabeled image. Raises DatasetError for an unreadable
    table and a repeated id. Raises ConfigError for an unknown or repeated image, for a cell that is no label, and if no column is
    a finding of the runs.
    """
    table, state = label_table(path, findings)
    rows = pd.Index(image_ids).get_indexer(pd.Index(table[IMAGE]))
    names = pd.Index([Path(image_id).name for image_id in image_ids])
    if (rows < 0).any() and names.is_unique:
        rows = np.where(rows < 0, names.get_indexer(pd.Index(table[IMAGE])), rows)
    if (rows < 0).any():
        shown = examples(table.loc[rows < 0, IMAGE], image_ids)
        what = f"{int((rows < 0).sum()):,} of {len(rows):,} images are not among the images of the hospital: {shown}"
        raise ConfigError(what, str(path), "give labels of the images that are estimated")
    if len(repeated := np.flatnonzero(np.bincount(rows) > 1)):
        what = f"the image {image_ids[repeated[0]]!r} has two rows, with its folder and without"
        raise ConfigError(what, str(path), "give one row for each image")
    notes = [f"{len(rows):,} images have labels or patient ids, of {', '.join(state)}."]
    ids = np.array([f"image {i}" for i in range(len(image_ids))], object)
    if PATIENT in table:
        ids[rows] = [
            f"image {i}" if patient in BLANK else f"patient {patient}"
            for i, patient in zip(rows, table[PATIENT], strict=True)
        ]
    else:
        notes.append(f"There is no column {PATIENT}: each image counts as a patient.")
    return LocalLabels(rows, state, np.unique(ids, return_inverse=True)[1].astype(np.int64), tuple(notes))


def label_table(path: Path, findings: Sequence[str]) -> tuple[pd.DataFrame, dict[str, NDArray[np.int8]]]:
    """Return the table as text, and finding -> label states [n]; -2 (not mentioned) becomes 0.

    Errors as in `read_local_labels`, except for unknown images.
    """
    table = read_table(path)
    labeled = [finding for finding in findings if finding in table]
    if not labeled:
        raise ConfigError("no column is a finding of the runs", str(path), f"choose from: {', '.join(findings)}")
    state = {finding: label_states(table, finding, path) for finding in labeled}
    return table, {finding: np.where(value == -2, 0, value).astype(np.int8) for finding, value in state.items()}


def measured(
    labels: LocalLabels,
    findings: Sequence[str],
    internal_of_runs: InternalFindings,
    logits: Mapping[str, NDArray[np.float32]],
) -> pd.DataFrame:
    """Return a table with COLUMNS: scores from the labels and the predictions for all images (prediction-powered inference).

    The predictions of a run are its logits with the internal calibration. Labeled patients must be a random sample of the
    hospital's patients. Source: Angelopoulos et al. 2023, arXiv:2311.01453.
    """
    out = []
    for run_id, known in internal_of_runs.items():
        for k, finding in enumerate(findings):
            internal, state = known[k], labels.state.get(finding)
            if internal is None or state is None or not np.isin(state, (0, 1)).any():
                continue
            logit = logits[run_id][:, k].astype(np.float64)
            images = Images(internal.platt.apply(logit), logit, labels.patient, internal.calls(logit))
            is_labeled = labels.labeled(finding)
            chosen = np.zeros(len(logit), np.int8)
            chosen[labels.image] = state
            unlabeled = images.part(labels.unlabeled(finding))
            scores = combined_scores(chosen[is_labeled], images.part(is_labeled), unlabeled)
            for quantity in QUANTITIES:
                if (one := scores.get(quantity)) is not None and np.isfinite(one.value):
                    own = one.value, one.low, one.high, one.labels_value, one.labels_low, one.labels_high
                    out.append((run_id, finding, quantity, *own, one.num_labeled_patients))
    return pd.DataFrame(out, columns=list(COLUMNS))
