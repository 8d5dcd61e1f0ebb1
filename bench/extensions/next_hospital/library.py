"""The function of `bench.api` that says what to expect at a hospital that was not measured."""

from collections.abc import Sequence

from bench.config.arguments import several
from harmonize.errors import ConfigError

__all__ = ["next_hospital"]

METRICS = ("auroc", "gap", "sensitivity", "specificity")


def next_hospital(
    value: Sequence[float], low: Sequence[float], high: Sequence[float], *, metric: str = "auroc"
) -> dict[str, float]:
    """Return the value to expect at a new hospital, from the values of hospitals with their 95 % intervals [H].

    The result has `value` with `low` and `high`, the 95 % prediction interval `new_low` and `new_high`, and `sd` with `sd_low` and
    `sd_high`, the standard deviation between hospitals (on the logit scale for AUROC, sensitivity and specificity). A hospital
    with NaN does not count. Raises ConfigError for fewer than three hospitals, for lists of different lengths, for an unknown
    metric, and for an interval without width or without its value.
    Source: random-effects meta-analysis with a half-normal prior (Röver 2020, doi:10.18637/jss.v093.i06);
    docs/extensions/estimates.md explains the method.

    >>> found = next_hospital([0.78, 0.71, 0.74, 0.69], [0.74, 0.66, 0.70, 0.63], [0.82, 0.76, 0.78, 0.75])
    >>> {name: round(number, 2) for name, number in found.items() if name[:2] != "sd"}
    {'value': 0.73, 'low': 0.67, 'high': 0.79, 'new_low': 0.55, 'new_high': 0.84}
    """
    import numpy as np

    from bench.extensions.next_hospital.panels import ON_LOGIT, from_scale, with_variance
    from bench.extensions.next_hospital.random_effects import LEAST_HOSPITALS, Panels, bayes
    from bench.extensions.next_hospital.report_tables import prior_of

    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}", "next_hospital", f"choose from: {', '.join(METRICS)}")
    given = {"value": value, "low": low, "high": high}
    columns = [several(numbers, name) for name, numbers in given.items()]
    if len({len(column) for column in columns}) != 1:
        fix = "give one of each per hospital"
        raise ConfigError("value, low and high have different lengths", "next_hospital", fix)
    least, most = (0.0, 1.0) if metric in ON_LOGIT else (-1.0, 1.0)
    for number, (middle, start, end) in enumerate(zip(*columns, strict=True), 1):
        of_hospital = np.array([middle, start, end])
        if np.isinf(of_hospital).any() or not (
            np.isnan(of_hospital).any() or (least <= start <= middle <= end <= most and start < end)
        ):
            what = f"hospital {number}: {middle} [{start}, {end}] is no {metric} with an interval"
            raise ConfigError(what, "next_hospital", "give low <= value <= high with low < high; NaN if unknown")
    panels = Panels.of(*with_variance(metric, *np.array(columns, np.float64)))
    if panels.num_hospitals[0] < LEAST_HOSPITALS:
        what = f"too few hospitals have a value with an interval: {panels.num_hospitals[0]}"
        raise ConfigError(what, "next_hospital", f"give at least {LEAST_HOSPITALS}")
    fit = bayes(panels, *prior_of(metric))
    on_metric = {"value": fit.mean, "low": fit.low, "high": fit.high, "new_low": fit.new_low, "new_high": fit.new_high}
    numbers = {name: float(from_scale(metric, column)[0]) for name, column in on_metric.items()}
    return numbers | {"sd": float(fit.tau[0]), "sd_low": float(fit.tau_low[0]), "sd_high": float(fit.tau_high[0])}
