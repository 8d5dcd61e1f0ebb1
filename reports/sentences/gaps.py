"""Sentences about what a gap is made of, what the internal hospital lets expect, and groups of patients. Rules as in `sentences`."""

from collections.abc import Mapping, Sequence

from reports.formatting import interval, known, listing, places, plural, sentence_case, signed
from reports.report_data.headline_rows import Estimate


def gap_parts(label: str, parts: Mapping[str, Estimate]) -> str:
    """Return what the measured parts do to a run's gap; `parts` by their words, the remainder last.

    >>> case, rest = Estimate(0.02, 0.01, 0.03), Estimate(0.05, 0.04, 0.06)
    >>> gap_parts("A", {"case mix": case, "remainder": rest})
    'Case mix moves what A loses externally by +.020 [.010, .030]; .050 [.040, .060] remains'
    >>> gap_parts("A", {"case mix": Estimate(0.01, -0.01, 0.03), "remainder": rest})
    'Whether case mix plays a part in what A loses externally, the data cannot tell; .050 [.040, .060] remains'
    """
    rest = parts["remainder"]
    measured = {word: each for word, each in parts.items() if word != "remainder" and each.known}
    clear = [
        f"{word} moves what {label} loses externally by {signed(each.value)} {interval(each.low, each.high)}"
        for word, each in measured.items()
        if each.clear
    ]
    if not measured:
        return f"What {label} loses externally could not be taken apart: it is not recorded who the patients are"
    said = (
        "; ".join(clear)
        or f"whether {' or '.join(measured)} plays a part in what {label} loses externally, the data cannot tell"
    )
    return sentence_case(f"{said}; {rest.with_interval} remains")


def beyond_expected(above: Sequence[str], below: Sequence[str], num_line: int, num_runs: int) -> str:
    """Return which runs read clearly better or worse externally than the line of the others lets expect.

    >>> beyond_expected([], [], 24, 24)
    'No run of 24 stands clear of the line that the others make'
    >>> beyond_expected(["A"], ["B"], 24, 24)
    'A reads better at external hospitals than the internal AUROC predicts; B reads worse'
    >>> beyond_expected([], [], 0, 2)
    '2 runs make no line: it takes four that differ at the internal hospital'
    """
    if not num_line:
        return f"{plural(num_runs, 'run')} make{'s' if num_runs == 1 else ''} no line: it takes four that differ at the internal hospital"
    expected = " at external hospitals than the internal AUROC predicts"
    said = [
        f"{listing(names)} read{'s' if len(names) == 1 else ''} {word}"
        for names, word in ((above, f"better{expected}"), (below, "worse" if above else f"worse{expected}"))
        if names
    ]  # fmt: skip
    return "; ".join(said) or f"No run of {num_line} stands clear of the line that the others make"


def chosen_by_internal(regret: Estimate, optimism: float) -> str:
    """Return what choosing by the internal validation split costs externally, and how much an oracle's number flatters.

    >>> chosen_by_internal(Estimate(0.0, 0.0, 0.0), 0.004)
    'the internal validation split picks the run that reads best externally; choosing by an external hospital would flatter its number by up to .004'
    >>> chosen_by_internal(Estimate(0.012, 0.002, 0.022), float("nan"))
    'The run that the internal validation split picks reads .012 [.002, .022] below the best external'
    """
    if regret.value == 0:
        said = "the internal validation split picks the run that reads best external"
    elif regret.clear:
        said = f"The run that the internal validation split picks reads {regret.with_interval} below the best external"
    else:
        said = f"The data cannot tell the run that the internal validation split picks from the best externally ({regret.with_interval})"
    flatters = f"; choosing by an external hospital would flatter its number by up to {places(optimism)}"
    return said + (flatters if known(optimism) else "")


def calibration(label: str, drift: Estimate, there: Sequence[tuple[str, float]]) -> str:
    """Return whether a run is further from its word externally than at the internal hospital; `drift` is the mean, `there` (hospital, drift)."""
    if not drift.known:
        return f"The calibration of {label} could not be compared between internal and external"
    moved = f"ECE {signed(drift.value)} {interval(drift.low, drift.high)}"
    if len(there) > 1:
        most, value = max(there, key=lambda pair: pair[1])
        moved += f" on average, {signed(value)} at {most}, the largest measured"
    if not drift.clear:
        return f"Whether {label} is further from its word externally than at the internal hospital, the data cannot tell ({moved})"
    return f"{label} is {'further from' if drift.value > 0 else 'nearer to'} its word externally than at the internal hospital: {moved}"
