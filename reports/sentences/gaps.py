"""Sentences about gap components, effective robustness, run selection and calibration.

A sentence states an effect only if it is clear (see `verdicts`). The estimate alone never decides.
"""

from collections.abc import Mapping, Sequence

from reports.formatting import interval, is_number, listing, places, plural, sentence_case, signed, word
from reports.report_data.headline_rows import Estimate

NUM_NEEDED = 8  # minimum number of runs to fit a line; bench.scoring.across_runs.robustness has the same number


def gap_components(label: str, components: Mapping[str, Estimate]) -> str:
    """State how much each measured component adds to a run's gap; `components` by name, the remainder last.

    >>> case, rest = Estimate(0.02, 0.01, 0.03), Estimate(0.05, 0.04, 0.06)
    >>> gap_components("A", {"case mix": case, "remainder": rest})
    'Case mix adds +.020 [.010, .030] to the gap of A; .050 [.040, .060] is unexplained'
    >>> gap_components("A", {"case mix": Estimate(0.01, -0.01, 0.03), "remainder": rest})
    'The data do not show whether case mix contributes to the gap of A; .050 [.040, .060] is unexplained'
    """
    remainder = components["remainder"]
    measured = {name: e for name, e in components.items() if name != "remainder" and e.has_value}
    clear = [f"{name} adds {signed(e.value)} {interval(e.low, e.high)}" for name, e in measured.items() if e.clear]
    if not measured:
        return f"The gap of {label} could not be decomposed: patient characteristics are not recorded"
    if clear:
        text = f"{listing(clear)} to the gap of {label}"
    else:
        verb = "contributes" if len(measured) == 1 else "contribute"
        text = f"the data do not show whether {' or '.join(measured)} {verb} to the gap of {label}"
    return sentence_case(f"{text}; {remainder.with_interval} is unexplained")


def effective_robustness(
    above: Sequence[str], below: Sequence[str], num_fitted: int, num_runs: int, unit: str = "run"
) -> str:
    """Name the runs with a clearly higher (`above`) or lower (`below`) external AUROC than the other runs predict.

    The prediction is a line from internal to external AUROC, fitted to the other runs.

    >>> effective_robustness([], [], 24, 24)
    'No run of 24 clearly differs from the external AUROC that the other runs predict'
    >>> effective_robustness(["A"], ["B"], 24, 24)
    'External AUROC is higher than predicted for A; it is lower for B'
    >>> effective_robustness([], [], 0, 2)
    'No line can be fitted to 2 runs: at least eight with different internal AUROC are needed'
    """
    if not num_fitted:
        return f"No line can be fitted to {plural(num_runs, unit)}: at least {word(NUM_NEEDED)} with different internal AUROC are needed"
    if above and below:
        return f"External AUROC is higher than predicted for {listing(above)}; it is lower for {listing(below)}"
    if above or below:
        size = "higher" if above else "lower"
        return f"External AUROC is {size} than predicted for {listing(above or below)}"
    return f"No {unit} of {num_fitted} clearly differs from the external AUROC that the other {unit}s predict"


def selection_by_internal(regret: Estimate, optimism: float, unit: str = "run") -> str:
    """State how much external AUROC is lost if internal validation selects the run (regret).

    `optimism` is the amount by which an external AUROC is too high if the same external data select the run.

    >>> selection_by_internal(Estimate(0.0, 0.0, 0.0), 0.004)
    'Selecting on internal validation data finds the run with the best external AUROC; selecting on an external hospital would
    overstate its AUROC by up to .004'
    >>> selection_by_internal(Estimate(0.012, 0.002, 0.022), float("nan"))
    'Selecting on internal validation data loses .012 [.002, .022] external AUROC compared with the best run'
    """
    start = "Selecting on internal validation data"
    if regret.value == 0:
        text = f"{start} finds the {unit} with the best external AUROC"
    elif regret.clear:
        text = f"{start} loses {regret.with_interval} external AUROC compared with the best {unit}"
    else:
        text = f"The {unit} selected on internal validation data cannot be distinguished from the best {unit} ({regret.with_interval})"
    overstated = f"; selecting on an external hospital would overstate its AUROC by up to {places(optimism)}"
    return text + (overstated if is_number(optimism) else "")


def calibration(label: str, drift: Estimate, hospital_drifts: Sequence[tuple[str, float]]) -> str:
    """State whether a run is less well calibrated at external hospitals.

    `drift` is the mean change of the ECE; `hospital_drifts` are pairs (hospital, change of the ECE).
    """
    if not drift.has_value:
        return f"The calibration of {label} could not be compared between internal and external hospitals"
    change = f"ECE {signed(drift.value)} {interval(drift.low, drift.high)}"
    if len(hospital_drifts) > 1:
        most, value = max(hospital_drifts, key=lambda pair: pair[1])
        change += f" on average; largest at {most}, {signed(value)}"
    if not drift.clear:
        return f"The data do not show whether {label} is less well calibrated at external hospitals ({change})"
    return f"{label} is {'less well' if drift.value > 0 else 'better'} calibrated at external hospitals: {change}"
