"""Sentences about the members of a mean external AUROC: findings and hospitals, and what the mean leaves out."""

from collections.abc import Callable

from reports.formatting import of_all, plural
from reports.report_data.members import Members


def over(members: Members, *, brief: bool = False) -> str:
    """State how many findings and hospitals a mean external AUROC is over; "" for a mean of nothing.

    `brief`: for a headline, without the numbers per hospital.

    >>> from reports.report_data.headline_rows import MISSING
    >>> over(Members(("Edema",), 3, {}, (1, 1), 5, MISSING))
    'over 1 of 3 findings, at 2 of 5 hospitals'
    >>> over(Members(("Edema", "Mass"), 2, {}, (1, 2, 2), 3, MISSING))
    'over 2 findings (1 to 2 per hospital, the others estimated)'
    >>> over(Members(("Edema", "Mass"), 3, {}, (1, 2, 2), 3, MISSING), brief=True)
    'over 2 of 3 findings'
    """
    num, total = len(members.findings), members.num_findings
    if not num:
        return ""
    findings = plural(num, "finding") if num == total else of_all(num, total, "finding")
    if not brief and members.per_hospital[0] < num:
        least, most = members.per_hospital[0], members.per_hospital[-1]
        findings += f" ({least if least == most else f'{least} to {most}'} per hospital, the others estimated)"
    fewer = members.num_hospitals < members.num_external
    hospitals = f", at {of_all(members.num_hospitals, members.num_external, 'hospital')}" if fewer else ""
    return f"over {findings}{hospitals}"


def _lowest_left_out(members: Members, title_of: Callable[[str], str]) -> str:
    """Name the lowest AUROC that a mean leaves out, with its interval; "" if the mean leaves nothing out.

    `title_of`: key of a hospital -> its name.
    """
    for (hospital, finding), estimate in members.left_out.items():
        return f"{finding} at {title_of(hospital)}, {estimate.with_interval}"
    return ""


def hidden_failure(members: Members, title_of: Callable[[str], str]) -> str:
    """Return a clause on the lowest AUROC that a mean leaves out, if it is so low that no sentence may praise the mean; else ""."""
    return f"this leaves out {_lowest_left_out(members, title_of)}" if members.hides_failure else ""


def left_out(members: Members, title_of: Callable[[str], str], *, name_lowest: bool = True) -> str:
    """State which findings a mean is over and which it leaves out; "" if it leaves nothing out.

    `name_lowest`: whether to name the lowest AUROC left out.
    """
    if not members.left_out:
        return ""
    text = (
        f"Of {plural(members.num_findings, 'finding')}, the mean has {len(members.findings)}, "
        "which the internal test split and at least two external hospitals score."
    )
    if name_lowest:
        text += f" The lowest measured AUROC left out: {_lowest_left_out(members, title_of)}."
    return text
