"""Subgroup analysis: metrics of each patient group, and the spread between the groups of one attribute.

All groups use the same threshold, which the rule in the settings chooses on the internal validation split.
underdiagnosis: share of images with a positive "No Finding" call, among images with any finding. overdiagnosis: share of
images without this call, among images labeled "No Finding".
Source: Seyyed-Kalantari et al. 2021, doi:10.1038/s41591-021-01595-0.
"all" is the group of all images. A tile is a group of 64 replicates.
Shapes: N images, K findings, G groups, A attributes, C columns of a table, B replicates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap.area_intervals import area_interval, mean_interval
from bench.scoring.bootstrap.intervals import mean_of, share_interval
from bench.scoring.bootstrap.max_intervals import spreads
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sort_scores import Rows
from bench.scoring.bootstrap.sorted_images import Column, GroupedImages
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metric_bounds import bounds_of
from bench.scoring.metrics_of_split import Key, SplitMetrics
from bench.scoring.score_rows import Row
from bench.scoring.scored_split import Settings

Array = NDArray[np.float64]
Codes = NDArray[np.int32]  # [A, N]: for each attribute, the index of each image's group; -1 for no group
HEALTHY = "No Finding"
ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """One metric in each group.

    AUROC, false positive rate (fpr) and false negative rate (fnr) have a column for each finding, then a column for the
    macro, which `_add_macro` fills in. Underdiagnosis and overdiagnosis have one column. rule: the threshold rule, ""
    for AUROC. value [G, C] (groups, columns), replicates [G, C, B]. sizes [5, G, C]: numbers of images, positives,
    negatives, patients and findings.
    """

    metric: str
    rule: str
    columns: tuple[str, ...]
    value: Array
    replicates: Array
    sizes: NDArray[np.int64]
    bounds: Array  # [2, G, C]

    def numbers(self) -> list[list[Row]]:
        """Return a tuple for each group and column [G, C]: value, low, high, then the sizes."""
        values = np.stack([self.value, *self.bounds], 2).tolist()
        sizes = self.sizes.transpose(1, 2, 0).tolist()
        return [
            [(*value, *size) for value, size in zip(values_of_group, sizes_of_group, strict=True)]
            for values_of_group, sizes_of_group in zip(values, sizes, strict=True)
        ]


def rows(
    run_id: str,
    findings: Sequence[str],
    measured: SplitMetrics,
    threshold: Array,
    settings: Settings,
) -> list[Row]:
    """Build the rows of the table `subgroups`.

    There are metrics of "all" and of each group ("sex=F"), and spreads (*_spread) of each attribute ("sex"). The AUROC
    of "all" is in the table `scores`, not here. threshold [K] is on the logit. If a group has fewer than `min_count`
    patients with a positive image of a finding, or with a negative image, the group has no value for the finding. The
    macro of a group uses the findings that all groups of the attribute score; groups that score fewer than half of the
    findings are ignored. Findings that the split does not score have no rows.
    """
    scored, patient_groups = measured.scored, measured.scored.patient_groups
    if patient_groups is None:
        return []
    columns = [k for k in range(len(findings)) if measured.counts.available[k]]
    names = tuple(findings[k] for k in columns)
    groups = {"": (ALL,), **{name: tuple(masks) for name, masks in patient_groups.groups.items()}}
    slices, num = dict[str, slice](), 0
    for attribute, names_of_groups in groups.items():
        slices[attribute] = slice(num, num + len(names_of_groups))
        num += len(names_of_groups)
    code = patient_groups.codes
    tables = _findings(measured, columns, names, threshold, code, settings)
    for table in tables:
        for group_slice in slices.values():
            _add_macro(table, group_slice)
    if HEALTHY in findings:
        tables += _rates(measured, findings, threshold, code, settings)
    prefix = (run_id, scored.dataset, scored.split, scored.reference, settings.mapping)
    numbers = [table.numbers() for table in tables]
    return [
        row
        for attribute, group_slice in slices.items()
        for table, cells in zip(tables, numbers, strict=True)
        if attribute or table.metric != "auroc"
        for row in _rows(prefix, attribute, groups[attribute], group_slice, settings.selection, table, cells)
    ]


def _rows(
    prefix: Row,
    attribute: str,
    groups: Sequence[str],
    group_slice: slice,
    selection: str,
    table: _Table,
    cells: list[list[Row]],
) -> list[Row]:
    """Build the rows of one metric for one attribute: a row for each group and column, then the spread of each column."""
    fixed = (selection, "none", table.rule)
    rows = [
        (*prefix, group, *fixed, column, table.metric, *cell)
        for group, of_group in zip(groups, cells[group_slice], strict=True)
        for column, cell in zip(table.columns, of_group, strict=True)
    ]
    if attribute:
        least = table.sizes[0, group_slice].argmin(0).tolist()
        largest = bounds_of(f"{table.metric}_spread")[1]
        found = spreads(table.value[group_slice], table.replicates[group_slice])
        distances = np.minimum(np.stack(found, 1), largest).tolist()
        for c, (column, distance) in enumerate(zip(table.columns, distances, strict=True)):
            size = cells[group_slice][least[c]][c][3:]
            rows.append((*prefix, attribute, *fixed, column, f"{table.metric}_spread", *distance, *size))
    return rows


def _common(value: Array) -> NDArray[np.bool_]:
    """Return the mask [C] of the findings that all groups score, from value [G, C] of G groups and C findings.

    Groups that score fewer than half of the findings are ignored.
    """
    finite = np.isfinite(value)
    usable_groups = finite.sum(1) * 2 >= max(1, finite.any(0).sum())
    return np.asarray(finite[usable_groups].all(0) if usable_groups.any() else np.zeros(value.shape[1], bool))


def _add_macro(table: _Table, groups: slice) -> None:
    """Write the macro of each group of one attribute to the last column.

    groups: the rows of the attribute's groups. The sizes of a macro are minima over findings.
    """
    value, replicates, sizes = table.value[groups], table.replicates[groups], table.sizes[:, groups]
    common = np.flatnonzero(_common(value[:, :-1]))
    for g in range(len(value)):
        if len(common) and np.isfinite(value[g, common]).all():
            value[g, -1], replicates[g, -1] = mean_of(value[g, common], replicates[g, common])
            bounds = table.bounds[:, groups]
            bounds[:, g, -1] = mean_interval(
                table.metric, value[g, common], bounds[:, g, common], replicates[g, common]
            )
            sizes[:4, g, -1], sizes[4, g, -1] = sizes[:4, g, common].min(-1), len(common)


def _group_walk(
    measured: SplitMetrics, k: int, threshold_1: Array, code: Codes, num_groups: int
) -> bootstrap.GroupWalk:
    """Return the walk over the images of a finding, sorted by group, then by falling score. threshold_1 [1]: NaN for no threshold."""
    column = measured.columns[k]
    cut = 0 if np.isnan(threshold_1[0]) else int(column.reaching(threshold_1)[0])
    start = measured.scored.cached(("groups begin", k, num_groups), lambda: column.starts(code, num_groups))
    return bootstrap.GroupWalk.empty(measured.resamples, column.by_group(code, start, cut))


def _findings(
    measured: SplitMetrics,
    finding_indices: Sequence[int],
    names: tuple[str, ...],
    threshold: Array,
    code: Codes,
    settings: Settings,
) -> list[_Table]:
    """Compute AUROC, false negative rate and false positive rate of each finding in each group.

    The AUROC of "all" and the macros stay NaN.
    """
    scored, resamples = measured.scored, measured.resamples
    # first axis: "all", then each group; second axis: the findings, then the macro
    shape = (int(code.max(initial=-1)) + 2, len(finding_indices) + 1)
    value = {name: np.full(shape, np.nan) for name in ("auroc", "fnr", "fpr")}
    replicates = {name: np.full((*shape, resamples.num), np.nan) for name in value}
    bounds = {name: np.full((2, *shape), np.nan) for name in value}
    sizes = np.zeros((5, *shape), np.int64)
    sizes[4, :, :-1] = 1
    counts = measured.counts
    walks = [_group_walk(measured, k, threshold[k : k + 1], code, shape[0] - 1) for k in finding_indices]
    for tile in range(len(resamples.weight)):
        weight = resamples.tile(tile)
        # all findings, while the weights of this tile (64 replicates) are in the processor's cache
        for walk in walks:
            walk.fill(tile, weight)
    for c, (k, walk) in enumerate(zip(finding_indices, walks, strict=True)):
        sizes[:4, 0, c] = counts.n[k], counts.num_positive[k], counts.num_negative[k], counts.num_patients[k]
        # index 0 is the group of all images, whose rates `measured` already contains
        for name, opposite in (("fnr", "sensitivity"), ("fpr", "specificity")):
            key = Key(opposite, operating_point=settings.threshold)
            value[name][0, c], replicates[name][0, c] = 1 - measured.value[key][k], 1 - measured.replicates[key][k]
            bounds[name][:, 0, c] = 1 - measured.bounds[key][::-1, k]
        patients, fewest_of_class = scored.cached(
            ("patients of groups", k), partial(walk.images.patients, resamples.num_patients)
        )
        tallies = walk.images.tallied()
        sizes[:4, 1:, c] = tallies.num, tallies.num_positive, tallies.num - tallies.num_positive, patients
        auroc, counts_in_replicates = walk.results(resamples.num)
        large_groups = np.flatnonzero(fewest_of_class >= settings.min_count)
        value["auroc"][1 + large_groups, c] = tallies.auroc[large_groups]
        replicates["auroc"][1 + large_groups, c] = auroc[large_groups]
        class_sizes = scored.cached(
            ("class sizes of groups", k), partial(walk.images.class_sizes, resamples.num_patients)
        ).at(large_groups)
        bounds["auroc"][:, 1 + large_groups, c] = area_interval(
            "auroc", tallies.auroc[large_groups], auroc[large_groups], class_sizes
        )
        if np.isnan(threshold[k]):
            continue
        negative = tallies.num - tallies.num_positive
        sample = np.stack([tallies.reached, np.stack([negative, tallies.num_positive])]).transpose(2, 0, 1)[..., None]
        reached, totals = np.concatenate([sample, counts_in_replicates], -1)[large_groups].transpose(1, 2, 0, 3)
        rates = (("fnr", reached[1], totals[1]), ("fpr", totals[0] - reached[0], totals[0]))
        for (name, correct, total), of_class, images in zip(rates, *class_sizes, strict=True):
            rate = 1 - bootstrap.divide(correct, total)
            value[name][1 + large_groups, c], replicates[name][1 + large_groups, c] = rate[:, 0], rate[:, 1:]
            bounds[name][:, 1 + large_groups, c] = share_interval(rate[:, 0], rate[:, 1:], images, of_class)
    return [
        _Table(
            name,
            "" if name == "auroc" else settings.threshold,
            (*names, MACRO),
            value[name],
            replicates[name],
            sizes.copy(),
            bounds[name],
        )
        for name in value
    ]


def _rates(
    measured: SplitMetrics, findings: Sequence[str], threshold: Array, code: Codes, settings: Settings
) -> list[_Table]:
    """Compute under- and overdiagnosis for all images and for each group.

    An image has "any finding" if a finding other than "No Finding" is present, even if this finding has too few patients
    for a score.
    """
    column, scored, resamples = list(findings).index(HEALTHY), measured.scored, measured.resamples
    with_finding, healthy, group_codes = scored.cached(
        ("sick and healthy", column), lambda: _sick_and_healthy(scored.labels(), column, code)
    )
    called_healthy = scored.logit[:, column] >= threshold[column]
    num_groups = int(code.max(initial=-1)) + 2
    tables = []
    for metric, rows, is_wrong in (
        ("underdiagnosis", with_finding, called_healthy),
        ("overdiagnosis", healthy, ~called_healthy),
    ):
        cache_key = ("groups of", metric, resamples.digest, resamples.num)
        images_of_group, image_counts = scored.cached(
            cache_key,
            lambda: _in_groups(resamples, rows, group_codes, num_groups),  # noqa: B023
        )
        patients, _ = scored.cached(
            ("patients of groups", metric),
            lambda: images_of_group.patients(resamples.num_patients),  # noqa: B023
        )
        wrong_of_group, wrong_counts = _in_groups(resamples, rows[is_wrong[rows]], group_codes, num_groups)
        num, num_wrong = np.diff(images_of_group.start), np.diff(wrong_of_group.start)
        value = np.full((num_groups, 1), np.nan)
        replicates = np.full((num_groups, 1, resamples.num), np.nan)
        if np.isfinite(threshold[column]):
            large_groups = np.flatnonzero(patients >= settings.min_count)
            value[large_groups, 0] = num_wrong[large_groups] / num[large_groups]
            replicates[large_groups, 0] = bootstrap.divide(wrong_counts[large_groups], image_counts[large_groups])
        sizes = np.stack([num, num_wrong, num - num_wrong, patients, np.ones_like(num)])
        class_sizes = scored.cached(
            ("class sizes of groups", metric),
            lambda: images_of_group.class_sizes(resamples.num_patients),  # noqa: B023
        )
        # all listed images are in the second class
        bounds = np.stack(share_interval(value[:, 0], replicates[:, 0], class_sizes.images[1], class_sizes.patients[1]))
        tables.append(
            _Table(metric, settings.threshold, (HEALTHY,), value, replicates, sizes[..., None], bounds[..., None])
        )
    return tables


def _in_groups(resamples: Resamples, rows: Rows, code: Codes, num_groups: int) -> tuple[GroupedImages, Array]:
    """Sort the images in `rows` by group; also return the number of images of each group in each replicate [G, B]."""
    column = Column.listed(rows, resamples.patient[rows], np.zeros(len(rows), bool))
    parted = column.by_group(code, column.starts(code, num_groups), 0)
    counts = bootstrap.group_metrics(resamples, parted)[1]
    return parted, counts[:, 1, 0].copy()  # copy, so that the memory of the larger array is freed


def _sick_and_healthy(label: NDArray[np.int8], healthy_column: int, code: Codes) -> tuple[Rows, Rows, Codes]:
    """Return the rows with any finding, the rows labeled "No Finding", and group codes in which group 0 has all images."""
    with_finding = (np.delete(label, healthy_column, axis=1) == 1).any(1)
    group_codes = np.concatenate(
        [np.zeros((1, code.shape[1]), np.int32), np.where(code < 0, np.int32(-1), code + np.int32(1))]
    )
    # The group indices of one image must be adjacent in memory, because this makes reading them fast.
    group_codes = np.asfortranarray(group_codes)
    return np.flatnonzero(with_finding), np.flatnonzero(label[:, healthy_column] == 1), group_codes
