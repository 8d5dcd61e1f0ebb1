"""What the first screen of the page says about readings of the labels: a clause of the headline, and a sentence on the mean gap."""

from collections.abc import Mapping

from reports.formatting import word
from reports.report_data.headline_rows import EXTERNAL, Estimate
from reports.report_data.report_data import ReportData
from reports.sentences.data import READING_RULES
from reports.sentences.verdicts import with_verdict
from reports.tables import records_of

KEY = "label-readings"  # of the section


def gaps_by_reading(data: ReportData) -> dict[str, dict[str, Mapping[str, object]]]:
    """Return {reading: {dataset: row of `mean_reading_gaps`}}; the reading of the page is first."""
    found: dict[str, dict[str, Mapping[str, object]]] = {}
    for row in records_of(data.tables["mean_reading_gaps"]):
        found.setdefault(row["reading"], {})[row["dataset"]] = row
    return found


def estimate(row: Mapping[str, object]) -> Estimate:
    """Return the gap of a row, with the interval that is simultaneous over hospitals."""
    value, low, high, all_low, all_high = (
        float(str(row[name])) for name in ("value", "low", "high", "all_low", "all_high")
    )
    return Estimate(value, low, high).simultaneous(all_low, all_high)


def _of_means(data: ReportData) -> dict[str, Mapping[str, object]]:
    """Return {reading: row of the mean over hospitals}."""
    return {name: rows[EXTERNAL] for name, rows in gaps_by_reading(data).items()}


def clause(data: ReportData) -> str:
    """State how many readings give the verdicts of this page; "" if all do.

    The verdicts are the numbers of recipes with a clearly lower, and with a clearly higher, AUROC at external hospitals.
    """
    verdicts = [(row["num_worse"], row["num_better"]) for row in _of_means(data).values()]
    num_same = sum(verdict == verdicts[0] for verdict in verdicts)
    if num_same == len(verdicts):
        return ""
    return f"under {word(num_same)} of {word(len(verdicts))} ways to read the labels"


def note(data: ReportData) -> tuple[str, str]:
    """Return the key of the section, and a sentence on the lowest and the highest mean gap under other readings; "" without any."""
    others = sorted(list(_of_means(data).items())[1:], key=lambda item: estimate(item[1]).value)
    ends = dict([*others[:1], *others[-1:]])
    gaps = [f"{with_verdict(estimate(row))} if {READING_RULES[name]}" for name, row in ends.items()]
    ways = (
        "Read in another way, the labels give a gap of"
        if len(others) == 1
        else "Read in other ways, the labels give gaps from"
    )
    return KEY, f"{ways} {' to '.join(gaps)}." if gaps else ""
