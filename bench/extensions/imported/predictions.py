"""Read predictions of an imported model, one table per cohort, and check them against the cohort's images.

Legend: N images, K findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.config.run_config import RunConfig
from bench.extensions.imported.declaration import ModelDeclaration
from bench.planning.plan import CohortRef
from bench.results.prediction_files import LEAST, MOST
from bench.store.file_integrity import file_sha256
from bench.store.store import Store
from harmonize.datasets.ids import examples
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError, DatasetError


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions that were read from files.

    `declared`: the declaration of the model, with the findings of the files' columns. `frames`: cohort -> table of the
    logits to store. `sha256`: cohort -> hash of the file. `remarks`: notes for the owner of the model.
    """

    declared: ModelDeclaration
    frames: dict[str, pd.DataFrame]
    sha256: dict[str, str]
    remarks: tuple[str, ...]


def read_predictions(
    declared: ModelDeclaration, refs: Sequence[CohortRef], config: RunConfig, store: Store
) -> Predictions:
    """Return the predictions on every cohort; a cohort without a file has a table without rows.

    Raises DatasetError without a file of an external cohort, for an unreadable file, and for missing or repeated images. Raises ConfigError for columns that
    are not findings, for values that are not finite, and for declared probabilities outside [0, 1].
    """
    where = f"{declared.where}: model.predictions"
    given = [ref for ref in refs if ref.name in declared.files]
    if not any(ref.role == "external" for ref in given):
        fix = (
            f"name a file after a hospital of the grid: {', '.join(ref.name for ref in refs if ref.role == 'external')}"
        )
        raise DatasetError("there are no predictions on an external hospital", where, fix)
    remarks = [
        f"there are no predictions on the internal hospital {ref.name}, so there are no gaps, thresholds, calls or calibration"
        if ref.role == "internal"
        else f"there are no predictions on {ref.name}, so there are no scores there and no mean over the hospitals"
        for ref in refs
        if ref not in given
    ]
    frames = {ref.name: table_of_predictions(declared.files[ref.name]) for ref in given}
    names = None
    for ref in given:
        columns = [str(column) for column in frames[ref.name].columns if column != "image_id"]
        names = names or columns
        if set(columns) != set(names):
            different = sorted(set(columns) ^ set(names))
            fix = "give all files the same columns"
            raise ConfigError(f"the files have different columns: {different[0]}", str(declared.files[ref.name]), fix)
    declared = declared.with_names(names or [])
    logits = {}
    for ref in given:
        path, frame = declared.files[ref.name], frames[ref.name]
        scored = _scored(ref, config, store)
        chosen = _images(frame, scored, ref, str(path), remarks)
        logits[ref.name] = _logits(chosen, names or [], declared, config, str(path))
        logit_NK = logits[ref.name][declared.predicted(config.findings)].to_numpy()
        if declared.outputs.kind == "logit" and logit_NK.size and logit_NK.min() >= 0:
            what = f"no logit on {ref.name} is negative, as with probabilities and percentages"
            remarks.append(f"{what}; for these, write `kind: probability` and numbers from 0 to 1")
        if declared.outputs.kind == "logit" and logit_NK.size and logit_NK.max() <= 0:
            what = f"no logit on {ref.name} is positive, as with log-probabilities"
            remarks.append(f"{what}; for these, write `kind: probability` and exp(x)")
    digests = {ref.name: file_sha256(declared.files[ref.name]) for ref in given}
    for ref in refs:
        if ref not in given:
            logits[ref.name] = next(iter(logits.values())).iloc[:0]
            digests[ref.name] = ""
    return Predictions(declared, logits, digests, tuple(remarks))


def table_of_predictions(path: Path) -> pd.DataFrame:
    """Return a table of predictions with the column image_id as text. Raises DatasetError for an unreadable table."""
    try:
        frame = read_user_table(path, dtype={"image_id": str})
    except (OSError, ValueError) as error:
        message = str(error).splitlines()[0][:200]
        fix = "give a CSV or Parquet table"
        raise DatasetError(f"cannot read the predictions: {message}", str(path), fix) from error
    if "image_id" not in frame:
        raise DatasetError("no column image_id", str(path), "name the column of the image ids image_id")
    frame["image_id"] = frame["image_id"].astype(str).where(frame["image_id"].notna(), "")
    return frame


def _scored(ref: CohortRef, config: RunConfig, store: Store) -> pd.DataFrame:
    """Return image_id and split of the scored images of a cohort, except images that are known to be unreadable."""
    table = ref.read()
    split = ref.split_of(table, config)
    quarantine = store.root / "cohorts" / f"quarantine-{ref.name}.csv"
    unreadable = set(pd.read_csv(quarantine, dtype=str)["image_id"]) if quarantine.is_file() else set()
    ids = table["image_id"].astype(str)
    return pd.DataFrame({"image_id": ids, "split": split})[ref.scored_rows(split) & ~ids.isin(unreadable)]


def _images(frame: pd.DataFrame, scored: pd.DataFrame, ref: CohortRef, where: str, remarks: list[str]) -> pd.DataFrame:
    """Return the rows of a prediction file for the scored images, in the order of the cohort table.

    Notes for the owner of the model are appended to `remarks`. Raises DatasetError for a repeated image, and for missing
    images. But a file of the internal cohort is valid if all validation images, and no other images, are missing.
    """
    if repeated := frame.loc[frame["image_id"].duplicated() | (frame["image_id"] == ""), "image_id"].tolist():
        what = f"the image {repeated[0]!r} occurs twice" if repeated[0] else "an image has no image_id"
        raise DatasetError(what, where, "give one row per image, with its id")
    missing = scored[~scored["image_id"].isin(frame["image_id"])]
    if ref.role == "internal" and (scored["split"] == "val").any():
        no_val = set(scored.index[scored["split"] == "val"]) <= set(missing.index)
        if no_val:
            remark = f"there are no predictions for the validation patients of {ref.name}, so there are no thresholds, calls or calibration"
            remarks.append(remark)
            missing = missing[missing["split"] != "val"]
    if len(missing):
        shown = examples(missing["image_id"], frame["image_id"])
        what = (
            f"{len(missing):,} of {len(scored):,} images of {ref.name} have no prediction; "
            f"ids of {ref.name} and of the file: {shown}"
        )
        fix = "predict all of these images: scores on a chosen subset cannot be compared"
        raise DatasetError(what, where, fix)
    chosen = scored.merge(frame, on="image_id", how="inner", validate="1:1")
    if unused := len(frame) - len(chosen):
        remarks.append(f"{unused:,} rows on {ref.name} are left out, because their images are not scored")
    return chosen.drop(columns="split")


def _logits(
    frame: pd.DataFrame, names: Sequence[str], declared: ModelDeclaration, config: RunConfig, where: str
) -> pd.DataFrame:
    """Return image_id and one logit per finding of the grid.

    The logit is 0 for a finding that the model does not predict. Raises ConfigError for a value that is not a finite number, or
    not a probability though it is declared as one.
    """
    column_of = {finding: column for column, finding in zip(names, declared.outputs.names, strict=True) if finding}
    is_probability = declared.outputs.kind == "probability"
    out = pd.DataFrame({"image_id": frame["image_id"].to_numpy(str)})
    for finding in config.findings:
        value_N = np.zeros(len(frame))
        if finding in column_of:
            value_N = pd.to_numeric(frame[column_of[finding]], errors="coerce").to_numpy(np.float64)
            good = (value_N >= 0) & (value_N <= 1) if is_probability else np.isfinite(value_N)
            if not good.all():
                example = f"{value_N[~good][0]:g} for {frame['image_id'].to_numpy()[~good][0]}"
                what = (
                    f"a value of {finding} is not a {'probability' if is_probability else 'finite number'}: {example}"
                )
                fix = "give one number per cell; percentages are no probabilities: divide them by 100"
                raise ConfigError(what, where, fix)
            if is_probability:
                clipped = value_N.clip(LEAST, MOST)
                value_N = np.log(clipped) - np.log1p(-clipped)
        out[finding] = value_N.astype(np.float32)
    return out
