"""Sensitivity of an external AUROC to the label mapping: every admissible mapping on the same logits and patients.

Shapes: N images, K findings, R runs.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.agreement import taus
from bench.scoring.bootstrap.intervals import area_interval, mean_of
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import AUROC, Measured, measure
from bench.scoring.scored_split import ScoredSplit, Settings
from reports.schemas.tables import SCHEMAS


class _MappedAuroc(NamedTuple):
    """AUROC [K], its replicates [K, B], images [K] and positive ones [K]."""

    value: NDArray[np.float64]
    replicates: NDArray[np.float64]
    num: NDArray[np.int64]
    num_positive: NDArray[np.int64]


def _auroc_of(measured: Measured) -> _MappedAuroc:
    counts = measured.counts
    return _MappedAuroc(measured.value[AUROC], measured.replicates[AUROC], counts.n, counts.num_positive)


def _select_columns(scored: ScoredSplit, name: str, state: NDArray[np.int8], columns: NDArray[np.intp]) -> ScoredSplit:
    """Return some findings of a split with labels under another mapping, cached for all runs."""
    return scored.once(
        ("read as", name),
        lambda: replace(scored, state=state[:, columns], logit=np.zeros_like(scored.logit[:, columns])),
    )


def sensitivity(
    run_id: str,
    scored: ScoredSplit,
    findings: Sequence[str],
    settings: Settings,
    num_threads: int = 1,
    measured: Measured | None = None,
) -> list[tuple[object, ...]]:
    """Build rows of the `mappings` table: AUROC under each mapping, per finding that some mapping changes, and macro.

    `scored.patient_groups.mapped` has the label states under the other mappings. The macro uses the findings with a value
    under every mapping, so that only the mapping differs. The resamples are those of all other scores. `measured` is the
    split under the grid's own mapping, if already computed.
    """
    mapped = scored.patient_groups.mapped if scored.patient_groups else {}
    mappings = {name: state for name, state in mapped.items() if (state != scored.state).any()}
    if not mappings:
        return []
    changed = np.any([(state != scored.state).any(0) for state in mappings.values()], axis=0)
    as_is = _auroc_of(measured or measure(scored, None, settings, num_threads, only=AUROC))
    results = {settings.mapping: as_is}
    for name, state in mappings.items():
        columns = np.flatnonzero((state != scored.state).any(0))  # the mapping leaves the others unchanged
        other = _select_columns(scored, name, state, columns)
        again = _auroc_of(measure(other.of_run(scored.logit[:, columns]), None, settings, num_threads, only=AUROC))
        results[name] = deepcopy(as_is)
        for every, changed_columns in zip(results[name], again, strict=True):
            every[columns] = changed_columns
    everywhere = np.all([np.isfinite(result.value) for result in results.values()], axis=0)
    rows: list[tuple[object, ...]] = []
    for name, (value, drawn, n, positive) in results.items():
        low, high = area_interval(value, drawn)
        for k in np.flatnonzero(changed).tolist():
            numbers = (float(value[k]), float(low[k]), float(high[k]), int(n[k]), int(positive[k]))
            rows.append((run_id, scored.dataset, name, findings[k], *numbers))
        centre, mean_drawn = mean_of(np.where(everywhere, value, np.nan), drawn)
        (bottom,), (top,) = area_interval(np.array([centre]), mean_drawn[None])
        least = [int(size[everywhere].min()) if everywhere.any() else 0 for size in (n, positive)]
        rows.append((run_id, scored.dataset, name, MACRO, centre, float(bottom), float(top), *least))
    return rows


def reversals(table: pd.DataFrame, mapping: str) -> pd.DataFrame:
    """Build the `reversals` table: how each other mapping reorders the runs of a hospital by macro AUROC.

    A pair of runs is reversed when its order differs from that under `mapping`. tau is Kendall's tau-b, NaN below two runs.
    """
    rows = []
    macro = table[table["finding"] == MACRO]
    for dataset, of_hospital in macro.groupby("dataset", sort=True):
        value = of_hospital.pivot(index="run_id", columns="mapping", values="value")  # noqa: PD010  (one value a cell)
        for other in [name for name in value.columns if name != mapping and mapping in value.columns]:
            first, second = (value[name].to_numpy(np.float64) for name in (mapping, other))
            finite = np.isfinite(first) & np.isfinite(second)
            first, second = first[finite], second[finite]
            upper = np.triu_indices(len(first), 1)
            before, after = (np.sign(v[:, None] - v[None, :])[upper] for v in (first, second))
            tau = float(taus(np.stack([first, second]))[0, 1])
            change = float((second - first).mean()) if len(first) else np.nan
            largest = float(np.abs(second - first).max()) if len(first) else np.nan
            rows.append(
                (dataset, other, len(first), change, largest, len(before), int((before * after < 0).sum()), tau)
            )
    return pd.DataFrame(rows, columns=list(SCHEMAS["reversals"]))
