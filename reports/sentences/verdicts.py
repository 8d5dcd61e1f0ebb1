"""The verdict words of the page. Sentences, tables, figures and scripts use only the words in this module.

`Estimate.clear` decides a verdict. If several numbers are compared, the interval that decides is the simultaneous
interval, which holds for all these numbers at once. So the same number has the same verdict wherever it is printed.
"""

from reports.report_data.headline_rows import Estimate

CLEAR, UNCLEAR = "clear", "unclear"
# follows an interval that lies on one side of 0, if the simultaneous interval, which decides, does not
UNCLEAR_AFTER_CORRECTION = "unclear after correction for multiple comparisons"
HIGHER, LOWER = "higher", "lower"
# verdicts on a mean over pairs of recipes; they are not verdicts on a single pair
HIGHER_MEAN, LOWER_MEAN = "higher mean", "lower mean"
LARGER_MEAN_GAP, SMALLER_MEAN_GAP = "larger mean gap", "smaller mean gap"
UNCLEAR_MEAN = "no clear mean change"


def verdict(estimate: Estimate, above: str = CLEAR, below: str = CLEAR) -> str:
    """Return the verdict word for a difference; "" if the difference has no interval.

    A clear difference gets the word `above` if it is above 0, and `below` if it is below 0. Any other difference gets the
    word of `unclear`.

    >>> verdict(Estimate(0.1, 0.05, 0.15)), verdict(Estimate(0.1, 0.05, 0.15, all_low=-0.02, all_high=0.22))
    ('clear', 'unclear after correction for multiple comparisons')
    >>> verdict(Estimate(-0.1, -0.15, -0.05), HIGHER, LOWER), verdict(Estimate(0.1))
    ('lower', '')
    """
    if not (estimate.has_value and estimate.has_interval):
        return ""
    if not estimate.clear:
        return unclear(estimate)
    return above if estimate.value > 0 else below


def with_verdict(estimate: Estimate) -> str:
    """Return a number with its own interval as text, followed by a word if its difference from 0 is unclear.

    >>> with_verdict(Estimate(0.1, 0.05, 0.15)), with_verdict(Estimate(0.1, -0.05, 0.25))
    ('.100 [.050, .150]', '.100 [−.050, .250] (unclear)')
    >>> with_verdict(Estimate(0.1, 0.05, 0.15, all_low=-0.02, all_high=0.22))
    '.100 [.050, .150] (unclear after correction for multiple comparisons)'
    """
    doubt = "" if estimate.clear or not verdict(estimate) else f" ({verdict(estimate)})"
    return f"{estimate.with_interval}{doubt}"


def unclear(estimate: Estimate) -> str:
    """Return the word for an unclear difference: whether its own interval already includes 0, or only the corrected one.

    >>> unclear(Estimate(0.1, -0.05, 0.25)), unclear(Estimate(0.1, 0.05, 0.15, all_low=-0.02, all_high=0.22))
    ('unclear', 'unclear after correction for multiple comparisons')
    """
    return UNCLEAR if estimate.low <= 0 <= estimate.high else UNCLEAR_AFTER_CORRECTION
