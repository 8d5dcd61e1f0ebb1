"""Decomposition of a gap into prevalence, case mix, label definition and a remainder.

gap = prevalence + case mix + labels + remainder, exactly, for every finding and hospital and in every replicate. A component
is how much closer to the internal value the external one gets when that one factor is matched:
  prevalence  External images are weighted to the prevalence of the internal test split. AUROC does not depend on it: 0.
  case mix    In addition, positives and negatives are each weighted to the sex x age decade x view of the internal test
              split. A weight is at most 10 times the average (truncation: Cole and Hernan 2008, doi:10.1093/aje/kwn164).
  labels      AUROC only. If radiologists labeled the external hospital and not the internal test split: the internal split
              labeled by radiologists replaces the test split. Its patients differ, so `paired` is 0 and that difference is
              included. Otherwise: both sides under a mapping closer in meaning than the grid's own, on the same images.
              Without such a mapping the component is unknown, because a looser mapping makes the two sides less alike.
              least and most are over all mappings.
The weights use external labels: they explain the gap and never improve a reported value.
Shapes: N images, G groups (cell x label), B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap.intervals import percentile
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.bootstrap.weighted_metrics import Ranked, WeightedWalk
from bench.scoring.gaps.case_mix import Mix, Totals, mix_of
from bench.scoring.gaps.gap import EXTERNAL, MACRO, Gap
from bench.scoring.gaps.gap_component import COMPONENTS, GapComponent, GapComponents, mean, remainder, unknown
from bench.scoring.metrics_of_split import AS_GIVEN, AUROC, Key, Measured
from bench.scoring.score_rows import Row
from bench.scoring.scored_split import Settings, count

Array = NDArray[np.float64]
MappingChanges = dict[
    str, dict[int, tuple[float, Array]]
]  # mapping -> finding -> change in AUROC, value and replicates
RADIOLOGIST = "radiologist"
PREFERRED = ("strict", "default", "broad")  # mappings, from the closest in meaning to the loosest
METRICS = {"auroc": AUROC, "auprc": Key("auprc"), "ece": Key("ece")}


def rows(
    run_id: str,
    findings: Sequence[str],
    internal: Measured,
    experts: Sequence[Measured],
    external: Sequence[Measured],
    gaps: Sequence[Gap],
    settings: Settings,
    num_threads: int = 1,
) -> list[Row]:
    """Build the rows of the table `decomposition`: each hospital per finding and as macro, then their mean as "external".

    internal is the test split; experts are the internal splits labeled by radiologists. The AUROC gaps are those of `gaps`,
    whose intervals may use more replicates than the components. In a macro or mean, an unknown component counts as 0 and so
    stays in the remainder: the components still sum to the gap.
    """
    out: list[Row] = []
    at_internal: Totals = {}
    remapped_internal: MappingChanges = {}
    macros: dict[str, list[GapComponents]] = {name: [] for name in METRICS}
    for other in external:
        found = of_hospital(internal, experts, other, settings, at_internal, remapped_internal, num_threads)
        for name, single in found.items():
            for k, components in single.items():
                out += _rows(run_id, other.scored.dataset, name, findings[k], components)
            if single:
                macros[name].append(mean(list(single.values()), sum, "findings"))
                out += _rows(run_id, other.scored.dataset, name, MACRO, macros[name][-1])
    for name, of_hospitals in macros.items():
        if of_hospitals:
            out += _rows(run_id, EXTERNAL, name, MACRO, mean(of_hospitals, min, "hospitals"))
    bounds = {(gap.dataset, gap.finding): (gap.low, gap.high) for gap in gaps}
    return [_with_bounds(row, bounds) if row[2] == "auroc" and row[4] == "gap" else row for row in out]


def _with_bounds(row: Row, bounds: Mapping[tuple[str, str], tuple[float, float]]) -> Row:
    """Replace the interval of a gap row by that of the `gaps` table."""
    dataset, finding = row[1], row[3]
    return (*row[:6], *bounds[dataset, finding], *row[8:])


def of_hospital(
    internal: Measured,
    experts: Sequence[Measured],
    other: Measured,
    settings: Settings,
    at_internal: Totals,
    remapped_internal: MappingChanges,
    num_threads: int,
) -> dict[str, dict[int, GapComponents]]:
    """Decompose the gap of one hospital: metric (auroc, auprc, ece) -> index of the finding -> components.

    Findings that one side does not score are left out. at_internal and remapped_internal cache internal results between
    hospitals. Both sides have only the first FOR_DETAIL replicates.
    """
    both = np.flatnonzero(np.isfinite(internal.value[AUROC]) & np.isfinite(other.value[AUROC])).tolist()
    labels = _labels(internal, experts, other, settings, remapped_internal, num_threads)

    walks: dict[int, tuple[Mix, WeightedWalk]] = {}
    done: dict[int, dict[str, GapComponents]] = {}

    def begin(i: int) -> None:
        walks[i] = _mixed(internal, other, both[i], settings, at_internal)

    def go(tile: int) -> None:
        """Take a tile for all findings, while it lies in the processor's cache."""
        weight = other.resamples.tile(tile)
        for _, walk in walks.values():
            walk.fill(tile, weight)

    def end(i: int) -> None:
        k, found = both[i], _reweighted(other, both[i], *walks[i])
        done[k] = found
        for name, key in METRICS.items():
            replicates = internal.replicates[key][k] - other.replicates[key][k]
            components = found[name]
            components["gap"] = GapComponent(float(internal.value[key][k] - other.value[key][k]), replicates)
            why = "no other mapping of its labels" if name == "auroc" else "measured for AUROC only"
            components["labels"] = labels[k] if name == "auroc" and k in labels else unknown(replicates, why)
            components["remainder"] = remainder(components)

    for work, num in ((begin, len(both)), (go, len(other.resamples.weight)), (end, len(both))):
        bootstrap.run_in_threads(work, num, num_threads)
    return {name: {k: done[k][name] for k in both} for name in METRICS}


def _mixed(
    internal: Measured, other: Measured, k: int, settings: Settings, at_internal: Totals
) -> tuple[Mix, WeightedWalk]:
    """Return the weights of a finding's images, and a pass over them that has not begun; at_internal caches internal counts."""
    mix = mix_of(internal, other, k, settings.min_count, at_internal)
    column = other.columns[k]
    prob, place, _ = other.judged[k][AS_GIVEN]
    ranked = Ranked(column, mix.group[column.rows], place, column.positive - prob, settings.bins)
    return mix, WeightedWalk.empty(other.resamples, ranked, mix.drawn)


def _reweighted(other: Measured, k: int, mix: Mix, walk: WeightedWalk) -> dict[str, GapComponents]:
    """Compute the components prevalence and case mix of one finding, by metric."""
    sample, drawn = walk.ranked.of_sample(*mix.sample), walk.results()
    as_is = {name: (float(other.value[key][k]), other.replicates[key][k]) for name, key in METRICS.items()}
    matched = {
        "auroc": as_is["auroc"],  # does not depend on prevalence
        "auprc": (float(sample.auprc_by_label[0]), drawn.auprc_by_label),
        "ece": (float(sample.ece_by_label[0]), drawn.ece_by_label),
    }
    mixed = {name: (float(getattr(sample, name)[0]), getattr(drawn, name)) for name in METRICS}
    found: dict[str, GapComponents] = {}
    for name in METRICS:
        if mix.reason:
            case_mix = unknown(as_is[name][1], mix.reason, mix.effective, mix.covered)
        else:
            change = _change(matched[name], mixed[name])
            case_mix = replace(change, effective=mix.effective, covered=mix.covered)
        found[name] = {"prevalence": _change(as_is[name], matched[name]), "case_mix": case_mix}
    return found


def _change(before: tuple[float, Array], after: tuple[float, Array]) -> GapComponent:
    return GapComponent(after[0] - before[0], after[1] - before[1])


def _labels(
    internal: Measured,
    experts: Sequence[Measured],
    other: Measured,
    settings: Settings,
    at_internal: MappingChanges,
    num_threads: int,
) -> dict[int, GapComponent]:
    """Compute the component labels of the AUROC gap, by index of the finding; at_internal caches internal results."""
    found: dict[int, GapComponent] = {}
    if other.scored.reference == RADIOLOGIST and internal.scored.reference != RADIOLOGIST:
        for expert in sorted(experts, key=lambda expert: expert.scored.split != "expert_test"):
            value = internal.value[AUROC] - expert.value[AUROC]
            replicates = internal.replicates[AUROC] - expert.replicates[AUROC]
            how = f"internal judged by radiologists on other patients ({expert.scored.split})"
            for k in np.flatnonzero(np.isfinite(value)).tolist():
                found.setdefault(k, GapComponent(float(value[k]), replicates[k], how, paired=0.0))
    both = np.isfinite(internal.value[AUROC]) & np.isfinite(other.value[AUROC])
    read: dict[int, dict[str, GapComponent]] = {}
    for mapping in PREFERRED:
        if mapping not in at_internal:
            at_internal[mapping] = _remap(internal, mapping, settings, num_threads)
        changes = [_remap(other, mapping, settings, num_threads), at_internal[mapping]]
        for k in sorted({k for side in changes for k in side if both[k]}):
            outside, inside = (change.get(k, (0.0, np.zeros(other.resamples.num))) for change in changes)
            hospitals = (
                "both hospitals"
                if all(k in change for change in changes)
                else ("the external hospital" if k in changes[0] else "the internal hospital")
            )
            how = f"{mapping} mapping at {hospitals}"
            read.setdefault(k, {})[mapping] = GapComponent(
                outside[0] - inside[0], outside[1] - inside[1], how, paired=1.0
            )
    closer = PREFERRED[: PREFERRED.index(settings.mapping)]
    already = f"{settings.mapping} is its closest mapping already"
    for k, components in read.items():
        values = [0.0, *(component.value for component in components.values())]
        usual = unknown(other.replicates[AUROC][k], already)
        best = next((components[mapping] for mapping in closer if mapping in components), usual)
        found.setdefault(k, replace(best, bounds=(min(values), max(values))))
    return found


def _remap(side: Measured, mapping: str, settings: Settings, num_threads: int) -> dict[int, tuple[float, Array]]:
    """Compute the change in AUROC under another mapping, value and replicates [B], for each finding that it changes."""
    state = side.scored.patient_groups.mapped.get(mapping) if side.scored.patient_groups else None
    if state is None:
        return {}

    def changed() -> tuple[NDArray[np.int8], list[int]]:
        label = np.asfortranarray(replace(side.scored, state=state).labels())  # the memory order of `counted`
        label.flags.writeable = False
        available = count(label, side.resamples.patient, settings.min_count).available
        return label, np.flatnonzero((label != side.scored.labels()).any(0) & available).tolist()

    label, columns = side.scored.once(("remapped", mapping, settings.min_count), changed)
    found: dict[int, tuple[float, Array]] = {}

    def work(i: int) -> None:
        k = columns[i]
        column = Column.of(side.resamples.patient, label[:, k], side.scored.logit[:, k])
        drawn = bootstrap.column_metrics(side.resamples, column).auroc
        found[k] = column.areas()[0] - float(side.value[AUROC][k]), drawn - side.replicates[AUROC][k]

    bootstrap.run_in_threads(work, len(columns), num_threads)
    return found


def _rows(run_id: str, dataset: str, metric: str, finding: str, components: GapComponents) -> list[Row]:
    every = [components[name] for name in COMPONENTS]
    value = np.array([component.value for component in every])
    low, high = percentile(value, np.stack([component.replicates for component in every]))
    if metric == "ece":  # noise inflates ECE, so its intervals are mirrored as in the scores
        low, high = 2 * value - high, 2 * value - low
    out: list[Row] = []
    for i, (name, component) in enumerate(zip(COMPONENTS, every, strict=True)):
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
        out.append((*prefix, *numbers, *details))
    return out
