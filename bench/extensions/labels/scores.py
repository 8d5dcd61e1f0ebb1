"""The table `reading_gaps` of one run, computed while the run is scored.

A reading changes the labels of the internal test split and of every external hospital. Thresholds and calibrators play no part, so
only AUROC is computed, only for findings whose labels change.
Shapes: N images, K findings, C changed findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.extensions.labels.schemas import SCHEMAS
from bench.scoring.gaps.gap import EXTERNAL, MACRO, gaps
from bench.scoring.influence import Estimate
from bench.scoring.metrics_of_split import AUROC, SplitMetrics
from bench.scoring.pooled_hospitals import measure_hospitals
from bench.scoring.score_rows import frame
from bench.scoring.score_run import RunMetrics
from bench.scoring.scored_split import READINGS, ScoredSplit


@dataclass(frozen=True, slots=True, eq=False)
class _ChangedFindings:
    """The findings of a split with other labels under a reading; all runs share it.

    columns [C]: their indices. share: share of the labels of all scored findings that change. scored: the split with only these
    findings, read in this way, without logits.
    """

    columns: NDArray[np.intp]
    share: float
    scored: ScoredSplit

    @classmethod
    def of(cls, split: SplitMetrics, reading: str) -> "_ChangedFindings":
        other = replace(split.scored, reading=reading)
        has_score = np.isfinite(split.value[AUROC])
        changed = (other.labels() != split.scored.labels()) & has_score
        columns = np.flatnonzero(changed.any(0))
        state = other.state[:, columns]
        part = replace(other, state=state, logit=np.zeros(state.shape, np.float32))
        return cls(columns, float(changed[:, has_score].mean()) if has_score.any() else 0.0, part)


def tables(run: RunMetrics) -> tuple[dict[str, pd.DataFrame], dict[str, Estimate]]:
    """Return the table `reading_gaps`, and the estimates of its gaps: "reading_gap/<reading>/<dataset>"."""
    rows: list[tuple[object, ...]] = []
    estimates: dict[str, Estimate] = {}
    names = [*(split.scored.dataset for split in run.external), EXTERNAL]
    for reading in READINGS if run.test and run.external else ():
        pairs = [_read(split, reading, run.settings) for split in run.headline]
        (test, *external), (inside, *outside) = zip(*pairs, strict=True)
        if not any((inside, *outside)):  # such as the reading of the grid
            continue
        changed = dict(zip(names, [*outside, float(np.mean(outside))], strict=True))
        of_before = _gaps_before(run.findings, run.headline, [test, *external])
        before = dict(zip(names, of_before, strict=True))
        for gap in gaps(run.findings, test, external):
            if gap.finding == MACRO:
                hospital = gap.dataset
                numbers = (gap.value, gap.low, gap.high, before[hospital], gap.internal, gap.external, gap.num_findings)
                rows.append((run.run_id, reading, hospital, *numbers, inside, changed[hospital]))
                estimates[f"reading_gap/{reading}/{hospital}"] = Estimate(gap.value, gap.influence)
    return {"reading_gaps": frame(rows, SCHEMAS["reading_gaps"])}, estimates


def _gaps_before(findings: Sequence[str], before: Sequence[SplitMetrics], after: Sequence[SplitMetrics]) -> list[float]:
    """Return the macro gap of each hospital as the grid reads labels, and their mean; NaN for none.

    The gaps are over the findings that still have a score under the other reading. before: the internal test split and the external
    hospitals, read as in the grid; after: the same splits under the other reading.
    """
    test, *external = (
        replace(split, value={AUROC: np.where(np.isfinite(other.value[AUROC]), split.value[AUROC], np.nan)})
        for split, other in zip(before, after, strict=True)
    )
    return [gap.value for gap in gaps(findings, test, external) if gap.finding == MACRO]


def _read(split: SplitMetrics, reading: str, settings: Settings) -> tuple[SplitMetrics, float]:
    """Return the AUROCs of a split under a reading, and the share of its labels that change.

    A finding without a score under the reading of the grid gets none, so that gaps differ by labels only.
    """
    key = ("reading", reading, settings.min_count)
    changed: _ChangedFindings = split.scored.cached(key, lambda: _ChangedFindings.of(split, reading))
    columns = changed.columns
    value, influence, bounds = (numbers[AUROC].copy() for numbers in (split.value, split.influence, split.bounds))
    if len(columns):
        scored = changed.scored.of_run(split.scored.logit[:, columns])
        measured, *_ = measure_hospitals(scored, None, settings, AUROC)
        value[columns], influence[columns] = measured.value[AUROC], measured.influence[AUROC]
        bounds[:, columns] = measured.bounds[AUROC]
    return replace(split, value={AUROC: value}, influence={AUROC: influence}, bounds={AUROC: bounds}), changed.share
