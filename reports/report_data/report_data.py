"""The tables of a report, joined once: what a reader meets as runs, hospitals and estimates.

Everything a section shows is looked up here, so that two sections cannot pick two different rows for one number.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from reports.formatting import known
from reports.report_data import headline_rows as headline
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Hospital, Run
from reports.tables import Tables, records_of

EXTERNAL = "external"
MACRO = "macro"


@dataclass(frozen=True, slots=True)
class Board:
    """Everything the sections share. `ranked` is in order of the mean external AUROC, `hospitals` of the mean loss."""

    tables: Tables
    choice: headline.Choice  # the rows of `scores` that are shown
    internal: Hospital
    hospitals: tuple[Hospital, ...]  # externally, least lost first
    ranked: tuple[Run, ...]
    derived: tuple[
        Run, ...
    ]  # TTA, ensembles, models from elsewhere with an external score: beside the ranking, not in the headline
    unranked: tuple[Run, ...]
    groups: tuple[tuple[Run, ...], ...]
    lost: Estimate  # mean over runs and hospitals
    num_worse: int  # runs whose simultaneous interval is above 0
    num_better: int
    findings: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Estimate]  # AUROC of (run id, dataset, finding)
    gaps: Mapping[tuple[str, str, str], Estimate]  # gap of (run id, dataset, finding)
    labelled: frozenset[tuple[str, str]]  # (dataset, finding) that the dataset can express
    num_external: int  # external hospitals, also those in which no run has a score
    has_common: bool  # whether any finding is labelled both at the internal hospital and in an external hospital

    @property
    def meta(self) -> Mapping[str, Any]:
        """What holds for all tables."""
        return self.tables.meta

    @property
    def phantom(self) -> bool:
        """Whether the images are synthetic."""
        return bool(self.meta.get("phantom"))

    @property
    def min_count(self) -> int:
        """Fewest positive and negative patients with which a finding gets a number."""
        return int(self.meta.get("min_count", 10))

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run of the grid that trains, those without a rank last."""
        return (*self.ranked, *(r for r in self.unranked if not r.is_derived))

    @property
    def imported(self) -> tuple[Run, ...]:
        """What was trained elsewhere, ranked or not."""
        return tuple(r for r in self.entries if r.is_imported)

    @property
    def only_external(self) -> bool:
        """Whether nothing on the page was trained here."""
        return bool(self.imported) and all(r.is_imported for r in self.entries)

    @property
    def none_unseen(self) -> bool:
        """Whether nothing is ranked because all that has numbers came from elsewhere and had seen an external hospital."""
        return not self.ranked and not self.scored and any(r.external.known for r in self.imported)

    @property
    def entries(self) -> tuple[Run, ...]:
        """Everything that has numbers or should have: the runs, and what is made of them."""
        return (*self.ranked, *self.derived, *self.unranked)

    @property
    def scored(self) -> tuple[Run, ...]:
        """The runs with a score anywhere."""
        return tuple(r for r in self.runs if r.internal.known or r.external.known)

    @property
    def unlearnt(self) -> dict[str, tuple[str, ...]]:
        """Findings by run id that its training images hold only present or only absent; runs without such are left out."""
        found = dict(self.meta.get("unlearnt") or {})
        return {str(run_id): tuple(map(str, names)) for run_id, names in found.items() if names}

    @property
    def not_compared(self) -> list[tuple[str, tuple[str, ...]]]:
        """(hospital, findings) that either it or the internal hospital does not label, in order of the hospitals."""
        found = dict(self.meta.get("not_compared") or {})
        order = [h.key for h in self.everyone]
        keys = sorted((k for k in found if found[k]), key=lambda k: (order.index(k) if k in order else len(order), k))
        return [(self.title(key), tuple(map(str, found[key]))) for key in keys]

    @property
    def num_duplicates(self) -> int:
        """Internal images whose pixels occur again in another split under another patient."""
        return int(self.meta.get("duplicates") or 0)

    @property
    def num_common(self) -> tuple[int, int]:
        """The least and the greatest number of findings that a gap compares, over runs and hospitals; 0 for none."""
        counts = [e.num_findings for r in self.ranked for e in r.lost.values() if e.known]
        return min(counts, default=0), max(counts, default=0)

    @property
    def without_score(self) -> list[str]:
        """Hospitals externally of the cohort table in which no run has a number."""
        shown = {h.key for h in self.hospitals}
        return [self.title(key) for key in sorted(_listed_external(self.tables) - shown)]

    @property
    def everyone(self) -> tuple[Hospital, ...]:
        """The internal hospital first, then those externally."""
        return (self.internal, *self.hospitals)

    def why_not_analysed(self, name: str, run_id: str) -> str:
        """Return what became of an analysis that a run has no number of: failed, not run; "" where it is done or unknown."""
        states = {
            (str(a["name"]), str(a["run_id"])): str(a["state"])
            for a in self.meta.get("analyses") or []
            if "run_id" in a
        }
        return {"failed": "it failed", "absent": "not run"}.get(states.get((name, run_id), ""), "")

    def why_missing(self, key: str, finding: str) -> str:
        """Return why a hospital has no number for a finding."""
        return f"< {self.min_count} patients" if (key, finding) in self.labelled else "not labelled"

    def title(self, key: str) -> str:
        """Return the name of a hospital as it is shown."""
        known_as = next((h.title for h in self.everyone if h.key == key), "")
        return known_as or _hospital(self.tables, key, MISSING).title


def read(tables: Tables) -> Board:
    """Join the tables into a board."""
    meta = tables.meta
    source = str(meta.get("source", ""))
    chosen = headline.Choice.of(tables, source)
    cells = chosen.lookup("auroc", ("none", "platt"))
    ece = chosen.lookup("ece", ("platt", "none"), finding=MACRO)
    gaps = headline.gap_lookup(tables["gaps"])
    keys = _external_keys(source, cells)
    lost = _mean_gaps(tables["mean_gaps"])
    at_once = _mean_gaps(tables["mean_gaps"], "all_")
    hospitals = sorted(
        (_hospital(tables, key, lost.get(key, MISSING), at_once.get(key, MISSING)) for key in keys), key=_by_loss
    )
    ranks = {row["run_id"]: row for row in records_of(tables["ranks"])}
    costs = {row["run_id"]: row for row in records_of(tables["costs"])}
    probes = headline.probe_lookup(tables["sources"])
    causal = headline.causal_lookup(tables["transplants"])
    runs = []
    for facts in records_of(tables["runs"]):
        run_id = str(facts["run_id"])
        rank = ranks.get(run_id, {})
        internal, external = (cells.get((run_id, key, MACRO), MISSING) for key in (source, EXTERNAL))
        gap = gaps.get((run_id, EXTERNAL, MACRO), MISSING)
        runs.append(
            Run(
                id=run_id,
                name=_text(facts["name"]) or _text(facts["architecture"]) or run_id,
                what=_text(facts["what"]),
                family=_text(facts["family"]),
                state=_text(facts["state"]),
                reason=_text(facts["reason"]),
                facts=facts,
                cost=costs.get(run_id, {}),
                internal=internal,
                external=external,
                gap=gap,
                external_at_once=_within(external, rank, "all"),
                gap_at_once=_within(gap, rank, "gap"),
                internal_common=headline.side(gap, gap.internal, internal),
                external_common=headline.side(gap, gap.external, external),
                ece=ece.get((run_id, EXTERNAL, MACRO), MISSING),
                probe=probes.get((run_id, "none"), MISSING),
                causal=causal.get(run_id, MISSING),
                hospitals={h.key: _there(cells, gaps, (run_id, h.key, MACRO)) for h in hospitals},
                lost={h.key: gaps.get((run_id, h.key, MACRO), MISSING) for h in hospitals},
                mean_rank=float(rank.get("mean_rank", float("nan"))),
                rank_low=round(rank.get("rank_low", 0)),
                rank_high=round(rank.get("rank_high", 0)),
                p_best=float(rank.get("p_best", float("nan"))),
                group=int(rank["group"]) if rank else -1,
                kind=_text(facts["kind"]),
            )
        )
    ranked = sorted(
        (r for r in runs if r.external.known and r.group >= 0), key=lambda r: (-r.external.value, r.label, r.id)
    )
    beside = (r for r in runs if r.is_derived and r.external.known and r not in ranked)
    derived = sorted(beside, key=lambda r: (-r.external.value, r.label, r.id))
    shown = {r.id for r in (*ranked, *derived)}
    unranked = sorted((r for r in runs if r.id not in shown), key=lambda r: (r.label, r.id))
    numbers = sorted({r.group for r in ranked})
    external_row = next((row for row in records_of(tables["mean_gaps"]) if row["dataset"] == EXTERNAL), {})
    labelled = _labelled(tables["prevalence"])
    external_keys = set(keys) | _listed_external(tables)
    return Board(
        tables=tables,
        choice=chosen,
        internal=_hospital(tables, source, MISSING),
        hospitals=tuple(hospitals),
        ranked=tuple(ranked),
        derived=tuple(derived),
        unranked=tuple(unranked),
        groups=tuple(tuple(r for r in ranked if r.group == number) for number in numbers),
        lost=lost.get(EXTERNAL, MISSING),
        num_worse=int(external_row.get("num_worse", 0)),
        num_better=int(external_row.get("num_better", 0)),
        findings=tuple(str(f) for f in meta.get("findings", ())),
        cells=cells,
        gaps=gaps,
        labelled=labelled | {(dataset, finding) for _, dataset, finding in cells},
        num_external=len(external_keys),
        has_common=any((source, finding) in labelled for key, finding in labelled if key in external_keys)
        or any(e.known for e in gaps.values()),
    )


def config_lines(facts: Mapping[str, Any]) -> str:
    """Return a run's configuration indented for reading; as it is where it is not JSON."""
    raw = _text(facts.get("config"))
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except ValueError:
        return raw


def _text(value: object) -> str:
    """Return a text cell; null is ""."""
    return value if isinstance(value, str) else ""


def _by_loss(hospital: Hospital) -> tuple[float, str]:
    return (hospital.lost.value if hospital.lost.known else float("inf"), hospital.key)


def _external_keys(source: str, cells: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return the external hospitals in which a run was scored."""
    return sorted({dataset for _, dataset, _ in cells} - {EXTERNAL, source})


def _listed_external(tables: Tables) -> set[str]:
    """Return the hospitals that the cohort table calls externally."""
    cohorts = tables["cohorts"]
    return {str(d) for d, role in zip(cohorts["dataset"], cohorts["role"], strict=True) if role == "external"}


def _there(
    cells: Mapping[tuple[str, str, str], Estimate],
    gaps: Mapping[tuple[str, str, str], Estimate],
    key: tuple[str, str, str],
) -> Estimate:
    """Return the macro external AUROC on the findings of the gap; where no gap was computed, on all that are labelled."""
    found = cells.get(key, MISSING)
    return headline.side(gaps[key], gaps[key].external, found) if key in gaps else found


def _mean_gaps(frame: pd.DataFrame, which: str = "") -> dict[str, Estimate]:
    """Return the mean loss by hospital, `external` for the mean over hospitals; which "all_": bounds for all at once."""
    low, high = f"{which}low", f"{which}high"
    return {
        str(row["dataset"]): Estimate(float(row["value"]), float(row[low]), float(row[high]))
        for row in records_of(frame)
    }


def _within(estimate: Estimate, rank: Mapping[str, Any], which: str) -> Estimate:
    """Return an estimate with the bounds that hold for all runs at once; as it is where the ranking has none."""
    bounds = [float(rank.get(f"{which}_{end}", float("nan"))) for end in ("low", "high")]
    return replace(estimate, low=bounds[0], high=bounds[1]) if estimate.known and all(map(known, bounds)) else estimate


def _labelled(prevalence: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """Return the (dataset, finding) pairs that have any label."""
    some = prevalence[prevalence[["present", "absent", "uncertain", "not_mentioned"]].sum(axis=1) > 0]
    return frozenset((str(d), str(f)) for d, f in zip(some["dataset"], some["finding"], strict=True))


def _hospital(tables: Tables, key: str, lost: Estimate, at_once: Estimate = MISSING) -> Hospital:
    """Return what the page calls a cohort: the cohort table first, then `meta`, then its key."""
    cohorts = tables["cohorts"]
    row: Mapping[str, Any] = next(iter(records_of(cohorts[cohorts["dataset"] == key])), {})
    named: Mapping[str, Any] = tables.meta.get("datasets", {}).get(key, {})
    title = _text(named.get("title")) or _text(row.get("title")) or key
    return Hospital(key, title, _text(named.get("place")) or _text(row.get("place")), lost, at_once)
