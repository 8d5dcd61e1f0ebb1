"""What a gap is made of: prevalence, case mix, the definition of the labels, and what none of them explains.

gap = prevalence + case mix + labels + remainder, exactly, for every finding and hospital and in every replicate. A part is
how much nearer to the internal hospital the external number comes when that one thing is made alike:
  prevalence  the external images count so that the finding is as frequent as on the internal test split (AUROC: 0, it is blind to it)
  case mix    on top, within positives and within negatives, so that sex x age decade x view is as on the internal test split;
              a weight is at most 10 times the average (Cole and Hernan 2008, doi:10.1093/aje/kwn164, on truncation)
  labels      AUROC only: where radiologists labelled externally and not the internal test split, the internal hospital judged by its radiologists. They
              read other patients than those of the test split: that difference is in it, too, and `paired` is 0. Else both sides
              read, on the same images, under a mapping closer in meaning than the grid's own; where there is none the part is
              unknown: looser words make the two sides less alike, not more. least and most are over every mapping
The weights use external labels: this is an analysis of the gap, never a way to a better number.
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
Readings = dict[
    str, dict[int, tuple[float, Array]]
]  # mapping -> finding -> what it adds to AUROC, and in each replicate
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
    """Return the rows of the table `decomposition`: each hospital per finding and as macro, then their mean as "external".

    The AUROC gaps are those of `gaps`, whose intervals may come from more replicates than the parts'.
    the internal hospital is the test split, experts the splits of the internal hospital that radiologists labelled. The macro and the mean over hospitals
    count a part that cannot be measured somewhere as 0 there, so it stays in the remainder: the parts still sum.
    """
    out: list[Row] = []
    at_internal: Totals = {}
    read_at_internal: Readings = {}
    macros: dict[str, list[GapComponents]] = {name: [] for name in METRICS}
    for other in external:
        found = of_hospital(internal, experts, other, settings, at_internal, read_at_internal, num_threads)
        for name, single in found.items():
            for k, components in single.items():
                out += _rows(run_id, other.scored.dataset, name, findings[k], components)
            if single:
                macros[name].append(mean(list(single.values()), sum, "findings"))
                out += _rows(run_id, other.scored.dataset, name, MACRO, macros[name][-1])
    for name, each in macros.items():
        if each:
            out += _rows(run_id, EXTERNAL, name, MACRO, mean(each, min, "hospitals"))
    bounds = {(gap.dataset, gap.finding): (gap.low, gap.high) for gap in gaps}
    return [_with_bounds(row, bounds) if row[2] == "auroc" and row[4] == "gap" else row for row in out]


def _with_bounds(row: Row, bounds: Mapping[tuple[str, str], tuple[float, float]]) -> Row:
    """Return a row of a gap with the interval that the table of gaps has."""
    dataset, finding = row[1], row[3]
    return (*row[:6], *bounds[dataset, finding], *row[8:])


def of_hospital(
    internal: Measured,
    experts: Sequence[Measured],
    other: Measured,
    settings: Settings,
    at_internal: Totals,
    read_at_internal: Readings,
    num_threads: int,
) -> dict[str, dict[int, GapComponents]]:
    """Return by metric (auroc, auprc, ece) the parts of each finding that both have, by its place.

    at_internal and read_at_internal keep what is found of the internal hospital between hospitals. Both sides have the replicates that are judged in
    detail, and no others.
    """
    both = np.flatnonzero(np.isfinite(internal.value[AUROC]) & np.isfinite(other.value[AUROC])).tolist()
    labels = _labels(internal, experts, other, settings, read_at_internal, num_threads)

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
            why = "no other reading of its labels" if name == "auroc" else "measured for AUROC only"
            components["labels"] = labels[k] if name == "auroc" and k in labels else unknown(replicates, why)
            components["remainder"] = remainder(components)

    for work, num in ((begin, len(both)), (go, len(other.resamples.weight)), (end, len(both))):
        bootstrap.each(work, num, num_threads)
    return {name: {k: done[k][name] for k in both} for name in METRICS}


def _mixed(
    internal: Measured, other: Measured, k: int, settings: Settings, at_internal: Totals
) -> tuple[Mix, WeightedWalk]:
    """Return how the images of a finding are to count, and a walk over them that has not begun; at_internal keeps what is counted at the internal hospital."""
    mix = mix_of(internal, other, k, settings.min_count, at_internal)
    column = other.columns[k]
    prob, place, _ = other.judged[k][AS_GIVEN]
    ranked = Ranked(column, mix.group[column.rows], place, column.positive - prob, settings.bins)
    return mix, WeightedWalk.over(other.resamples, ranked, mix.drawn)


def _reweighted(other: Measured, k: int, mix: Mix, walk: WeightedWalk) -> dict[str, GapComponents]:
    """Return prevalence and case mix of one finding, by metric."""
    sample, drawn = walk.ranked.of_sample(*mix.sample), walk.walked()
    as_is = {name: (float(other.value[key][k]), other.replicates[key][k]) for name, key in METRICS.items()}
    alike = {
        "auroc": as_is["auroc"],  # blind to it
        "auprc": (float(sample.auprc_by_label[0]), drawn.auprc_by_label),
        "ece": (float(sample.ece_by_label[0]), drawn.ece_by_label),
    }
    mixed = {name: (float(getattr(sample, name)[0]), getattr(drawn, name)) for name in METRICS}
    found: dict[str, GapComponents] = {}
    for name in METRICS:
        if mix.reason:
            case_mix = unknown(as_is[name][1], mix.reason, mix.effective, mix.covered)
        else:
            change = _change(alike[name], mixed[name])
            case_mix = replace(change, effective=mix.effective, covered=mix.covered)
        found[name] = {"prevalence": _change(as_is[name], alike[name]), "case_mix": case_mix}
    return found


def _change(before: tuple[float, Array], after: tuple[float, Array]) -> GapComponent:
    return GapComponent(after[0] - before[0], after[1] - before[1])


def _labels(
    internal: Measured,
    experts: Sequence[Measured],
    other: Measured,
    settings: Settings,
    at_internal: Readings,
    num_threads: int,
) -> dict[int, GapComponent]:
    """Return what reading the labels in another way changes in the AUROC gap, by place of the finding; at_internal keeps the internal hospital's."""
    found: dict[int, GapComponent] = {}
    if other.scored.reference == RADIOLOGIST and internal.scored.reference != RADIOLOGIST:
        for expert in sorted(experts, key=lambda each: each.scored.split != "expert_test"):
            value = internal.value[AUROC] - expert.value[AUROC]
            replicates = internal.replicates[AUROC] - expert.replicates[AUROC]
            how = f"internal judged by radiologists on other patients ({expert.scored.split})"
            for k in np.flatnonzero(np.isfinite(value)).tolist():
                found.setdefault(k, GapComponent(float(value[k]), replicates[k], how, paired=0.0))
    both = np.isfinite(internal.value[AUROC]) & np.isfinite(other.value[AUROC])
    read: dict[int, dict[str, GapComponent]] = {}
    for mapping in PREFERRED:
        if mapping not in at_internal:
            at_internal[mapping] = _reread(internal, mapping, settings, num_threads)
        changes = [_reread(other, mapping, settings, num_threads), at_internal[mapping]]
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


def _reread(side: Measured, mapping: str, settings: Settings, num_threads: int) -> dict[int, tuple[float, Array]]:
    """Return by how much another mapping raises the AUROC of each finding that it changes, and that in each replicate."""
    state = side.scored.patient_groups.mapped.get(mapping) if side.scored.patient_groups else None
    if state is None:
        return {}

    def changed() -> tuple[NDArray[np.int8], list[int]]:
        label = np.asfortranarray(replace(side.scored, state=state).labels())  # as `counted` has them
        label.flags.writeable = False
        available = count(label, side.resamples.patient, settings.min_count).available
        return label, np.flatnonzero((label != side.scored.labels()).any(0) & available).tolist()

    label, columns = side.scored.once(("reread", mapping, settings.min_count), changed)
    found: dict[int, tuple[float, Array]] = {}

    def work(i: int) -> None:
        k = columns[i]
        column = Column.of(side.resamples.patient, label[:, k], side.scored.logit[:, k])
        drawn = bootstrap.walk(side.resamples, column).auroc
        found[k] = column.areas()[0] - float(side.value[AUROC][k]), drawn - side.replicates[AUROC][k]

    bootstrap.each(work, len(columns), num_threads)
    return found


def _rows(run_id: str, dataset: str, metric: str, finding: str, components: GapComponents) -> list[Row]:
    each = [components[name] for name in COMPONENTS]
    value = np.array([component.value for component in each])
    low, high = percentile(value, np.stack([component.replicates for component in each]))
    if metric == "ece":  # its replicates lie on one side of it: mirrored, as everywhere
        low, high = 2 * value - high, 2 * value - low
    out: list[Row] = []
    for i, (name, component) in enumerate(zip(COMPONENTS, each, strict=True)):
        numbers = (component.value, float(low[i]), float(high[i]))
        place = (run_id, dataset, metric, finding, name)
        told = (
            component.reason,
            *component.effective,
            component.covered,
            component.num_findings,
            *component.bounds,
            component.paired,
        )
        out.append((*place, *numbers, *told))
    return out
