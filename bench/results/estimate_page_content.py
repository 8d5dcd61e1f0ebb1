"""The content of the page of `bench estimate`."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.estimate_summary import (
    SHOWN,
    basis_of,
    left_out_of_means,
    measured_rows,
    names_of,
    order_of,
    reasons_of,
)
from bench.results.expected_at_hospital import ExpectedScores
from bench.results.label_needs import labels_needed
from bench.scoring.gaps.gap import MACRO
from bench.scoring.label_needs import CALIBRATION, DIFFERENCE, SENSITIVITY
from harmonize.errors import StoreError
from reports.estimate_page import EstimatePage, ExpectedFinding, ExpectedRun, LabelNeeds, LocalScore
from reports.formatting import places, signed
from reports.report_data.headline_rows import MISSING, Estimate


def page_of(result: ExpectedScores, notes: Sequence[str]) -> EstimatePage:
    """Return the content of the HTML page."""
    names, mean, order = names_of(result.manifest), result.means["auroc"], order_of(result)
    runs = []
    for r in order:
        bounds = float(mean.value[r]), float(mean.low[r]), float(mean.high[r])
        auroc = Estimate(*bounds) if mean.findings else MISSING
        ranks = int(mean.rank_low[r]), int(mean.rank_high[r])
        runs.append(ExpectedRun(names[result.run_ids[r]], result.run_ids[r], auroc, *ranks, bool(mean.best[r])))
    findings = []
    for k, finding in enumerate(result.findings):
        values = {}
        for quantity in SHOWN:
            one, r = result.results[quantity], order[0]
            bounds = float(one.value[r, k]), float(one.low[r, k]), float(one.high[r, k])
            values[quantity] = Estimate(*bounds) if one.stated[r, k] else MISSING
        findings.append(ExpectedFinding(finding, values))
    content = result.manifest.content
    return EstimatePage(
        str(content["title"]),
        bool(content["phantom"]),
        result.num_images,
        result.learned_from,
        runs,
        findings,
        SHOWN,
        reasons_of(result, order[0]),
        basis_of(result, places, signed),
        notes,
        [
            LocalScore(
                row["finding"],
                SHOWN[row["quantity"]],
                Estimate(row["value"], row["low"], row["high"]),
                Estimate(row["labels_value"], row["labels_low"], row["labels_high"]),
                int(row["num_patients"]),
            )
            for row in measured_rows(result, order[0])
        ],
        _label_needs(result, order, names),
        left_out_of_means(result),
    )


def _label_needs(result: ExpectedScores, order: Sequence[int], names: Mapping[str, str]) -> LabelNeeds | None:
    """Return the labels that the first run needs, and those that tell it from the second run; None if nothing is known."""
    run_ids = [result.run_ids[r] for r in order]
    second = run_ids[1] if len(run_ids) > 1 and result.means["auroc"].best[order[1]] else None
    manifest = result.manifest
    try:
        found = labels_needed(manifest.store, str(manifest.content["name"]), run_ids[0], second, result.findings)
    except StoreError:  # no finding of a labeled hospital has enough patients
        return None
    needs = found.needs[found.needs["dataset"] == found.needs["dataset"].iloc[0]]  # all hospitals together
    texts = {(row["goal"], row["finding"]): _text(row) for row in needs.to_dict("records")}
    pair = _pair(names[run_ids[0]], names[second], texts.get((DIFFERENCE, MACRO), "")) if second else ""
    goals = {
        CALIBRATION: f"Recalibrate to an ECE of {places(found.goals.ece, 2)}",
        SENSITIVITY: f"Threshold with a sensitivity of {places(found.goals.sensitivity, 2)}",
    }
    findings = {
        finding: [texts.get((goal, finding), "–") for goal in goals]
        for finding in result.findings
        if any((goal, finding) in texts for goal in goals)
    }
    return LabelNeeds(list(goals.values()), findings, pair)


def _text(row: Mapping[Any, Any]) -> str:
    """Return the number of labeled patients in a row of NEEDS, or why there is none."""
    return str(row["note"]) or (f"{row['needed']:,.0f}" if row["needed"] else "none: the run as it is")


def _pair(first: str, second: str, needed: str) -> str:
    """Return a sentence on the number of labeled patients that tell two runs apart; `needed`: see `_text`."""
    if needed.replace("more than ", "")[:1].isdigit():
        return f"Telling {first} from {second} by macro AUROC takes {needed} labeled patients."
    return f"At no labeled hospital do the labels of all patients tell {first} from {second} by macro AUROC."
