"""How far an AUROC away hangs on the reading of the labels: every admissible mapping on the same logits and patients.

Shapes: N images, K findings, R runs.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from bench.scoring import bootstrap, metrics
from bench.scoring.gap import MACRO
from bench.scoring.intervals import mean_of, of_area
from bench.scoring.parts import DROPPED, Part, Settings, count
from bench.scoring.resamples import Resamples
from reports.tables import SCHEMAS

Array = NDArray[np.float64]


def sensitivity(
    run_id: str, part: Part, findings: Sequence[str], settings: Settings, num_threads: int = 1
) -> list[tuple[object, ...]]:
    """Return rows of the `mappings` table: the AUROC of each finding that some mapping changes, and the macro.

    The part's background holds its states under the other mappings. The macro is over the findings with a value under
    every mapping, so that only the reading differs. Patients are resampled as ever.
    """
    mapped = part.background.mapped if part.background else {}
    readings = {name: state for name, state in mapped.items() if (state != part.state).any()}
    if not readings:
        return []
    changed = np.any([(state != part.state).any(0) for state in readings.values()], axis=0)
    named = {settings.mapping: part.state, **readings}
    resamples = Resamples.draw(part.patient_id, settings.num_resamples, part.name, settings.seed)
    found = {
        name: _aurocs(replace(part, state=state), resamples, settings, num_threads) for name, state in named.items()
    }
    everywhere = np.all([np.isfinite(value) for value, *_ in found.values()], axis=0)
    rows: list[tuple[object, ...]] = []
    for name, (value, drawn, n, positive) in found.items():
        low, high = of_area(value, drawn)
        for k in np.flatnonzero(changed).tolist():
            numbers = (float(value[k]), float(low[k]), float(high[k]), int(n[k]), int(positive[k]))
            rows.append((run_id, part.dataset, name, findings[k], *numbers))
        centre, mean_drawn = mean_of(np.where(everywhere, value, np.nan), drawn)
        (bottom,), (top,) = of_area(np.array([centre]), mean_drawn[None])
        least = [int(size[everywhere].min()) if everywhere.any() else 0 for size in (n, positive)]
        rows.append((run_id, part.dataset, name, MACRO, centre, float(bottom), float(top), *least))
    return rows


def _aurocs(
    part: Part, resamples: Resamples, settings: Settings, num_threads: int
) -> tuple[Array, Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return AUROC [K], its replicates [K, B], and how many images and positives there are."""
    label = part.labels()
    counts = count(label, resamples.patient, settings.min_count)
    label[:, ~counts.available] = DROPPED
    drawn, _ = bootstrap.rank_metrics(resamples, label, part.logit, num_threads)
    value = np.full(label.shape[1], np.nan)
    for k in np.flatnonzero(counts.available):
        rated = label[:, k] != DROPPED
        value[k] = metrics.auroc(label[rated, k], part.logit[rated, k])
    return value, drawn, counts.n, counts.num_positive


def reversals(table: pd.DataFrame, mapping: str) -> pd.DataFrame:
    """Return the `reversals` table: how each other mapping reorders the runs of a hospital by macro AUROC.

    A pair of runs is reversed when it stands the other way round than under `mapping`; tau is Kendall's tau-b, NaN below
    two runs.
    """
    rows = []
    macro = table[table["finding"] == MACRO]
    for dataset, found in macro.groupby("dataset", sort=True):
        value = found.pivot(index="run_id", columns="mapping", values="value")  # noqa: PD010  (one value a cell)
        for other in [name for name in value.columns if name != mapping and mapping in value.columns]:
            first, second = (value[name].to_numpy(np.float64) for name in (mapping, other))
            known = np.isfinite(first) & np.isfinite(second)
            first, second = first[known], second[known]
            upper = np.triu_indices(len(first), 1)
            before, after = (np.sign(v[:, None] - v[None, :])[upper] for v in (first, second))
            tau = float(kendalltau(first, second).statistic) if len(first) > 1 else np.nan
            change = float((second - first).mean()) if len(first) else np.nan
            largest = float(np.abs(second - first).max()) if len(first) else np.nan
            rows.append(
                (dataset, other, len(first), change, largest, len(before), int((before * after < 0).sum()), tau)
            )
    return pd.DataFrame(rows, columns=list(SCHEMAS["reversals"]))
