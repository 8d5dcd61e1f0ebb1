"""Words on net benefit: whether a network is better than treating all images as positive, or none."""

from reports.report_data.net_benefits import Benefit

BETTER = "better"
NO_BETTER = "no better than all or none"
WORSE_THAN_NONE, WORSE_THAN_ALL = "worse than none", "worse than all"


def benefit_verdict(benefit: Benefit) -> str:
    """Return the verdict on a net benefit; "" without intervals.

    "All" and "none" mean that all images, or none, are treated as positive. BETTER needs two clear differences: from treating none, and from treating all.

    >>> from reports.report_data.headline_rows import Estimate
    >>> clear, unclear, below = Estimate(0.1, 0.05, 0.15), Estimate(0.1, -0.05, 0.25), Estimate(-0.1, -0.15, -0.05)
    >>> [benefit_verdict(Benefit(clear, clear, other)) for other in (clear, unclear, below)]
    ['better', 'no better than all or none', 'worse than all']
    >>> benefit_verdict(Benefit(below, below, clear))
    'worse than none'
    """
    value, over_all = benefit.value, benefit.over_all
    if not (value.has_interval and over_all.has_interval):
        return ""
    for difference, worse in ((value, WORSE_THAN_NONE), (over_all, WORSE_THAN_ALL)):
        if difference.clear and not difference.clear_above:
            return worse
    return BETTER if value.clear_above and over_all.clear_above else NO_BETTER
