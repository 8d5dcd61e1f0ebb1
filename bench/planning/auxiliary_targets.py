"""Training targets of the auxiliary heads, read from the internal cohort's table.

An auxiliary head is an additional output of a network, such as the sex of the patient. External cohorts need no targets
of auxiliary heads, because no network is trained on them. Legend: N images, T auxiliary heads.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from harmonize.datasets import native
from harmonize.errors import DatasetError
from harmonize.labels.findings import ABNORMAL, ABSENT, NO_FINDING, NOT_MENTIONED, PRESENT, UNMAPPED_CODE, space

DEVICES = "Support Devices"  # a CheXpert label; devices are no disease, so they may occur together with "No Finding"
Floats = NDArray[np.float32]


def check_targets(table: pd.DataFrame, config: RunConfig, where: str) -> None:
    """Raise DatasetError unless the training images have both classes (1 and 0) of every auxiliary head."""
    target_NT = targets(table, config)
    for head, target_N in zip(config.auxiliary_heads, target_NT.T, strict=True):
        if not ((target_N == 1).any() and (target_N == 0).any()):
            fix = f"set `head_weights.{head.name}: 0` in the grid, or train on a cohort with this information"
            what = f"the training images are not sufficient for the head {head.name!r}: {_SOURCE[head.name]}"
            raise DatasetError(what, where, fix)


def targets(table: pd.DataFrame, config: RunConfig) -> Floats:
    """Return the targets [N, T] of the auxiliary heads of a configuration: 1, 0, or NaN where the target is unknown."""
    columns = [_TARGET[head.name](table, config) for head in config.auxiliary_heads]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0), np.float32)


def _abnormal(table: pd.DataFrame, config: RunConfig) -> Floats:
    """Return 1 where a disease is present or "No Finding" is absent, 0 where only "No Finding" is present, else NaN.

    If the label space has the finding "Abnormal", the target is the label of this finding.
    """
    findings = space(config.space)
    if ABNORMAL in findings:
        return _binary(table[ABNORMAL], config.blank)
    diseases = [finding for finding in findings if finding not in (NO_FINDING, DEVICES)]
    diseased = table[diseases].eq(PRESENT).fillna(False).any(axis=1).to_numpy(bool)
    normal = _binary(table[NO_FINDING], config.blank)
    target = np.where(diseased, np.float32(1), 1 - normal).astype(np.float32)
    target[diseased & (normal == 1)] = np.nan  # the labels contradict each other
    return target


def _device(table: pd.DataFrame, config: RunConfig) -> Floats:
    """Return 1 where support devices are present, 0 where they are absent, else NaN."""
    for column in (DEVICES, native(DEVICES)):
        if column in table:
            return _binary(table[column], config.blank)
    return np.full(len(table), np.nan, np.float32)


def _binary(state: pd.Series, blank: str) -> Floats:
    """Return a column of label states as targets: 1 for present, 0 for absent, NaN for uncertain and null.

    "Not mentioned" becomes 0 if `blank` is "zero", else NaN.
    """
    absent = (ABSENT, NOT_MENTIONED) if blank == "zero" else (ABSENT,)
    code = state.astype("Int8").fillna(UNMAPPED_CODE).to_numpy(np.int8)
    return np.select([code == PRESENT, np.isin(code, absent)], [1.0, 0.0], np.nan).astype(np.float32)


def _coded(column: pd.Series, positive: str, negative: str) -> Floats:
    """Return 1 where a text column is `positive`, 0 where it is `negative`, else NaN."""
    text = column.to_numpy(object)
    return np.select([text == positive, text == negative], [1.0, 0.0], np.nan).astype(np.float32)


_TARGET: dict[str, Callable[[pd.DataFrame, RunConfig], Floats]] = {
    "abnormal": _abnormal,
    "device": _device,
    "projection": lambda table, _: _coded(table["view"], "AP", "PA"),
    "sex": lambda table, _: _coded(table["sex"], "M", "F"),
}
_SOURCE = {
    "abnormal": "it needs normal and abnormal images",
    "device": f"it needs the label {DEVICES!r}, present and absent",
    "projection": "it needs AP and PA images",
    "sex": "it needs women and men",
}
