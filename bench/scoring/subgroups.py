"""Who is read worse: every number of a subgroup, and the distance between the subgroups of one attribute.

At the threshold that the internal validation split fixed (of the rule in the settings), for every group alike.
underdiagnosis: share of the images with any finding that are called "No Finding"; overdiagnosis: share of the images
without one that are not. Source: Seyyed-Kalantari et al. 2021, doi:10.1038/s41591-021-01595-0.
Shapes: N images, K findings, G groups, B replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap.intervals import mean_of, of_area, percentile, wilson
from bench.scoring.bootstrap.max_intervals import spreads
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sort_scores import Rows
from bench.scoring.bootstrap.sorted_images import Column, Parted
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import Key, Measured
from bench.scoring.score_rows import Row
from bench.scoring.scored_split import Settings

Array = NDArray[np.float64]
Codes = NDArray[np.int32]  # [A, N] place of the group of each image, by attribute; -1 for none
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
    """Return rows as of the table `scores`: subgroup "all", "sex=F", ...; of an attribute ("sex") the distances *_spread. Everyone's AUROC is in `scores`.

    threshold [K] is on the logit. A group below `min_count` patients with or without a finding has no number for it. The
    macro of a group is over the findings that every group of its attribute has; groups with fewer than half of the
    findings are left out of it. Findings that the whole part lacks have no rows.
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
    place = (run_id, scored.dataset, scored.split, scored.reference, settings.mapping)
    numbers = [table.numbers() for table in found]
    return [
        row
        for attribute, chosen in slices.items()
        for table, cells in zip(found, numbers, strict=True)
        if attribute or table.metric != "auroc"
        for row in _rows(place, attribute, groups[attribute], chosen, settings.selection, table, cells)
    ]


def _rows(
    place: Row,
    attribute: str,
    groups: Sequence[str],
    chosen: slice,
    selection: str,
    table: _Table,
    cells: list[list[Row]],
) -> list[Row]:
    """Return the rows of one metric: of each group of an attribute, then of the distances between them."""
    fixed = (selection, "none", table.rule)
    out = [
        (*place, group, *fixed, column, table.metric, *cell)
        for group, of_group in zip(groups, cells[chosen], strict=True)
        for column, cell in zip(table.columns, of_group, strict=True)
    ]
    if attribute:
        least = table.sizes[0, chosen].argmin(0).tolist()
        distances = np.stack(spreads(table.value[chosen], table.replicates[chosen]), 1).tolist()
        for c, (column, distance) in enumerate(zip(table.columns, distances, strict=True)):
            size = cells[chosen][least[c]][c][3:]
            out.append((*place, attribute, *fixed, column, f"{table.metric}_spread", *distance, *size))
    return out


def _interval(table: _Table) -> tuple[Array, Array]:
    """Return the interval of each cell [G, C]; Wilson's where a share is 0 or 1 in every replicate."""
    interval = of_area if table.metric == "auroc" else percentile
    low, high = interval(table.value, table.replicates)
    n, num_positive, num_negative, num_patients, _ = table.sizes.astype(np.float64)
    out_of = {"fnr": num_positive, "fpr": num_negative}.get(table.metric, n)
    flat = (low == high) & (n > 0) & (out_of > 0) if table.rule else np.zeros(low.shape, bool)
    if flat.any():  # patients, not images, are the independent draws
        low[flat], high[flat] = wilson(table.value[flat], (out_of * num_patients / np.maximum(n, 1))[flat])
    return low, high


def _common(value: Array) -> NDArray[np.bool_]:
    """Return the findings [C] that every group has, of the groups that have at least half of what any group has."""
    known = np.isfinite(value)
    full = known.sum(1) * 2 >= max(1, known.any(0).sum())
    return np.asarray(known[full].all(0) if full.any() else np.zeros(value.shape[1], bool))


def _add_macro(table: _Table, groups: slice) -> None:
    """Fill the last column for the groups of one attribute; sizes of a macro are the least over its findings."""
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
    """Return AUROC, FPR and FNR of each finding in each group; everyone's AUROC is left NaN."""
    scored, resamples = measured.scored, measured.resamples
    shape = (int(code.max(initial=-1)) + 2, len(kept) + 1)  # everyone, then each group; the macro last
    value = {name: np.full(shape, np.nan) for name in ("auroc", "fnr", "fpr")}
    drawn = {name: np.full((*shape, resamples.num), np.nan) for name in value}
    sizes = np.zeros((5, *shape), np.int64)
    sizes[4, :, :-1] = 1
    counts = measured.counts
    walks: dict[int, bootstrap.GroupWalk] = {}

    def begin(c: int) -> None:
        """Part the images of a finding, in the order that the whole part has."""
        k, at = kept[c], threshold[kept[c]]
        column = measured.columns[k]
        cut = 0 if np.isnan(at) else int(column.reaching(threshold[k : k + 1])[0])
        start = scored.once(("groups begin", k, shape[0]), lambda: column.starts(code, shape[0] - 1))
        walks[c] = bootstrap.GroupWalk.over(resamples, column.parted(code, start, cut))

    def go(tile: int) -> None:
        """Take a tile for all findings, while it lies in the processor's cache."""
        weight = resamples.tile(tile)
        for c in range(len(kept)):
            walks[c].fill(tile, weight)

    def end(c: int) -> None:
        k, at = kept[c], threshold[kept[c]]
        sizes[:4, 0, c] = counts.n[k], counts.num_positive[k], counts.num_negative[k], counts.num_patients[k]
        for name, opposite in (("fnr", "sensitivity"), ("fpr", "specificity")):  # everyone's are known already
            key = Key(opposite, operating_point=settings.threshold)
            value[name][0, c], drawn[name][0, c] = 1 - measured.value[key][k], 1 - measured.replicates[key][k]
        parted = walks[c].parted
        patients, fewest = scored.once(("patients of groups", k), lambda: parted.patients(resamples.num_patients))
        found = parted.tallied()
        sizes[:4, 1:, c] = found.num, found.num_positive, found.num - found.num_positive, patients
        auroc, counted = walks[c].walked(resamples.num)
        fine = np.flatnonzero(fewest >= settings.min_count)
        value["auroc"][1 + fine, c], drawn["auroc"][1 + fine, c] = found.auroc[fine], auroc[fine]
        if np.isnan(at):
            return
        negative = found.num - found.num_positive
        sample = np.stack([found.reached, np.stack([negative, found.num_positive])]).transpose(2, 0, 1)[..., None]
        called, every = np.concatenate([sample, counted], -1)[fine].transpose(1, 2, 0, 3)
        for name, right, of in (("fnr", called[1], every[1]), ("fpr", every[0] - called[0], every[0])):
            rate = 1 - bootstrap.over(right, of)
            value[name][1 + fine, c], drawn[name][1 + fine, c] = rate[:, 0], rate[:, 1:]

    for work, num in ((begin, len(kept)), (go, len(resamples.weight)), (end, len(kept))):
        bootstrap.each(work, num, num_threads)
    return [
        _Table(
            name, "" if name == "auroc" else settings.threshold, (*names, MACRO), value[name], drawn[name], sizes.copy()
        )
        for name in value
    ]


def _rates(
    measured: Measured, findings: Sequence[str], threshold: Array, code: Codes, settings: Settings
) -> list[_Table]:
    """Return under- and overdiagnosis of everyone, then of each group; labels as of the part, rare findings too."""
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
            drawn[fine, 0] = bootstrap.over(failed[fine], total[fine])
        sizes = np.stack([num, num_failed, num - num_failed, patients, np.ones_like(num)])
        tables.append(_Table(metric, settings.threshold, (HEALTHY,), value, drawn, sizes[..., None]))
    return tables


def _in_groups(resamples: Resamples, rows: Rows, code: Codes, num_groups: int) -> tuple[Parted, Array]:
    """Return some images by group, and how many each group has in each replicate [G, B]."""
    column = Column.listed(rows, resamples.patient[rows], np.zeros(len(rows), bool))
    parted = column.parted(code, column.starts(code, num_groups), 0)
    return parted, bootstrap.walk_each(resamples, parted)[1][:, 1, 0].copy()  # not with all that it is a view of


def _sick_and_healthy(label: NDArray[np.int8], at: int, code: Codes) -> tuple[Rows, Rows, Codes]:
    """Return the images with any finding, those of whom column `at` says that there is none, and all codes with everyone's."""
    sick = (np.delete(label, at, axis=1) == 1).any(1)
    every = np.concatenate(
        [np.zeros((1, code.shape[1]), np.int32), np.where(code < 0, np.int32(-1), code + np.int32(1))]
    )
    every = np.asfortranarray(every)  # as `Background.codes`
    return np.flatnonzero(sick), np.flatnonzero(label[:, at] == 1), every
