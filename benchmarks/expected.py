"""Coverage of the intervals of scores that are estimated without labels, among all values and among those that are stated.

    python benchmarks/expected.py                       # writes benchmarks/expected.csv

Hospitals are exchangeable: the change of a score from the internal to another hospital is -.05 on average, with a standard deviation
(`sd`) that is shared by all findings and runs of a hospital (share .3 of the variance), by all runs of a finding (.5), or by neither
(.2). `--simulations` times, the scores of a new hospital are estimated from those of H labeled hospitals, with the mean gap.

Columns: `stated`, the share of values that are stated; `coverage`, the share of the stated values whose 90 % interval contains the
measured score, with Wilson's interval `low` to `high` for the number of simulations with a stated value; `mean`, the same share for
the mean over findings, which is always stated; `half`, the median half width of the stated values.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from bench.extensions.estimates.estimators import MEAN_GAP
from bench.extensions.estimates.expected_scores import expected, macros
from bench.extensions.estimates.known_values import KnownValues
from bench.scoring.intervals import wilson

RUNS_AND_FINDINGS = ((1, 1), (4, 1), (1, 3), (1, 5), (2, 5), (4, 9))
HOSPITALS = (3, 5, 8)
SDS = (0.02, 0.04, 0.06)
SHARES = (0.3, 0.5, 0.2)  # of the variance: all of a hospital, a finding of a hospital, a run's finding of a hospital
INTERNAL, CHANGE = 0.85, -0.05


def main() -> None:
    """Simulate, and write the table to the folder of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    rows = []
    for (runs, findings), hospitals, sd in product(RUNS_AND_FINDINGS, HOSPITALS, SDS):
        generator = np.random.default_rng([options.seed, runs, findings, hospitals, round(1000 * sd)])
        internal, stated, held, halves, of_mean = np.full((runs, findings), INTERNAL), [], [], [], []
        nothing = np.full(internal.shape, "", object)
        for _ in range(options.simulations):
            shapes = ((hospitals + 1, 1, 1), (hospitals + 1, 1, findings), (hospitals + 1, runs, findings))
            parts = (np.sqrt(share) * generator.normal(size=shape) for share, shape in zip(SHARES, shapes, strict=True))
            truth = INTERNAL + CHANGE + sd * sum(parts)
            known = KnownValues(internal, truth[1:], {})
            found = expected(MEAN_GAP, known, {}, nothing)
            mean = macros(known, found, np.ones(internal.shape, bool))
            stated.append(found.stated.mean())
            if found.stated.any():
                held.append(found.contains(truth[0])[found.stated].mean())
                halves.append(np.median(found.half[found.stated]))
            center = truth[0].mean(1)
            of_mean.append(((mean.low <= center) & (center <= mean.high)).mean())
        coverage = float(np.mean(held)) if held else np.nan
        low, high = wilson(np.array(coverage), np.array(float(len(held))))
        row = {"runs": runs, "findings": findings, "hospitals": hospitals, "sd": sd, "stated": np.mean(stated)}
        row |= {"coverage": coverage, "low": float(low), "high": float(high), "mean": np.mean(of_mean)}
        rows.append(row | {"half": np.median(halves) if halves else np.nan, "simulations": options.simulations})
        print(*(f"{number:.3g}" for number in rows[-1].values()), flush=True)
    table = pd.DataFrame(rows)
    table["command"] = f"python benchmarks/expected.py --simulations {options.simulations} --seed {options.seed}"
    table.to_csv(options.to, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
