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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.area_intervals import ClassSizes, area_interval, effective_patients, mean_interval
from bench.scoring.gaps.gap import MACRO
from bench.scoring.influence import correlations, error_of, mean_of, ratio
from bench.scoring.intervals import share_interval
from bench.scoring.max_intervals import spread
from bench.scoring.metric_bounds import bounds_of
from bench.scoring.metrics_of_split import Key, SplitMetrics
from bench.scoring.score_rows import Row

Array = NDArray[np.float64]
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
    attributes = {"": _Attribute((ALL,), slice(1), np.zeros(len(scored.logit), np.int16))}
    first = 1
    for attribute, masks in patient_groups.groups.items():
        of_image = np.full(len(scored.logit), -1, np.int16)
        for g, mask in enumerate(masks.values()):
            of_image[mask] = g
        attributes[attribute] = _Attribute(tuple(masks), slice(first, first + len(masks)), of_image)
        first += len(masks)
    tables = _findings(measured, columns, names, threshold, list(attributes.values()), settings)
    for table in tables:
        for one in attributes.values():
            _add_macro(table, one.place)
    if HEALTHY in findings:
        tables += _rates(measured, findings, threshold, list(attributes.values()), settings)
    prefix = (run_id, scored.dataset, scored.split, scored.reference, settings.mapping)
    numbers = [table.numbers() for table in tables]
    return [
        row
        for attribute, of in attributes.items()
        for table, cells in zip(tables, numbers, strict=True)
        if attribute or table.metric != "auroc"
        for row in _rows(prefix, attribute, of.groups, of.place, settings.selection, table, cells)
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
            bounds = table.bounds[:, groups]
            matrix = correlations(influence[g, common] @ influence[g, common].T)
            bounds[:, g, -1] = mean_interval(table.metric, value[g, common], bounds[:, g, common], matrix)
            sizes[:4, g, -1], sizes[4, g, -1] = sizes[:4, g, common].min(-1), len(common)


class _Attribute(NamedTuple):
    """The groups of one attribute, their rows in all tables, and the group of each image [N] as an index, -1 if unknown."""

    groups: tuple[str, ...]
    place: slice
    of_image: NDArray[np.int16]

    def counted(self, rows: NDArray[np.intp], patient: NDArray[np.int32], num_patients: int) -> NDArray[np.int64]:
        """Count the images in `rows` of each group and patient [G, P]; patient [N]: codes below num_patients."""
        of_image = self.of_image[rows].astype(np.int64)
        cell = of_image * num_patients + patient[rows]
        num = len(self.groups)
        return np.bincount(cell[of_image >= 0], minlength=num * num_patients).reshape(num, num_patients)


def _findings(
    measured: SplitMetrics,
    finding_indices: Sequence[int],
    names: tuple[str, ...],
    threshold: Array,
    attributes: Sequence[_Attribute],
    settings: Settings,
) -> list[_Table]:
    """Compute AUROC, false negative rate and false positive rate of each finding in each group.

    The AUROC of "all" and the macros stay NaN.
    """
    sample = measured.sample
    # first axis: "all", then each group; second axis: the findings, then the macro
    shape = (attributes[-1].place.stop, len(finding_indices) + 1)
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
        classes = column.positive, ~column.positive
        wrong = (np.arange(len(column.rows)) < column.reaching(threshold[k])) != column.positive
        for attribute in attributes[1:]:
            place = attribute.place
            images = np.stack(
                [attribute.counted(column.rows[of], sample.patient, sample.num_patients) for of in classes]
            )
            of_classes = ClassSizes.of(images)
            sizes[:4, place, c] = images.sum((0, 2)), *images.sum(2), images.any(0).sum(1)
            enough = (images > 0).sum(2).min(0) >= settings.min_count
            group = attribute.of_image[column.rows]
            order = np.argsort(group, kind="stable")
            end = np.cumsum(np.bincount(group + 1, minlength=len(enough) + 1))
            for g in np.flatnonzero(enough).tolist():
                part = column.within(order[end[g] : end[g + 1]])
                value["auroc"][place.start + g, c], of_image = part.auroc()
                influence["auroc"][place.start + g, c] = sample.sums(of_image, part.rows)
            of_areas = value["auroc"][place, c], error_of(influence["auroc"][place, c])
            bounds["auroc"][:, place, c] = np.stack(area_interval("auroc", *of_areas, of_classes))
            if not np.isnan(threshold[k]):
                groups = (sample.group, sample.num_groups)
                of = np.stack([attribute.counted(column.rows[kept], *groups) for kept in classes])
                of_wrong = np.stack([attribute.counted(column.rows[kept & wrong], *groups) for kept in classes])
                rate, of_rate = ratio(of_wrong, of)
                of_bounds = np.stack(share_interval(rate, error_of(of_rate), of_classes.images, of_classes.patients))
                for i, name in enumerate(("fnr", "fpr")):
                    value[name][place, c][enough] = rate[i, enough]
                    influence[name][place, c][enough] = of_rate[i, enough]
                    bounds[name][:, place, c][:, enough] = of_bounds[:, i, enough]
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
    measured: SplitMetrics,
    findings: Sequence[str],
    threshold: Array,
    attributes: Sequence[_Attribute],
    settings: Settings,
) -> list[_Table]:
    """Compute under- and overdiagnosis for all images and for each group.

    An image has "any finding" if a finding other than "No Finding" is present, even if this finding has too few patients
    for a score.
    """
    column = list(findings).index(HEALTHY)
    scored = measured.scored
    sample = measured.sample
    label = scored.labels()
    with_finding = (np.delete(label, column, axis=1) == 1).any(1)
    healthy = label[:, column] == 1
    called_healthy = scored.logit[:, column] >= threshold[column]
    tables = []
    for metric, listed, is_wrong in (
        ("underdiagnosis", with_finding, called_healthy),
        ("overdiagnosis", healthy, ~called_healthy),
    ):
        images, of, of_wrong = (
            np.concatenate([attribute.counted(np.flatnonzero(kept), *of_patients) for attribute in attributes])
            for kept, of_patients in (
                (listed, (sample.patient, sample.num_patients)),
                (listed, (sample.group, sample.num_groups)),
                (listed & is_wrong, (sample.group, sample.num_groups)),
            )
        )
        num, num_wrong, patients = of.sum(1), of_wrong.sum(1), (images > 0).sum(1)
        rate, of_rate = ratio(of_wrong, of)
        known = (patients >= settings.min_count) & np.isfinite(threshold[column])
        value = np.where(known, rate, np.nan)
        influence = np.where(known[:, None], of_rate, np.nan)
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
