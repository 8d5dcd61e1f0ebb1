"""Join the tables of a report into runs, hospitals and estimates.

All sections read their numbers from `ReportData`, so two sections cannot show different values of the same score.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import pandas as pd

from harmonize.labels.findings import SUMMARIES
from reports import failed_parts
from reports.formatting import listing
from reports.report_data import headline_rows
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals import Hospitals
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.members import Cells, Members
from reports.report_data.rankings import rankings
from reports.report_data.training_words import TrainingWords, words
from reports.schemas.change_rules import caught
from reports.schemas.criterion import DEFAULT, MEAN_GAP, Criterion, further_scores
from reports.tables import Tables, records_of, rows_of, text

EXTERNAL, MACRO = headline_rows.EXTERNAL, headline_rows.MACRO


class FurtherScore(Protocol):
    """A score of an extension, with what the extension knows in addition."""

    @property
    def value(self) -> Estimate:
        """The score."""


@dataclass(frozen=True)  # without slots, which cached properties do not allow
class ReportData:
    """The data that all sections share.

    ranked: the recipes, best first: by mean external AUROC, or by internal AUROC if no external hospital was tested. A
    recipe is the mean of the runs that differ only in the seed, or a single run if the grid has too few seeds. unranked:
    runs without a rank. groups: the tie groups of `ranked`, best first. findings: names of the scored findings.
    """

    tables: Tables
    headline: headline_rows.HeadlineRows  # the rows of `scores` that the page shows
    hospitals: Hospitals
    ranked: tuple[Run, ...]
    derived: tuple[Run, ...]  # TTA, ensembles and imported models with the score of the ranking; shown below it
    unranked: tuple[Run, ...]
    groups: tuple[tuple[Run, ...], ...]
    labels: Mapping[str, str]  # id of a run or recipe -> its label; also of the recipes that could not be ranked
    findings: tuple[str, ...]
    cells: Cells  # AUROCs
    gaps: Cells
    # metric of an extension by which recipes can be ranked -> (run id, dataset, "macro") -> score
    further: Mapping[str, Mapping[tuple[str, str, str], FurtherScore]]
    # the score that decides the ranking: the mean external AUROC, that of one finding if there is no mean, or the internal AUROC
    ranked_by: Criterion
    labeled: frozenset[tuple[str, str]]  # pairs (dataset, finding) for which any image has a label
    has_common: bool  # whether any external hospital labels a finding that the internal hospital labels too

    @property
    def meta(self) -> Mapping[str, Any]:
        """The metadata of the tables; `Tables` lists the keys."""
        return self.tables.meta

    def of_run(self, run: Run) -> "ReportData":
        """Return the data with the hospitals of one run; these are the data themselves, if it trained at all training hospitals."""
        hospitals = self.hospitals.of_run(run)
        return self if hospitals is self.hospitals else replace(self, hospitals=hospitals)

    @cached_property
    def words(self) -> TrainingWords:
        """The words on the training hospitals of the page, and on what the runs of its recipes differ in."""
        return words(self.hospitals, self.ranked, leaves_out=any(run.left_out for run in self.runs))

    @property
    def min_count(self) -> int:
        """Minimum number of positive patients, and of negative patients, for a score."""
        return int(self.meta["settings"]["min_count"])

    @property
    def ranked_runs(self) -> tuple[Run, ...]:
        """The runs of the ranked recipes, in the order of the ranking."""
        return tuple(run for recipe in self.ranked for run in recipe.members)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of the ranked recipes, then the unranked runs; without TTA, ensembles and unranked imported models."""
        return (*self.ranked_runs, *(r for r in self.unranked if not r.is_derived))

    @cached_property
    def unit(self) -> str:
        """The word for a row of the ranking: "recipe" if any recipe has several runs, else "run"."""
        return "recipe" if any(len(r.members) > 1 for r in self.ranked) else "run"

    def run_shown(self, run: Run) -> str:
        """Return the label of a run that a figure shows.

        If the ranking shows the mean of this run and other runs (a recipe), the label states this.
        """
        for recipe in self.ranked:
            if len(recipe.members) > 1 and run.id in {member.id for member in recipe.members}:
                which = "the first recipe" if recipe is self.ranked[0] and len(self.ranked) > 1 else "its recipe"
                return f"{run.label}, one run of {which}; other runs below"
        return run.label

    @cached_property
    def at_new_hospital(self) -> Mapping[tuple[str, str], tuple[Estimate, Estimate]]:
        """(Recipe or run, finding or "macro") -> AUROC to expect at a new hospital; see `headline_rows.new_hospital_lookup`."""
        table = self.tables.frames.get("next_hospital", pd.DataFrame())  # a table of an extension
        return headline_rows.new_hospital_lookup(table, self.tables["recipes"])

    @cached_property
    def shortcuts(self) -> Mapping[str, list[str]]:
        """Run id -> findings for which the region transplant test finds a marker as a shortcut, for all tested runs."""
        tests = self.tables["transplants"].groupby("run_id")
        return {str(run_id): caught(rows, self.hospitals.internal.key) for run_id, rows in tests}

    @property
    def imported(self) -> tuple[Run, ...]:
        """All imported models, with or without a rank."""
        return tuple(r for r in self.entries if r.is_imported)

    @property
    def only_exposed_models(self) -> bool:
        """Return whether nothing is ranked, but an imported model has an external score.

        This is so if no run is scored (`scored` has no unranked imported models), and every scored imported model was
        trained on images of an external hospital, which leaves it without a rank.
        """
        return not self.ranked and not self.scored and any(r.external.has_value for r in self.imported)

    @property
    def entries(self) -> tuple[Run, ...]:
        """All recipes and runs for which the page has details.

        Each ranked recipe is followed by its runs; then come derived runs, then unranked runs.
        """
        ranked = (entry for recipe in self.ranked for entry in (recipe, *recipe.runs))
        return (*ranked, *self.derived, *self.unranked)

    @property
    def scored(self) -> tuple[Run, ...]:
        """The runs with a macro AUROC at the internal hospital, or with a mean external AUROC."""
        return tuple(r for r in self.runs if r.internal.has_value or r.external.has_value)

    def members(self, run: Run) -> Members:
        """Return the findings and hospitals in the mean external AUROC of a run, and what this mean leaves out."""
        hospitals = (hospital.key for hospital in self.hospitals.averaged)
        return Members.of(run.id, self.cells, self.gaps, hospitals, self.findings, self.hospitals.num_external)

    @cached_property
    def members_of_first(self) -> Members | None:
        """The members of the first recipe's mean external AUROC; None if nothing is ranked."""
        return self.members(self.ranked[0]) if self.ranked else None

    @cached_property
    def macro_note(self) -> str:
        """A sentence on the labels of the macro that summarize its other findings; "" without such labels."""
        internal = self.hospitals.internal.key
        scored = {f for (_, dataset, f), e in self.cells.items() if dataset == internal and e.has_value}
        summaries = [finding for finding in self.findings if finding in scored & {*SUMMARIES}]
        verb = "summarizes" if len(summaries) == 1 else "summarize"
        return f"Macro scores include {listing(summaries)}, which {verb} the other findings." if summaries else ""

    def distinct(self, fact: str) -> list[str]:
        """Return the different values of a column of the table `runs`, such as "commit", over all runs, sorted."""
        return sorted({str(r.facts[fact]) for r in self.runs if isinstance(r.facts.get(fact), str) and r.facts[fact]})

    def why_missing(self, key: str, finding: str) -> str:
        """Return why a hospital has no score for a finding: too few patients, or not labeled. `key`: cohort name."""
        few = f"< {self.min_count} patients" if self.min_count > 1 else "no patient"
        return few if (key, finding) in self.labeled else "not labeled"

    def name(self, run: Run) -> str:
        """Return the name of a recipe for sentences; with its settings if another recipe has the same name."""
        return run.name if [other.name for other in self.ranked].count(run.name) == 1 else run.label


def read(tables: Tables) -> ReportData:
    """Join the tables of a report into the data of the page."""
    meta = tables.meta
    source = str(meta.get("source", ""))
    headline = headline_rows.HeadlineRows.of(tables, source)
    cells = headline.lookup("auroc", ("none", "platt"))
    ece = headline.lookup("ece", ("platt", "none"), finding=MACRO)
    gaps = headline_rows.gap_lookup(tables["gaps"])
    hospitals = Hospitals.of(tables, {dataset for _, dataset, _ in cells} - {EXTERNAL, source})
    by_criterion = rankings(tables["ranks"])
    ranked_by = next(iter(by_criterion), DEFAULT)
    ranks, of_gaps = (by_criterion.get(criterion, {}) for criterion in (ranked_by, MEAN_GAP))
    costs = {row["run_id"]: row for row in records_of(tables["costs"])}
    probes = headline_rows.probe_lookup(tables["sources"])
    run_ids_of: dict[str, list[str]] = {}
    for recipe, run_id in rows_of(tables["recipes"], "recipe_id", "run_id"):
        if recipe != run_id:
            run_ids_of.setdefault(str(recipe), []).append(str(run_id))
    causal = headline_rows.causal_lookup(tables["transplants"], run_ids_of)
    runs = []
    for facts in records_of(tables["runs"]):
        run_id = str(facts["run_id"])
        rank = ranks.get(run_id, {})
        internal, external = (cells.get((run_id, key, MACRO), MISSING) for key in (source, EXTERNAL))
        gap = gaps.get((run_id, EXTERNAL, MACRO), MISSING)
        gap = gaps[run_id, EXTERNAL, MACRO] = gap.simultaneous(
            *(float(of_gaps.get(run_id, {}).get(f"all_{end}", "nan")) for end in ("low", "high"))
        )
        runs.append(
            Run(
                id=run_id,
                name=text(facts["name"]) or text(facts["architecture"]) or run_id,
                variant=text(facts["what"]),
                family=text(facts["family"]),
                state=text(facts["state"]),
                reason=text(facts["reason"]),
                facts=facts,
                cost=costs.get(run_id, {}),
                internal=internal,
                external=external,
                score=_score(ranked_by, rank, cells, gaps, run_id),
                gap=gap,
                internal_common=headline_rows.gap_side(gap, gap.internal, internal),
                external_common=headline_rows.gap_side(gap, gap.external, external),
                ece=ece.get((run_id, EXTERNAL, MACRO), MISSING),
                probe=probes.get((run_id, "none"), MISSING),
                causal=causal.get(run_id, MISSING),
                hospitals={h.key: _shared_auroc(cells, gaps, (run_id, h.key, MACRO)) for h in hospitals.external},
                hospital_gaps={h.key: gaps.get((run_id, h.key, MACRO), MISSING) for h in hospitals.external},
                mean_rank=float(rank.get("mean_rank", float("nan"))),
                rank_low=round(rank.get("rank_low", 0)),
                rank_high=round(rank.get("rank_high", 0)),
                p_best=float(rank.get("p_best", float("nan"))),
                lead=Estimate.of(rank, "lead"),
                group=int(rank["group"]) if rank else -1,
                kind=text(facts["kind"]),
            )
        )
    by_id = {r.id: r for r in runs}
    runs = [replace(r, runs=tuple(by_id[i] for i in run_ids_of.get(r.id, ()) if i in by_id)) for r in runs]
    ranked = sorted(
        (r for r in runs if r.score.has_value and r.group >= 0), key=lambda r: (-r.score.value, r.label, r.id)
    )
    derived_runs = (r for r in runs if r.is_derived and r.score.has_value and r not in ranked)
    derived = sorted(derived_runs, key=lambda r: (-r.score.value, r.label, r.id))
    listed_ids = {r.id for r in (*ranked, *derived)} | {run.id for recipe in ranked for run in recipe.runs}
    unranked = sorted((r for r in runs if r.id not in listed_ids and r.kind != "recipe"), key=lambda r: (r.label, r.id))
    numbers = sorted({r.group for r in ranked})
    labeled = _labeled(tables["prevalence"])
    outside = hospitals.external_keys
    scores = further_scores()
    further = failed_parts.of_extensions(
        "scores", scores, lambda score: (score.METRIC, score.scores(tables, by_criterion))
    )
    return ReportData(
        tables=tables,
        headline=headline,
        hospitals=hospitals,
        ranked=tuple(ranked),
        derived=tuple(derived),
        unranked=tuple(unranked),
        groups=tuple(tuple(r for r in ranked if r.group == number) for number in numbers),
        labels={r.id: r.label for r in runs},
        findings=tuple(str(f) for f in meta.get("findings", ())),
        cells=cells,
        gaps=gaps,
        further={**{score.METRIC: {} for score in scores}, **dict(further)},
        ranked_by=ranked_by,
        labeled=labeled | {(dataset, finding) for (_, dataset, finding), auroc in cells.items() if auroc.has_value},
        has_common=any((source, finding) in labeled for key, finding in labeled if key in outside)
        or any(e.has_value for e in gaps.values()),
    )


def config_lines(facts: Mapping[str, Any]) -> str:
    """Return the configuration of a run as indented JSON; a text that is not JSON is returned unchanged."""
    raw = text(facts.get("config"))
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except ValueError:
        return raw


def _shared_auroc(cells: Cells, gaps: Cells, key: tuple[str, str, str]) -> Estimate:
    """Return a run's macro AUROC at an external hospital, over the findings that the internal hospital scores, too.

    `key`: run id, dataset and "macro". If the table `gaps` has no row with this key, the AUROC in the table `scores` is
    returned.
    """
    macro = cells.get(key, MISSING)
    return headline_rows.gap_side(gaps[key], gaps[key].external, macro) if key in gaps else macro


def _score(criterion: Criterion, rank: Mapping[str, Any], cells: Cells, gaps: Cells, run_id: str) -> Estimate:
    """Return the score that decides the ranking; that of a finding has an interval only for a ranked recipe."""
    key = (run_id, criterion.dataset, criterion.finding)
    if criterion.finding == MACRO:
        return cells.get(key, MISSING)
    return Estimate.of(rank) if rank else Estimate(gaps.get(key, MISSING).external)


def _labeled(prevalence: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """Return the pairs (dataset, finding) with at least one labeled image. `prevalence`: the table of this name."""
    labeled = prevalence[prevalence[["present", "absent", "uncertain", "not_mentioned"]].sum(axis=1) > 0]
    return frozenset((str(d), str(f)) for d, f in zip(labeled["dataset"], labeled["finding"], strict=True))
