"""The sentence on the first screen of the page about the mean gap under another reading of the labels."""

from collections.abc import Mapping

from reports.formatting import places, plural
from reports.report_data.headline_rows import EXTERNAL, Estimate
from reports.report_data.report_data import ReportData
from reports.sentences.data import READING_RULES
from reports.sentences.verdicts import verdict as verdict_word
from reports.tables import records_of

KEY = "label-readings"  # key of the section


def gaps_by_reading(data: ReportData) -> dict[str, dict[str, Mapping[str, object]]]:
    """Return {reading: {dataset: row of `mean_reading_gaps`}}; the reading of the page is first."""
    found: dict[str, dict[str, Mapping[str, object]]] = {}
    for row in records_of(data.tables["mean_reading_gaps"]):
        found.setdefault(row["reading"], {})[row["dataset"]] = row
    return found


def verdict(row: Mapping[str, object]) -> tuple[int, int]:
    """Return how many recipes have a clearly lower, and a clearly higher, external AUROC: 0 none, 1 some, 2 most, 3 all."""
    num, *counts = (int(str(row[name])) for name in ("num_runs", "num_worse", "num_better"))
    worse, better = ((count > 0) + (2 * count > num) + (count == num) for count in counts)
    return worse, better


def gap_note(data: ReportData) -> tuple[str, str]:
    """Return the key of the section, and a sentence on the reading that changes the verdicts or else the mean gap most; "" if none does."""
    (_, own), *others = [(name, rows[EXTERNAL]) for name, rows in gaps_by_reading(data).items()] or [("", {})]
    if not others:
        return KEY, ""
    gap, same = Estimate.of(own), verdict(own)
    name, row = max(others, key=lambda other: (verdict(other[1]) != same, abs(Estimate.of(other[1]).value - gap.value)))
    other = Estimate.of(row)
    changed = [old != new for old, new in zip(same, verdict(row), strict=True)]
    if not any(changed) and gap.low <= other.value <= gap.high:
        return KEY, ""
    num, *counts = (int(str(row[key])) for key in ("num_runs", "num_worse", "num_better"))
    recipes = "".join(
        f"; {f'{count} of {plural(num, data.unit)}' if count else f'no {data.unit}'} {'has' if count < 2 else 'have'} a clearly {word} AUROC"
        for word, count, is_changed in zip(("lower", "higher"), counts, changed, strict=True)
        if is_changed and num > 1  # the mean gap of a single recipe has the same verdict
    )
    return KEY, f"If {READING_RULES[name]}, the mean gap is {places(other.value)} and {verdict_word(other)}{recipes}."
