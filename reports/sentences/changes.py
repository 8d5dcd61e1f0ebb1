"""Sentences about what changes an answer, and what goes with a larger gap. Rules as in `sentences`.

Only here may a sentence say that something changes the answer: pixels were changed, and the answer was looked at.
"""

from collections.abc import Sequence

from reports.formatting import interval, known, listing, places, plural, sentence_case, signed, word
from reports.report_data.headline_rows import Estimate


def leans(internal: str, num_caught: int, num_asked: int, findings: Sequence[str], margin: float) -> str:
    """Return in how many runs a marker of the internal hospital is a shortcut, and for which findings, most frequent first.

    >>> leans("A", 0, 4, [], 0.05)
    'No marker of A is a shortcut in any of four runs: none changes an answer by more than .050 and is of use at the internal hospital'
    >>> leans("A", 3, 4, ["Edema"], 0.05)
    'A marker of A changes the answer on Edema, and what is read at the internal hospital leans on it, in three of four runs'
    >>> leans("A", 1, 1, ["Edema", "Pneumonia"], 0.05)
    'A marker of A changes the answer on Edema and Pneumonia, and what is read at the internal hospital leans on it'
    >>> leans("A", 0, 0, [], 0.05)
    'Whether a marker of A changes an answer could not be asked: too few images carry one'
    """
    if not num_asked:
        return f"Whether a marker of {internal} changes an answer could not be asked: too few images carry one"
    runs = f"{word(num_asked)} runs"
    if not num_caught:
        where = "" if num_asked == 1 else f" in any of {runs}"
        why = f"none changes an answer by more than {places(margin)} and is of use at the internal hospital"
        return f"No marker of {internal} is a shortcut{where}: {why}"
    some = "all" if num_caught == num_asked else f"{word(num_caught)} of"
    where = "" if num_asked == 1 else f", in {some} {runs}"
    return f"A marker of {internal} changes the answer on {listing(findings)}, and what is read at the internal hospital leans on it{where}"


def reacts_only(findings: Sequence[str]) -> str:
    """Return on which findings a marker changes an answer without being of use at the internal hospital; "" for none.

    >>> reacts_only(["Edema"])
    'On Edema a marker changes the answer of a run without being of clear use at the internal hospital: a reaction, not shown to be a shortcut'
    """
    if not findings:
        return ""
    return (
        f"On {listing(findings)} a marker changes the answer of a run without being of clear use at the internal hospital: "
        "a reaction, not shown to be a shortcut"
    )


def by_how_much(label: str, finding: str, value: float, control: float, effect: Estimate) -> str:
    """Return how far the marker moves one run's probability, beside the control.

    >>> by_how_much("A", "Edema", 0.7, 0.2, Estimate(0.5, 0.45, 0.55)).split("; ")[1]
    'the same patch without a marker, from the hospital’s own images, by .200: .500 [.450, .550] more'
    """
    return (
        f"In {label} it moves the probability of {finding} by {places(value)} on average; the same patch without a marker, "
        f"from the hospital’s own images, by {places(control)}: {effect.with_interval} more"
    )


def erased(finding: str, internal: float, external: float) -> str:
    """Return what erasing every marker does to the AUROC at internal and external; "" where either is unknown.

    >>> erased("Edema", -0.25, 0.04)
    'With all markers erased, the AUROC of Edema changes by −.250 at the internal hospital and by +.040 external'
    """
    if not (known(internal) and known(external)):
        return ""
    return f"With all markers erased, the AUROC of {finding} changes by {signed(internal)} at the internal hospital and by {signed(external)} external"


def goes_with(score: str, num: int, least: int) -> str:
    """Return why there is no correlation to report.

    >>> goes_with("the change of the answer", 2, 4)
    'Whether the change of the answer goes with the gap cannot be said from two architectures: a rank correlation takes four'
    """
    noun = "architecture" if num == 1 else "architectures"
    return f"Whether {score} goes with the gap cannot be said from {word(num)} {noun}: a rank correlation takes {word(least)}"


def association(score: str, against: str, rho: Estimate, p: float, num: int, detectable: float, power: float) -> str:
    """Return whether a score goes with the gap or the external AUROC over architectures, and what so few can show.

    >>> rho = Estimate(0.64, 0.25, 0.85)
    >>> association("a larger change", "a larger gap", rho, 0.004, 19, 0.456, 0.58)
    'Over 19 architectures a larger change goes with a larger gap: Spearman’s ρ .640 [.250, .850], p = .004'
    >>> association("a larger change", "a larger gap", Estimate(0.2, -0.3, 0.6), 0.41, 19, 0.456, 0.58).split(". ")[1]
    'With so many, |ρ| must reach .46; a true ρ of .5 would do so in 58 % of studies'
    """
    where = f"Spearman’s ρ {places(rho.value)} {interval(rho.low, rho.high)}".rstrip() + f", p = {places(p)}"
    if not known(rho.value):
        return f"Over {plural(num, 'architecture')} {score} does not vary, so it cannot go with {against}"
    if known(p) and p < 0.05 and rho.value > 0:
        return f"Over {num} architectures {score} goes with {against}: {where}"
    if known(p) and p < 0.05:
        return sentence_case(f"over {num} architectures {score} goes with the opposite of {against}: {where}")
    said = f"Whether {score} goes with {against}, {word(num)} architectures cannot tell: {where}"
    if not known(detectable):
        return f"{said}. Not even perfect agreement of so few would be beyond chance"
    return f"{said}. With so many, |ρ| must reach {places(detectable, 2)}; a true ρ of .5 would do so in {100 * power:.0f} % of studies"
