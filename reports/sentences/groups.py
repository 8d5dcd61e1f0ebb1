"""Sentences about patient groups, and about findings without a threshold.

A sentence states an effect only if the effect is clear (see `verdicts`). The estimate alone never decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.formatting import listing, places, plural
from reports.report_data.headline_rows import Estimate


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """The difference between the groups of one attribute with the highest and the lowest value, at one hospital.

    The value of a group is its AUROC or its underdiagnosis rate.
    """

    hospital: str
    attribute: str  # e.g. "sex"
    # highest minus lowest value; its interval takes into account that the two most different groups were chosen
    spread: Estimate
    highest: str = ""  # name of the group with the highest value; "" if unknown
    lowest: str = ""  # name of the group with the lowest value
    highest_value: float = float("nan")
    lowest_value: float = float("nan")


def title(differences: Sequence[GroupDifference]) -> str:
    """State how many AUROC differences between patient groups are clear.

    >>> sex = GroupDifference("NIH", "sex", Estimate(0.05, 0.01, 0.09))
    >>> title([sex, GroupDifference("NIH", "age", Estimate(0.05, 0.0, 0.1))])
    '1 of 2 AUROC differences between patient groups is clear'
    >>> title([])
    'Patient groups could not be compared: too few patients or not recorded'
    """
    if not differences:
        return "Patient groups could not be compared: too few patients or not recorded"
    num_clear = len(_clear(differences))
    if not num_clear:
        return f"No clear difference in AUROC between patient groups ({plural(len(differences), 'comparison')})"
    verb = "is" if num_clear == 1 else "are"
    compared = plural(len(differences), "AUROC difference")
    return f"{num_clear} of {compared} between patient groups {verb} clear"


def clear_differences(label: str, differences: Sequence[GroupDifference]) -> str:
    """Name the hospitals and attributes with a clear difference in the AUROC of a run; "" if there are none.

    `label`: label of the run.

    >>> clear_differences("A", [GroupDifference("NIH", "sex", Estimate(0.05, 0.01, 0.09))])
    'The AUROC of A differs by sex at NIH (.050 [.010, .090])'
    """
    clear = [f"by {d.attribute} at {d.hospital} ({d.spread.with_interval})" for d in _clear(differences)]
    return f"The AUROC of {label} differs {listing(clear)}" if clear else ""


def underdiagnosis(label: str, differences: Sequence[GroupDifference]) -> str:
    """Name the patient groups with a clearly higher underdiagnosis rate of a run; `label`: label of the run.

    >>> sex = GroupDifference("NIH", "sex", Estimate(0.05, 0.01, 0.09), "F", "M", 0.12, 0.07)
    >>> underdiagnosis("A", [sex])
    'The underdiagnosis rate of A is higher for sex F than for M at NIH (.120 and .070); 1 of 1 compared difference is clear'
    >>> underdiagnosis("A", [])
    'The underdiagnosis rate could not be compared between patient groups'
    """
    if not differences:
        return "The underdiagnosis rate could not be compared between patient groups"
    clear = _clear(differences)
    num_compared = len(differences)
    if not clear:
        return f"No clear difference in the underdiagnosis rate between patient groups ({plural(num_compared, 'comparison')})"
    groups_in_words = [
        f"for {d.attribute} {d.highest} than for {d.lowest} at {d.hospital} ({places(d.highest_value)} and {places(d.lowest_value)})"
        for d in clear
    ]
    share = f"{len(clear)} of {plural(num_compared, 'compared difference')} {'is' if len(clear) == 1 else 'are'} clear"
    return f"The underdiagnosis rate of {label} is higher {listing(groups_in_words)}; {share}"


def no_threshold(findings: Sequence[tuple[str, int, int]], min_count: int) -> str:
    """Name the findings without a threshold, with the reason; "" if there are none.

    `findings`: (name, number of patients with the finding, number of patients without the finding), counted in the
    internal validation split. `min_count`: the minimum of both numbers for a threshold.

    >>> no_threshold([("Edema", 4, 90)], 10)
    'No threshold for Edema (4 patients with it): a threshold needs 10 patients with and 10 without the finding in the internal validation split'
    >>> no_threshold([("No Finding", 50, 3)], 10)[:46]
    'No threshold for No Finding (3 patients withou'
    >>> no_threshold([], 10)
    ''
    """
    if not findings:
        return ""
    findings_in_words = [
        f"{finding} ({plural(min(num_with, num_without), 'patient')} {'with' if num_with <= num_without else 'without'} it)"
        for finding, num_with, num_without in findings
    ]
    reason = f"a threshold needs {min_count} patients with and {min_count} without the finding in the internal validation split"
    return f"No threshold for {listing(findings_in_words, len(findings_in_words))}: {reason}"


def _clear(differences: Sequence[GroupDifference]) -> list[GroupDifference]:
    """Return the clear differences, largest difference first."""
    return sorted((d for d in differences if d.spread.clear), key=lambda d: -d.spread.value)
