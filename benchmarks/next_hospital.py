"""Coverage of the prediction interval for the AUROC at a new hospital, on simulated hospitals.

Each hospital has its own true AUROC of each finding: expit(level of the finding + u + v). u is the same for all findings of a
hospital, v is that of one finding; both have the standard deviation tau / sqrt(2) on the logit scale. Images are drawn: normal
scores of patients with and without the finding, unequal numbers of patients, one image each. The measured AUROCs and their
intervals go through `bench.extensions.next_hospital` as rows of the table of scores do, and the true AUROCs of one more hospital are
compared with the predictions: of the macro, and of each finding that at least three hospitals score.

    effects   normal, or left-skewed: u is 1 minus an exponential number, so a few hospitals are much worse
    table     one: a single finding; whole: nine findings; holes: each hospital scores five of nine
    inside    share of new hospitals inside the 95 % interval, with its own 95 % interval; below: share below its lower end
    no_tau    share of the macros with I² = 0

python benchmarks/next_hospital.py      # writes benchmarks/next_hospital.csv
"""

from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from scipy.stats import rankdata

from bench.extensions.next_hospital.areas import SCALE
from bench.extensions.next_hospital.panels import VALUES
from bench.extensions.next_hospital.report_tables import of_areas
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.area_intervals import ClassSizes, area_interval, mean_interval
from bench.scoring.gaps.gap import MACRO
from bench.scoring.gaps.hospital_means import weights
from bench.scoring.intervals import wilson
from benchmarks.study import Row, main
from reports.schemas.common_findings import common_findings

Array = NDArray[np.float64]

EFFECTS, TABLES, NUMBERS, TAUS = ("normal", "left-skewed"), ("one", "whole", "holes"), (5, 8), (0.0, 0.2, 0.5)
NUM_FINDINGS, SCORED = 9, 5
POSITIVES = (15, 40, 80, 200, 300)  # patients with the finding, of each hospital in turn
NEGATIVES_FOR_EACH = (4, 2, 6, 3, 2)  # patients without the finding for each patient with it
AT_ONCE = 50  # cases with the same holes


def measured(area: Array, num_positive: int, num_negative: int, draw: np.random.Generator) -> tuple[Array, Array]:
    """Draw patients at hospitals with true AUROCs [S], and return measured AUROCs and DeLong's variances [S]."""
    shift = np.sqrt(2) * ndtri(area)
    positive = draw.standard_normal((len(area), num_positive)) + shift[:, None]
    negative = draw.standard_normal((len(area), num_negative))
    both = rankdata(np.concatenate([positive, negative], 1), axis=1)
    above = (both[:, :num_positive] - rankdata(positive, axis=1)) / num_negative
    below = 1 - (both[:, num_positive:] - rankdata(negative, axis=1)) / num_positive
    return above.mean(1), above.var(1, ddof=1) / num_positive + below.var(1, ddof=1) / num_negative


def cells(area: Array, draw: np.random.Generator) -> Array:
    """Return measured AUROCs with their intervals [3, cases, H, K] at hospitals with true AUROCs [cases, H, K]."""
    out = np.empty((3, *area.shape))
    for h in range(area.shape[1]):
        num, ratio = POSITIVES[h % 5], NEGATIVES_FOR_EACH[h % 5]
        value, variance = measured(area[:, h].ravel(), num, ratio * num, draw)
        sizes = np.full((2, len(value)), [[num], [ratio * num]], np.float64)
        interval = area_interval("auroc", value, np.sqrt(variance), ClassSizes(sizes, sizes))
        out[:, :, h] = np.stack([value, *interval]).reshape(3, len(area), -1)
    return out


def rows_of_scores(found: Array, names: list[str], hospitals: list[str]) -> pd.DataFrame:
    """Return rows of the table of scores, of each finding and of the macro at each hospital; found [3, cases, H, K], with NaN."""
    _, cases, num_hospitals, num = found.shape
    scored = np.isfinite(found[0, 0])
    of_macro = common_findings(scored, np.ones(num, bool))
    of_cells = weights(scored & of_macro)
    rows = []
    for case in range(cases):
        for h in range(num_hospitals):
            rows += [
                (str(case), "auroc", names[k], hospitals[h], *found[:, case, h, k]) for k in np.flatnonzero(scored[h])
            ]
            if np.isfinite(of_cells[h]).all():
                used = of_cells[h] != 0
                value, *bounds = found[:, case][:, used]
                interval = mean_interval("auroc", value, bounds, np.eye(used.sum()), of_cells[h][used])
                rows.append((str(case), "auroc", MACRO, hospitals[h], of_cells[h][used] @ value, *interval))
    return pd.DataFrame(rows, columns=list(VALUES))


def simulated(effects: str, table: str, num: int, tau: float, cases: int, draw: np.random.Generator) -> pd.DataFrame:
    """Return predictions with the columns prediction, scale, truth, low, high and no_tau, for hospitals with the same holes."""
    findings = 1 if table == "one" else NUM_FINDINGS
    names, hospitals = [f"finding {k}" for k in range(findings)], [f"hospital {h}" for h in range(num)]
    drawn = (
        draw.standard_normal((cases, num + 1, 1))
        if effects == "normal"
        else 1 - draw.exponential(1, (cases, num + 1, 1))
    )
    level = np.linspace(0.4, 1.6, findings) if findings > 1 else np.ones(1)
    area = expit(level + tau / np.sqrt(2) * (drawn + draw.standard_normal((cases, num + 1, findings))))
    found = cells(area[:, :-1], draw)
    if table == "holes":
        for h in range(num):
            found[:, :, h, draw.permutation(findings)[SCORED:]] = np.nan
    ids = [str(case) for case in range(cases)]
    recipes = Recipes.of([[one] for one in ids], {one: {} for one in ids})
    made = of_areas(recipes, rows_of_scores(found, names, hospitals), pd.DataFrame(columns=list(VALUES)), hospitals)
    used = common_findings(np.isfinite(found[0, 0]), np.ones(findings, bool))
    truth = {(one, name): area[c, -1, k] for c, one in enumerate(ids) for k, name in enumerate(names)}
    truth |= {(one, MACRO): area[c, -1, used].mean() for c, one in enumerate(ids)}
    known = made["next_hospital"][made["next_hospital"]["reason"] == ""].assign(scale=SCALE)
    no_tau = known[known["finding"] == MACRO].set_index("run_id")["inconsistency"].eq(0)
    further = made["next_hospital_scales"].assign(finding=MACRO)
    both = pd.concat([known, further[further["scale"] != SCALE]], ignore_index=True)
    return pd.DataFrame(
        {
            "prediction": np.where(both["finding"] == MACRO, MACRO, "finding"),
            "scale": both["scale"],
            "truth": [truth[key] for key in zip(both["run_id"], both["finding"], strict=True)],
            "low": both["new_low"],
            "high": both["new_high"],
            "no_tau": both["run_id"].map(no_tau),
        }
    )


def rows(cell: tuple[str, str, int, float], cases: int) -> list[Row]:
    """Return the rows of a cell: effects, table, hospitals, tau."""
    effects, table, num, tau = cell
    draw = np.random.default_rng([EFFECTS.index(effects), TABLES.index(table), num, round(10 * tau)])
    found = pd.concat([simulated(*cell, min(AT_ONCE, cases), draw) for _ in range(max(cases // AT_ONCE, 1))])
    out = []
    for (prediction, scale), of in found.groupby(["prediction", "scale"], sort=False):
        inside = float(((of["low"] <= of["truth"]) & (of["truth"] <= of["high"])).mean())
        # the findings of a case have the same new hospital
        bounds = (float(bound) for bound in wilson(np.array(inside), np.array(float(cases))))
        numbers = dict(zip(("inside", "low", "high"), (inside, *bounds), strict=True))
        numbers |= {"below": (of["truth"] < of["low"]).mean(), "width": (of["high"] - of["low"]).mean()}
        numbers |= {"no_tau": of["no_tau"].mean()}
        shown: Row = {name: f"{number:.3f}" for name, number in numbers.items()}
        of_cell: Row = dict(zip(("effects", "table", "hospitals", "tau"), cell, strict=True))
        out.append({**of_cell, "prediction": prediction, "scale": scale, **shown, "cases": cases})
    return out


CELLS = [
    (effects, table, num, tau)
    for effects, table, num, tau in product(EFFECTS, TABLES, NUMBERS, TAUS)
    # if tau is 0, all effects are alike; tables of nine findings take minutes
    if (tau or effects == "normal") and (table == "one" or num == NUMBERS[0])
]
if __name__ == "__main__":
    main(__file__, __doc__, CELLS, rows, 400)
