"""Describe a cohort in tables: image flow, labels, patients and splits. No image is opened.

The tables hold counts only: no ids and no hashes of ids, one group for ages above 89, and few devices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.checks.known_images import Seen
from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.label_mapping import grade
from harmonize.cohorts.splits import assign
from harmonize.labels.findings import FINDINGS, PRESENT, STATES, UNMAPPED_CODE, labels_yaml
from harmonize.statistics.group_counts import distinct, groups

STATE_NAMES = ("present", "absent", "uncertain", "not_mentioned", "unmapped")
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
NOT_READ = "not_yet_read"  # images that nobody has opened: some of those used may turn out unreadable
_STOCKS = ("found", "kept")  # how many are there; what lies between is lost, what comes after is a remark on those kept


@dataclass(frozen=True, eq=False)
class Stats:
    """One cohort in numbers.

    flow      step, kind (stock, loss or note), images: in the order in which images are lost
    findings  finding, grade, then images by state (STATE_NAMES), and patients with the finding present
    together  finding, other, stated (images on which both are present or not), has (finding present), both
    groups    what (view, sex, age, device, images per patient, images per study), group, images, owners (patients, or
              studies for images per study)
    splits    split, origin (official or rule), images, patients
    shares    of the splits that the rule cuts
    facts     title, place, licence, reference, counts, quartiles of age, patients in more than one split
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
    looked: bool = True,
    seen: Seen | None = None,
) -> Stats:
    """Return the tables of one cohort. Images on which no finding of `findings` has a state are lost, as unlabelled.

    looked  whether images were looked for on disk: without it the flow says nothing of absent ones
    seen    what is known of the images from earlier looks: those that cannot be read are lost, those never read counted
    """
    named = [finding for finding in findings if finding in cohort.table]
    state_NK = _states(cohort.table, named)
    labelled = (state_NK != UNMAPPED_CODE).any(axis=1)
    used = labelled if seen is None else labelled & ~seen.unreadable
    flow = _flow(cohort, labelled, used, looked, seen)
    table = cohort.table if used.all() else cohort.table[used].reset_index(drop=True)
    state_NK = state_NK if used.all() else state_NK[used]
    patients = _codes(table, ["patient_id"])
    studies = _codes(table, ["patient_id", "study_id"])
    split = assign(table, shares) if len(table) else pd.Series("", index=table.index)
    return Stats(
        cohort.name,
        cohort.layout,
        cohort.phantom,
        flow,
        _findings(cohort.layout, named, state_NK, patients),
        _together(named, state_NK),
        groups(table, patients, studies),
        _splits(table, split, patients),
        split_rule(table, shares),
        dict(shares),
        _facts(cohort, table, patients, studies, split),
    )


def as_dict(stats: Stats) -> dict[str, Any]:
    """Return the tables as plain lists of rows, for JSON: NaN is null."""
    frames = ("flow", "findings", "together", "groups", "splits")
    tables = {name: [_plain(row) for row in getattr(stats, name).to_dict("records")] for name in frames}
    head = {"name": stats.name, "layout": stats.layout, "phantom": stats.phantom, **_plain(dict(stats.facts))}
    return {**head, **tables, "split_rule": stats.split_rule, "shares": dict(stats.shares)}


def split_rule(table: pd.DataFrame, shares: Mapping[str, float] = SHARES) -> str:
    """Return a sentence about which splits are official and which splits `splits.rule` makes."""
    official = sorted(set(table["split"]) - {""}, key=lambda part: (_place(part), part))
    missing = [name for name, share in shares.items() if share > 0 and name not in official]
    if not official:
        return f"{', '.join(missing)} by the rule: there is no official split"
    published = f"{', '.join(official)} as published"
    if "train" in official and missing:
        return f"{published}; {', '.join(missing)} cut out of train by the rule"
    if (table["split"] == "").any():
        return f"{published}; images without a split follow their patient, the rest is divided by the rule"
    return published


def _states(table: pd.DataFrame, findings: Sequence[str]) -> NDArray[np.int8]:
    """Return the label states [N, K]; unmapped states are UNMAPPED_CODE."""
    states = np.empty((len(table), len(findings)), np.int8, order="F")
    for k, finding in enumerate(findings):
        states[:, k] = table[finding].to_numpy(np.int8, na_value=UNMAPPED_CODE)
    return states


def _codes(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each row that is the same where the columns are; a blank last column stands for itself."""
    codes = np.zeros(len(table), np.int64)
    for column in columns:
        own, names = pd.factorize(table[column])
        codes = pd.factorize(codes * (len(names) + 1) + own)[0]
    return codes.astype(np.int64)


def _flow(
    cohort: Cohort, labelled: NDArray[np.bool_], used: NDArray[np.bool_], looked: bool, seen: Seen | None
) -> pd.DataFrame:
    """Return what the reader of the cohort counted, then images that cannot be read or have no label, then those used."""
    rows: list[tuple[str, str, int]] = []
    notes: list[tuple[str, str, int]] = []
    ended = False
    for step, images in cohort.flow.items():
        if step == "unlabelled" or (step == "absent" and not looked):
            continue
        kind = "stock" if step in _STOCKS else "note" if ended else "loss"
        ended |= step == "kept"
        (notes if kind == "note" else rows).append((step, kind, int(images)))
    number = int(used.sum())
    if seen is not None and seen.looked.any():
        rows.append(("unreadable", "loss", int(seen.unreadable.sum())))
        labelled = labelled[~seen.unreadable]
    rows += [("unlabelled", "loss", int((~labelled).sum())), ("used", "stock", number)]
    if seen is not None and not seen.looked.all():
        notes.insert(0, (NOT_READ, "note", int((used & ~seen.looked).sum())))
    return pd.DataFrame([*rows, *notes], columns=["step", "kind", "images"])


def _findings(
    layout: str, findings: Sequence[str], state_NK: NDArray[np.int8], patients: NDArray[np.int64]
) -> pd.DataFrame:
    rows = []
    for k, finding in enumerate(findings):
        state = state_NK[:, k]
        counts = {
            name: int((state == code).sum()) for name, code in zip(STATE_NAMES, (*STATES, UNMAPPED_CODE), strict=True)
        }
        stated = "stated" if layout == "table" else grade(layout, finding)
        sick = distinct(patients[state == PRESENT])
        rows.append({"finding": finding, "grade": stated, **counts, "patients_present": sick})
    return pd.DataFrame(rows, columns=["finding", "grade", *STATE_NAMES, "patients_present"])


def _together(findings: Sequence[str], state_NK: NDArray[np.int8]) -> pd.DataFrame:
    """Return every ordered pair of different findings; uncertain and unmapped states are left out."""
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


def _splits(table: pd.DataFrame, split: "pd.Series[Any]", patients: NDArray[np.int64]) -> pd.DataFrame:
    """Return the size of each split; "official" where the dataset itself names exactly those rows."""
    given, chosen = table["split"].to_numpy(object), split.to_numpy(object)
    rows = []
    for name in sorted(set(chosen), key=lambda part: (_place(part), part)):
        mine = chosen == name
        origin = "official" if np.array_equal(mine, given == name) else "rule"
        rows.append((str(name), origin, int(mine.sum()), distinct(patients[mine])))
    return pd.DataFrame(rows, columns=["split", "origin", "images", "patients"])


def _place(split: str) -> int:
    order = (*SHARES, "expert_valid", "expert_test")
    return order.index(split) if split in order else len(order)


def _facts(
    cohort: Cohort,
    table: pd.DataFrame,
    patients: NDArray[np.int64],
    studies: NDArray[np.int64],
    split: "pd.Series[Any]",
) -> dict[str, Any]:
    known = labels_yaml()["datasets"].get(cohort.layout, {})
    age = table["age"].to_numpy(np.float64, na_value=np.nan)
    stated = age[np.isfinite(age)]
    low, median, high = np.percentile(stated, [25, 50, 75]) if len(stated) else (np.nan, np.nan, np.nan)
    total = int(patients.max(initial=-1)) + 1
    sex = table["sex"].to_numpy(object)
    return {
        "title": str(known.get("title", cohort.name)) if cohort.name == cohort.layout else cohort.name,
        "place": str(known.get("place", "")),
        "licence": str(known.get("licence", "")),
        "reference": str(known.get("reference", "stated")),
        "label_source": cohort.spec.label_source,
        "images": len(table),
        "patients": total,
        "studies": int(studies.max(initial=-1)) + 1,
        "most_per_patient": int(np.bincount(patients, minlength=1).max()),
        "age_low": float(low),
        "age_median": float(median),
        "age_high": float(high),
        "age_not_stated": len(age) - len(stated),
        "shared_patients": _torn(patients, split.to_numpy(object), np.ones(len(table), bool)),
        "contradictory_sex": _torn(patients, sex, sex != ""),
    }


def _torn(patients: NDArray[np.int64], values: NDArray[Any], stated: NDArray[np.bool_]) -> int:
    """Return how many patients have more than one of the values that are stated."""
    codes = pd.factorize(values[stated])[0]
    mine = patients[stated]
    first = np.zeros(int(patients.max(initial=0)) + 1, np.int64)
    first[mine] = codes  # some row of each patient speaks for it
    return distinct(mine[first[mine] != codes])


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with plain numbers, NaN as None."""
    return {
        str(key): None
        if isinstance(value, float) and value != value
        else value.item()
        if isinstance(value, np.generic)
        else value
        for key, value in row.items()
    }
