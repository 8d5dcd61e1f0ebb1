"""Sentences about groups of patients, and about findings without a threshold. Rules as in `sentences`."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.formatting import listing, places, plural
from reports.report_data.headline_rows import Estimate


@dataclass(frozen=True, slots=True)
class Distance:
    """Where the groups of an attribute lie apart: largest less least, and the two groups; its interval allows for the picking."""

    hospital: str
    attribute: str
    spread: Estimate
    most: str = ""
    least: str = ""
    at_most: float = float("nan")
    at_least: float = float("nan")


def spreads(label: str, distances: Sequence[Distance]) -> str:
    """Return where the AUROC of groups clearly differs, of all the distances that were looked at.

    >>> sex = Distance("NIH", "sex", Estimate(0.05, 0.01, 0.09))
    >>> spreads("A", [sex, Distance("NIH", "age", Estimate(0.05, 0.0, 0.1))])
    'How well A reads differs by sex in NIH (.050 [.010, .090]); 1 of 2 distances looked at lies clear of 0, each by its own interval'
    >>> spreads("A", [])
    'Groups of patients could not be compared: too few of them, or not recorded'
    """
    if not distances:
        return "Groups of patients could not be compared: too few of them, or not recorded"
    clear = _clear(distances)
    if not clear:
        return f"Whether {label} reads one group of patients worse than another, the data cannot tell ({_looked(distances)})"
    named = listing([f"by {d.attribute} in {d.hospital} ({d.spread.with_interval})" for d in clear])
    return f"How well {label} reads differs {named}; {_share(clear, distances)}"


def missed(label: str, distances: Sequence[Distance]) -> str:
    """Return which groups are clearly more often called healthy though sick (underdiagnosis).

    >>> sex = Distance("NIH", "sex", Estimate(0.05, 0.01, 0.09), "F", "M", 0.12, 0.07)
    >>> missed("A", [sex])
    'Of the sick, A calls F more often healthy than M in NIH (.120 against .070); 1 of 1 distance looked at lies clear of 0, each by its own interval'
    >>> missed("A", [])
    'Whether A misses the sick of one group more often could not be measured'
    """
    if not distances:
        return f"Whether {label} misses the sick of one group more often could not be measured"
    clear = _clear(distances)
    if not clear:
        return f"Whether {label} calls the sick of one group more often healthy, the data cannot tell ({_looked(distances)})"
    named = [
        f"{d.most} more often healthy than {d.least} in {d.hospital} ({places(d.at_most)} against {places(d.at_least)})"
        for d in clear
    ]
    return f"Of the sick, {label} calls {listing(named)}; {_share(clear, distances)}"


def no_threshold(findings: Sequence[tuple[str, int, int]], min_count: int) -> str:
    """Return which findings have no threshold: (finding, patients with it, patients without) on the internal validation split.

    >>> no_threshold([("Edema", 4, 90)], 10)
    'No threshold for Edema (4 patients with it): a threshold needs 10 patients with and 10 without the finding on the internal validation split'
    >>> no_threshold([("No Finding", 50, 3)], 10)[:46]
    'No threshold for No Finding (3 patients withou'
    >>> no_threshold([], 10)
    ''
    """
    if not findings:
        return ""
    named = [
        f"{finding} ({plural(min(few, many), 'patient')} {'with' if few <= many else 'without'} it)"
        for finding, few, many in findings
    ]
    why = f"a threshold needs {min_count} patients with and {min_count} without the finding on the internal validation split"
    return f"No threshold for {listing(named, len(named))}: {why}"


def _clear(distances: Sequence[Distance]) -> list[Distance]:
    """Return those whose interval lies above 0, largest first."""
    return sorted((d for d in distances if d.spread.clear), key=lambda d: -d.spread.value)


def _looked(distances: Sequence[Distance]) -> str:
    return f"{plural(len(distances), 'distance')} looked at"


def _share(clear: Sequence[Distance], distances: Sequence[Distance]) -> str:
    lie = "lies" if len(clear) == 1 else "lie"
    return f"{len(clear)} of {_looked(distances)} {lie} clear of 0, each by its own interval"
