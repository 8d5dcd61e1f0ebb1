"""Comparison of two runs on the same images: paired differences with intervals and p-values.

Shapes: K findings that both runs have, P patients.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.across_runs.paired_tests import Differences, benjamini_hochberg, holm, own_error, paired
from bench.scoring.column import labeled_rows
from bench.scoring.delong import areas
from bench.scoring.gaps.gap import EXTERNAL, MACRO, gaps
from bench.scoring.gaps.hospital_means import hospital_macros
from bench.scoring.influence import Influence
from bench.scoring.means import UNKNOWN, Macro, macro, mean_of_macros
from bench.scoring.metrics_of_split import AUROC, Key, OperatingPoints, SplitMetrics
from bench.scoring.pooled_hospitals import hospital_parts, measure_hospitals
from bench.scoring.scored_split import ScoredSplit
from harmonize.errors import ConfigError
from reports.schemas.common_findings import Mask, common_findings, no_mean

Array = NDArray[np.float64]
GAP = Key("auroc_gap")
COLUMNS = (
    "dataset",
    "split",
    "finding",
    "first",
    "second",
    "difference",  # first - second; low and high are its 95 % interval
    "low",
    "high",
    "p",  # p-value of the paired test; its standard error comes from the influence of each patient on the difference
    "p_holm",
    "p_bh",
    "p_delong",  # p-value of DeLong's paired test, which assumes independent images
    "p_patient",  # p-value of DeLong's test with Obuchowski's variance, which assumes independent patients
    "n",
    "num_positive",
    "num_negative",
    "num_patients",
    "num_findings",
    "note",  # SAME if both runs have the same logits; of an external mean without a value, why there is none; otherwise empty
)
SAME = "both runs have the same logits"  # so their difference is 0, without an interval


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRun:
    """One run: its findings, its internal hospital, its splits, and the findings that the run could not learn (`unlearned`).

    `scored_splits` has several splits of the internal hospital and one split of every other cohort.
    """

    findings: Sequence[str]
    internal: str
    scored_splits: Sequence[ScoredSplit]
    unlearned: Sequence[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Metrics of both runs on one split: same images, same order, and the labels of the first run."""

    first: SplitMetrics
    second: SplitMetrics
    internal: bool  # whether the cohort is the internal hospital of one of the runs

    @property
    def same(self) -> NDArray[np.bool_]:
        """Return the findings [K] of which both runs have the same logits."""
        first, second = self.first.scored.logit, self.second.scored.logit
        return np.asarray(((first == second) | (np.isnan(first) & np.isnan(second))).all(0))


class _MeanOfPair(NamedTuple):
    """The mean scores of two runs over the same findings or hospitals, with the numbers of images, patients and findings."""

    first: Macro
    second: Macro
    same: bool  # whether both runs have the same logits


def differences(
    first: ScoredRun, second: ScoredRun, key: Key, settings: Settings, datasets: Sequence[str] = ()
) -> pd.DataFrame:
    """Compare one metric of two runs; return a table with the columns COLUMNS.

    The rows are the findings and the macro of each cohort, then the external mean. Both runs are scored on the images
    and findings that both runs have, with the labels of the first run. Each run uses thresholds and calibrators of its
    own validation split. A cohort that is the internal hospital of one run is scored on that run's test split.
    `datasets` limits the rows. p_holm and p_bh are adjusted over all findings in the table, and separately over the
    macros of the cohorts. The p-value of the external mean is not adjusted, because this is a single test. Gaps (GAP)
    are compared only if both runs have the same internal hospital. A difference is NaN if a value is
    missing. A cohort in which the runs have no image in common has no rows. The table is empty if the runs
    have no finding in common.

    Raises ConfigError if the cohorts of the two runs have the same name and the same image ids, but other patients.
    """
    findings = shared_findings(first, second)
    comparable = bool(findings) and (key != GAP or first.internal == second.internal)
    metric = AUROC if key == GAP else key
    pairs = list(_pairs(first, second, findings, metric, settings, datasets)) if comparable else []
    rows = _gap_rows(findings, pairs) if key == GAP else _rows(findings, pairs, key)
    rows = [row for row in rows if not datasets or row[0] in datasets]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name not in {"p_holm", "p_bh"}])
    is_external, is_macro = table["dataset"] == EXTERNAL, table["finding"] == MACRO
    for name, adjust in (("p_holm", holm), ("p_bh", benjamini_hochberg)):
        table[name] = np.nan
        for family in (
            ~is_external & ~is_macro,
            ~is_external & is_macro,
            is_external & is_macro,
            is_external & ~is_macro,
        ):
            table.loc[family, name] = adjust(table.loc[family, "p"].to_numpy(np.float64))
    return table[list(COLUMNS)]


def shared_findings(first: ScoredRun, second: ScoredRun) -> list[str]:
    """Return the findings that both runs could learn, in the order of the first run."""
    return [f for f in first.findings if f in second.findings and f not in {*first.unlearned, *second.unlearned}]


def _pairs(
    first: ScoredRun, second: ScoredRun, findings: Sequence[str], key: Key, settings: Settings, datasets: Sequence[str]
) -> Iterator[Pair]:
    """Yield each split that both runs have, scored on the images that both runs have.

    Also those that `datasets` does not name: they decide which findings are in the macros.
    """
    unlisted = (
        {s.dataset for s in first.scored_splits} - set(datasets) if datasets and EXTERNAL not in datasets else set()
    )
    points = [
        _points(run, findings, settings.min_count) if key.operating_point or key.calibrator != "none" else None
        for run in (first, second)
    ]
    for first_split in first.scored_splits:
        for second_split in second.scored_splits:
            if not _match(first, first_split, second, second_split):
                continue
            images = np.intersect1d(first_split.image_id.astype(str), second_split.image_id.astype(str))
            if not len(images):
                continue
            # The name of the split names the patients, so this name must not depend on the order of the runs.
            name = first_split.split if first_split.dataset == first.internal else second_split.split
            scored_first = replace(_restricted(first_split, first.findings, findings, images), split=name)
            scored_second = _restricted(second_split, second.findings, findings, images)
            if not np.array_equal(scored_first.patient_id.astype(str), scored_second.patient_id.astype(str)):
                if first_split.dataset in unlisted:
                    continue
                raise _other_patients(scored_first, scored_second)
            scored_second = replace(
                scored_second, split=name, state=scored_first.state, patient_id=scored_first.patient_id
            )
            metrics = [
                measure_hospitals(scored, operating_points, settings, key)
                for scored, operating_points in zip((scored_first, scored_second), points, strict=True)
            ]
            measured = list(zip(*metrics, strict=True))
            # if the runs share the images of only one hospital of a pool, its split "test:mimic" repeats the split "test"
            for of_first, of_second in measured[:1] if len(measured) == 2 else measured:
                yield Pair(of_first, of_second, first_split.dataset in {first.internal, second.internal})


def _match(first: ScoredRun, first_split: ScoredSplit, second: ScoredRun, second_split: ScoredSplit) -> bool:
    """Return whether a split of the first run and a split of the second run are compared.

    Both splits must be of the same cohort. If this cohort is the internal hospital of both runs, the splits must have
    the same name, which is not `val`. If the cohort is the internal hospital of only one run, the split of this run
    must be `test`.
    """
    if first_split.dataset != second_split.dataset:
        return False
    splits = [
        scored.split for run, scored in ((first, first_split), (second, second_split)) if scored.dataset == run.internal
    ]
    if len(splits) == 2:
        return splits[0] == splits[1] != "val"
    return splits in ([], ["test"])


def _points(run: ScoredRun, findings: Sequence[str], min_count: int) -> OperatingPoints:
    """Choose thresholds and calibrators of the given findings on the run's validation split; NaN without this split."""
    val = next(
        (scored for scored in run.scored_splits if (scored.dataset, scored.split) == (run.internal, "val")), None
    )
    restricted = val and _restricted(val, run.findings, findings, np.sort(val.image_id.astype(str)))
    return OperatingPoints.choose(restricted, len(findings), min_count)


def _restricted(
    scored: ScoredSplit, findings_of_run: Sequence[str], findings: Sequence[str], images: NDArray[np.str_]
) -> ScoredSplit:
    """Return a split of a run with only the given findings and images, in the order of `findings` and `images`.

    The result has no `patient_groups`, because no comparison needs patient groups.
    """
    rows = pd.Index(scored.image_id.astype(str)).get_indexer(pd.Index(images))
    columns = [list(findings_of_run).index(finding) for finding in findings]
    cells = np.ix_(rows, columns)
    ids, patients = scored.image_id[rows], scored.patient_id[rows]
    arrays = {"image_id": ids, "patient_id": patients, "logit": scored.logit[cells], "state": scored.state[cells]}
    return replace(scored, **arrays, patient_groups=None)


def _other_patients(first: ScoredSplit, second: ScoredSplit) -> ConfigError:
    """Return the error for images whose patients differ between the splits: the cohorts are different datasets."""
    other = first.patient_id.astype(str) != second.patient_id.astype(str)
    return ConfigError(
        f"{int(other.sum()):,} images of {first.dataset} belong to other patients in the second run, "
        f"such as {first.image_id[other][0]}",
        f"cohort {first.dataset}",
        "the two runs used different data under one cohort name: name other cohorts with --cohort",
    )


def _rows(findings: Sequence[str], pairs: Sequence[Pair], key: Key) -> list[tuple[Any, ...]]:
    """Build the rows of a metric: the findings and the macro of each pair of splits, then the external mean.

    External macros are over the findings that every internal test split and at least two external hospitals score.
    """
    pairs = [_both_known(pair, key) for pair in pairs]
    tests_of_internal = [pair.first for pair in pairs if pair.internal and pair.first.scored.split == "test"]
    inside = np.logical_and.reduce(
        [np.ones(len(findings), bool), *(np.isfinite(of.value[key]) for of in tests_of_internal)]
    )
    external = _averaged(pairs)
    used, reason = _findings_of_mean(external, inside, key)
    of_macros = used if used.any() else inside
    sides = [
        hospital_macros(key, of, used, inside) for of in ([p.first for p in external], [p.second for p in external])
    ]
    macros = {id(pair): of for pair, *of in zip(external, *sides, strict=True)}
    rows: list[tuple[Any, ...]] = []
    for pair in pairs:
        counts = pair.first.counts
        cohort = (pair.first.scored.dataset, pair.first.scored.split)
        sizes = np.stack([counts.n, counts.num_positive, counts.num_negative, counts.num_patients], axis=1)
        first, second = pair.first.value[key], pair.second.value[key]
        influences = [Influence({of.sample.key: of.influence[key]}) for of in (pair.first, pair.second)]
        bounds = [of.bounds.get(key) for of in (pair.first, pair.second)]
        same = pair.same
        tests = np.stack(_tested(np.stack([first, second]), influences, bounds, same), 1)
        for k, finding in enumerate(findings):
            analytic = _analytic(pair, k) if key == AUROC else (float("nan"), float("nan"))
            row = (*cohort, finding, first[k], second[k], *tests[k], *analytic, *sizes[k], 1, SAME if same[k] else "")
            rows.append(row)
        in_macro = of_macros if id(pair) in macros else inside | pair.internal
        of_pair = macros.get(id(pair)) or [macro(of, key, in_macro) for of in (pair.first, pair.second)]
        known = np.isfinite(first) & in_macro
        rows.append(_mean_row(cohort, _MeanOfPair(of_pair[0], of_pair[1], bool(same[known].all()))))
    if external:
        split = "mixed" if len(external) > 1 else external[0].first.scored.split
        means = [mean_of_macros(key, of, used) for of in sides]
        same_everywhere = all(pair.same[np.isfinite(pair.first.value[key]) & used].all() for pair in external)
        rows.append(_mean_row((EXTERNAL, split), _MeanOfPair(means[0], means[1], same_everywhere), reason))
    return rows


def _findings_of_mean(external: Sequence[Pair], inside: Mask, key: Key) -> tuple[Mask, str]:
    """Return the findings [K] of the mean over hospitals, and why there is none."""
    scored = np.array([np.isfinite(pair.first.value[key]) for pair in external]).reshape(len(external), len(inside))
    common = common_findings(scored, inside)
    reason = no_mean(scored, common, len(common)) if external else ""
    return common & (reason == ""), reason


def _averaged(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of external hospitals in means: hospitals of adults, or all if all are of children."""
    external = [pair for pair in pairs if not pair.internal]
    return [pair for pair in external if not pair.first.scored.of_children] or external


def _both_known(pair: Pair, key: Key) -> Pair:
    """Return the pair with only the values that both runs have."""
    known = np.isfinite(pair.first.value[key]) & np.isfinite(pair.second.value[key])
    first = replace(pair.first, value={key: np.where(known, pair.first.value[key], np.nan)})
    second = replace(pair.second, value={key: np.where(known, pair.second.value[key], np.nan)})
    return replace(pair, first=first, second=second)


def _tested(
    values: Array, influences: Sequence[Influence], bounds: Sequence[Array | None], same: NDArray[np.bool_]
) -> Differences:
    """Test the differences of both runs' values [2, R]; bounds: the bounds of each run [2, R], if the metric has any.

    The own errors of findings with the same logits (`same` [R]) are 0.
    """
    unknown = np.full(values.shape, np.nan)
    own = np.stack([own_error(v, *(unknown if b is None else b)) for v, b in zip(values, bounds, strict=True)])
    alone = np.stack([influence.error for influence in influences])
    error = (influences[0] - influences[1]).error
    return paired(values[0], values[1], error, np.where(same, 0.0, own), alone)


def _mean_row(cohort: tuple[str, str], mean: _MeanOfPair, reason: str = "") -> tuple[Any, ...]:
    """Build the macro row of a cohort (dataset, split); reason: why there is no mean."""
    first, second = mean.first, mean.second
    values = np.array([[first.value], [second.value]])
    influences = [Influence.stack([macro.influence]) for macro in (first, second)]
    bounds = [np.array(macro.bounds or UNKNOWN)[:, None] for macro in (first, second)]
    tests = np.concatenate(_tested(values, influences, bounds, np.array([mean.same])))
    analytic = (float("nan"), float("nan"))
    if first.is_impossible or second.is_impossible:
        reason = "an impossible estimate: a hospital lacks findings, and its mean depends on the prevalence"
    note = SAME if mean.same and np.isfinite(first.value) else reason
    return (*cohort, MACRO, first.value, second.value, *tests, *analytic, *first.sizes, note)


def _analytic(pair: Pair, k: int) -> tuple[float, float]:
    """Compute two p-values of the AUROC difference of finding k: DeLong's, then DeLong's with Obuchowski's variance.

    DeLong's test assumes independent images; Obuchowski's variance assumes independent patients.
    """
    rows = labeled_rows(pair.first.label[:, k])
    # the AUROC of several hospitals of a pool is a mean, for which there is no such test
    if not len(rows) or len(hospital_parts(pair.first.scored)) > 1:
        return float("nan"), float("nan")
    label = pair.first.label[rows, k]
    score = np.stack([pair.first.scored.logit[rows, k], pair.second.scored.logit[rows, k]], 1)
    return (
        areas(label, score).p_of_difference(),
        areas(label, score, pair.first.sample.patient[rows]).p_of_difference(),
    )


def _gap_rows(findings: Sequence[str], pairs: Sequence[Pair]) -> list[tuple[Any, ...]]:
    """Build the rows of gaps: first the rows of each hospital, then the rows of the mean over hospitals.

    The result is empty if `pairs` has no internal test split or no external cohort.
    """
    test = next((pair for pair in pairs if pair.internal and pair.first.scored.split == "test"), None)
    external = [pair for pair in pairs if not pair.internal]
    if test is None or not external:
        return []
    averaged = _averaged(external)
    first_gaps = gaps(findings, test.first, [pair.first for pair in averaged])
    second_gaps = gaps(findings, test.second, [pair.second for pair in averaged])
    for apart in (pair for pair in external if pair not in averaged):
        first_gaps += [gap for gap in gaps(findings, test.first, [apart.first]) if gap.dataset != EXTERNAL]
        second_gaps += [gap for gap in gaps(findings, test.second, [apart.second]) if gap.dataset != EXTERNAL]
    splits = {pair.first.scored.dataset: pair.first.scored.split for pair in external}
    values, lows, highs = (
        np.array([[getattr(gap, name) for gap in of] for of in (first_gaps, second_gaps)])
        for name in ("value", "low", "high")
    )
    hospitals = {pair.first.scored.dataset: [pair] for pair in external} | {EXTERNAL: averaged}
    used = [slice(None) if gap.finding == MACRO else findings.index(gap.finding) for gap in first_gaps]
    of_gaps = [(test, *hospitals[gap.dataset]) for gap in first_gaps]
    same = np.array([all(pair.same[k].all() for pair in of) for of, k in zip(of_gaps, used, strict=True)])
    influences = [Influence.stack([gap.influence for gap in of]) for of in (first_gaps, second_gaps)]
    tests = _tested(values, influences, list(np.stack([lows, highs], 1)), same)
    inside = np.isfinite(test.first.value[AUROC]) & np.isfinite(test.second.value[AUROC])
    _, reason = _findings_of_mean([_both_known(pair, AUROC) for pair in averaged], inside, AUROC)
    rows = []
    for first, second, numbers, is_same in zip(first_gaps, second_gaps, np.stack(tests, 1), same, strict=True):
        sizes = (first.n, first.num_positive, first.num_negative, first.num_patients, first.num_findings)
        prefix = (first.dataset, splits.get(first.dataset, "mixed"), first.finding)
        no_mean = reason if (first.dataset, first.finding) == (EXTERNAL, MACRO) else ""
        note = SAME if is_same and np.isfinite(first.value) else no_mean
        rows.append((*prefix, first.value, second.value, *numbers, float("nan"), float("nan"), *sizes, note))
    return rows
