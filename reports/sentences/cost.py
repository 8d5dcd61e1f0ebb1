"""Sentences about training time."""

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
