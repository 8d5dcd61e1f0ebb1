"""What a network learns beside its findings: whether anything is abnormal, and what the picture is of.

A further head is one more output of the last linear layer, with a cross-entropy of its own; the backbone is shared.
Its logits are stored beside the findings' (column `head:NAME`) and are not scored. In a label space that has the
finding "Abnormal", the head `abnormal` is that finding: it has no output of its own, its loss takes the place of the
finding's, and it is scored like any other.
Targets come from the home cohort's table: nothing else is read, and nobody away is asked.
Legend: N images, H heads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config import HEADS, RunConfig
from harmonize.datasets import native
from harmonize.errors import ConfigError, DatasetError
from harmonize.findings import ABSENT, NO_FINDING, NOT_MENTIONED, PRESENT, space

ABNORMAL = "Abnormal"
DEVICES = "Support Devices"  # a label of the CheXpert family, and no disease: "No Finding" does not exclude it
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """One further head of a run."""

    name: str
    weight: float  # of its loss
    finding: int | None  # the finding whose output it shares; None = an output of its own

    @property
    def column(self) -> str:
        """Return the name of its column in prediction files; no finding is called so."""
        return f"head:{self.name}"


def heads(config: RunConfig) -> tuple[Head, ...]:
    """Return the further heads of a run, in the order of their outputs; those of weight 0 are left out."""
    found = []
    for name in HEADS[config.heads]:
        shared = config.findings.index(ABNORMAL) if name == "abnormal" and ABNORMAL in config.findings else None
        found.append(Head(name, float(getattr(config.head_weights, name)), shared))
    return tuple(head for head in found if head.weight > 0)


def own_outputs(config: RunConfig) -> tuple[Head, ...]:
    """Return the heads that add an output to the network."""
    return tuple(head for head in heads(config) if head.finding is None)


def check_heads(config: RunConfig, where: str) -> None:
    """Raise ConfigError for a task or heads that the label space cannot have."""
    findings = space(config.space)
    if config.task == "binary" and config.finding not in findings:
        fix = f"choose one of {', '.join(findings)}, or another `space`"
        raise ConfigError(f"{config.space} has no finding {config.finding!r}", f"{where}.finding", fix)
    if "abnormal" not in HEADS[config.heads]:
        return
    if config.task == "binary":
        fix = "use `task: multilabel`, or `heads: auxiliary`"
        raise ConfigError("a binary task has one finding and no dual head", f"{where}.heads", fix)
    if not {NO_FINDING, ABNORMAL} & set(findings):
        fix = f"choose a label space with {NO_FINDING!r} or {ABNORMAL!r}: chexpert-14, shared-9, nih-14-abnormal"
        raise ConfigError(f"{config.space} cannot tell normal from abnormal", f"{where}.heads", fix)


def check_targets(table: pd.DataFrame, config: RunConfig, where: str) -> None:
    """Raise DatasetError when the training images do not show both classes of a head."""
    target_NH = targets(table, config)
    for head, target_N in zip(heads(config), target_NH.T, strict=True):
        if not ((target_N == 1).any() and (target_N == 0).any()):
            fix = f"set `head_weights.{head.name}: 0` in the grid, or train on a cohort that states it"
            raise DatasetError(
                f"the training images cannot teach the head {head.name!r}: {_SOURCE[head.name]}", where, fix
            )


def targets(table: pd.DataFrame, config: RunConfig) -> Floats:
    """Return what a cohort table says about each further head [N, H]: 1, 0, or NaN where it is not known."""
    columns = [_TARGET[head.name](table, config) for head in heads(config)]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0), np.float32)


def _abnormal(table: pd.DataFrame, config: RunConfig) -> Floats:
    """1 where a disease is present or "No Finding" is absent, 0 where "No Finding" stands alone, else unknown."""
    findings = space(config.space)
    if ABNORMAL in findings:
        return _known(table[ABNORMAL], config.blank)
    diseases = [finding for finding in findings if finding not in (NO_FINDING, DEVICES)]
    diseased = table[diseases].eq(PRESENT).fillna(False).any(axis=1).to_numpy(bool)
    normal = _known(table[NO_FINDING], config.blank)
    target = np.where(diseased, np.float32(1), 1 - normal).astype(np.float32)
    target[diseased & (normal == 1)] = np.nan  # the labels contradict each other
    return target


def _device(table: pd.DataFrame, config: RunConfig) -> Floats:
    """1 where support devices are present, 0 where they are absent."""
    for column in (DEVICES, native(DEVICES)):
        if column in table:
            return _known(table[column], config.blank)
    return np.full(len(table), np.nan, np.float32)


def _projection(table: pd.DataFrame, config: RunConfig) -> Floats:  # noqa: ARG001
    """1 where the view is AP, 0 where it is PA."""
    return _coded(table["view"], "AP", "PA")


def _sex(table: pd.DataFrame, config: RunConfig) -> Floats:  # noqa: ARG001
    """1 for men, 0 for women."""
    return _coded(table["sex"], "M", "F")


def _known(state: pd.Series, blank: str) -> Floats:
    """Return label states as 1, 0 and NaN; the blank policy reads "not mentioned", uncertain is not known."""
    absent = (ABSENT, NOT_MENTIONED) if blank == "zero" else (ABSENT,)
    code = state.astype("Int8").fillna(-3).to_numpy(np.int8)
    return np.select([code == PRESENT, np.isin(code, absent)], [1.0, 0.0], np.nan).astype(np.float32)


def _coded(column: pd.Series, one: str, zero: str) -> Floats:
    text = column.to_numpy(object)
    return np.select([text == one, text == zero], [1.0, 0.0], np.nan).astype(np.float32)


_TARGET: dict[str, Callable[[pd.DataFrame, RunConfig], Floats]] = {
    "abnormal": _abnormal,
    "device": _device,
    "projection": _projection,
    "sex": _sex,
}
_SOURCE = {
    "abnormal": "it needs normal and abnormal images",
    "device": f"it needs the label {DEVICES!r}, present and absent",
    "projection": "it needs AP and PA images",
    "sex": "it needs women and men",
}
