"""Which recipes are equivalent to the first recipe of the ranking: a tie does not show that two recipes are equal."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from reports.formatting import is_number, places, plural
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.tables import rows_of

Array = NDArray[np.float64]

MARGINS = (0.01, 0.02, 0.03, 0.05)  # of AUROC
MARGIN = 0.02  # the margin of the sentence
NARROW = float(ndtri(0.95) / ndtri(0.975))  # half width of a normal 90 % interval in half widths of the 95 % interval


def equivalent(value: Array, low: Array, high: Array, margin: float) -> NDArray[np.bool_]:
    """Return whether two one-sided tests at .05 both say that the difference value [R] is inside -margin to margin.

    low and high [R]: the normal 95 % interval. Both tests reject if and only if the 90 % interval is inside the margin.
    Source: Schuirmann 1987, doi:10.1007/BF01068419.

    >>> equivalent(np.array([0.0, 0.0]), np.array([-0.02, -0.03]), np.array([0.02, 0.03]), 0.02)
    array([ True, False])
    """
    return np.asarray((value - NARROW * (value - low) > -margin) & (value + NARROW * (high - value) < margin))


def equivalence(data: ReportData) -> dict[str, Any]:
    """Return the counts of recipes for each margin, as words; {} if no recipe is compared with the first.

    rows: a margin and three counts of recipes: equivalent to the first; not equivalent but clearly different (the test of the tie
    groups); left open by the data. words: the counts for MARGIN as a sentence. label: the first recipe. compared: number of
    recipes with a paired difference.
    """
    first = data.ranked[0].id if data.ranked else ""
    columns = ("first", "second", "dataset", "metric", "value", "low", "high", "all_low", "all_high")
    numbers = [
        row[4:]
        for row in rows_of(data.tables["pairs"], *columns)
        if first in row[:2] and row[2:4] == (EXTERNAL, "auroc") and all(map(is_number, row[4:]))
    ]
    if not numbers:
        return {}
    value, low, high, all_low, all_high = np.array(numbers, np.float64).T
    differs, rows = (all_low > 0) | (all_high < 0), {}
    for margin in MARGINS:
        same = equivalent(value, low, high, margin)
        rows[margin] = [int(of.sum()) for of in (same, differs & ~same, ~differs & ~same)]
    num_same, num_different, num_open = rows[MARGIN]
    label, compared = data.ranked[0].label, len(value)
    others = len(data.ranked) - 1 - compared
    words = (
        f"A tie does not show that {data.unit}s are equal. Equivalence to {label} within {places(MARGIN, 2)} external AUROC, tested "
        f"for {plural(compared, data.unit)}: equivalent {num_same}, clearly different {num_different}, neither {num_open}."
    ) + (f" Tested for ties only: {others}." if others else "")
    shown = [{"margin": places(margin, 2), "counts": counts} for margin, counts in rows.items()]
    return {"words": words, "rows": shown, "label": label, "compared": compared}
