"""Who is read worse: every number of a subgroup, and the distance between the subgroups of one attribute.

At the threshold that the home validation split fixed (f1_max), for every group alike.
underdiagnosis: share of the images with any finding that are called "No Finding"; overdiagnosis: share of the images
without one that are not. Source: Seyyed-Kalantari et al. 2021, doi:10.1038/s41591-021-01595-0.
Shapes: N images, K findings, G groups, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring import bootstrap
from bench.scoring.extremes import spread
from bench.scoring.gap import MACRO
from bench.scoring.intervals import mean_of, of_area, percentile, wilson
from bench.scoring.measure import Measured
from bench.scoring.parts import Settings
from bench.scoring.rows import Row, Sizes

Array = NDArray[np.float64]
Masks = Mapping[str, NDArray[np.bool_]]
RULE = "f1_max"
HEALTHY = "No Finding"
ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """One metric of some columns (findings, or the one column of a rate) in each group: value [G, C], replicates [G, C, B].

    counts [4, G, C]: images, positive, negative, patients.
    """

    metric: str
    rule: str
    columns: tuple[str, ...]
    value: Array
    replicates: Array
    counts: NDArray[np.int64]


def rows(
    run_id: str,
    findings: Sequence[str],
    measured: Measured,
    threshold: Array,
    settings: Settings,
    num_threads: int = 1,
) -> list[Row]:
    """Return rows as of the table `scores`: subgroup "all", "sex=F", ...; of an attribute ("sex") the distances *_spread. Everyone's AUROC is in `scores`.

    threshold [K] is on the logit. A group below `min_count` patients with or without a finding has no number for it. The
    macro of a group is over the findings that every group of its attribute has; groups with fewer than half of the
    findings are left out of it. Findings that the whole part lacks have no rows.
    """
    if measured.part.background is None:
        return []
    part = measured.part
    kept = [k for k in range(len(findings)) if measured.counts.available[k]]
    names = tuple(findings[k] for k in kept)
    label = part.labels()
    everyone = {"": {ALL: np.full(len(measured.label), True)}}
    out: list[Row] = []
    place = (run_id, part.dataset, part.split, part.reference, settings.mapping)
    for attribute, groups in {**everyone, **measured.part.background.groups()}.items():
        tables = _findings(measured, kept, names, threshold, groups, settings, num_threads)
        if HEALTHY in findings:
            tables += _rates(measured, findings, label, threshold, groups, settings)
        for table in tables:
            whole = _with_macro(table) if table.columns == names else table
            fixed = (settings.selection, "none", table.rule)
            for g, group in enumerate(groups):
                low, high = _interval(whole, g)
                out += [
                    (
                        *place,
                        group,
                        *fixed,
                        column,
                        table.metric,
                        whole.value[g, c],
                        low[c],
                        high[c],
                        *_sizes(whole, g, c),
                    )
                    for c, column in enumerate(whole.columns)
                ]
            for c, column in enumerate(whole.columns if attribute else ()):
                _, *numbers = spread(whole.value[:, c], whole.replicates[:, c])
                sizes = _sizes(whole, int(np.argmin(whole.counts[0, :, c])), c)
                out.append((*place, attribute, *fixed, column, f"{table.metric}_spread", *numbers, *sizes))
    return out


def _interval(table: _Table, g: int) -> tuple[Array, Array]:
    """Return the interval of each column; Wilson's where a share is 0 or 1 in every replicate."""
    interval = of_area if table.metric == "auroc" else percentile
    low, high = interval(table.value[g], table.replicates[g])
    n, num_positive, num_negative, num_patients = table.counts[:, g].astype(np.float64)
    out_of = {"fnr": num_positive, "fpr": num_negative}.get(table.metric, n)
    flat = (low == high) & (n > 0) & (out_of > 0) if table.rule else np.zeros(len(low), bool)
    if flat.any():  # patients, not images, are the independent draws
        low[flat], high[flat] = wilson(table.value[g, flat], (out_of * num_patients / np.maximum(n, 1))[flat])
    return low, high


def _sizes(table: _Table, g: int, c: int) -> Sizes:
    """Return the sizes of a cell; of a macro the least over its findings."""
    n, num_positive, num_negative, num_patients = (int(each[g, c]) for each in table.counts)
    num_findings = 1
    if table.columns[c] == MACRO:
        num_findings = int(_common(table.value[:, :c]).sum()) if np.isfinite(table.value[g, c]) else 0
    return Sizes(n, num_positive, num_negative, num_patients, num_findings)


def _common(value: Array) -> NDArray[np.bool_]:
    """Return the findings [C] that every group has, of the groups that have at least half of what any group has."""
    known = np.isfinite(value)
    full = known.sum(1) * 2 >= max(1, known.any(0).sum())
    return np.asarray(known[full].all(0) if full.any() else np.zeros(value.shape[1], bool))


def _with_macro(table: _Table) -> _Table:
    """Return the table with the macro as its last column."""
    common = _common(table.value)
    num_groups, _, num = table.replicates.shape
    value, replicates = np.full(num_groups, np.nan), np.full((num_groups, num), np.nan)
    counts = np.zeros((4, num_groups), np.int64)
    for g in range(num_groups):
        if common.any() and np.isfinite(table.value[g, common]).all():
            value[g], replicates[g] = mean_of(table.value[g, common], table.replicates[g, common])
            counts[:, g] = table.counts[:, g, common].min(-1)
    return _Table(
        table.metric,
        table.rule,
        (*table.columns, MACRO),
        np.concatenate([table.value, value[:, None]], 1),
        np.concatenate([table.replicates, replicates[:, None]], 1),
        np.concatenate([table.counts, counts[:, :, None]], 2),
    )


def _findings(
    measured: Measured,
    kept: Sequence[int],
    names: tuple[str, ...],
    threshold: Array,
    groups: Masks,
    settings: Settings,
    num_threads: int,
) -> list[_Table]:
    """Return AUROC, FPR and FNR of each finding in each group."""
    shape = (len(groups), len(kept))
    rates = (
        ("auroc", "fnr", "fpr") if ALL not in groups else ("fnr", "fpr")
    )  # everyone's AUROC is in the table `scores`
    value = {name: np.full(shape, np.nan) for name in rates}
    drawn = {name: np.full((*shape, measured.resamples.num), np.nan) for name in rates}
    sizes = np.zeros((4, *shape), np.int64)

    def work(c: int) -> None:
        """Walk over each group of a finding, in the order that the whole part has."""
        whole, at = measured.columns[kept[c]], threshold[kept[c] : kept[c] + 1]
        for g, mask in enumerate(groups.values()):
            column = whole.within(mask)
            positive = column.positive
            each = (column.patient, column.patient[positive], column.patient[~positive])
            patients = [int(np.count_nonzero(np.bincount(codes))) for codes in each]
            sizes[:, g, c] = len(each[0]), len(each[1]), len(each[2]), patients[0]
            if min(patients[1:]) < settings.min_count:
                continue
            cut = bootstrap.cuts_of(column, at)[1]
            walked = bootstrap.walk(measured.resamples, column, cut, precisely=False)
            counted = np.concatenate([column.counted(cut)[..., None], walked.reached], 2)
            if "auroc" in rates:
                value["auroc"][g, c], drawn["auroc"][g, c] = column.areas()[0], walked.auroc
            if len(cut) > 1:
                found = bootstrap.call_metrics(*counted)
                for name, opposite in (("fnr", "sensitivity"), ("fpr", "specificity")):
                    value[name][g, c], drawn[name][g, c] = 1 - found[opposite][0], 1 - found[opposite][1:]

    bootstrap.each(work, len(kept), num_threads)
    return [_Table(name, "" if name == "auroc" else RULE, names, value[name], drawn[name], sizes) for name in rates]


def _rates(
    measured: Measured,
    findings: Sequence[str],
    label: NDArray[np.int8],
    threshold: Array,
    groups: Masks,
    settings: Settings,
) -> list[_Table]:
    """Return under- and overdiagnosis of each group; label [N, K] as of the part, rare findings too."""
    at = list(findings).index(HEALTHY)
    sick = (np.delete(label, at, axis=1) == 1).any(1)
    called_healthy = measured.part.logit[:, at] >= threshold[at]
    tables = []
    for metric, chosen, wrong in (
        ("underdiagnosis", sick, called_healthy),
        ("overdiagnosis", label[:, at] == 1, ~called_healthy),
    ):
        shape = (len(groups), 1)
        value, drawn = np.full(shape, np.nan), np.full((*shape, measured.resamples.num), np.nan)
        sizes = np.zeros((4, *shape), np.int64)
        for g, mask in enumerate(groups.values()):
            rows_ = np.flatnonzero(mask & chosen)
            num_patients = len(np.unique(measured.resamples.patient[rows_]))
            num_wrong = int(wrong[rows_].sum())
            sizes[:, g, 0] = len(rows_), num_wrong, len(rows_) - num_wrong, num_patients
            if num_patients >= settings.min_count and np.isfinite(threshold[at]):
                ones = np.ones((len(rows_), 1))
                right, failed = bootstrap.grouped_sums(
                    measured.resamples, rows_, wrong[rows_].astype(np.int64), ones, 2
                )[:, 0]
                value[g] = num_wrong / len(rows_)
                total = right + failed
                drawn[g, 0] = np.divide(failed, total, out=np.full(total.shape, np.nan), where=total > 0)
        tables.append(_Table(metric, RULE, (HEALTHY,), value, drawn, sizes))
    return tables
