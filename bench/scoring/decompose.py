"""What a gap is made of: prevalence, case mix, the definition of the labels, and what none of them explains.

gap = prevalence + case mix + labels + remainder, exactly, for every finding and hospital and in every replicate. A part is
how much nearer to home the number away comes when that one thing is made alike:
  prevalence  the images away count so that the finding is as frequent as on the home test split (AUROC: 0, it is blind to it)
  case mix    on top, within positives and within negatives, so that sex x age decade x view is as on the home test split;
              a weight is at most 10 times the average (Cole and Hernan 2008, doi:10.1093/aje/kwn164, on truncation)
  labels      AUROC only: home judged by the radiologists where the hospital away was labelled by radiologists and the home
              test split was not, else the labels away read under another mapping
The weights use labels away: this is an analysis of the gap, never a way to a better number.
Shapes: N images, G groups (cell x label), B replicates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.scoring import bootstrap, metrics
from bench.scoring.alike import case_mix_factor, effective_numbers, prevalence_factor
from bench.scoring.background import NUM_CELLS
from bench.scoring.gap import AWAY, MACRO, Gap
from bench.scoring.intervals import mean_of, percentile
from bench.scoring.measure import AUROC, Key, Measured
from bench.scoring.parts import Settings, count
from bench.scoring.rows import Row
from bench.scoring.weighted import Binned, Ranked

Array = NDArray[np.float64]
Cell = NDArray[np.int64]
NEITHER = (float("nan"), float("nan"))
RADIOLOGIST = "radiologist"
METRICS = {"auroc": AUROC, "auprc": Key("auprc"), "ece": Key("ece")}
PARTS = ("gap", "prevalence", "case_mix", "labels", "remainder")
MEASURED = ("prevalence", "case_mix", "labels")


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One part of one gap; value NaN with the reason where it cannot be measured, replicates [B]."""

    value: float
    replicates: Array
    reason: str = ""  # why there is no value; of a value: what was done, where there is a choice
    effective: tuple[float, float] = NEITHER  # positives and negatives that the weights leave
    covered: float = float("nan")  # share of the home images whose cell occurs away, too
    num_findings: int = 1


Pieces = dict[str, Piece]  # part -> piece


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The images of one finding on one side: rows, label and group [n], and group counts [G] and [G, B]."""

    rows: NDArray[np.intp]
    label: NDArray[np.int8]
    group: NDArray[np.int64]
    total: Array
    resampled: Array

    @classmethod
    def of(cls, measured: Measured, k: int, cell: Cell, num_cells: int) -> "_Side":
        rows = measured.columns[k].rows
        label = measured.columns[k].positive.astype(np.int8)
        group = 2 * cell[rows] + (label == 1)
        size, ones = 2 * num_cells, np.ones((len(rows), 1))
        total = np.bincount(group, minlength=size).astype(np.float64)
        resampled = bootstrap.grouped_sums(measured.resamples, rows, group, ones, size)[:, 0]
        return cls(rows, label, group, total, resampled)


def rows(
    run_id: str,
    findings: Sequence[str],
    home: Measured,
    experts: Sequence[Measured],
    away: Sequence[Measured],
    gaps: Sequence[Gap],
    settings: Settings,
    num_threads: int = 1,
) -> list[Row]:
    """Return the rows of the table `decomposition`: each hospital per finding and as macro, then their mean as "away".

    The AUROC gaps are those of `gaps`, whose intervals may come from more replicates than the parts'.
    home is the test split, experts the splits of home that radiologists labelled. The macro and the mean over hospitals
    count a part that cannot be measured somewhere as 0 there, so it stays in the remainder: the parts still sum.
    """
    out: list[Row] = []
    at_home: dict[tuple[int, int], _Side] = {}
    macros: dict[str, list[Pieces]] = {name: [] for name in METRICS}
    for other in away:
        found = _of_hospital(home, experts, other, settings, at_home, num_threads)
        for name, single in found.items():
            for k, pieces in single.items():
                out += _rows(run_id, other.part.dataset, name, findings[k], pieces)
            if single:
                macros[name].append(_mean(list(single.values()), sum, "findings"))
                out += _rows(run_id, other.part.dataset, name, MACRO, macros[name][-1])
    for name, each in macros.items():
        if each:
            out += _rows(run_id, AWAY, name, MACRO, _mean(each, min, "hospitals"))
    bounds = {(gap.dataset, gap.finding): (gap.low, gap.high) for gap in gaps}
    return [_with_bounds(row, bounds) if row[2] == "auroc" and row[4] == "gap" else row for row in out]


def _with_bounds(row: Row, bounds: Mapping[tuple[str, str], tuple[float, float]]) -> Row:
    """Return a row of a gap with the interval that the table of gaps has."""
    dataset, finding = row[1], row[3]
    return (*row[:6], *bounds[dataset, finding], *row[8:])


def _of_hospital(
    home: Measured,
    experts: Sequence[Measured],
    other: Measured,
    settings: Settings,
    at_home: dict[tuple[int, int], _Side],
    num_threads: int,
) -> dict[str, dict[int, Pieces]]:
    """Return by metric the parts of each finding that both have, by its place."""
    both = np.flatnonzero(np.isfinite(home.value[AUROC]) & np.isfinite(other.value[AUROC])).tolist()
    cells, reason = _cells(home, other)
    labels = _labels(home, experts, other, settings, num_threads)

    def work(k: int) -> dict[str, Pieces]:
        found = _reweighted(home, other, k, cells, reason, settings, at_home)
        for name, key in METRICS.items():
            replicates = home.replicates[key][k] - other.replicates[key][k]
            pieces = found[name]
            pieces["gap"] = Piece(float(home.value[key][k] - other.value[key][k]), replicates)
            why = "no other reading of its labels" if name == "auroc" else "measured for AUROC only"
            pieces["labels"] = labels[k] if name == "auroc" and k in labels else _unknown(replicates, why)
            pieces["remainder"] = _remainder(pieces)
        return found

    done: dict[int, dict[str, Pieces]] = {}
    bootstrap.each(lambda i: done.update({both[i]: work(both[i])}), len(both), num_threads)
    return {name: {k: done[k][name] for k in both} for name in METRICS}


def _unknown(
    like: Array, reason: str, effective: tuple[float, float] = NEITHER, covered: float = float("nan")
) -> Piece:
    return Piece(float("nan"), np.full_like(like, np.nan), reason, effective, covered, 0)


def _remainder(pieces: Mapping[str, Piece]) -> Piece:
    """Return the gap less all that was measured."""
    value, replicates = pieces["gap"].value, pieces["gap"].replicates
    for part in MEASURED:
        if np.isfinite(pieces[part].value):
            value, replicates = value - pieces[part].value, replicates - pieces[part].replicates
    return Piece(value, replicates, num_findings=pieces["gap"].num_findings)


def _cells(home: Measured, other: Measured) -> tuple[tuple[Cell, Cell], str]:
    """Return the cell of each image on both sides, and why there is but one cell ("" where there are many)."""
    found = []
    for side in (home, other):
        known = side.part.background
        missing = known.missing() if known else ["sex", "age", "view"]
        if known is None or missing:
            where = "at home" if side is home else "there"
            what = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not recorded {where}"
            return (np.zeros(len(home.label), np.int64), np.zeros(len(other.label), np.int64)), what
        found.append(known.cells())
    return (found[0], found[1]), ""


def _reweighted(
    home: Measured,
    other: Measured,
    k: int,
    cells: tuple[Cell, Cell],
    reason: str,
    settings: Settings,
    at_home: dict[tuple[int, int], _Side],
) -> dict[str, Pieces]:
    """Return prevalence and case mix of one finding, by metric; at_home keeps home's side by finding and number of cells."""
    num_cells = 1 if reason else NUM_CELLS
    if (k, num_cells) not in at_home:
        at_home[k, num_cells] = _Side.of(home, k, cells[0], num_cells)
    ours, theirs = at_home[k, num_cells], _Side.of(other, k, cells[1], num_cells)
    used = np.flatnonzero(theirs.total)  # a group without an image away needs no weight
    group = np.searchsorted(used, theirs.group)
    logit, prob = other.part.logit[theirs.rows, k], other.prob["none"][theirs.rows, k]
    ranked = Ranked.of(other.resamples.patient[theirs.rows], theirs.label, logit, group)
    binned = Binned.of(other.resamples, theirs.rows, theirs.label, prob, group, len(used), settings.bins)

    def judged(factor: Array, factor_B: Array) -> dict[str, tuple[float, Array]]:
        factor, factor_B = factor[used], factor_B[used]
        values, replicates = ranked.metrics(factor), ranked.replicates(other.resamples, factor_B)
        return dict(zip(METRICS, (*zip(values, replicates, strict=True), binned.ece(factor, factor_B)), strict=True))

    as_is = {name: (float(other.value[key][k]), other.replicates[key][k]) for name, key in METRICS.items()}
    alike = judged(prevalence_factor(ours.total, theirs.total), prevalence_factor(ours.resampled, theirs.resampled))
    alike["auroc"] = as_is["auroc"]  # the same number, without the rounding
    found: dict[str, Pieces] = {name: {"prevalence": _change(as_is[name], alike[name])} for name in METRICS}
    if reason:
        for pieces in found.values():
            pieces["case_mix"] = _unknown(as_is["auroc"][1], reason)
        return found
    factor = case_mix_factor(ours.total, theirs.total)
    effective = effective_numbers(factor, theirs.total)
    covered = float(ours.total[theirs.total > 0].sum() / ours.total.sum())
    if min(effective) < settings.min_count:
        few = f"too few images like those at home: an effective {min(effective):.0f}"
        for pieces in found.values():
            pieces["case_mix"] = _unknown(as_is["auroc"][1], few, effective, covered)
        return found
    mixed = judged(factor, case_mix_factor(ours.resampled, theirs.resampled))
    for name, pieces in found.items():
        change = _change(alike[name], mixed[name])
        pieces["case_mix"] = Piece(change.value, change.replicates, "", effective, covered)
    return found


def _change(before: tuple[float, Array], after: tuple[float, Array]) -> Piece:
    return Piece(after[0] - before[0], after[1] - before[1])


def _labels(
    home: Measured, experts: Sequence[Measured], other: Measured, settings: Settings, num_threads: int
) -> dict[int, Piece]:
    """Return what reading the labels in another way changes in the AUROC gap, by place of the finding."""
    if other.part.reference == RADIOLOGIST and home.part.reference != RADIOLOGIST:
        for expert in sorted(experts, key=lambda each: each.part.split != "expert_test"):
            value = home.value[AUROC] - expert.value[AUROC]
            replicates = home.replicates[AUROC] - expert.replicates[AUROC]
            how = f"home judged on {expert.part.split}"
            found = {k: Piece(float(value[k]), replicates[k], how) for k in np.flatnonzero(np.isfinite(value)).tolist()}
            if found:
                return found
    found = {}
    for mapping, state in (other.part.background.mapped if other.part.background else {}).items():
        label = replace(other.part, state=state).labels()
        available = count(label, other.resamples.patient, settings.min_count).available
        changed = (label != other.part.labels()).any(0) & available & np.isfinite(other.value[AUROC])
        columns = [k for k in np.flatnonzero(changed).tolist() if k not in found]
        if not columns:
            continue
        logit = other.part.logit[:, columns]
        drawn, _ = bootstrap.rank_metrics(other.resamples, label[:, columns], logit, num_threads)
        for at, k in enumerate(columns):
            rows = bootstrap.taking_part(label, k)
            value = metrics.auroc(label[rows, k], other.part.logit[rows, k]) - other.value[AUROC][k]
            found[k] = Piece(float(value), drawn[at] - other.replicates[AUROC][k], f"{mapping} mapping away")
    return found


def _mean(of: Sequence[Pieces], total: Callable[[Iterable[int]], int], noun: str) -> Pieces:
    """Return the mean of each part, one that is unknown somewhere counted as 0 there; `total` adds up num_findings."""
    found: Pieces = {}
    for part in ("gap", *MEASURED):
        each = [pieces[part] for pieces in of]
        known = [piece for piece in each if np.isfinite(piece.value)]
        if not known:
            found[part] = _unknown(each[0].replicates, each[0].reason)
            continue
        value, replicates = mean_of(
            np.array([piece.value for piece in known]), np.stack([piece.replicates for piece in known])
        )
        share = len(known) / len(each)
        how = known[0].reason if len({piece.reason for piece in known}) == 1 else ""
        left_out = f"unknown for {len(each) - len(known)} of {len(each)} {noun}" if len(known) < len(each) else how
        effective = tuple(min(piece.effective[side] for piece in known) for side in (0, 1))
        covered = min(piece.covered for piece in known)
        num_findings = total(piece.num_findings for piece in known)
        found[part] = Piece(
            share * value, share * replicates, left_out, (effective[0], effective[1]), covered, num_findings
        )
    return found | {"remainder": _remainder(found)}


def _rows(run_id: str, dataset: str, metric: str, finding: str, pieces: Pieces) -> list[Row]:
    each = [pieces[part] for part in PARTS]
    value = np.array([piece.value for piece in each])
    low, high = percentile(value, np.stack([piece.replicates for piece in each]))
    if metric == "ece":  # its replicates lie on one side of it: mirrored, as everywhere
        low, high = 2 * value - high, 2 * value - low
    out: list[Row] = []
    for i, (part, piece) in enumerate(zip(PARTS, each, strict=True)):
        numbers = (piece.value, float(low[i]), float(high[i]))
        place = (run_id, dataset, metric, finding, part)
        out.append((*place, *numbers, piece.reason, *piece.effective, piece.covered, piece.num_findings))
    return out
