"""Subgroup analysis: metrics of each patient group, and the spread between the groups of one attribute.

All groups use the same threshold, which the rule in the settings chooses on the internal validation split.
underdiagnosis: share of images with a positive "No Finding" call, among images with any finding. overdiagnosis: share of
images without this call, among images labeled "No Finding".
Source: Seyyed-Kalantari et al. 2021, doi:10.1038/s41591-021-01595-0.
"all" is the group of all images.
Shapes: N images, K findings, G groups, A attributes, C columns of a table, P patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import ClassSizes, area_interval, effective_patients, mean_interval
from bench.scoring.column import Column
from bench.scoring.gaps.gap import MACRO
from bench.scoring.influence import correlations, error_of, mean_of, ratio
from bench.scoring.intervals import share_interval
from bench.scoring.max_intervals import spread
from bench.scoring.metric_bounds import bounds_of
from bench.scoring.metrics_of_split import Key, SplitMetrics
from bench.scoring.score_rows import Row
from bench.scoring.scored_split import Settings

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
HEALTHY = "No Finding"
ALL = "all"


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """One metric in each group.

    AUROC, false positive rate (fpr) and false negative rate (fnr) have a column for each finding, then a column for the
    macro, which `_add_macro` fills in. Underdiagnosis and overdiagnosis have one column. rule: the threshold rule, ""
    for AUROC. value [G, C] (groups, columns), influence [G, C, P]. sizes [5, G, C]: numbers of images, positives,
    negatives, patients and findings.
    """

    metric: str
    rule: str
    columns: tuple[str, ...]
    value: Array
    influence: Array
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
    masks = [mask for of_attribute in patient_groups.groups.values() for mask in of_attribute.values()]
    tables = _findings(measured, columns, names, threshold, masks, settings)
    for table in tables:
        for group_slice in slices.values():
            _add_macro(table, group_slice)
    if HEALTHY in findings:
        tables += _rates(measured, findings, threshold, masks, settings)
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
        for c, column in enumerate(table.columns):
            of_groups = table.influence[group_slice, c]
            found = spread(table.value[group_slice, c], of_groups @ of_groups.T)
            distance = np.minimum(found, largest).tolist()
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
    value, influence, sizes = table.value[groups], table.influence[groups], table.sizes[:, groups]
    common = np.flatnonzero(_common(value[:, :-1]))
    for g in range(len(value)):
        if len(common) and np.isfinite(value[g, common]).all():
            value[g, -1], influence[g, -1] = mean_of(value[g, common], influence[g, common])
            bounds, matrix = table.bounds[:, groups], correlations(influence[g, common] @ influence[g, common].T)
            bounds[:, g, -1] = mean_interval(table.metric, value[g, common], bounds[:, g, common], matrix)
            sizes[:4, g, -1], sizes[4, g, -1] = sizes[:4, g, common].min(-1), len(common)


@dataclass(frozen=True, slots=True)
class _Group:
    """The images of one finding in one patient group."""

    column: Column
    images: NDArray[np.int64]  # [2, P]: positive and negative images of each patient
    num_patients: int

    @classmethod
    def of(cls, column: Column, num_patients: int) -> "_Group":
        images = [
            np.bincount(column.patient[of_class], minlength=num_patients)
            for of_class in (column.positive, ~column.positive)
        ]
        return cls(column, np.stack(images), int(np.count_nonzero(np.sum(images, axis=0))))

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Return the numbers of images, positive images, negative images and patients."""
        positive, negative = self.images.sum(1).tolist()
        return positive + negative, positive, negative, self.num_patients

    @property
    def fewest(self) -> int:
        """Return the number of patients of the rarer class."""
        return int((self.images > 0).sum(1).min())


def _findings(
    measured: SplitMetrics,
    finding_indices: Sequence[int],
    names: tuple[str, ...],
    threshold: Array,
    masks: Sequence[Mask],
    settings: Settings,
) -> list[_Table]:
    """Compute AUROC, false negative rate and false positive rate of each finding in each group.

    The AUROC of "all" and the macros stay NaN.
    """
    sample = measured.sample
    # first axis: "all", then each group; second axis: the findings, then the macro
    shape = (len(masks) + 1, len(finding_indices) + 1)
    value = {name: np.full(shape, np.nan) for name in ("auroc", "fnr", "fpr")}
    influence = {name: np.full((*shape, sample.num_groups), np.nan) for name in value}
    bounds = {name: np.full((2, *shape), np.nan) for name in value}
    sizes = np.zeros((5, *shape), np.int64)
    sizes[4, :, :-1] = 1
    counts = measured.counts
    for c, k in enumerate(finding_indices):
        sizes[:4, 0, c] = counts.n[k], counts.num_positive[k], counts.num_negative[k], counts.num_patients[k]
        # index 0 is the group of all images, whose rates `measured` already contains
        for name, opposite in (("fnr", "sensitivity"), ("fpr", "specificity")):
            key = Key(opposite, operating_point=settings.threshold)
            value[name][0, c], influence[name][0, c] = 1 - measured.value[key][k], -measured.influence[key][k]
            bounds[name][:, 0, c] = 1 - measured.bounds[key][::-1, k]
        column = measured.columns[k]
        groups = [_Group.of(column.within(mask[column.rows]), sample.num_patients) for mask in masks]
        for g, group in enumerate(groups, 1):
            sizes[:4, g, c] = group.counts
            if group.fewest < settings.min_count:
                continue
            rows = group.column.rows
            value["auroc"][g, c], of_image = group.column.auroc()
            influence["auroc"][g, c] = sample.sums(of_image, rows)
            if np.isnan(threshold[k]):
                continue
            called = np.arange(len(rows)) < group.column.reaching(threshold[k])
            positive = group.column.positive
            for name, wrong, of, images in zip(
                ("fnr", "fpr"),
                (~called & positive, called & ~positive),
                (positive, ~positive),
                group.images,
                strict=True,
            ):
                value[name][g, c], of_image = ratio(wrong, of)
                influence[name][g, c] = sample.sums(of_image, rows)
                error = error_of(influence[name][g, c])
                of_rate = share_interval(value[name][g, c], error, images.sum(), effective_patients(images))
                bounds[name][:, g, c] = np.stack(of_rate)
        sizes_of_classes = ClassSizes.of(np.stack([group.images for group in groups], 1)) if groups else None
        if sizes_of_classes:
            areas = value["auroc"][1:, c], error_of(influence["auroc"][1:, c])
            bounds["auroc"][:, 1:, c] = np.stack(area_interval("auroc", *areas, sizes_of_classes))
    return [
        _Table(
            name,
            "" if name == "auroc" else settings.threshold,
            (*names, MACRO),
            value[name],
            influence[name],
            sizes.copy(),
            bounds[name],
        )
        for name in value
    ]


def _rates(
    measured: SplitMetrics, findings: Sequence[str], threshold: Array, masks: Sequence[Mask], settings: Settings
) -> list[_Table]:
    """Compute under- and overdiagnosis for all images and for each group.

    An image has "any finding" if a finding other than "No Finding" is present, even if this finding has too few patients
    for a score.
    """
    column, scored, sample = list(findings).index(HEALTHY), measured.scored, measured.sample
    label = scored.labels()
    with_finding, healthy = (np.delete(label, column, axis=1) == 1).any(1), label[:, column] == 1
    called_healthy = scored.logit[:, column] >= threshold[column]
    all_masks = np.stack([np.ones(len(label), bool), *masks])
    tables = []
    for metric, listed, is_wrong in (
        ("underdiagnosis", with_finding, called_healthy),
        ("overdiagnosis", healthy, ~called_healthy),
    ):
        of = all_masks & listed
        num, num_wrong = of.sum(1), (of & is_wrong).sum(1)
        images = np.stack([np.bincount(sample.patient[mask], minlength=sample.num_patients) for mask in of])
        patients = (images > 0).sum(1)
        rate, of_image = ratio(of & is_wrong, of)
        known = (patients >= settings.min_count) & np.isfinite(threshold[column])
        value = np.where(known, rate, np.nan)
        influence = np.where(known[:, None], sample.sums(of_image), np.nan)
        sizes = np.stack([num, num_wrong, num - num_wrong, patients, np.ones_like(num)])
        bounds = np.stack(share_interval(value, error_of(influence), num, effective_patients(images)))
        tables.append(
            _Table(
                metric,
                settings.threshold,
                (HEALTHY,),
                value[:, None],
                influence[:, None],
                sizes[..., None],
                bounds[..., None],
            )
        )
    return tables
