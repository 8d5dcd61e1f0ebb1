"""Summarize two possible causes of the gap: the finding with the largest share, and markers that networks use as shortcuts."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from reports.report_data.headline_rows import MACRO, MISSING
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.schemas.change_rules import MARKER, changes
from reports.sentences import changes as change_sentences
from reports.tables import records_of


def gap_contributions(data: ReportData) -> dict[str, float]:
    """Return the contribution of each finding to the mean gap over recipes and hospitals, largest first.

    The contributions add up to the mean gap, which is over the findings of `Members`. So a finding contributes its mean gap, divided
    by the number of these findings. A gap that a hospital lacks is estimated from the others: gap = hospital + finding, by least squares.
    """
    sums: dict[str, float] = defaultdict(float)
    for recipe in data.ranked:
        names = data.members(recipe).findings
        hospitals = [h.key for h in data.hospitals.averaged if recipe.hospital_gaps[h.key].has_value]
        gaps = [[data.gaps.get((recipe.id, h, f), MISSING).value for f in names] for h in hospitals]
        value_HK = np.array(gaps, np.float64).reshape(len(hospitals), len(names))
        at, of = np.nonzero(np.isfinite(value_HK))
        design = np.concatenate([np.eye(len(hospitals))[at], np.eye(len(names))[of]], 1)
        fit = np.linalg.pinv(design) @ value_HK[at, of]
        of_hospitals, of_findings = fit[: len(hospitals)], fit[len(hospitals) :]
        for finding, effect in zip(names if len(at) else (), of_findings, strict=False):
            sums[finding] += float(effect + of_hospitals.mean()) / len(names) / len(data.ranked)
    return dict(sorted(sums.items(), key=lambda pair: -pair[1]))


def finding_shares(data: ReportData) -> dict[str, float]:
    """Return the share of each finding in the mean gap, largest first; the shares add up to 1.

    A negative share makes the gap smaller. The result is empty if the mean gap is not clearly above 0.
    """
    contributions = gap_contributions(data)
    total = sum(contributions.values())
    is_gap = data.hospitals.mean_gap.clear_above and total > 0
    return {f: value / total for f, value in contributions.items()} if is_gap else {}


def tested_runs(data: ReportData) -> list[Run]:
    """Return the runs with a region transplant test: the ranked runs, or if none was tested, all other runs."""
    tested = set(data.tables["transplants"]["run_id"].astype(str))
    return [r for r in data.ranked_runs if r.id in tested] or [r for r in data.runs if r.id in tested]


def marker_runs(data: ReportData) -> tuple[list[Run], list[Run]]:
    """Return the runs for which markers of the internal hospital were tested, and the ranked runs for which they were not."""
    of_markers = _of_markers(data)
    with_marker = set(of_markers.loc[of_markers["finding"] == MACRO, "run_id"].astype(str))
    tested = [r for r in tested_runs(data) if r.id in with_marker]
    return tested, [r for r in data.ranked_runs if r not in tested]


def _of_markers(data: ReportData) -> pd.DataFrame:
    table, internal = changes(data.tables["transplants"]), data.hospitals.internal.key
    return table[(table["kind"] == MARKER) & (table["donor"] == internal) & (table["host"] == EXTERNAL)]


def strongest_marker(data: ReportData) -> tuple[Run, Mapping[str, Any]] | None:
    """Return the run and the finding that uses a marker as a shortcut and that the marker changes most: its row of `transplants`."""
    rows = _of_markers(data)
    found = data.shortcuts
    runs = {run.id: run for run in tested_runs(data)}
    caught_rows = [row for row in records_of(rows) if row["run_id"] in runs and row["finding"] in found[row["run_id"]]]
    row = max(caught_rows, key=lambda row: float(row["effect"]), default=None)
    return (runs[row["run_id"]], row) if row else None


def marker_sentence(data: ReportData) -> str:
    """State in how many runs a marker of the internal hospital is a shortcut; "" if no run was tested."""
    runs = tested_runs(data)
    if not runs:
        return ""
    found = data.shortcuts
    tested, not_tested = marker_runs(data)
    findings = Counter(finding for r in runs for finding in found[r.id])
    return change_sentences.marker_shortcuts(
        data.hospitals.internal.short,
        sum(bool(found[r.id]) for r in tested),
        len(tested),
        [finding for finding, _ in findings.most_common()],
        len(not_tested),
    )
