"""Sentences about training time."""

from reports.formatting import is_number, places, two_figures

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
