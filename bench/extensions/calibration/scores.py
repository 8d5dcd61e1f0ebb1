"""The table of calibration of one run, and its mean slope and intercept, computed while the run is scored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.calibration.fits import Calibration, calibration
from bench.extensions.calibration.schemas import SCHEMAS
from bench.scoring.calibrators import Platt
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.influence import Estimate, Influence, Influenced
from bench.scoring.means import Macro, Sizes, least_sizes
from bench.scoring.metrics_of_split import AS_GIVEN, AUROC, DECIDING, Key, SplitMetrics
from bench.scoring.score_rows import Writer, cohort_of, frame
from bench.scoring.score_run import RunMetrics
from reports.schemas.tables import SCORES

MEANS = {Key("calibration_slope", DECIDING): "of_slope", Key("calibration_intercept", DECIDING): "of_intercept"}


def tables(run: RunMetrics) -> tuple[dict[str, pd.DataFrame], dict[str, Estimate]]:
    """Return the table of SCHEMAS and rows of `scores`, and no estimates of rankings; a pool of training hospitals counts as one hospital."""
    rows: list[tuple[Any, ...]] = []
    writer = Writer(run.run_id, run.settings)
    of_hospitals: dict[Key, list[tuple[Influenced, Sizes]]] = {key: [] for key in MEANS}
    for split in run.headline:
        after_platt: list[Calibration] = []
        for k, (finding, column) in enumerate(zip(run.findings, split.columns, strict=True)):
            platt = run.points.fits[DECIDING][k]
            assert isinstance(platt, Platt)
            positive = column.positive
            logit, scales = column.score.astype(np.float64), [(1.0, 0.0), (platt.a, platt.b)]
            sizes = [
                int(numbers[k]) for numbers in (split.counts.n, split.counts.num_positive, split.counts.num_patients)
            ]
            found = calibration(logit, positive, column.patient, scales)
            after_platt.append(found[1])
            for calibrator, one in zip((AS_GIVEN, DECIDING), found, strict=True):
                numbers = (*one.intercept, *one.slope, *one.observed_expected)
                rows.append((run.run_id, split.scored.dataset, finding, calibrator, *numbers, *sizes, one.reason))
        for key, mean, least in _means(split, after_platt, run.used if split is not run.test else None):
            writer.add_macro(cohort_of([split]), key, _macro(mean, least))
            if split is not run.test:
                of_hospitals[key].append((mean, least))
    for key, means in of_hospitals.items():
        if means:
            writer.add_macro((EXTERNAL, *cohort_of(run.external)[1:]), key, _of_hospitals(means))
    return {"calibration": frame(rows, SCHEMAS["calibration"]), "scores": frame(writer.rows, SCORES)}, {}


def _means(
    split: SplitMetrics, found: Sequence[Calibration], used: NDArray[np.bool_] | None
) -> Iterator[tuple[Key, Influenced, Sizes]]:
    """Yield the mean over the findings that have an AUROC and this number; used [K]: mask of further findings, None for all."""
    scored = np.isfinite(split.value[AUROC]) & (True if used is None else used)
    for key, name in MEANS.items():
        numbers: Mapping[int, Influenced] = {k: getattr(one, name) for k, one in enumerate(found)}
        kept = np.array([k for k, one in numbers.items() if scored[k] and np.isfinite(one.value)], np.intp)
        if len(kept):
            sizes = least_sizes(split.counts_of_values, kept, len(kept))
            yield key, Influenced.mean([numbers[k] for k in kept.tolist()]), sizes
        else:
            yield key, Influenced(), Sizes()


def _of_hospitals(means: Sequence[tuple[Influenced, Sizes]]) -> Macro:
    """Return the mean over hospitals with a number."""
    known = [(mean, sizes) for mean, sizes in means if np.isfinite(mean.value)]
    if not known:
        return _macro(*means[0])
    sums = Sizes(*(sum(column) for column in zip(*(sizes for _, sizes in known), strict=True)))
    sizes = sums._replace(num_findings=min(sizes.num_findings for _, sizes in known))
    return _macro(Influenced.mean_of_samples([mean for mean, _ in known]), sizes)


def _macro(mean: Influenced, sizes: Sizes) -> Macro:
    return Macro(mean.value, Influence({}), sizes, mean.bounds)
