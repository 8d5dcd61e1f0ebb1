"""Describe a cohort in tables: image flow, labels, patients and splits. Opens no image.

The tables contain only counts, neither ids nor hashes of ids. Rare devices are joined to one group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
NOT_STATED = "not stated"
_SPLITS = ("train", "val", "test", "expert_valid", "expert_test")  # the order of the table of splits
_DEVICES = 8  # maximum number of device groups


@dataclass(frozen=True, eq=False)
class Stats:
    """The tables of one cohort.

    flow      step, kind (stock: remaining images; loss: removed images; note: images with a remark), number of images
    findings  finding, grade (how well the labels match the finding: exact, approximate or unmapped), number of images
              in each state (STATE_NAMES), number of patients with the finding
    groups    what (view, sex or device), group, number of images
    splits    split, origin (official: the dataset defines the split; table: a user's own table does; own: the key `split`
              of the data file does; rule: `splits.rule` made the split), number of images, number of patients
    shares    split -> its share of patients in `splits.rule`
    facts     title, place, licence, reference, counts, age quartiles (NaN if no age is stated)
    """

    name: str
    layout: str
    phantom: bool
    flow: pd.DataFrame
    findings: pd.DataFrame
    groups: pd.DataFrame
    splits: pd.DataFrame
    shares: Mapping[str, float]
    facts: Mapping[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        """Return the tables as lists of rows for JSON; NaN becomes None."""
        facts = {key: None if value != value else value for key, value in self.facts.items()}
        tables = {name: getattr(self, name).to_dict("records") for name in ("flow", "findings", "groups", "splits")}
        head = {"name": self.name, "layout": self.layout, "phantom": self.phantom}
        return {**head, **facts, **tables, "shares": dict(self.shares)}


def describe(cohort: Cohort, findings: Sequence[str] = FINDINGS, shares: Mapping[str, float] = SHARES) -> Stats:
    """Return the tables of one cohort, without the images whose findings are all null (`unlabelled`)."""
    mapped = [finding for finding in findings if finding in cohort.table]
    state_NK = states(cohort.table, mapped)
    is_labeled = (state_NK != UNMAPPED_CODE).any(axis=1)
    table = cohort.table[is_labeled].reset_index(drop=True)
    state_NK = state_NK[is_labeled]
    given_by = "table" if cohort.layout == TABLE else "official"
    return Stats(
        cohort.name,
        cohort.layout,
        cohort.phantom,
        _flow(cohort, is_labeled),
        _findings(cohort.spec, mapped, state_NK, table["patient_id"]),
        _groups(table),
        _splits(table, shares, "own" if cohort.spec.split else given_by),
        dict(shares),
        _facts(cohort, table),
    )


def _flow(cohort: Cohort, is_labeled: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the table `Stats.flow`: the steps of the cohort, then `unlabelled` and `used`, then the remarks.

    In the cohort's flow, the steps between `found` and `kept` removed images, and the steps after `kept` are remarks.
    """
    steps = {step: images for step, images in cohort.flow.items() if step != "unlabelled"}
    kept = list(steps).index("kept")
    rows, remarks = [], []
    for position, (step, images) in enumerate(steps.items()):
        if position > kept:
            remarks.append((step, "note", int(images)))
        else:
            rows.append((step, "stock" if step in ("found", "kept") else "loss", int(images)))
    rows += [("unlabelled", "loss", int((~is_labeled).sum())), ("used", "stock", int(is_labeled.sum()))]
    return pd.DataFrame([*rows, *remarks], columns=["step", "kind", "images"])


def _findings(
    spec: CohortSpec, findings: Sequence[str], state_NK: NDArray[np.int8], patient_id: "pd.Series[str]"
) -> pd.DataFrame:
    """Return the table `Stats.findings`."""
    rows = []
    for k, finding in enumerate(findings):
        state = state_NK[:, k]
        counts = [int((state == code).sum()) for code in (*STATES, UNMAPPED_CODE)]
        of_finding = "stated" if spec.layout == TABLE else grade(spec.layout, finding, spec.label_source)
        rows.append((finding, of_finding, *counts, patient_id[state == PRESENT].nunique()))
    return pd.DataFrame(rows, columns=["finding", "grade", *STATE_NAMES, "patients_present"])


def _groups(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table `Stats.groups`."""
    frames = []
    for what in ("view", "sex", "device"):
        names = table[what].where(table[what] != "", NOT_STATED).astype(str)
        rare = names.value_counts().index.drop(NOT_STATED, errors="ignore")[_DEVICES - 1 :]
        if what == "device" and len(rare) > 1:
            names = names.where(~names.isin(rare), f"{len(rare)} others")
        counts = names.value_counts().sort_index()
        frames.append(pd.DataFrame({"what": what, "group": counts.index, "images": counts.to_numpy()}))
    return pd.concat(frames, ignore_index=True)


def _splits(table: pd.DataFrame, shares: Mapping[str, float], given: str) -> pd.DataFrame:
    """Return the table `Stats.splits`. `given`: the origin of a split that has the same images in the dataset itself."""
    split = assign(table, shares) if len(table) else table["split"]
    rows = []
    for name in sorted(split.unique(), key=lambda name: _SPLITS.index(name) if name in _SPLITS else len(_SPLITS)):
        in_split = split == name
        origin = given if in_split.equals(table["split"] == name) else "rule"
        rows.append((name, origin, int(in_split.sum()), table.loc[in_split, "patient_id"].nunique()))
    return pd.DataFrame(rows, columns=["split", "origin", "images", "patients"])


def _facts(cohort: Cohort, table: pd.DataFrame) -> dict[str, Any]:
    """Return the texts about a cohort from labels.yaml, and its counts."""
    texts = labels_yaml()["datasets"].get(cohort.layout, {})
    low, median, high = table["age"].astype(float).quantile([0.25, 0.5, 0.75])
    of_patients = table["patient_id"].value_counts()
    return {
        **asdict(hospital_name(cohort.name, cohort.layout, texts, cohort.phantom)),
        "licence": "synthetic images" if cohort.phantom else str(texts.get("licence", "")),
        "reference": str(texts.get("reference", "stated")),
        "label_source": cohort.spec.label_source,
        "images": len(table),
        "patients": len(of_patients),
        "studies": len(table[["patient_id", "study_id"]].drop_duplicates()),
        "most_per_patient": int(of_patients.max()) if len(of_patients) else 0,
        "age_low": float(low),
        "age_median": float(median),
        "age_high": float(high),
    }
