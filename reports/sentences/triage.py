"""Words on the guarantee of a triage: whether an error rate is at most the stated rate."""

from reports.report_data.triage_rates import Rate
from reports.sentences.verdicts import UNCLEAR

HELD, BROKEN = "guarantee held", "guarantee broken"
TOO_HIGH = "too high, perhaps by chance of few internal patients"


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
