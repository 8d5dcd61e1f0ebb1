"""The tables of a report, joined once: what a reader meets as runs, hospitals and estimates.

Everything a section shows is looked up here, so that two sections cannot pick two different rows for one number.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reports import headline
from reports.headline import MISSING, Estimate
from reports.tables import Tables
from reports.text import known

AWAY = "away"
MACRO = "macro"
LONGEST = 18  # characters of a place in a figure


@dataclass(frozen=True, slots=True)
class Hospital:
    """A cohort: where it is from and, for a hospital away, what the mean run loses there."""

    key: str
    title: str
    place: str
    lost: Estimate = MISSING  # mean over runs of the macro gap

    @property
    def where(self) -> str:
        """The end of the place that fits beside a mark: city and country, or the country."""
        parts = self.place.split(", ")
        ends = [", ".join(parts[i:]) for i in range(len(parts))]
        return next((end for end in ends if len(end) <= LONGEST), f"{parts[-1][: LONGEST - 1]}…")

    @property
    def is_costly(self) -> bool:
        """Whether the mean run clearly loses there."""
        return self.lost.known and self.lost.low > 0


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the ranking. Every estimate is a macro AUROC unless its name says otherwise."""

    id: str
    name: str
    what: str  # how it differs from the base recipe
    family: str
    state: str
    reason: str
    facts: Mapping[str, Any]  # its row of the table `runs`
    cost: Mapping[str, Any]  # its row of the table `costs`, or empty
    home: Estimate = MISSING
    away: Estimate = MISSING
    gap: Estimate = MISSING
    ece: Estimate = MISSING
    probe: Estimate = MISSING  # balanced accuracy of the source classifier
    hospitals: Mapping[str, Estimate] = field(default_factory=dict)  # away hospitals
    lost: Mapping[str, Estimate] = field(default_factory=dict)  # gap by hospital
    mean_rank: float = float("nan")
    rank_low: int = 0
    rank_high: int = 0
    p_best: float = float("nan")
    group: int = -1  # 0 is the first group of ties, -1 is unranked

    @property
    def label(self) -> str:
        """Name and what sets it apart, for sentences."""
        return f"{self.name} ({self.what})" if self.what else self.name

    @property
    def anchor(self) -> str:
        """Where the page describes this run."""
        return f"run-{self.id}"

    @property
    def worst(self) -> str:
        """Key of the hospital with the lowest macro AUROC, or ""."""
        known_at = {key: e.value for key, e in self.hospitals.items() if e.known}
        return min(known_at, key=lambda key: known_at[key]) if known_at else ""

    @property
    def at_worst(self) -> Estimate:
        """Macro AUROC at the worst hospital."""
        return self.hospitals.get(self.worst, MISSING)

    def quantity(self, key: str) -> float:
        """Return one cost as a number, NaN where it was not measured."""
        value: Any = self.cost.get(key)
        return float(value) if known(value) else float("nan")


@dataclass(frozen=True, slots=True)
class Board:
    """Everything the sections share. `ranked` is in order of the mean AUROC away, `hospitals` of the mean loss."""

    tables: Tables
    home: Hospital
    hospitals: tuple[Hospital, ...]  # away, least lost first
    ranked: tuple[Run, ...]
    unranked: tuple[Run, ...]
    groups: tuple[tuple[Run, ...], ...]
    lost: Estimate  # mean over runs and hospitals
    num_worse: int  # runs whose simultaneous interval is above 0
    num_better: int
    findings: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Estimate]  # AUROC of (run id, dataset, finding)
    gaps: Mapping[tuple[str, str, str], Estimate]  # gap of (run id, dataset, finding)
    labelled: frozenset[tuple[str, str]]  # (dataset, finding) that the dataset can express

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
    def everyone(self) -> tuple[Hospital, ...]:
        """The home hospital first, then those away."""
        return (self.home, *self.hospitals)

    def why_missing(self, key: str, finding: str) -> str:
        """Return why a hospital has no number for a finding."""
        return f"< {self.min_count} patients" if (key, finding) in self.labelled else "not labelled"

    def title(self, key: str) -> str:
        """Return the name of a hospital as it is shown."""
        return next((h.title for h in self.everyone if h.key == key), key)


def read(tables: Tables) -> Board:
    """Join the tables into a board."""
    meta = tables.meta
    source = str(meta.get("source", ""))
    chosen = headline.Choice.of(tables, source)
    cells = chosen.lookup("auroc", ("none", "platt"))
    ece = chosen.lookup("ece", ("platt", "none"))
    gaps = headline.gap_lookup(tables["gaps"])
    keys = _away_keys(tables, source, cells)
    lost = _mean_gaps(tables["mean_gaps"])
    hospitals = sorted((_hospital(tables, key, lost.get(key, MISSING)) for key in keys), key=_by_loss)
    ranks = {row["run_id"]: row for row in _records(tables["ranks"])}
    costs = {row["run_id"]: row for row in _records(tables["costs"])}
    probes = headline.probe_lookup(tables["shortcut"])
    runs = []
    for facts in _records(tables["runs"]):
        run_id = str(facts["run_id"])
        rank = ranks.get(run_id, {})
        away = cells.get((run_id, AWAY, MACRO), MISSING)
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
                home=cells.get((run_id, source, MACRO), MISSING),
                away=away,
                gap=gaps.get((run_id, AWAY, MACRO), MISSING),
                ece=ece.get((run_id, AWAY, MACRO), MISSING),
                probe=probes.get((run_id, "none"), MISSING),
                hospitals={h.key: cells.get((run_id, h.key, MACRO), MISSING) for h in hospitals},
                lost={h.key: gaps.get((run_id, h.key, MACRO), MISSING) for h in hospitals},
                mean_rank=float(rank.get("mean_rank", float("nan"))),
                rank_low=round(rank.get("rank_low", 0)),
                rank_high=round(rank.get("rank_high", 0)),
                p_best=float(rank.get("p_best", float("nan"))),
                group=int(rank["group"]) if rank else -1,
            )
        )
    ranked = sorted((r for r in runs if r.away.known and r.group >= 0), key=lambda r: (-r.away.value, r.label, r.id))
    unranked = sorted((r for r in runs if not (r.away.known and r.group >= 0)), key=lambda r: (r.label, r.id))
    numbers = sorted({r.group for r in ranked})
    away_row = next((row for row in _records(tables["mean_gaps"]) if row["dataset"] == AWAY), {})
    return Board(
        tables=tables,
        home=_hospital(tables, source, MISSING),
        hospitals=tuple(hospitals),
        ranked=tuple(ranked),
        unranked=tuple(unranked),
        groups=tuple(tuple(r for r in ranked if r.group == number) for number in numbers),
        lost=lost.get(AWAY, MISSING),
        num_worse=int(away_row.get("num_worse", 0)),
        num_better=int(away_row.get("num_better", 0)),
        findings=tuple(str(f) for f in meta.get("findings", ())),
        cells=cells,
        gaps=gaps,
        labelled=_labelled(tables["prevalence"]) | {(dataset, finding) for _, dataset, finding in cells},
    )


def config_lines(facts: Mapping[str, Any]) -> str:
    """Return a run's configuration indented for reading; as it is where it is not JSON."""
    raw = _text(facts.get("config"))
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except ValueError:
        return raw


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain dictionaries."""
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _text(value: object) -> str:
    """Return a text cell; null is ""."""
    return value if isinstance(value, str) else ""


def _by_loss(hospital: Hospital) -> tuple[float, str]:
    return (hospital.lost.value if hospital.lost.known else float("inf"), hospital.key)


def _away_keys(tables: Tables, source: str, cells: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return the hospitals away that have a number, or that the cohort table calls away."""
    cohorts = tables["cohorts"]
    listed = [str(d) for d, role in zip(cohorts["dataset"], cohorts["role"], strict=True) if role == "away"]
    scored = {dataset for _, dataset, _ in cells} - {AWAY, source}
    return [key for key in listed if key in scored] + sorted(scored - set(listed))


def _mean_gaps(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Return the mean loss by hospital, `away` for the mean over hospitals."""
    return {
        str(row["dataset"]): Estimate(float(row["value"]), float(row["low"]), float(row["high"]))
        for row in _records(frame)
    }


def _labelled(prevalence: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """Return the (dataset, finding) pairs that have any label."""
    some = prevalence[prevalence[["present", "absent", "uncertain", "not_mentioned"]].sum(axis=1) > 0]
    return frozenset((str(d), str(f)) for d, f in zip(some["dataset"], some["finding"], strict=True))


def _hospital(tables: Tables, key: str, lost: Estimate) -> Hospital:
    """Return what the page calls a cohort: the cohort table first, then `meta`, then its key."""
    cohorts = tables["cohorts"]
    row: Mapping[str, Any] = next(iter(_records(cohorts[cohorts["dataset"] == key])), {})
    named: Mapping[str, Any] = tables.meta.get("datasets", {}).get(key, {})
    title = _text(named.get("title")) or _text(row.get("title")) or key
    return Hospital(key, title, _text(named.get("place")) or _text(row.get("place")), lost)
