"""Error rates of a triage and their verdicts, read from the table `triage`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot
from typing import Any

import pandas as pd

from reports.formatting import is_number
from reports.report_data.headline_rows import Estimate, compared_with
from reports.sentences.verdicts import UNCLEAR
from reports.tables import records_of

Key = tuple[str, str, str]  # run id, dataset, finding
LEVEL = 0.1  # the page shows this stated rate; the tables have .05, too
RATES = ("miss_rate", "false_positive_rate")
HELD, BROKEN = "guarantee held", "guarantee broken"
TOO_HIGH = "too high, perhaps by chance of few internal patients"
_THRESHOLDS = {"miss_rate": "release_threshold", "false_positive_rate": "flag_threshold"}


@dataclass(frozen=True, slots=True)
class Rate:
    """One error rate of a triage at one cohort.

    estimate: the rate, with simultaneous bounds. level: the stated rate. by_chance: the highest true rate that the number of
    internal patients allows if the patients of the cohort are exchangeable with them; NaN without a threshold.
    has_threshold: whether there were enough internal patients for a threshold.
    """

    estimate: Estimate
    level: float
    by_chance: float
    has_threshold: bool

    @property
    def is_below(self) -> bool:
        """Return whether the rate is clearly at most the stated rate."""
        return self.estimate.has_interval and self.estimate.bounds[1] <= self.level

    @property
    def is_above(self) -> bool:
        """Return whether the rate is clearly above the stated rate."""
        return self.estimate.has_interval and self.estimate.bounds[0] > self.level

    @property
    def is_beyond_chance(self) -> bool:
        """Return whether the rate is clearly above the stated rate, even allowing for the chance in the internal patients.

        The two uncertainties are independent, so their distances add as squares (Zou and Donner 2008, doi:10.1002/sim.3095).
        """
        if not (self.is_above and is_number(self.by_chance)):
            return False
        value, low, (bound, _) = self.estimate.value, self.estimate.low, self.estimate.bounds
        factor = (value - bound) / (value - low) if value > low else 1.0  # the correction for several rates
        return value - hypot(value - bound, factor * (self.by_chance - self.level)) > self.level


def lookup(table: pd.DataFrame) -> tuple[dict[tuple[str, Key], Rate], dict[Key, Mapping[str, Any]]]:
    """Return {(name of a rate, key): rate} and {key: row of the table}, for the stated rate LEVEL.

    The bounds hold for all findings of the run at this hospital.
    """
    rows: dict[Key, Mapping[str, Any]] = {
        (str(row["run_id"]), str(row["dataset"]), str(row["finding"])): row
        for row in records_of(table[table["level"] == LEVEL])
    }
    sizes = Counter(map(compared_with, rows))
    rates = {}
    for key, row in rows.items():
        for name in RATES:
            value, low, high, by_chance = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high", "_by_chance"))
            estimate = Estimate(value, low, high).corrected(sizes[compared_with(key)])
            rates[name, key] = Rate(estimate, LEVEL, by_chance, is_number(row[_THRESHOLDS[name]]))
    return rates, rows


def triage_verdict(rate: Rate) -> str:
    """Return the verdict on an error rate; "" without an interval or a threshold.

    HELD: clearly at most the stated rate. BROKEN: clearly above the stated rate, also if the chance in the choice of internal
    patients is taken into account; the hospital's patients are then not exchangeable with the internal patients. TOO_HIGH:
    clearly above, but a threshold from so few internal patients may be too high by chance.

    >>> from reports.report_data.headline_rows import Estimate
    >>> rates = [Estimate(0.05, 0.03, 0.08), Estimate(0.1, 0.05, 0.2), Estimate(0.2, 0.15, 0.25), Estimate(0.4, 0.3, 0.5)]
    >>> for rate in rates: print(triage_verdict(Rate(rate, 0.1, 0.2, True)))
    guarantee held
    unclear
    too high, perhaps by chance of few internal patients
    guarantee broken
    """
    if not (rate.estimate.has_interval and rate.has_threshold):
        return ""
    if rate.is_below:
        return HELD
    if not rate.is_above:
        return UNCLEAR
    return BROKEN if rate.is_beyond_chance else TOO_HIGH
