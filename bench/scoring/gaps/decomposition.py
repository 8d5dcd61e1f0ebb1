"""Decomposition of a gap into prevalence, case mix, label definition and a remainder.

gap = prevalence + case mix + labels + remainder, exactly, for every finding and hospital. A component
is the amount by which the external value approaches the internal value when one cause of the gap is removed:
  prevalence  External images get weights, so that they have the prevalence of the internal test split. AUROC does not
              depend on prevalence, so its component is 0.
  case mix    In addition, positives and negatives each get weights, so that they have the distribution of sex x age decade x
              view of the internal test split. The ratio of internal to external share of a cell is limited to 10
              (truncation: Cole and Hernan 2008, doi:10.1093/aje/kwn164).
  labels      For AUROC only. If radiologists labeled the external hospital but not the internal test split, the external
              images are scored again with their labels from reports. Without such labels, an internal split labeled by
              radiologists replaces the test split. This split has other patients, so the component includes the
              difference between patients, and the column `paired` is 0 (other images). In all other situations, both
              hospitals are scored again on the same images, with the labels of a stricter mapping, whose labels have
              more similar meanings at the two hospitals. Without a stricter mapping that changes labels, the component is
              unknown, because a looser mapping makes the labels of the two hospitals less similar. The columns `least`
              and `most` are the smallest and largest component over all mappings.
The weights use external labels. So the weights only explain the gap, and never improve a reported value.
Shapes: N images, G groups (cell x label), P patients.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.area_intervals import AREAS, ClassSizes, area_interval, paired_interval
from bench.scoring.calibration_metrics import BIASED, weighted_ece
from bench.scoring.column import Column
from bench.scoring.gaps.case_mix import Mix, Weights, mix_of
from bench.scoring.gaps.gap import EXTERNAL, MACRO, Gap
from bench.scoring.gaps.gap_component import (
    COMPONENTS,
    NEITHER,
    ComponentEstimate,
    GapComponent,
    GapComponents,
    mean,
    remainder,
    unknown,
)
from bench.scoring.gaps.hospital_means import complete, findings_of_means, weights
from bench.scoring.influence import Influence, correlations, half_width
from bench.scoring.intervals import distance_difference
from bench.scoring.metrics_of_split import AS_GIVEN, AUROC, Key, SplitMetrics
from bench.scoring.score_rows import Row
from bench.scoring.scored_split import count
from harmonize.cohorts.label_mapping import REPORT
from harmonize.cohorts.pool_names import is_pool

MappingChanges = dict[str, dict[int, ComponentEstimate]]  # mapping -> index of the finding -> change in AUROC
RADIOLOGIST = "radiologist"
PREFERRED = ("strict", "default", "broad")  # label mappings; with the first, the hospitals' labels are most similar
# reasons of a missing component
SAME_LABELS = "not measured, because a stricter label mapping gives the same labels"
# a pool has no native labels, and only some of its hospitals have labels of radiologists
OF_POOL = "not measured for a pool of training hospitals"
METRICS = {"auroc": AUROC, "auprc": Key("auprc"), "ece": Key("ece")}


def rows(
    run_id: str,
    findings: Sequence[str],
    internal: SplitMetrics,
    experts: Sequence[SplitMetrics],
    external: Sequence[SplitMetrics],
    gaps: Sequence[Gap],
    settings: Settings,
) -> list[Row]:
    """Build the rows of the table `decomposition`: each finding and the macro of each hospital, then the mean "external".

    internal is the test split; experts are the internal splits labeled by radiologists. The AUROC gaps have
    the intervals of `gaps`. A macro or mean of a component is unknown if the component
    is unknown for one of its findings. An unknown component is part of the remainder, so the components sum to the gap.
    """
    table_rows: list[Row] = []
    internal_changes: MappingChanges = {}
    of_hospitals = [of_hospital(internal, experts, hospital, settings, internal_changes) for hospital in external]
    used = findings_of_means(internal, external)
    for name in METRICS:
        cells = [by_metric[name] for by_metric in of_hospitals]
        macros = _macros(cells, used) if used is not None and used.any() else {}
        for h, (hospital, by_finding) in enumerate(zip(external, cells, strict=True)):
            for k, components in by_finding.items():
                table_rows += _rows(run_id, hospital.scored.dataset, name, findings[k], components)
            if h in macros:
                table_rows += _rows(run_id, hospital.scored.dataset, name, MACRO, macros[h])
        if macros:
            table_rows += _rows(
                run_id, EXTERNAL, name, MACRO, mean(list(macros.values()), min, "pairs of finding and hospital")
            )
    bounds = {(gap.dataset, gap.finding): (gap.low, gap.high) for gap in gaps}
    return [_with_bounds(row, bounds) if row[2] == "auroc" and row[4] == "gap" else row for row in table_rows]


def _macros(cells: Sequence[Mapping[int, GapComponents]], used: NDArray[np.bool_]) -> dict[int, GapComponents]:
    """Return the macro of each hospital with one, by its index: the weighted sums of `hospital_means`, which add up to its gap.

    cells: for each hospital, index of the finding -> components. used [K]: the findings of the means.
    """
    scored = np.array([[used[k] and k in by_finding for k in range(len(used))] for by_finding in cells])
    of_cells, whole = weights(scored), complete(scored)
    macros: dict[int, GapComponents] = {}
    for h, own in enumerate(scored):
        if whole[h] and own.any():
            macros[h] = mean([cells[h][k] for k in np.flatnonzero(own).tolist()], sum)
        elif np.isfinite(of_cells[h]).all():
            places = np.argwhere(of_cells[h] != 0).tolist()
            num = int(own.sum())
            weight = np.array([of_cells[h, g, k] for g, k in places])
            macros[h] = mean([cells[g][k] for g, k in places], lambda _, num=num: num, weight=weight)  # type: ignore[misc]
    return macros


def _with_bounds(row: Row, bounds: Mapping[tuple[str, str], tuple[float, float]]) -> Row:
    """Return a row of a gap with the interval from `bounds`: (dataset, finding) -> (low, high)."""
    dataset, finding = row[1], row[3]
    return (*row[:6], *bounds[dataset, finding], *row[8:])


def of_hospital(
    internal: SplitMetrics,
    experts: Sequence[SplitMetrics],
    external: SplitMetrics,
    settings: Settings,
    internal_changes: MappingChanges,
) -> dict[str, dict[int, GapComponents]]:
    """Decompose the gap of one hospital: metric (auroc, auprc, ece) -> index of the finding -> components.

    Findings that the internal or the external hospital does not score are left out. internal_changes
    is a cache of internal results that all external hospitals share.
    """
    common = np.flatnonzero(np.isfinite(internal.value[AUROC]) & np.isfinite(external.value[AUROC])).tolist()
    of_pool = is_pool(internal.scored.dataset)
    labels = {} if of_pool else _labels(internal, experts, external, settings, internal_changes)

    components_of_finding: dict[int, dict[str, GapComponents]] = {}
    for k in common:
        components_of_finding[k] = _reweighted(internal, external, k, settings)
        for name, key in METRICS.items():
            inside, outside = (_estimate(split, key, k) for split in (internal, external))
            components = components_of_finding[k][name]
            components["gap"] = _change(outside, inside)
            if name != "auroc":
                components["labels"] = unknown("measured for AUROC only")
            else:
                components["labels"] = labels[k] if k in labels else unknown(OF_POOL if of_pool else SAME_LABELS)
            components["remainder"] = remainder(components)
    return {name: {k: components_of_finding[k][name] for k in common} for name in METRICS}


def _estimate(split: SplitMetrics, key: Key, k: int) -> ComponentEstimate:
    """Return a metric of finding k."""
    interval = split.bounds[key][:, k].tolist() if key in split.bounds else NEITHER
    excess = float(split.excess[key][k]) if key in split.excess else 0.0
    influence = Influence({split.sample.key: split.influence[key][k]})
    return ComponentEstimate(float(split.value[key][k]), influence, (interval[0], interval[1]), excess)


def _area(name: str, value: float, influence: Influence, sizes: ClassSizes) -> ComponentEstimate:
    """Return an area with its interval for the class sizes, [2, 1] each."""
    (low,), (high,) = area_interval(name, np.array([value]), influence.error[None], sizes)
    return ComponentEstimate(value, influence, (float(low), float(high)))


def _reweighted(internal: SplitMetrics, external: SplitMetrics, k: int, settings: Settings) -> dict[str, GapComponents]:
    """Compute the components prevalence and case mix of one finding: metric -> name of the component -> component."""
    mix = mix_of(internal, external, k, settings.min_count)
    sizes = ClassSizes.of(external.images_of_patients[:, [k]])
    matched = ClassSizes(*(np.array(mix.effective)[:, None] / sizes.images * numbers for numbers in sizes))
    components: dict[str, GapComponents] = {}
    for name, key in METRICS.items():
        original = same_prevalence = _estimate(external, key, k)
        if name != "auroc":  # AUROC does not depend on prevalence
            same_prevalence = _weighted(name, internal, external, k, mix, mix.label, sizes, settings.bins)
        if mix.reason:
            case_mix = unknown(mix.reason, mix.effective, mix.covered)
        else:
            same_mix = _weighted(name, internal, external, k, mix, mix.group, matched, settings.bins)
            case_mix = replace(_change(same_prevalence, same_mix), effective=mix.effective, covered=mix.covered)
        components[name] = {"prevalence": _change(original, same_prevalence), "case_mix": case_mix}
    return components


def _weighted(
    name: str,
    internal: SplitMetrics,
    external: SplitMetrics,
    k: int,
    mix: Mix,
    weights: Weights,
    sizes: ClassSizes,
    bins: int,
) -> ComponentEstimate:
    """Return a metric of the weighted external images of finding k.

    Patients of both hospitals have an influence, because the weights depend on the numbers of images of their groups.
    """
    column = external.columns[k]
    sample = external.sample
    of_image = mix.external.of_image
    weight, excess = weights.of_group[of_image], 0.0
    if name == "ece":
        group = sample.group[column.rows]
        binned = external.probabilities[k][AS_GIVEN]
        value, slope, excess = weighted_ece(column.positive, binned, weight, bins, group, sample.num_groups)
    else:
        value, slope = column.auroc(weight) if name == "auroc" else column.average_precision(weight)
    of_groups = np.bincount(of_image, slope, len(weights.of_group))
    own = weight * slope
    of_weights = (of_groups @ np.nan_to_num(weights.external))[of_image]
    of_external = own + of_weights
    if weights is not mix.label:
        # Without one of the n images of a cell, the others weigh n / (n - 1) times as much; without a single one, the cell is gone.
        num = mix.external.num[of_image]
        of_external = np.where(num > 1, of_external * num / np.maximum(num - 1, 1), own)
    of_internal = (of_groups @ np.nan_to_num(weights.internal))[mix.internal.of_image]
    # the influences on metrics of a pool are over the patients of each of its hospitals
    inside = f"{internal.sample.key} images" if is_pool(internal.scored.dataset) else internal.sample.key
    influence = Influence(
        {
            sample.key: sample.sums(of_external, column.rows),
            inside: internal.sample.sums(of_internal, internal.columns[k].rows),
        }
    )
    if name in AREAS:
        return _area(name, value, influence, sizes)
    return ComponentEstimate(value, influence, excess=excess)


def _change(before: ComponentEstimate, after: ComponentEstimate) -> GapComponent:
    """Return after - before, with an interval from both intervals; the difference is exactly 0 if both are the same."""
    values, lows, highs = np.array([(of.value, *of.interval) for of in (after, before)]).T
    matrix = correlations(Influence.stack([after.influence, before.influence]).covariance)
    interval = (0.0, 0.0) if after is before else paired_interval(values, lows, highs, float(matrix[0, 1]))
    change = after.influence - before.influence
    return GapComponent(float(values[0] - values[1]), change, interval, excess=(after.excess, before.excess))


def _labels(
    internal: SplitMetrics,
    experts: Sequence[SplitMetrics],
    external: SplitMetrics,
    settings: Settings,
    internal_changes: MappingChanges,
) -> dict[int, GapComponent]:
    """Compute the component "labels" of the AUROC gap: index of the finding -> component.

    internal_changes is a cache that all external hospitals share.
    """
    labels: dict[int, GapComponent] = {}
    no_change = ComponentEstimate(0.0, Influence({}), (0.0, 0.0))
    if external.scored.reference == RADIOLOGIST and internal.scored.reference != RADIOLOGIST:
        method = "measured on the same external images with their labels from reports"
        for k, by_reports in _remap(external, REPORT, settings).items():
            labels[k] = replace(_change(no_change, by_reports), reason=method, paired=1.0)
        for expert in sorted(experts, key=lambda expert: expert.scored.split != "expert_test"):
            method = f"measured on internal patients whose labels come from radiologists ({expert.scored.split})"
            for k in np.flatnonzero(np.isfinite(internal.value[AUROC] - expert.value[AUROC])).tolist():
                change = _change(_estimate(expert, AUROC, k), _estimate(internal, AUROC, k))
                labels.setdefault(k, replace(change, reason=method, paired=0.0))
    common = np.isfinite(internal.value[AUROC]) & np.isfinite(external.value[AUROC])
    by_mapping: dict[int, dict[str, GapComponent]] = {}
    for mapping in PREFERRED:
        if mapping not in internal_changes:
            internal_changes[mapping] = _remap(internal, mapping, settings)
        outside, inside = _remap(external, mapping, settings), internal_changes[mapping]
        for k in sorted({k for k in (*outside, *inside) if common[k]}):
            hospitals = "both hospitals" if k in outside and k in inside else "the internal hospital"
            if k not in inside:
                hospitals = "the external hospital"
            change = _change(inside.get(k, no_change), outside.get(k, no_change))
            method = f"measured by scoring {hospitals} again with the {mapping} label mapping"
            by_mapping.setdefault(k, {})[mapping] = replace(change, reason=method, paired=1.0)
    closer = PREFERRED[: PREFERRED.index(settings.mapping)]
    for k, components in by_mapping.items():
        values = [0.0, *(component.value for component in components.values())]
        default = unknown(SAME_LABELS)
        best = next((components[mapping] for mapping in closer if mapping in components), default)
        labels.setdefault(k, replace(best, bounds=(min(values), max(values))))
    return labels


def _remap(split: SplitMetrics, mapping: str, settings: Settings) -> dict[int, ComponentEstimate]:
    """Compute the change in AUROC under another mapping: index of the finding -> change.

    The result has only findings whose labels change.
    """
    state = split.scored.patient_groups.mapped.get(mapping) if split.scored.patient_groups else None
    if state is None:
        return {}

    def changed() -> tuple[NDArray[np.int8], list[int]]:
        # The metrics read labels column by column, so a column must be contiguous in memory.
        label = np.asfortranarray(replace(split.scored, state=state).labels())
        label.flags.writeable = False
        available = count(label, split.sample.patient, settings.min_count).available
        return label, np.flatnonzero((label != split.scored.labels()).any(0) & available).tolist()

    label, columns = split.scored.cached(("remapped", mapping, settings.min_count), changed)
    changes: dict[int, ComponentEstimate] = {}
    for k in columns:
        column = Column.of(split.sample.patient, label[:, k], split.scored.logit[:, k])
        value, of_image = column.auroc()
        influence = Influence({split.sample.key: split.sample.sums(of_image, column.rows)})
        sizes = ClassSizes.of_labels(label[:, [k]], split.sample.patient)
        change = _change(_estimate(split, AUROC, k), _area(AUROC.metric, value, influence, sizes))
        changes[k] = ComponentEstimate(change.value, change.influence, change.interval)
    return changes


def _rows(run_id: str, dataset: str, metric: str, finding: str, components: GapComponents) -> list[Row]:
    """Build the rows of all components of one gap."""
    all_components = [components[name] for name in COMPONENTS]
    value = np.array([component.value for component in all_components])
    if metric in BIASED:
        half = np.array([half_width(component.influence.all) for component in all_components])
        low, high = distance_difference(value, half, *np.array([c.excess for c in all_components]).T)
    else:
        low, high = np.array([component.interval for component in all_components]).T
    table_rows: list[Row] = []
    for i, (name, component) in enumerate(zip(COMPONENTS, all_components, strict=True)):
        numbers = (component.value, float(low[i]), float(high[i]))
        prefix = (run_id, dataset, metric, finding, name)
        details = (
            component.reason,
            *component.effective,
            component.covered,
            component.num_findings,
            *component.bounds,
            component.paired,
        )
        table_rows.append((*prefix, *numbers, *details))
    return table_rows
