"""Subgroup analysis: metrics of each patient group, and the spread between the groups of one attribute.

All groups use the same threshold, chosen on the internal validation split by the rule in the settings.
underdiagnosis: share of the images with any finding that are called "No Finding"; overdiagnosis: share of the images
without one that are not. Source: Seyyed-Kalantari et al. 2021, doi:10.1038/s41591-021-01595-0.
Shapes: N images, K findings, G groups, B replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap.intervals import area_interval, mean_of, percentile, wilson
from bench.scoring.bootstrap.max_intervals import spreads
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sort_scores import Rows
from bench.scoring.bootstrap.sorted_images import Column, GroupedImages
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import Key, Measured
from bench.scoring.score_rows import Row
from bench.scoring.scored_split import Settings

Array = NDArray[np.float64]
Codes = NDArray[np.int32]  # [A, N] index of the group of each image, by attribute; -1 for none
HEALTHY = "No Finding"
ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """One metric of some columns (findings and their macro, or the one column of a rate) in each group.

    value [G, C], replicates [G, C, B], sizes [5, G, C] in the order of `Sizes`; the macro is filled in by `_add_macro`.
    """

    metric: str
    rule: str
    columns: tuple[str, ...]
    value: Array
    replicates: Array
    sizes: NDArray[np.int64]

    def numbers(self) -> list[list[Row]]:
        """Return value, interval and sizes of each cell [G, C]."""
        value = np.stack([self.value, *_interval(self)], 2).tolist()
        size = self.sizes.transpose(1, 2, 0).tolist()
        return [[(*v, *n) for v, n in zip(*each, strict=True)] for each in zip(value, size, strict=True)]


def rows(
    run_id: str,
    findings: Sequence[str],
    measured: Measured,
    threshold: Array,
    settings: Settings,
    num_threads: int = 1,
) -> list[Row]:
    """Build rows with the columns of `scores`: subgroup "all", "sex=F", ...; an attribute ("sex") has rows *_spread.

    AUROC of "all" is in `scores` and left out here. threshold [K] is on the logit. A group with fewer than `min_count`
    patients of a class has no value for that finding. The macro of a group uses the findings that all groups of its attribute
    score, except groups that score fewer than half of the findings. Findings that the split does not score have no rows.
    """
    scored, patient_groups = measured.scored, measured.scored.patient_groups
    if patient_groups is None:
        return []
    kept = [k for k in range(len(findings)) if measured.counts.available[k]]
    names = tuple(findings[k] for k in kept)
    groups = {"": (ALL,), **{name: tuple(each) for name, each in patient_groups.groups.items()}}
    slices, num = dict[str, slice](), 0
    for attribute, each in groups.items():
        slices[attribute] = slice(num, num + len(each))
        num += len(each)
    code = patient_groups.codes
    found = _findings(measured, kept, names, threshold, code, settings, num_threads)
    for table in found:
        for chosen in slices.values():
            _add_macro(table, chosen)
    if HEALTHY in findings:
        found += _rates(measured, findings, threshold, code, settings)
    prefix = (run_id, scored.dataset, scored.split, scored.reference, settings.mapping)
    numbers = [table.numbers() for table in found]
    return [
        row
        for attribute, chosen in slices.items()
        for table, cells in zip(found, numbers, strict=True)
        if attribute or table.metric != "auroc"
        for row in _rows(prefix, attribute, groups[attribute], chosen, settings.selection, table, cells)
    ]


def _rows(
    prefix: Row,
    attribute: str,
    groups: Sequence[str],
    chosen: slice,
    selection: str,
    table: _Table,
    cells: list[list[Row]],
) -> list[Row]:
    """Build the rows of one metric: each group of an attribute, then their spread."""
    fixed = (selection, "none", table.rule)
    out = [
        (*prefix, group, *fixed, column, table.metric, *cell)
        for group, of_group in zip(groups, cells[chosen], strict=True)
        for column, cell in zip(table.columns, of_group, strict=True)
    ]
    if attribute:
        least = table.sizes[0, chosen].argmin(0).tolist()
        distances = np.stack(spreads(table.value[chosen], table.replicates[chosen]), 1).tolist()
        for c, (column, distance) in enumerate(zip(table.columns, distances, strict=True)):
            size = cells[chosen][least[c]][c][3:]
            out.append((*prefix, attribute, *fixed, column, f"{table.metric}_spread", *distance, *size))
    return out


def _interval(table: _Table) -> tuple[Array, Array]:
    """Compute the interval of each cell [G, C]; Wilson's where a rate is 0 or 1 in every replicate."""
    interval = area_interval if table.metric == "auroc" else percentile
    low, high = interval(table.value, table.replicates)
    n, num_positive, num_negative, num_patients, _ = table.sizes.astype(np.float64)
    out_of = {"fnr": num_positive, "fpr": num_negative}.get(table.metric, n)
    flat = (low == high) & (n > 0) & (out_of > 0) if table.rule else np.zeros(low.shape, bool)
    if flat.any():  # patients, not images, are the independent draws
        low[flat], high[flat] = wilson(table.value[flat], (out_of * num_patients / np.maximum(n, 1))[flat])
    return low, high


def _common(value: Array) -> NDArray[np.bool_]:
    """Mark the findings [C] that every group scores; groups that score fewer than half of the findings are ignored."""
    known = np.isfinite(value)
    full = known.sum(1) * 2 >= max(1, known.any(0).sum())
    return np.asarray(known[full].all(0) if full.any() else np.zeros(value.shape[1], bool))


def _add_macro(table: _Table, groups: slice) -> None:
    """Fill the macro (last column) of the groups of one attribute; its sizes are minima over its findings."""
    value, replicates, sizes = table.value[groups], table.replicates[groups], table.sizes[:, groups]
    common = np.flatnonzero(_common(value[:, :-1]))
    for g in range(len(value)):
        if len(common) and np.isfinite(value[g, common]).all():
            value[g, -1], replicates[g, -1] = mean_of(value[g, common], replicates[g, common])
            sizes[:4, g, -1], sizes[4, g, -1] = sizes[:4, g, common].min(-1), len(common)


def _findings(
    measured: Measured,
    kept: Sequence[int],
    names: tuple[str, ...],
    threshold: Array,
    code: Codes,
    settings: Settings,
    num_threads: int,
) -> list[_Table]:
    """Compute AUROC, FPR and FNR of each finding in each group; AUROC of "all" stays NaN."""
    scored, resamples = measured.scored, measured.resamples
    shape = (int(code.max(initial=-1)) + 2, len(kept) + 1)  # all images, then each group; the macro is the last column
    value = {name: np.full(shape, np.nan) for name in ("auroc", "fnr", "fpr")}
    drawn = {name: np.full((*shape, resamples.num), np.nan) for name in value}
    sizes = np.zeros((5, *shape), np.int64)
    sizes[4, :, :-1] = 1
    counts = measured.counts
    walks: dict[int, bootstrap.GroupWalk] = {}

    def begin(c: int) -> None:
        """Divide the images of a finding by group, in the order of their scores."""
        k, at = kept[c], threshold[kept[c]]
        column = measured.columns[k]
        cut = 0 if np.isnan(at) else int(column.reaching(threshold[k : k + 1])[0])
        start = scored.once(("groups begin", k, shape[0]), lambda: column.starts(code, shape[0] - 1))
        walks[c] = bootstrap.GroupWalk.empty(resamples, column.by_group(code, start, cut))

    def go(tile: int) -> None:
        """Take a tile for all findings, while it lies in the processor's cache."""
        weight = resamples.tile(tile)
        for c in range(len(kept)):
            walks[c].fill(tile, weight)

    def end(c: int) -> None:
        k, at = kept[c], threshold[kept[c]]
        sizes[:4, 0, c] = counts.n[k], counts.num_positive[k], counts.num_negative[k], counts.num_patients[k]
        for name, opposite in (("fnr", "sensitivity"), ("fpr", "specificity")):  # of all images they are in `measured`
            key = Key(opposite, operating_point=settings.threshold)
            value[name][0, c], drawn[name][0, c] = 1 - measured.value[key][k], 1 - measured.replicates[key][k]
        grouped = walks[c].images
        patients, fewest = scored.once(("patients of groups", k), lambda: grouped.patients(resamples.num_patients))
        found = grouped.tallied()
        sizes[:4, 1:, c] = found.num, found.num_positive, found.num - found.num_positive, patients
        auroc, counted = walks[c].results(resamples.num)
        fine = np.flatnonzero(fewest >= settings.min_count)
        value["auroc"][1 + fine, c], drawn["auroc"][1 + fine, c] = found.auroc[fine], auroc[fine]
        if np.isnan(at):
            return
        negative = found.num - found.num_positive
        sample = np.stack([found.reached, np.stack([negative, found.num_positive])]).transpose(2, 0, 1)[..., None]
        called, every = np.concatenate([sample, counted], -1)[fine].transpose(1, 2, 0, 3)
        for name, right, of in (("fnr", called[1], every[1]), ("fpr", every[0] - called[0], every[0])):
            rate = 1 - bootstrap.divide(right, of)
            value[name][1 + fine, c], drawn[name][1 + fine, c] = rate[:, 0], rate[:, 1:]

    for work, num in ((begin, len(kept)), (go, len(resamples.weight)), (end, len(kept))):
        bootstrap.run_in_threads(work, num, num_threads)
    return [
        _Table(
            name, "" if name == "auroc" else settings.threshold, (*names, MACRO), value[name], drawn[name], sizes.copy()
        )
        for name in value
    ]


def _rates(
    measured: Measured, findings: Sequence[str], threshold: Array, code: Codes, settings: Settings
) -> list[_Table]:
    """Compute under- and overdiagnosis of all images, then of each group; labels of rare findings count, too."""
    at, scored, resamples = list(findings).index(HEALTHY), measured.scored, measured.resamples
    sick, healthy, every = scored.once(("sick and healthy", at), lambda: _sick_and_healthy(scored.labels(), at, code))
    called_healthy = scored.logit[:, at] >= threshold[at]
    num_groups = int(code.max(initial=-1)) + 2
    tables = []
    for metric, chosen, wrong in (
        ("underdiagnosis", sick, called_healthy),
        ("overdiagnosis", healthy, ~called_healthy),
    ):
        what = ("groups of", metric, resamples.digest, resamples.num)
        everybody, total = scored.once(what, lambda: _in_groups(resamples, chosen, every, num_groups))  # noqa: B023
        patients, _ = scored.once(("patients of groups", metric), lambda: everybody.patients(resamples.num_patients))  # noqa: B023
        those, failed = _in_groups(resamples, chosen[wrong[chosen]], every, num_groups)
        num, num_failed = np.diff(everybody.start), np.diff(those.start)
        value = np.full((num_groups, 1), np.nan)
        drawn = np.full((num_groups, 1, resamples.num), np.nan)
        if np.isfinite(threshold[at]):
            fine = np.flatnonzero(patients >= settings.min_count)
            value[fine, 0] = num_failed[fine] / num[fine]
            drawn[fine, 0] = bootstrap.divide(failed[fine], total[fine])
        sizes = np.stack([num, num_failed, num - num_failed, patients, np.ones_like(num)])
        tables.append(_Table(metric, settings.threshold, (HEALTHY,), value, drawn, sizes[..., None]))
    return tables


def _in_groups(resamples: Resamples, rows: Rows, code: Codes, num_groups: int) -> tuple[GroupedImages, Array]:
    """Divide some images by group; also count the images of each group in each replicate [G, B]."""
    column = Column.listed(rows, resamples.patient[rows], np.zeros(len(rows), bool))
    grouped = column.by_group(code, column.starts(code, num_groups), 0)
    return grouped, bootstrap.group_metrics(resamples, grouped)[1][
        :, 1, 0
    ].copy()  # a copy, so that the larger array is freed


def _sick_and_healthy(label: NDArray[np.int8], at: int, code: Codes) -> tuple[Rows, Rows, Codes]:
    """Return rows with any finding, rows labeled No Finding (column `at`), and the group codes with an "all" group first."""
    sick = (np.delete(label, at, axis=1) == 1).any(1)
    every = np.concatenate(
        [np.zeros((1, code.shape[1]), np.int32), np.where(code < 0, np.int32(-1), code + np.int32(1))]
    )
    every = np.asfortranarray(every)  # memory order of `PatientGroups.codes`
    return np.flatnonzero(sick), np.flatnonzero(label[:, at] == 1), every
