"""Sentences about gap components, effective robustness and calibration.

A sentence states an effect only if the effect is clear (see `verdicts`). The estimate alone never decides.
"""

from collections.abc import Mapping, Sequence

from reports.formatting import interval, listing, plural, sentence_case, signed
from reports.report_data.headline_rows import Estimate
from reports.schemas.tables import LEAST_RELATED


def gap_components(label: str, components: Mapping[str, Estimate]) -> str:
    """State how much each measured component adds to the gap of a recipe or a run.

    `components`: name -> component, the remainder last.

    >>> case, rest = Estimate(0.02, 0.01, 0.03), Estimate(0.05, 0.04, 0.06)
    >>> gap_components("A", {"case mix": case, "remainder": rest})
    'The gap of A includes +.020 [.010, .030] from case mix; +.050 [.040, .060] is unexplained'
    >>> gap_components("A", {"case mix": Estimate(0.01, -0.01, 0.03), "remainder": rest})
    'The data do not show whether the gap of A is partly due to case mix; +.050 [.040, .060] is unexplained'
    >>> gap_components("A", {"case mix": Estimate(float("nan")), "remainder": rest})
    'The gap in AUROC of A could not be split into components: none was measured for all findings'
    """
    remainder = components["remainder"]
    measured = {name: e for name, e in components.items() if name != "remainder" and e.has_value}
    clear = [f"{signed(e.value)} {interval(e.low, e.high)} from {name}" for name, e in measured.items() if e.clear]
    if not measured:
        return f"The gap in AUROC of {label} could not be split into components: none was measured for all findings"
    if clear:
        text = f"the gap of {label} includes {listing(clear)}"
    else:
        text = f"the data do not show whether the gap of {label} is partly due to {' or '.join(measured)}"
    rest = f"{signed(remainder.value)} {interval(remainder.low, remainder.high)}".strip()
    return sentence_case(f"{text}; {rest} is unexplained")


def unexplained(gap: Estimate, components: Mapping[str, Estimate]) -> str:
    """State the mean gap of a recipe or a run as the sum of its components.

    `components`: name -> component, the remainder last. A component can be negative; then the remainder can be larger than
    the gap.

    >>> rest = Estimate(0.076, 0.041, 0.111)
    >>> unexplained(Estimate(0.078), {"case mix": Estimate(0.002), "labels": Estimate(float("nan")), "remainder": rest})
    'The gap of .078 is the sum of case mix +.002 and a remainder of +.076 [.041, .111], which includes shortcuts'
    >>> unexplained(Estimate(0.066), {"case mix": Estimate(-0.01), "remainder": rest})
    'The gap of .066 is the sum of case mix −.010 and a remainder of +.076 [.041, .111], which includes shortcuts'
    """
    remainder = components["remainder"]
    measured = [f"{name} {signed(e.value)}" for name, e in components.items() if name != "remainder" and e.has_value]
    if not (remainder.has_value and measured):
        return "The gap in AUROC could not be split into components"
    rest = f"a remainder of {signed(remainder.value)} {interval(remainder.low, remainder.high)}".strip()
    return f"The gap of {gap.text} is the sum of {listing([*measured, rest])}, which includes shortcuts"


def effective_robustness(
    above: Sequence[str], below: Sequence[str], num_fitted: int, num_runs: int, unit: str = "run"
) -> str:
    """Name the run, or count the runs, whose external AUROC is clearly higher (`above`) or lower (`below`) than the others predict.

    The prediction for a run comes from a line from internal to external AUROC, which is fitted to the other runs.
    `num_fitted`: number of runs with such a prediction, 0 if no line can be fitted. `num_runs`: number of all runs. `unit`:
    the word for a row of the ranking, "recipe" or "run".

    >>> effective_robustness([], [], 24, 24)
    'No run of 24 clearly differs from its predicted external AUROC'
    >>> effective_robustness(["A"], ["B"], 24, 24)
    'External AUROC: higher than predicted for 1 run, lower for 1 run'
    >>> effective_robustness([], [], 0, 2)
    'No line can be fitted to 2 runs: at least 8 are needed'
    """
    if not num_fitted:
        return f"No line can be fitted to {plural(num_runs, unit)}: at least {LEAST_RELATED} are needed"
    if above and below:
        return f"External AUROC: higher than predicted for {plural(len(above), unit)}, lower for {plural(len(below), unit)}"
    if names := above or below:
        who = names[0] if len(names) == 1 else plural(len(names), unit)
        return f"External AUROC is {'higher' if above else 'lower'} than predicted for {who}"
    return f"No {unit} of {num_fitted} clearly differs from its predicted external AUROC"


def calibration(drift: Estimate, eces: Sequence[tuple[float, float]]) -> str:
    """State whether calibration is worse at external hospitals, and at how many hospitals the calibrator made it worse.

    `drift`: mean of the external minus the internal ECE (expected calibration error). `eces`: for each hospital, the ECE with and
    without the calibrator.

    >>> calibration(Estimate(0.116, 0.094, 0.138), [(0.051, 0.048), (0.187, 0.168)])
    'Calibration is worse at external hospitals: mean change in ECE +.116 [.094, .138]. Platt scaling did not help: its ECE is higher at 2 of 2 hospitals'
    """
    if not drift.has_value:
        return "The mean change in calibration at external hospitals is unknown"
    change = f"mean change in ECE {signed(drift.value)} {interval(drift.low, drift.high)}"
    text = f"Calibration is {'worse' if drift.value > 0 else 'better'} at external hospitals: {change}"
    if not drift.clear:
        text = f"No clear change in calibration at external hospitals ({change})"
    num_worse = sum(round(scaled, 3) > round(plain, 3) for scaled, plain in eces)  # as printed
    if 2 * num_worse <= len(eces):
        return text
    return f"{text}. Platt scaling did not help: its ECE is higher at {num_worse} of {plural(len(eces), 'hospital')}"
