"""Sentences about the region transplant test and its relation to the gap.

A sentence states an effect only if the effect is clear (see `verdicts`). The estimate alone never decides.

Only the sentences of this module may state that something changes a prediction, because only this test changes pixels.
"""

from collections.abc import Sequence

from reports.formatting import is_number, listing, of_all, places, signed
from reports.report_data.headline_rows import Estimate
from reports.sentences.main_findings import quoted


def marker_shortcuts(
    internal: str, num_with: int, num_tested: int, findings: Sequence[str], num_untested: int = 0
) -> str:
    """State in how many runs a marker of the internal hospital is a shortcut, and for which findings.

    `internal`: name of the internal hospital. `num_with`: number of runs with the shortcut. `num_tested`: number of tested
    runs. `findings`: the findings for which any run uses the shortcut. `num_untested`: number of runs whose test failed or
    is not finished; if there are any, the sentence says "tested runs".

    >>> marker_shortcuts("A", 0, 4, [])
    '0 of 4 runs use a marker of A to predict a finding'
    >>> marker_shortcuts("A", 3, 4, ["Edema"])
    '3 of 4 runs use a marker of A to predict Edema'
    >>> marker_shortcuts("A", 1, 2, ["No Finding"])
    '1 of 2 runs uses a marker of A to predict “No Finding”'
    >>> marker_shortcuts("A", 1, 1, ["Edema", "Pneumonia", "Mass"])
    '1 of 1 run uses a marker of A to predict 3 findings'
    >>> marker_shortcuts("A", 0, 0, [])
    'Markers of A could not be tested: too few images have one'
    >>> marker_shortcuts("A", 2, 2, ["Edema"], 1)
    '2 of 2 tested runs use a marker of A to predict Edema'
    """
    if not num_tested:
        return f"Markers of {internal} could not be tested: too few images have one"
    run = "tested run" if num_untested else "run"
    runs = f"{of_all(num_with, num_tested, run)} {'uses' if num_with == 1 else 'use'}"
    names = f"{len(findings)} findings" if len(findings) > 2 else listing([quoted(name) for name in findings])
    return f"{runs} a marker of {internal} to predict {names or 'a finding'}"


def untested(num_untested: int, num_ranked: int) -> str:
    """State for how many ranked runs the region transplant test has no result; "" for none.

    >>> untested(3, 4), untested(1, 4), untested(0, 4)
    ('3 of 4 runs are not tested', '1 of 4 runs is not tested', '')
    """
    if not num_untested:
        return ""
    return f"{of_all(num_untested, num_ranked, 'run')} {'is' if num_untested == 1 else 'are'} not tested"


def relation(rho: Estimate) -> str:
    """State whether runs with a larger change in predictions have a larger gap; `rho`: rank correlation of change and gap.

    >>> relation(Estimate(0.64, 0.25, 0.85)), relation(Estimate(0.2, -0.3, 0.6))
    ('Larger change in predictions, larger gap: ρ .640 [.250, .850]', 'No clear relation to the gap: ρ .200 [−.300, .600]')
    >>> relation(Estimate(float("nan")))
    'Relation to the generalization gap'
    """
    if not rho.has_value:
        return "Relation to the generalization gap"
    if not rho.clear:
        return f"No clear relation to the gap: ρ {rho.with_interval}"
    return f"Larger change in predictions, {'larger' if rho.value > 0 else 'smaller'} gap: ρ {rho.with_interval}"


def reaction_only(findings: Sequence[str]) -> str:
    """Name findings for which a marker changes predictions, but erased markers do not lower the internal AUROC; "" for none.

    >>> reaction_only(["Edema"])  # doctest: +ELLIPSIS
    'For Edema, a marker changes the predictions of at least one run, but erasing markers does not clearly lower the internal AUROC. So ...shortcut'
    """
    if not findings:
        return ""
    return (
        f"For {listing(findings)}, a marker changes the predictions of at least one run, but erasing markers does not clearly lower "
        "the internal AUROC. So the test does not show a shortcut"
    )


def whole_image(change: str, num_reacting: int, num_tested: int, findings: Sequence[str], margin: float) -> str:
    """State in how many runs a change of the entire image clearly changes probabilities, and for which findings.

    `change`: name of the change. `num_reacting`: number of runs with a probability that changes clearly by more than
    `margin`. `num_tested`: number of tested runs.

    >>> whole_image("CLAHE", 0, 4, [], 0.05)
    'CLAHE: in 0 of 4 runs, a probability clearly changes by more than .050'
    >>> whole_image("CLAHE", 2, 4, ["Edema"], 0.05)
    'CLAHE: in 2 of 4 runs, the probability of Edema changes by more than .050'
    >>> whole_image("CLAHE", 4, 4, ["Edema", "Mass", "Pneumonia"], 0.05)
    'CLAHE: in 4 of 4 runs, the probability of one or more findings changes by more than .050 (Edema, Mass and Pneumonia)'
    """
    runs = of_all(num_reacting, num_tested, "run")
    if not num_reacting:
        return f"{change}: in {runs}, a probability clearly changes by more than {places(margin)}"
    if len(findings) == 1:
        return f"{change}: in {runs}, the probability of {findings[0]} changes by more than {places(margin)}"
    # the runs may differ in the findings whose probability changes
    named = f"{change}: in {runs}, the probability of one or more findings changes by more than {places(margin)}"
    return f"{named} ({listing(findings, len(findings))})"


def marker_effect(label: str, finding: str, value: float, control: float, effect: Estimate) -> str:
    """State how much the marker, and how much the control patch, changes the predicted probability of a run.

    value, control: mean absolute change of the probability by the marker and by the control patch; effect: value minus
    control.

    >>> marker_effect("A", "Edema", 0.7, 0.2, Estimate(0.5, 0.45, 0.55)).split("; ")[1]
    'a control patch without a marker changes it by .200. The difference is .500 [.450, .550]'
    """
    return (
        f"In {label}, the marker changes the predicted probability of {finding}, up or down, by {places(value)} on average; "
        f"a control patch without a marker changes it by {places(control)}. The difference is {effect.with_interval}"
    )


def example(hospital: str, internal: str, label: str, finding: str, before: float, after: float, num: int) -> str:
    """State the probabilities of an image without and with a marker; `num`: number of images of which it has the median change.

    >>> example("B", "A", "ResNet", "Edema", 0.12, 0.81, 70)
    'The same image of B without and with a marker of A: ResNet gives Edema the probability .12 and .81 (the median change of 70 images)'
    """
    return (
        f"The same image of {hospital} without and with a marker of {internal}: {label} gives {quoted(finding)} the probability "
        f"{places(before, 2)} and {places(after, 2)} (the median change of {num} images)"
    )


def erased_markers(finding: str, internal: float, external: float) -> str:
    """State how the internal and the external AUROC change if all markers are erased; "" if a change is unknown.

    `internal`, `external`: the changes of the AUROC.

    >>> erased_markers("Edema", -0.25, 0.04)
    'With all markers erased, the internal AUROC of Edema changes by −.250, and the external AUROC by +.040'
    """
    if not (is_number(internal) and is_number(external)):
        return ""
    return (
        f"With all markers erased, the internal AUROC of {finding} changes by {signed(internal)}, "
        f"and the external AUROC by {signed(external)}"
    )
