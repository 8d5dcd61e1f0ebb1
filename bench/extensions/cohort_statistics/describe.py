"""Describe a cohort in tables: image flow, labels, patients and splits. Opens no image.

The tables contain only counts, neither ids nor hashes of ids. Rare devices are joined to one group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.hospital_names import hospital_name
from harmonize.cohorts.label_mapping import grade
from harmonize.cohorts.specs import CohortSpec
from harmonize.cohorts.splits import assign
from harmonize.datasets import TABLE
from harmonize.labels.findings import FINDINGS, PRESENT, STATES, UNMAPPED_CODE, labels_yaml
from harmonize.labels.states import states

STATE_NAMES = ("present", "absent", "uncertain", "not_mentioned", "unmapped")
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
# flow steps that count remaining images; the steps between `found` and `kept` count removed images, and the steps after
# `kept` count images with a remark
_STOCKS = ("found", "kept")
NOT_STATED = "not stated"
_DEVICES = 8  # maximum number of device groups


@dataclass(frozen=True, eq=False)
class Stats:
    """The tables of one cohort.

    flow      step, kind (stock: remaining images; loss: removed images; note: images with a remark), number of images;
              in the order of the filters
    findings  finding, grade (how well the labels match the finding: exact, approximate or unmapped), number of images
              in each state (STATE_NAMES), number of patients with the finding
    together  finding, other (a second finding), and three numbers of images: stated (both findings are present, absent
              or not mentioned), has (of these images, those with `finding`), both (those with both findings)
    groups    what (view, sex or device), group, number of images
    splits    split, origin (official: the dataset defines the split; table: a user's own table does; rule: `splits.rule`
              made the split), number of images, number of patients
    shares    split -> its share of patients in `splits.rule`
    facts     title, place, licence, reference, counts, age quartiles, patients in more than one split
    """

    name: str
    layout: str
    phantom: bool
    flow: pd.DataFrame
    findings: pd.DataFrame
    together: pd.DataFrame
    groups: pd.DataFrame
    splits: pd.DataFrame
    split_rule: str
    shares: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)


def describe(
    cohort: Cohort,
    findings: Sequence[str] = FINDINGS,
    shares: Mapping[str, float] = SHARES,
    *,
    disk_searched: bool = True,
) -> Stats:
    """Return the tables of one cohort, without the images whose findings are all null (`unlabelled`).

    disk_searched  False if the disk was not searched for images; then the flow has no step `absent`
    """
    mapped_findings = [finding for finding in findings if finding in cohort.table]
    state_NK = states(cohort.table, mapped_findings)
    is_labeled = (state_NK != UNMAPPED_CODE).any(axis=1)
    flow = _flow(cohort, is_labeled, disk_searched)
    table = cohort.table if is_labeled.all() else cohort.table[is_labeled].reset_index(drop=True)
    state_NK = state_NK if is_labeled.all() else state_NK[is_labeled]
    patients = _codes(table, ["patient_id"])
    studies = _codes(table, ["patient_id", "study_id"])
    split = assign(table, shares) if len(table) else pd.Series("", index=table.index)
    return Stats(
        cohort.name,
        cohort.layout,
        cohort.phantom,
        flow,
        _findings(cohort.spec, mapped_findings, state_NK, patients),
        _together(mapped_findings, state_NK),
        _groups(table),
        _splits(table, split, patients, own=cohort.layout == TABLE),
        split_rule(table, shares, own=cohort.layout == TABLE),
        dict(shares),
        _facts(cohort, table, patients, studies, split),
    )


def as_dict(stats: Stats) -> dict[str, Any]:
    """Return the tables as lists of rows for JSON; NaN becomes None."""
    frames = ("flow", "findings", "together", "groups", "splits")
    tables = {name: [_json_row(row) for row in getattr(stats, name).to_dict("records")] for name in frames}
    head = {"name": stats.name, "layout": stats.layout, "phantom": stats.phantom, **_json_row(dict(stats.facts))}
    return {**head, **tables, "split_rule": stats.split_rule, "shares": dict(stats.shares)}


def split_rule(table: pd.DataFrame, shares: Mapping[str, float] = SHARES, *, own: bool = False) -> str:
    """Return a text that names the official splits of a cohort's table, and the splits that `splits.rule` makes.

    own: the splits are those of a user's own table, which nobody has published.
    """
    official = sorted(set(table["split"]) - {""}, key=lambda split: (_split_order(split), split))
    missing = [name for name, share in shares.items() if share > 0 and name not in official]
    if not official:
        return (
            f"{', '.join(missing)} by the rule, because there is no {'split in the table' if own else 'official split'}"
        )
    published = f"{', '.join(official)} {'of the own table' if own else 'as published'}"
    if "train" in official and missing:
        return f"{published}; {', '.join(missing)} taken from train by the rule"
    if (table["split"] == "").any():
        return f"{published}; images without a split get the split of their patient, others are divided by the rule"
    return published


def _codes(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return one number for each of the N rows; rows with equal values in these columns have equal numbers."""
    codes = np.zeros(len(table), np.int64)
    for column in columns:
        column_codes, names = pd.factorize(table[column])
        codes = pd.factorize(codes * (len(names) + 1) + column_codes)[0]
    return codes.astype(np.int64)


def _flow(cohort: Cohort, is_labeled: NDArray[np.bool_], disk_searched: bool) -> pd.DataFrame:
    """Return the flow of the cohort, then the steps `unlabelled` and `used`, then the remarks.

    Remarks are the counts after the step `kept`; a remark removes no image.
    """
    rows: list[tuple[str, str, int]] = []
    remarks: list[tuple[str, str, int]] = []
    after_kept = False
    for step, images in cohort.flow.items():
        if step == "unlabelled" or (step == "absent" and not disk_searched):
            continue
        kind = "stock" if step in _STOCKS else "note" if after_kept else "loss"
        after_kept |= step == "kept"
        (remarks if kind == "note" else rows).append((step, kind, int(images)))
    rows += [("unlabelled", "loss", int((~is_labeled).sum())), ("used", "stock", int(is_labeled.sum()))]
    return pd.DataFrame([*rows, *remarks], columns=["step", "kind", "images"])


def _findings(
    spec: CohortSpec, findings: Sequence[str], state_NK: NDArray[np.int8], patients: NDArray[np.int64]
) -> pd.DataFrame:
    """Return one row per finding: grade (`label_mapping.grade`), number of images in each state, number of patients."""
    rows = []
    for k, finding in enumerate(findings):
        state = state_NK[:, k]
        counts = {
            name: int((state == code).sum()) for name, code in zip(STATE_NAMES, (*STATES, UNMAPPED_CODE), strict=True)
        }
        finding_grade = "stated" if spec.layout == "table" else grade(spec.layout, finding, spec.label_source)
        sick = len(np.unique(patients[state == PRESENT]))
        rows.append({"finding": finding, "grade": finding_grade, **counts, "patients_present": sick})
    return pd.DataFrame(rows, columns=["finding", "grade", *STATE_NAMES, "patients_present"])


def _together(findings: Sequence[str], state_NK: NDArray[np.int8]) -> pd.DataFrame:
    """Return the table `Stats.together` for every ordered pair of different findings.

    Images in which one of the two findings is uncertain or unmapped do not count.
    """
    present_NK = (state_NK == PRESENT).astype(np.float32)
    stated_NK = ((state_NK == PRESENT) | (state_NK == 0) | (state_NK == -2)).astype(np.float32)
    stated, has, both = stated_NK.T @ stated_NK, present_NK.T @ stated_NK, present_NK.T @ present_NK
    rows = [
        (a, b, round(float(stated[i, j])), round(float(has[i, j])), round(float(both[i, j])))
        for i, a in enumerate(findings)
        for j, b in enumerate(findings)
        if i != j
    ]
    return pd.DataFrame(rows, columns=["finding", "other", "stated", "has", "both"])


def _groups(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table `Stats.groups`."""
    frames = []
    for what in ("view", "sex", "device"):
        names = table[what].where(table[what] != "", NOT_STATED).astype(str)
        counts = names.value_counts()
        rare = counts.index.drop(NOT_STATED, errors="ignore")[_DEVICES - 1 :]
        if what == "device" and len(rare) > 1:
            counts = names.where(~names.isin(rare), f"{len(rare)} others").value_counts()
        counts = counts.sort_index()
        frames.append(pd.DataFrame({"what": what, "group": counts.index, "images": counts.to_numpy()}))
    return pd.concat(frames, ignore_index=True)


def _splits(table: pd.DataFrame, split: "pd.Series[Any]", patients: NDArray[np.int64], *, own: bool) -> pd.DataFrame:
    """Return the size and origin of each split.

    The origin is "official" if the dataset itself defines the same rows ("table" if it is a user's own table), else "rule".
    """
    official, split_of_row = table["split"].to_numpy(object), split.to_numpy(object)
    rows = []
    for name in sorted(set(split_of_row), key=lambda split_name: (_split_order(split_name), split_name)):
        in_split = split_of_row == name
        origin = ("table" if own else "official") if np.array_equal(in_split, official == name) else "rule"
        rows.append((str(name), origin, int(in_split.sum()), len(np.unique(patients[in_split]))))
    return pd.DataFrame(rows, columns=["split", "origin", "images", "patients"])


def _split_order(split: str) -> int:
    """Return the sort position of a split in tables."""
    order = (*SHARES, "expert_valid", "expert_test")
    return order.index(split) if split in order else len(order)


def _facts(
    cohort: Cohort,
    table: pd.DataFrame,
    patients: NDArray[np.int64],
    studies: NDArray[np.int64],
    split: "pd.Series[Any]",
) -> dict[str, Any]:
    """Return the texts about a cohort from labels.yaml, and its counts."""
    texts = labels_yaml()["datasets"].get(cohort.layout, {})
    age = table["age"].to_numpy(np.float64, na_value=np.nan)
    stated_ages = age[np.isfinite(age)]
    low, median, high = np.percentile(stated_ages, [25, 50, 75]) if len(stated_ages) else (np.nan, np.nan, np.nan)
    total = int(patients.max(initial=-1)) + 1
    return {
        **asdict(hospital_name(cohort.name, cohort.layout, texts, cohort.phantom)),
        "licence": "synthetic images" if cohort.phantom else str(texts.get("licence", "")),
        "reference": str(texts.get("reference", "stated")),
        "label_source": cohort.spec.label_source,
        "images": len(table),
        "patients": total,
        "studies": int(studies.max(initial=-1)) + 1,
        "most_per_patient": int(np.bincount(patients, minlength=1).max()),
        "age_low": float(low),
        "age_median": float(median),
        "age_high": float(high),
        "shared_patients": int((np.bincount(np.unique([patients, pd.factorize(split)[0]], axis=1)[0]) > 1).sum()),
    }


def _json_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with Python numbers instead of numpy numbers, and None instead of NaN."""
    return {
        str(key): None
        if isinstance(value, float) and value != value
        else value.item()
        if isinstance(value, np.generic)
        else value
        for key, value in row.items()
    }
