"""Sentences about what a budget buys. Rules as in `sentences`."""

from collections.abc import Sequence

from reports.formatting import known, listing, places, plural, sentence_case, two_figures, word

GOAL_WORDS = {"auroc": "accurate", "gap": "robust", "maps": "interpretable", "macs": "cheap"}

UNITS = (
    (1.0, "hours", 1.0),
    (1 / 60, "minutes", 60.0),
    (0.0, "seconds", 3600.0),
)  # from how many hours on, unit, per hour


def device_word(device: str) -> str:
    """Return what hours of a device are called: GPU-hours where it is no processor.

    >>> device_word("NVIDIA H200"), device_word("cpu (1 thread)"), device_word("")
    ('GPU, NVIDIA H200', 'device, cpu (1 thread)', 'device, not recorded')
    """
    if not device:
        return "device, not recorded"
    return f"{'device' if device.startswith('cpu') else 'GPU'}, {device}"


def time_unit(hours: float) -> tuple[str, float]:
    """Return the unit in which so many hours are read easily, and how many of it an hour has.

    >>> time_unit(30.0), time_unit(0.2), time_unit(0.001)
    (('hours', 1.0), ('minutes', 60.0), ('seconds', 3600.0))
    """
    return next((unit, per) for least, unit, per in UNITS if hours >= least)


def anytime(device: str, hours: float, quarter: float, half: float, whole: float) -> str:
    """Return what the largest budget spent on one run bought on the internal validation split, and what parts of it had bought.

    quarter, half and whole are the highest AUROC that any run had reached by then; NaN where none had finished an epoch.

    >>> anytime("NVIDIA H200", 12.0, 0.78, 0.801, 0.812)
    'By a quarter of the longest training (12 hours of one GPU, NVIDIA H200) a run had reached .780 at the internal hospital, by half .801, by its end .812'
    >>> anytime("cpu (1 thread)", 0.05, 0.812, 0.812, 0.812)
    'After a quarter of the longest training (3.0 minutes of one device, cpu (1 thread)) no run rose above the .812 that was reached at the internal hospital'
    >>> anytime("cpu (1 thread)", 0.05, float("nan"), 0.7, 0.812)
    'By half of the longest training (3.0 minutes of one device, cpu (1 thread)) a run had reached .700 at the internal hospital, by its end .812'
    """
    if not known(whole):
        return "How far training had come by when was not kept"
    unit, per = time_unit(hours)
    spent = f"the longest training ({two_figures(hours * per)} {unit} of one {device_word(device)})"
    if known(quarter) and whole - quarter < 0.0005:
        return f"After a quarter of {spent} no run rose above the {places(whole)} that was reached at the internal hospital"
    if known(quarter):
        return f"By a quarter of {spent} a run had reached {places(quarter)} at the internal hospital, by half {places(half)}, by its end {places(whole)}"
    if known(half):
        return (
            f"By half of {spent} a run had reached {places(half)} at the internal hospital, by its end {places(whole)}"
        )
    return f"By the end of {spent} a run had reached {places(whole)} at the internal hospital"


def goals(asked: Sequence[str], unbeaten: Sequence[str], num_runs: int) -> str:
    """Return who is not beaten in all goals at once: no other run is at least as good in each and better in one.

    >>> goals(["auroc", "gap", "macs"], ["A", "B"], 24)
    'Accurate, robust and cheap at once: two of 24 runs are beaten by no other on all three goals: A and B'
    >>> goals(["auroc", "gap"], ["A", "B"], 2)
    'Accurate and robust at once: neither of two runs is beaten on both goals'
    >>> goals(["auroc", "gap", "maps", "macs"], ["A"], 4)
    'Accurate, robust, interpretable and cheap at once: one of four runs is beaten by no other on all four goals: A'
    """
    how_many = "both" if len(asked) == 2 else f"all {word(len(asked))}"
    start = f"{sentence_case(listing([GOAL_WORDS[goal] for goal in asked], len(asked)))} at once"
    if len(unbeaten) == num_runs:
        who = f"neither of {word(num_runs)}" if num_runs == 2 else f"none of {word(num_runs)}"
        return f"{start}: {who} runs is beaten on {how_many} goals"
    verb = "is" if len(unbeaten) == 1 else "are"
    return f"{start}: {word(len(unbeaten))} of {word(num_runs)} runs {verb} beaten by no other on {how_many} goals: {listing(unbeaten)}"


def goals_doubt(others: int, sure: int, num_unbeaten: int) -> str:
    """Return how far resampling bears that out: of the unbeaten, `sure` are it nearly always; `others` may be, too.

    >>> goals_doubt(0, 2, 2)
    'Resampled patients leave that so.'
    >>> goals_doubt(3, 1, 2)
    'On resampled patients one of them is unbeaten in 95 % of the draws or more; 3 other runs are in more than 5 %, so the data cannot rule them out.'
    """
    if sure == num_unbeaten and not others:
        return "Resampled patients leave that so."
    known_sure = "none of them is" if not sure else f"{word(sure)} of them {'is' if sure == 1 else 'are'}"
    if sure == num_unbeaten:
        known_sure = "each of them is" if sure > 1 else "it is"
    said = f"On resampled patients {known_sure} unbeaten in 95 % of the draws or more"
    if others:
        verb, whom = ("is", "it") if others == 1 else ("are", "them")
        said += f"; {plural(others, 'other run')} {verb} in more than 5 %, so the data cannot rule {whom} out"
    return f"{said}."
