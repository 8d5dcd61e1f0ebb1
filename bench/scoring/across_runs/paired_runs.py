"""Compare two runs on the same images: paired differences with intervals and p-values.

Shapes: K findings both runs have, B replicates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import benjamini_hochberg, holm, paired
from bench.scoring.bootstrap.intervals import mean_of
from bench.scoring.bootstrap.sort_scores import labeled_rows
from bench.scoring.delong import areas
from bench.scoring.gaps.gap import EXTERNAL, MACRO, gaps
from bench.scoring.metrics_of_split import AUROC, Key, Measured, OperatingPoints, measure
from bench.scoring.scored_split import ScoredSplit, Settings

GAP = Key("auroc_gap")
COLUMNS = (
    "dataset",
    "split",
    "finding",
    "first",
    "second",
    "difference",  # first - second, with its 95 % interval
    "low",
    "high",
    "p",  # of the paired bootstrap
    "p_holm",
    "p_bh",
    "p_delong",  # DeLong's paired test, which assumes independent images
    "p_patient",  # the same with Obuchowski's variance, clustered by patient
    "n",
    "num_positive",
    "num_negative",
    "num_patients",
    "num_findings",
)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRun:
    """One run: its findings, internal hospital, splits (as in `score_run`) and findings without training labels."""

    findings: Sequence[str]
    internal: str
    scored_splits: Sequence[ScoredSplit]
    unlearnt: Sequence[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One split as scored for both runs: the same images in the same order, with the labels of the first."""

    first: Measured
    second: Measured
    internal: bool  # whether it is the internal hospital of either run


def differences(
    first: ScoredRun,
    second: ScoredRun,
    key: Key,
    settings: Settings,
    datasets: Sequence[str] = (),
    num_threads: int = 1,
) -> pd.DataFrame:
    """Compare one metric of two runs, per cohort: each finding and macro (columns COLUMNS); last "external", their mean.

    Both runs are scored on shared images and findings, with the labels of the first, at thresholds and calibrators of their
    own validation splits. A cohort that is the internal hospital of one run is scored on that run's test split. `datasets`
    limits the rows. p_holm and p_bh adjust over all findings in the table, and separately over the macros of the cohorts;
    "external" is one test. The gap (GAP) is compared only between runs with the same internal hospital. A difference is NaN
    where a value is missing or replicates are too few.
    """
    findings = [f for f in first.findings if f in second.findings and f not in {*first.unlearnt, *second.unlearnt}]
    pairs = list(_pairs(first, second, findings, AUROC if key == GAP else key, settings, num_threads))
    if key == GAP and first.internal != second.internal:
        pairs = []
    rows = _gap_rows(findings, pairs) if key == GAP else _rows(findings, pairs, key)
    rows = [row for row in rows if not datasets or row[0] in datasets]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name not in {"p_holm", "p_bh"}])
    overall, macro = table["dataset"] == EXTERNAL, table["finding"] == MACRO
    for name, adjust in (("p_holm", holm), ("p_bh", benjamini_hochberg)):
        table[name] = np.nan
        for family in (~overall & ~macro, ~overall & macro, overall & macro, overall & ~macro):
            table.loc[family, name] = adjust(table.loc[family, "p"].to_numpy(np.float64))
    return table[list(COLUMNS)]


def _pairs(
    first: ScoredRun, second: ScoredRun, findings: Sequence[str], key: Key, settings: Settings, num_threads: int
) -> Iterator[Pair]:
    points = [
        _points(run, findings, settings.min_count) if key.operating_point or key.calibrator != "none" else None
        for run in (first, second)
    ]
    for one in first.scored_splits:
        for two in second.scored_splits:
            if not _match(first, one, second, two):
                continue
            images = np.intersect1d(one.image_id.astype(str), two.image_id.astype(str))
            same = _restricted(one, first.findings, findings, images)
            other = _restricted(two, second.findings, findings, images)
            other = replace(other, split=same.split, state=same.state, patient_id=same.patient_id)
            tested = [
                measure(scored, at, settings, num_threads, key)
                for scored, at in zip((same, other), points, strict=True)
            ]
            yield Pair(tested[0], tested[1], one.dataset in {first.internal, second.internal})


def _match(first: ScoredRun, one: ScoredSplit, second: ScoredRun, two: ScoredSplit) -> bool:
    """Decide whether two splits are compared: same cohort, and same split (not `val`) if it is internal to both runs."""
    if one.dataset != two.dataset:
        return False
    splits = [scored.split for run, scored in ((first, one), (second, two)) if scored.dataset == run.internal]
    if len(splits) == 2:
        return splits[0] == splits[1] != "val"
    return splits in ([], ["test"])


def _points(run: ScoredRun, findings: Sequence[str], min_count: int) -> OperatingPoints:
    val = next(
        (scored for scored in run.scored_splits if (scored.dataset, scored.split) == (run.internal, "val")), None
    )
    chosen = val and _restricted(val, run.findings, findings, np.sort(val.image_id.astype(str)))
    return OperatingPoints.choose(chosen, len(findings), min_count)


def _restricted(
    scored: ScoredSplit, own: Sequence[str], findings: Sequence[str], images: NDArray[np.str_]
) -> ScoredSplit:
    """Select findings and images of a split, in the order given."""
    rows = pd.Index(scored.image_id.astype(str)).get_indexer(pd.Index(images))
    columns = [list(own).index(finding) for finding in findings]
    cells = np.ix_(rows, columns)
    ids, patients = scored.image_id[rows], scored.patient_id[rows]
    return replace(scored, image_id=ids, patient_id=patients, logit=scored.logit[cells], state=scored.state[cells])


def _rows(findings: Sequence[str], pairs: Sequence[Pair], key: Key) -> list[tuple[Any, ...]]:
    """Build the rows of a metric; an external macro uses the findings that the internal test split scores, as in `scores`."""
    test = next((pair.first for pair in pairs if pair.internal and pair.first.scored.split == "test"), None)
    common = np.isfinite(test.value[key]) if test else np.ones(len(findings), bool)
    rows, external = [], []
    for pair in pairs:
        counts, place = pair.first.counts, (pair.first.scored.dataset, pair.first.scored.split)
        sizes = np.stack([counts.n, counts.num_positive, counts.num_negative, counts.num_patients], axis=1)
        values, drawn = zip(
            *((each.value[key], each.replicates[key]) for each in (pair.first, pair.second)), strict=True
        )
        tested = np.stack(paired(*values, *drawn), 1)
        for k, finding in enumerate(findings):
            checks = _analytic(pair, k) if key == AUROC else (float("nan"), float("nan"))
            rows.append((*place, finding, values[0][k], values[1][k], *tested[k], *checks, *sizes[k], 1))
        known = np.isfinite(values[0]) & np.isfinite(values[1]) & (common | pair.internal)
        means = [mean_of(np.where(known, v, np.nan), d) for v, d in zip(values, drawn, strict=True)]
        least = sizes[known].min(0) if known.any() else np.zeros(4, np.int64)
        rows.append(_mean_row(place, means, (*least, int(known.sum()))))
        if not pair.internal:
            external.append((means, (*least, int(known.sum()))))
    if external:
        means = [
            mean_of(np.array([m[run][0] for m, _ in external]), np.stack([m[run][1] for m, _ in external]))
            for run in (0, 1)
        ]
        total = np.array([sizes for (m, _), sizes in ((each, each[1]) for each in external) if np.isfinite(m[0][0])])
        whole = (*total[:, :4].sum(0), total[:, 4].min()) if len(total) else (0,) * 5
        rows.append(_mean_row((EXTERNAL, "mixed" if len(external) > 1 else rows[-1][1]), means, whole))
    return rows


def _mean_row(place: tuple[str, str], means: Sequence[tuple[float, Any]], sizes: Sequence[int]) -> tuple[Any, ...]:
    tested = paired(*(np.array([value]) for value, _ in means), *(drawn[None] for _, drawn in means))
    return (*place, MACRO, means[0][0], means[1][0], *np.concatenate(tested), float("nan"), float("nan"), *sizes)


def _analytic(pair: Pair, k: int) -> tuple[float, float]:
    """Compute p of the paired test over images (DeLong) and over patients (Obuchowski)."""
    rows = labeled_rows(pair.first.label[:, k])
    if not len(rows):
        return float("nan"), float("nan")
    label, score = (
        pair.first.label[rows, k],
        np.stack([each.scored.logit[rows, k] for each in (pair.first, pair.second)], 1),
    )
    return (
        areas(label, score).p_of_difference(),
        areas(label, score, pair.first.resamples.patient[rows]).p_of_difference(),
    )


def _gap_rows(findings: Sequence[str], pairs: Sequence[Pair]) -> list[tuple[Any, ...]]:
    test = next((pair for pair in pairs if pair.internal and pair.first.scored.split == "test"), None)
    external = [pair for pair in pairs if not pair.internal]
    if test is None or not external:
        return []
    both = [
        gaps(findings, getattr(test, one), [getattr(pair, one) for pair in external]) for one in ("first", "second")
    ]
    splits = {pair.first.scored.dataset: pair.first.scored.split for pair in external}
    rows = []
    tested = paired(
        *(np.array([gap.value for gap in each]) for each in both),
        *(np.stack([gap.replicates for gap in each]) for each in both),
    )
    for one, two, numbers in zip(*both, np.stack(tested, 1), strict=True):
        sizes = (one.n, one.num_positive, one.num_negative, one.num_patients, one.num_findings)
        place = (one.dataset, splits.get(one.dataset, "mixed"), one.finding)
        rows.append((*place, one.value, two.value, *numbers, float("nan"), float("nan"), *sizes))
    return rows
