"""Read a table of predictions and a table of labels, so that any model can be scored on any images.

    predictions.csv   image_id, and one column of probabilities or logits for each finding
    labels.csv        image_id, optionally patient_id, and one column for each finding. A cell is 1 (present),
                      0 (absent), -2 (not mentioned in the report; scored as absent), or -1 or empty (not scored).
                      READINGS has other ways to score -1 and -2

Neither a store, a grid nor image files are needed. Shapes: N images, K findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit as logit_of

from bench.config.settings import STANDARD
from bench.scoring.across_runs.paired_runs import ScoredRun
from bench.scoring.scored_split import ScoredSplit
from harmonize.cohorts.label_mapping import is_finding
from harmonize.datasets.ids import WRITE_ALIKE, alike, difference, look_alike
from harmonize.datasets.user_table import is_parquet, read_user_table
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import UNMAPPED_CODE

IMAGE, PATIENT = "image_id", "patient_id"
LEAST, MOST = 1e-38, 1 - 2**-53  # probabilities are clipped to this range, so that logits are finite
COHORT = "table"  # name of the cohort in the tables of scores
BLANK = ("", "nan", "NaN", "NA", "<NA>", "None")  # how programs write an empty cell
_STATES = {"1": 1, "0": 0, "-1": -1, "-2": -2, **dict.fromkeys(BLANK, UNMAPPED_CODE)}


@dataclass(frozen=True, slots=True, eq=False)
class LabeledPredictions:
    """Predictions with their labels, as a run of one cohort.

    outputs: "probability" or "logit", as in the file of predictions. clustered: whether patient ids are known. notes:
    sentences about predictions and findings that were left out, and about assumptions.
    """

    run: ScoredRun
    outputs: str
    clustered: bool
    notes: tuple[str, ...]


def read_labeled_predictions(
    predictions: Path, labels: Path, findings: Sequence[str] = (), outputs: str = "auto", reading: str = STANDARD
) -> LabeledPredictions:
    """Read two tables (CSV or Parquet) and join their rows by image_id.

    `findings` names the columns to read; by default, every column of both tables with the name of a finding. `outputs`:
    "probability", "logit" or "auto". With "auto", the predictions are probabilities if all of them are in [0, 1], and
    otherwise logits; a column without a negative number, or a table without a positive one, is then refused. `reading`: a name in
    READINGS.

    Raises DatasetError for a file that cannot be read, an empty or repeated image id, and a labeled image without
    prediction. Raises ConfigError for a missing column and for a cell without a valid value. The error message gives the
    row and the column.
    """
    predicted, labeled = read_table(predictions), read_table(labels)
    notes: list[str] = []
    names = _findings(predicted, labeled, findings, predictions, labels, notes)
    row = pd.Index(predicted[IMAGE]).get_indexer(pd.Index(labeled[IMAGE]))
    if (row < 0).any():
        first = int(np.flatnonzero(row < 0)[0])
        unlike = difference(labeled.loc[row < 0, IMAGE], predicted[IMAGE])
        raise DatasetError(
            f"{int((row < 0).sum()):,} of {len(labeled):,} labeled images have no prediction, "
            f"e.g. {labeled[IMAGE].iloc[first]!r} in {_row(first)} of {labels.name}; "
            + (unlike or f"{predictions.name} has ids such as {predicted[IMAGE].iloc[0]!r}"),
            str(predictions),
            "write the ids alike in both tables, predict all labeled images, or remove their rows from the labels",
        )
    if unused := len(predicted) - len(labeled):
        notes.append(f"{unused:,} predictions are left out, because their images have no labels.")
    value_NK = np.stack([_numbers(predicted, name, predictions) for name in names], 1)
    outputs = _outputs(value_NK, predicted, names, outputs, predictions, notes)
    if outputs == "probability":
        value_NK = logit_of(value_NK.clip(LEAST, MOST))
    state_NK = np.stack([label_states(labeled, name, labels) for name in names], 1)
    patient = _patients(predicted, labeled, row, predictions, labels)
    if patient is None:
        notes.append(
            f"There is no column {PATIENT}: each image counts as a patient. "
            "If patients have several images, the intervals are too narrow."
        )
    elif len(similar := alike(pd.Series(patient))):
        notes.append(f"{look_alike(similar)}: {WRITE_ALIKE}.")
    ids = labeled[IMAGE].to_numpy(object)
    arrays = (ids, ids if patient is None else patient, value_NK[row].astype(np.float32), state_NK)
    split = ScoredSplit(COHORT, "test", "stated", *arrays, reading=reading)
    return LabeledPredictions(ScoredRun(names, "", [split]), outputs, patient is not None, tuple(notes))


def _row(index: int) -> str:
    """Return the name of a row for an error message, counted as in a spreadsheet: the header is row 1."""
    return f"row {index + 2:,}"


def read_table(path: Path) -> pd.DataFrame:
    """Read a table as text, with "" for an empty cell.

    Raises DatasetError for a file that cannot be read, a table without rows, and an empty or repeated image_id. Raises
    ConfigError if a column name occurs twice or the column image_id is missing.
    """
    try:
        text = {"dtype": str, "keep_default_na": False, "skip_blank_lines": False}
        table = read_user_table(path, **text)
        if is_parquet(path):
            table = table.astype(object).where(table.notna(), "").astype(str)
    except (OSError, ValueError) as error:
        message = getattr(error, "strerror", None) or str(error).splitlines()[0][:200]
        raise DatasetError(f"cannot read the table: {message}", str(path), "give a CSV or Parquet table") from error
    table = table.rename(columns=lambda name: str(name).strip()).apply(lambda column: column.fillna("").str.strip())
    if repeated := table.columns[table.columns.duplicated()].tolist():
        raise ConfigError(f"the column {repeated[0]!r} occurs twice", str(path), "give each column a name of its own")
    if IMAGE not in table:
        near = ConfigError.nearest(IMAGE, table.columns, cutoff=0.4)
        hint = f"rename {near[0]!r} to {IMAGE}" if near else f"add the column {IMAGE}"
        raise ConfigError(f"no column {IMAGE}", str(path), f"{hint}: it joins predictions and labels")
    if table.empty:
        raise DatasetError("the table has no rows", str(path), "give one row for each image")
    blank, repeated_row = table[IMAGE] == "", table[IMAGE].duplicated()
    for mask, what in ((blank, "is empty"), (repeated_row & ~blank, "occurs twice")):
        if mask.any():
            index = int(np.flatnonzero(mask)[0])
            fix = "give one row with an id for each image"
            raise DatasetError(f"{_row(index)}, column {IMAGE}: {table[IMAGE].iloc[index]!r} {what}", str(path), fix)
    return pd.DataFrame(table)


def _findings(
    predicted: pd.DataFrame,
    labeled: pd.DataFrame,
    chosen: Sequence[str],
    predictions: Path,
    labels: Path,
    notes: list[str],
) -> tuple[str, ...]:
    """Return the findings to score: the findings in `chosen`, or else all findings of both tables in the order of the predictions.

    Without `chosen`, a sentence on the findings that only one table has is added to `notes`. Raises ConfigError for an
    unknown finding, and if the tables have no finding in common.
    """
    own = [str(name) for name in predicted.columns if name not in (IMAGE, PATIENT)]
    other = [str(name) for name in labeled.columns if name not in (IMAGE, PATIENT)]
    for name in chosen:
        for columns, path in ((own, predictions), (other, labels)):
            if name not in columns:
                fix = ConfigError.suggestion(name, columns or ["no column"])
                raise ConfigError(f"no column {name!r}", str(path), fix)
    shared = [name for name in own if name in other]
    names = tuple(chosen) or tuple(name for name in shared if is_finding(name))
    if shared and not names:
        fix = f'if they are findings, name them: --findings "{",".join(shared)}"'
        raise ConfigError(f"no label space has {', '.join(shared)}", f"{predictions} and {labels}", fix)
    if not names:
        raise ConfigError(
            f"the two tables have no finding in common: predictions of {', '.join(own) or 'nothing'}, "
            f"labels of {', '.join(other) or 'nothing'}",
            f"{predictions} and {labels}",
            "give the column of a finding the same name in both tables",
        )
    if not chosen:
        for columns, rest, what in ((own, other, "labels"), (other, own, "predictions")):
            unmatched = [name for name in rest if name not in columns]
            missing = [(name, ConfigError.hint(name, unmatched).rstrip()) for name in columns if name not in rest]
            if missing:
                left_out = ", ".join(f"{name} ({hint})" if hint else name for name, hint in missing)
                notes.append(f"Not scored, because there are no {what} of them: {left_out}.")
        if others := [name for name in shared if name not in names]:
            notes.append(f"Not scored, because no label space has {', '.join(others)}. To score them: --findings.")
    return names


def _numbers(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    """Return the predictions [N] of a finding.

    Raises ConfigError for a cell that is not a finite number.
    """
    value_N = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
    if len(bad := np.flatnonzero(~np.isfinite(value_N))):
        fix = "give one number for each image and finding"
        if "," in table[name].iloc[int(bad[0])]:
            fix = "write decimal points, not commas: 0.85"
        raise _bad_cell(table, name, bad, "is not a finite number", path, fix)
    return value_N


def _outputs(
    value_NK: NDArray[np.float64], table: pd.DataFrame, names: Sequence[str], outputs: str, path: Path, notes: list[str]
) -> str:
    """Return "probability" or "logit": the kind of the predictions.

    Sentences on the choice, if `outputs` is "auto", and on calls in place of predictions are added to `notes`. Raises ConfigError
    for an invalid probability, and for a column that may have probabilities or percentages although another column has logits.
    """
    outside_NK = (value_NK < -_ROUNDING) | (value_NK > 1 + _ROUNDING)
    if outputs == "auto":
        outputs, other = ("logit", "probability") if outside_NK.any() else ("probability", "logit")
        if outputs == "logit" and (value_NK.min(0) >= 0).any():
            k = int(np.argmax(value_NK.min(0) >= 0))
            what = f"column {names[k]}: the predictions are from {value_NK[:, k].min():.3g} to {value_NK[:, k].max():.3g}, none is negative"
            fix = "divide percentages by 100; if the values of all columns are logits, use --outputs logit"
            raise ConfigError(f"{what}: probabilities, percentages or logits?", str(path), fix)
        if outputs == "logit" and value_NK.max() <= 0:
            fix = "give exp(x) of log-probabilities; if the values are logits, use --outputs logit"
            raise ConfigError("no prediction is positive: log-probabilities or logits?", str(path), fix)
        where = "some are outside [0, 1]" if outputs == "logit" else "all are in [0, 1]"
        notes.append(f"The predictions count as {_PLURAL[outputs]}: {where}. Otherwise: --outputs {other}.")
    if calls := [name for name, value_N in zip(names, value_NK.T, strict=True) if len(np.unique(value_N)) < 3]:
        notes.append(f"Only one or two different values: {', '.join(calls)}. With calls, AUROC and AUPRC are too low.")
    if outputs == "probability" and (
        low := [name for name, high in zip(names, value_NK.max(0), strict=True) if high <= 0.01]
    ):
        note = f"No probability of {', '.join(low)} is above 0.01. If they are divided by 100, Brier and ECE are wrong."
        notes.append(note)
    if outputs == "probability" and outside_NK.any():
        k = int(np.flatnonzero(outside_NK.any(0))[0])
        fix = "use --outputs logit if the values are taken before the sigmoid"
        raise _bad_cell(table, names[k], np.flatnonzero(outside_NK[:, k]), "is not a probability", path, fix)
    return outputs


_ROUNDING = 1e-6  # by which rounding may move a probability out of [0, 1]
_PLURAL = {"probability": "probabilities", "logit": "logits"}


def label_states(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.int8]:
    """Return the label states [N] of a finding.

    Raises ConfigError for a cell that is not a label.
    """
    state = table[name].str.removesuffix(".0").map(_STATES)
    if len(bad := np.flatnonzero(state.isna())):
        fix = "write 1 (present), 0 (absent), -1 or nothing (not scored), or -2 (not mentioned: absent)"
        raise _bad_cell(table, name, bad, "is not a label", path, fix)
    return np.asarray(state, np.int8)


def check_patients(table: pd.DataFrame, path: Path) -> None:
    """Raise ConfigError for an empty cell in the column patient_id, which is optional."""
    if PATIENT in table and len(bad := np.flatnonzero(table[PATIENT].isin(BLANK))):
        fix = f"give a patient for each image, or remove the column {PATIENT}"
        raise _bad_cell(table, PATIENT, bad, "is not a patient", path, fix)


def _patients(
    predicted: pd.DataFrame, labeled: pd.DataFrame, row: NDArray[np.intp], predictions: Path, labels: Path
) -> NDArray[np.object_] | None:
    """Return the patient id of each labeled image [N]; None if neither table has a column patient_id.

    Raises ConfigError for an empty cell, and if the tables have different patients.
    """
    found = []
    for table, path, rows in ((labeled, labels, slice(None)), (predicted, predictions, row)):
        if PATIENT in table:
            check_patients(table, path)
            found.append(table[PATIENT].to_numpy(object)[rows])
    if len(found) == 2 and len(bad := np.flatnonzero(found[0] != found[1])):
        fix = f"correct the ids, or remove the column {PATIENT} of one table"
        raise _bad_cell(labeled, PATIENT, bad, f"is another patient in {predictions.name}", labels, fix)
    return found[0] if found else None


def _bad_cell(table: pd.DataFrame, name: str, rows: NDArray[np.intp], what: str, path: Path, fix: str) -> ConfigError:
    """Return the error for the invalid cells of a column; the message gives row and column of the first invalid cell.

    `rows`: indices of the rows with an invalid cell. `what`: the text after the value, such as "is not a label".
    """
    first = int(rows[0])
    more = f" ({len(rows):,} such cells)" if len(rows) > 1 else ""
    return ConfigError(f"{_row(first)}, column {name}: {table[name].iloc[first]!r} {what}{more}", str(path), fix)
