"""Sentences about training time, cost and several goals at once.

A sentence states an effect only if the effect is clear (see `verdicts`). The estimate alone never decides.
"""

from reports.formatting import every, is_number, places, plural, sentence_case, two_figures, word

# units of time: (minimum number of hours for which the unit is used, name, number of these units in an hour)
UNITS = ((1.0, "hours", 1.0), (1 / 60, "minutes", 60.0), (0.0, "seconds", 3600.0))


def device_name(device: str) -> str:
    """Return the words for training time, which is summed over a run's devices, followed by the name of the device.

    >>> device_name("NVIDIA H200"), device_name("cpu (1 thread)"), device_name("")
    ('GPU time on NVIDIA H200', 'device time on cpu (1 thread)', 'device time (device not recorded)')
    """
    if not device:
        return "device time (device not recorded)"
    return f"{'device' if device.startswith('cpu') else 'GPU'} time on {device}"


def time_unit(hours: float) -> tuple[str, float]:
    """Return the unit in which a time is easy to read (hours, minutes or seconds), and the number of these units in an hour.

    >>> time_unit(30.0), time_unit(0.2), time_unit(0.001)
    (('hours', 1.0), ('minutes', 60.0), ('seconds', 3600.0))
    """
    return next((unit, per) for least, unit, per in UNITS if hours >= least)


def anytime(device: str, hours: float, quarter: float, half: float, final: float) -> str:
    """State the best validation AUROC of any run after a quarter, half and all of the longest training time.

    `device`: name of the device; `hours`: longest training time. `quarter`, `half` and `final` are the three AUROCs; an
    AUROC is NaN if no run had finished an epoch by this time.

    >>> anytime("NVIDIA H200", 12.0, 0.78, 0.801, 0.812)
    'Best internal AUROC after a quarter, half and all of the longest training (which took 12 hours of GPU time on NVIDIA H200): .780, .801, .812'
    >>> anytime("cpu (1 thread)", 0.05, 0.812, 0.812, 0.812)
    'The best internal AUROC, .812, is reached within a quarter of the longest training (which took 3.0 minutes of device time on cpu (1 thread))'
    >>> anytime("cpu (1 thread)", 0.05, float("nan"), 0.7, 0.812)
    'Best internal AUROC after half and all of the longest training (which took 3.0 minutes of device time on cpu (1 thread)): .700, .812'
    >>> anytime("cpu", 0.0001, 0.812, 0.812, 0.812)
    'The best internal AUROC, .812, is reached within a quarter of the longest training (which took less than a second of device time on cpu)'
    """
    if not is_number(final):
        return "No AUROC by training time is stored"
    unit, per = time_unit(hours)
    took = f"{two_figures(hours * per)} {unit}" if hours >= 1 / 3600 else "less than a second"
    longest = f"the longest training (which took {took} of {device_name(device)})"
    if is_number(quarter) and final - quarter < 0.0005:
        return f"The best internal AUROC, {places(final)}, is reached within a quarter of {longest}"
    if is_number(quarter):
        return f"Best internal AUROC after a quarter, half and all of {longest}: {places(quarter)}, {places(half)}, {places(final)}"
    if is_number(half):
        return f"Best internal AUROC after half and all of {longest}: {places(half)}, {places(final)}"
    return f"Best internal AUROC after all of {longest}: {places(final)}"


def nondominated_runs(num_goals: int, num_nondominated: int, num_runs: int, unit: str = "run") -> str:
    """State the number of Pareto-optimal runs.

    A run is Pareto-optimal if no other run is at least as good in each goal and better in one goal.

    >>> nondominated_runs(3, 2, 24), nondominated_runs(2, 2, 2)
    ('Two of 24 runs are Pareto-optimal in three goals', 'Both runs are Pareto-optimal in two goals')
    """
    goals = f"{word(num_goals)} goals"
    if num_nondominated == num_runs:
        return f"{sentence_case(every(num_runs, unit))} are Pareto-optimal in {goals}"
    verb = "is" if num_nondominated == 1 else "are"
    return f"{sentence_case(word(num_nondominated))} of {word(num_runs)} {unit}s {verb} Pareto-optimal in {goals}"


def resampling(num_others: int, num_sure: int, num_nondominated: int, num_runs: int, unit: str = "run") -> str:
    """State how much the set of Pareto-optimal runs changes when patients are resampled.

    `num_nondominated`: number of Pareto-optimal runs. `num_sure`: number of these runs that are Pareto-optimal in at least
    95 % of resamples, too. `num_others`: number of all other runs that are Pareto-optimal in more than 5 % of resamples.
    `num_runs`: number of all compared runs.

    >>> resampling(0, 2, 2, 9)
    'Each of the two Pareto-optimal runs stays Pareto-optimal in at least 95 % of the bootstrap samples. No other run is Pareto-optimal in more than 5 %.'
    >>> resampling(3, 1, 2, 9)
    'One of the two Pareto-optimal runs stays Pareto-optimal in at least 95 % of the bootstrap samples. 3 other runs are Pareto-optimal in more than 5 %.'
    """
    if num_nondominated == 1:
        text = f"The Pareto-optimal {unit} stays Pareto-optimal in {'at least' if num_sure else 'less than'} 95 % of the bootstrap samples."
    else:
        many = {0: "none", num_nondominated: "each"}.get(num_sure, word(num_sure))
        verb = "stay" if 1 < num_sure < num_nondominated else "stays"
        text = sentence_case(
            f"{many} of the {word(num_nondominated)} Pareto-optimal {unit}s {verb} Pareto-optimal in at least 95 % of the bootstrap samples."
        )
    if num_others:
        text += f" {plural(num_others, f'other {unit}')} {'is' if num_others == 1 else 'are'} Pareto-optimal in more than 5 %."
    elif num_sure == num_nondominated < num_runs:
        text += f" No other {unit} is Pareto-optimal in more than 5 %."
    return text
