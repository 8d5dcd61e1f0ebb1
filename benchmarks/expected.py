"""Coverage of the intervals of scores that are estimated without labels.

    python benchmarks/expected.py                       # writes benchmarks/expected.csv

Hospitals are exchangeable: the change of a score from the internal to another hospital is -.05 on average, with a standard deviation
(`sd`) that is shared by all findings and runs of a hospital (share .3 of the variance), by all runs of a finding (.5), or by neither
(.2). `--cases` times, the scores of a new hospital are estimated from those of H labeled hospitals, with the mean gap.

Columns: `coverage`, the share of the values whose 90 % interval contains the measured score, with Wilson's interval `low` to `high`
for the number of simulations; `mean`, the same share for the mean over findings; `half`, the median half width.
"""

from itertools import product

import numpy as np

from bench.extensions.estimates.estimators import MEAN_GAP
from bench.extensions.estimates.expected_scores import expected, macros
from bench.extensions.estimates.known_values import KnownValues
from benchmarks.study import Row, main, share

RUNS_AND_FINDINGS = ((1, 1), (4, 1), (1, 3), (1, 5), (2, 5), (4, 9))
HOSPITALS = (3, 5, 8)
SDS = (0.02, 0.04, 0.06)
SHARES = (0.3, 0.5, 0.2)  # of the variance: all of a hospital, a finding of a hospital, a run's finding of a hospital
INTERNAL, CHANGE = 0.85, -0.05


def rows(cell: tuple[tuple[int, int], int, float], cases: int) -> list[Row]:
    """Return the row of a cell: runs and findings, hospitals, standard deviation."""
    (runs, findings), hospitals, sd = cell
    generator = np.random.default_rng([0, runs, findings, hospitals, round(1000 * sd)])
    internal, held, halves, of_mean = np.full((runs, findings), INTERNAL), [], [], []
    nothing = np.full(internal.shape, "", object)
    for _ in range(cases):
        shapes = ((hospitals + 1, 1, 1), (hospitals + 1, 1, findings), (hospitals + 1, runs, findings))
        parts = (np.sqrt(part) * generator.normal(size=shape) for part, shape in zip(SHARES, shapes, strict=True))
        truth = INTERNAL + CHANGE + sd * sum(parts)
        known = KnownValues(internal, truth[1:], {})
        found = expected(MEAN_GAP, known, {}, nothing)
        mean = macros(known, found, np.ones(internal.shape, bool))
        held.append(((found.low <= truth[0]) & (truth[0] <= found.high)).mean())
        halves.append(np.median(found.half))
        center = truth[0].mean(1)
        of_mean.append(((mean.low <= center) & (center <= mean.high)).mean())
    row = {"runs": runs, "findings": findings, "hospitals": hospitals, "sd": sd}
    row |= dict(zip(("coverage", "low", "high"), share(held), strict=True))
    return [row | {"mean": np.mean(of_mean), "half": np.median(halves), "simulations": cases}]


if __name__ == "__main__":
    main(__file__, __doc__, product(RUNS_AND_FINDINGS, HOSPITALS, SDS), rows)
