"""Sentences about the members of a mean external AUROC: findings and hospitals, and what the mean leaves out."""

from collections.abc import Callable, Sequence

from reports.formatting import listing, of_all, plural
from reports.report_data.members import Members


def over(members: Members, *, brief: bool = False) -> str:
    """State how many findings and hospitals a mean external AUROC is over; "" for a mean of nothing.

    `brief`: for a headline, without the numbers per hospital.

    >>> over(Members(("Edema",), 3, {}, (1, 1), 5))
    'over 1 of 3 findings, at 2 of 5 hospitals'
    >>> over(Members(("Edema", "Mass"), 2, {}, (1, 2, 2), 3))
    'over 2 findings (1 to 2 per hospital, the others estimated)'
    >>> over(Members(("Edema", "Mass"), 3, {}, (1, 2, 2), 3), brief=True)
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


def left_out(members: Members, title_of: Callable[[str], str], children: Sequence[str] = ()) -> str:
    """State which findings a mean is over and the lowest AUROC that it leaves out, or why there is no mean; "" if it leaves nothing out.

    `title_of`: key of a hospital -> its name. `children`: hospitals of children, whose AUROCs `members` does not have.
    """
    if not members.left_out:
        return ""
    (hospital, finding), lowest = next(iter(members.left_out.items()))
    text, left = no_mean(members), ""
    if not text:
        left = " left out"
        text = (
            f"The mean is over the {of_all(len(members.findings), members.num_findings, 'finding')} "
            "that the internal test split and at least two external hospitals score."
        )
    left += f", without the children of {listing(children)}" if children else ""
    return f"{text} The lowest measured AUROC{left}: {finding} at {title_of(hospital)}, {lowest.with_interval}."


def no_mean(members: Members) -> str:
    """State that there is no mean over findings and hospitals, and why; "" if there is one."""
    return f"There is no mean over findings and hospitals, because of {members.reason}." if members.reason else ""


def of_finding(metric: str, finding: str, hospitals: Sequence[str]) -> str:
    """Return the name of the mean score of a finding at external hospitals.

    >>> of_finding("AUROC", "Edema", ["NIH", "BRAX"]), of_finding("AUROC", "Edema", ["NIH"])
    ('mean AUROC of Edema at 2 external hospitals', 'AUROC of Edema at NIH')
    """
    if len(hospitals) == 1:
        return f"{metric} of {finding} at {hospitals[0]}"
    return f"mean {metric} of {finding} at {len(hospitals)} external hospitals"
