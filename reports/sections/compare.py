"""Section that compares recipes: it contains the numbers of all recipes.

A script builds the table of the recipes that a reader pins (selects for the comparison).
"""

import json
from typing import Any

from markupsafe import Markup

from reports import hooks
from reports.formatting import is_number, plural
from reports.html.compression import packed
from reports.html.section import Section, data_block, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.schemas.criterion import further_scores
from reports.sentences.verdicts import HIGHER, LOWER, UNCLEAR, UNCLEAR_AFTER_CORRECTION
from reports.tables import rows_of


def compare(data: ReportData) -> Section:
    """Write the section: the scores of all ranked recipes as data, and an element that the page's script fills with a table.

    With fewer than two ranked recipes, the section is empty.
    """
    if len(data.ranked) < 2:
        return Section("compare", "", Markup(""))
    texts = Markup(data_block(_data(data)))  # noqa: S704
    # unpacked by the script when a reader pins the second recipe
    further = _further(data)
    unpacked = {"runs": {r.id: _cells(data, r, further) for r in data.ranked}, "pairs": _pairs(data)}
    scores = json.dumps(unpacked, separators=(",", ":"))
    return Section("compare", "", write("compare.html.j2", unit=data.unit, texts=texts, scores=packed(scores)))


def _further(data: ReportData) -> list[hooks.RankedScore]:
    """Return the scores of extensions that a ranked recipe has at external hospitals."""
    return [score for score in further_scores() if any(_further_score(data, score, r).has_value for r in data.ranked)]


def _further_score(data: ReportData, of: hooks.RankedScore, run: Run) -> Estimate:
    score = data.further[of.METRIC].get((run.id, EXTERNAL, MACRO))
    return score.value if score else MISSING


def _measures(data: ReportData) -> list[tuple[tuple[str, str], dict[str, str]]]:
    """Return, for each compared metric, the pair (dataset, metric), and a dict with its title and a note."""
    return [
        ((EXTERNAL, "auroc"), {"title": "External", "note": "AUROC, mean"}),
        ((data.hospitals.internal.key, "auroc"), {"title": "Internal", "note": "AUROC, every finding"}),
        ((EXTERNAL, "gap"), {"title": "Gap", "note": "internal − external, shared findings"}),
        *(((EXTERNAL, m.METRIC), {"title": m.TITLE, "note": m.NOTE}) for m in _further(data)),
        *(((h.key, "auroc"), {"title": h.title, "note": "AUROC"}) for h in data.hospitals.external),
    ]


def _data(data: ReportData) -> dict[str, Any]:
    """Return the data from which the page's script builds the table.

    measures: title and note of each compared metric. verdicts: the words for a difference from the recipe A, the first
    pinned recipe. left: the note which recipes have paired differences.
    """
    table = data.tables["pairs"]
    compared = table["first"].nunique() + 1 if len(table) else 0
    return {
        "measures": [texts for _, texts in _measures(data)],
        "verdicts": {
            "above": f"{HIGHER} than A",
            "below": f"{LOWER} than A",
            "unclear": UNCLEAR,
            "corrected": UNCLEAR_AFTER_CORRECTION,
        },
        "left": f"Paired differences are stored for the first {plural(compared, data.unit)} of the ranking; the others have none here."
        if compared
        else "No paired differences of these means are stored in these tables.",
    }


def _pairs(data: ReportData) -> dict[str, list[list[float] | None]]:
    """Return the paired differences: "first second" (ids of two recipes) -> one list for each metric of `_measures`.

    A list has value, low, high, all_low and all_high. low and high are the difference's own interval; all_low and all_high
    are adjusted for all pairs in the ranking. Eight decimals are kept, so that a bound near 0 keeps its sign; the page
    shows three. Without a difference, there is None instead of a list.
    """
    index_of_measure = {key: k for k, (key, _) in enumerate(_measures(data))}
    pairs: dict[str, list[list[float] | None]] = {}
    columns = ("first", "second", "dataset", "metric", "value", "low", "high", "all_low", "all_high")
    for first, second, dataset, metric, *numbers in rows_of(data.tables["pairs"], *columns):
        k = index_of_measure.get((str(dataset), str(metric)))
        if k is not None and all(map(is_number, numbers)):
            cells = pairs.setdefault(f"{first} {second}", [None] * len(index_of_measure))
            cells[k] = [round(float(v), 8) for v in numbers]
    return pairs


def _cells(data: ReportData, run: Run, further: list[hooks.RankedScore]) -> list[list[str] | None]:
    """Return one entry for each metric of `_measures`: the texts of value and interval, or None if there is no value.

    The text of an unknown interval is "". Python formats the numbers, not the script, so that all sections show the
    same digits.
    """
    estimates = (
        run.external,
        run.internal,
        run.gap,
        *(_further_score(data, m, run) for m in further),
        *(run.hospitals[h.key] for h in data.hospitals.external),
    )
    return [[estimate.text, estimate.span] if estimate.has_value else None for estimate in estimates]
