"""What the page of `bench estimate` says about the labels that its runs need."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.extensions.estimates.estimate_page import LabelAdvice
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from bench.extensions.label_needs.draws import CALIBRATION, DIFFERENCE, SENSITIVITY
from bench.extensions.label_needs.needs import labels_needed
from bench.scoring.gaps.gap import MACRO
from harmonize.errors import StoreError
from reports.formatting import places


def advice(result: ExpectedScores, order: Sequence[int], names: Mapping[str, str]) -> LabelAdvice | None:
    """Return the labels that the first run needs, and those that tell it from the second run; None if nothing is known."""
    run_ids = [result.run_ids[r] for r in order]
    second = run_ids[1] if len(run_ids) > 1 and result.means["auroc"].best[order[1]] else None
    manifest = result.manifest
    try:
        found = labels_needed(manifest.store, manifest.name, run_ids[0], second, result.findings)
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
    return LabelAdvice(list(goals.values()), findings, pair)


def _text(row: Mapping[Any, Any]) -> str:
    """Return the number of labeled patients in a row of NEEDS, or why there is none."""
    return str(row["note"]) or (f"{row['needed']:,.0f}" if row["needed"] else "none: the run as it is")


def _pair(first: str, second: str, needed: str) -> str:
    """Return a sentence on the number of labeled patients that tell two runs apart; `needed`: see `_text`."""
    if needed.replace("more than ", "")[:1].isdigit():
        return f"Telling {first} from {second} by macro AUROC takes {needed} labeled patients."
    return f"At no labeled hospital do the labels of all patients tell {first} from {second} by macro AUROC."
