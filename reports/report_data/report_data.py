"""Join the tables of a report into runs, hospitals and estimates.

All sections read their numbers from `ReportData`, so two sections cannot show different values of the same score.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import pandas as pd

from harmonize.labels.findings import SUMMARIES
from reports import failed_parts, hooks
from reports.formatting import listing
from reports.report_data import headline_rows
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Hospital, Run
from reports.report_data.members import Members
from reports.report_data.rankings import Rows, rankings
from reports.report_data.training_words import TrainingWords, words
from reports.schemas.change_rules import caught
from reports.schemas.criterion import DEFAULT, MEAN_GAP, Criterion, further_scores
from reports.tables import Tables, records_of, rows_of

EXTERNAL, MACRO = headline_rows.EXTERNAL, headline_rows.MACRO
USEFUL_FROM = 0.7  # AUROC from which a model is useful, if the grid states no other


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
    internal: Hospital
    hospitals: tuple[Hospital, ...]  # external hospitals, smallest mean gap first
    ranked: tuple[Run, ...]
    derived: tuple[Run, ...]  # TTA, ensembles and imported models with an external score; shown below the ranking
    unranked: tuple[Run, ...]
    groups: tuple[tuple[Run, ...], ...]
    mean_gap: Estimate  # gap, averaged over runs and external hospitals
    findings: tuple[str, ...]
    cells: Mapping[tuple[str, str, str], Estimate]  # (run id, dataset, finding) -> AUROC
    gaps: Mapping[tuple[str, str, str], Estimate]  # (run id, dataset, finding) -> gap
    # metric of an extension by which recipes can be ranked -> (run id, dataset, "macro") -> score
    further: Mapping[str, Mapping[tuple[str, str, str], FurtherScore]]
    rankings: Mapping[Criterion, Rows]  # all rankings of the recipes; the first has the order of `ranked`
    labeled: frozenset[tuple[str, str]]  # pairs (dataset, finding) for which any image has a label
    external_keys: frozenset[str]  # names of the external cohorts, including those without a score
    answers: Mapping[str, tuple[tuple[str, str], ...]]  # run id -> (dataset, whether the model had seen its data)
    at_training: Mapping[tuple[str, str], Estimate]  # (run id, hospital of a pool) -> AUROC on its internal test split
    has_common: bool  # whether any external hospital labels a finding that the internal hospital labels too

    @property
    def meta(self) -> Mapping[str, Any]:
        """The metadata of the tables; `Tables` lists the keys."""
        return self.tables.meta

    @property
    def ranked_by(self) -> Criterion:
        """The score that decides the ranking: the mean external AUROC, that of one finding if there is no mean, or the internal AUROC."""
        return next(iter(self.rankings), DEFAULT)

    @property
    def of_finding(self) -> str:
        """Words after "AUROC" if the score that decides the ranking is that of one finding; else ""."""
        return "" if self.ranked_by.finding == MACRO else f" of {self.ranked_by.finding}"

    @property
    def pool(self) -> tuple[Hospital, ...]:
        """The training hospitals if there are several; () for one training hospital."""
        return tuple(_hospital(self.tables, str(key), MISSING) for key in self.meta.get("pool") or ())

    @cached_property
    def trained_on(self) -> dict[str, tuple[Hospital, ...]]:
        """Run id -> hospitals on which the run trained, for runs that leave out a training hospital of other runs."""
        runs = [run for run in self.entries if self.leaves_one_out and run.left_out]
        return {run.id: tuple(hospital for hospital in self.pool if hospital.key != run.left_out) for run in runs}

    def of_run(self, run: Run) -> "ReportData":
        """Return the data with the hospitals of one run: those of `trained_on` are internal, and the others external."""
        if run.id not in self.trained_on:
            return self
        trained = self.trained_on[run.id]
        title, short = (" + ".join(names) for names in zip(*((h.title, h.short) for h in trained), strict=True))
        external = tuple(hospital for hospital in self.hospitals if hospital.key not in {h.key for h in trained})
        return replace(self, internal=replace(self.internal, title=title, short=short), hospitals=external)

    @property
    def training_place(self) -> str:
        """Name of the training hospitals for sentences; each run of a leave-one-out page trained on all but one."""
        names = [hospital.short for hospital in self.pool]
        return f"all but one of {listing(names, len(names))}" if self.leaves_one_out else self.internal.short

    @property
    def without_internal_score(self) -> list[str]:
        """Names of the training hospitals that no internal score includes, because each finding has too few patients."""
        scored = {hospital for (_, hospital), estimate in self.at_training.items() if estimate.has_value}
        return [hospital.short for hospital in self.pool if scored and hospital.key not in scored]

    @property
    def leaves_one_out(self) -> bool:
        """Return whether the runs leave out different training hospitals, so that each of these is external to some runs only."""
        return bool(self.meta.get("leave_one_out"))

    @cached_property
    def words(self) -> TrainingWords:
        """The words on the training hospitals of the page."""
        leaves_out = any(run.left_out for run in self.runs)
        return words(several=bool(self.pool), leave_one_out=self.leaves_one_out, leaves_out=leaves_out)

    def member_noun(self, recipe: Run) -> str:
        """Return the word for a run of a recipe, after what its runs differ in."""
        return "run" if self.leaves_one_out else "wording" if recipe.has_prompts else "seed"

    @property
    def num_external(self) -> int:
        """Number of external hospitals, including those without a score."""
        return len(self.external_keys)

    @property
    def num_hospitals(self) -> int:
        """Number of hospitals on the page: training hospitals and external hospitals."""
        return len({hospital.key for hospital in self.pool or (self.internal,)} | self.external_keys)

    @property
    def phantom(self) -> bool:
        """Return whether the images are synthetic."""
        return self.tables.synthetic

    @property
    def min_count(self) -> int:
        """Minimum number of positive patients, and of negative patients, for a score."""
        return int(self.meta["settings"]["min_count"])

    @property
    def useful_from(self) -> float:
        """AUROC from which a model is useful at a new hospital."""
        return float(self.meta.get("useful") or USEFUL_FROM)

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

    def further_score(self, metric: str, run: Run) -> Estimate:
        """Return a score of `further`, as the mean over external hospitals."""
        score = self.further[metric].get((run.id, EXTERNAL, MACRO))
        return score.value if score else MISSING

    @cached_property
    def at_new_hospital(self) -> Mapping[tuple[str, str], tuple[Estimate, Estimate]]:
        """(Recipe or run, finding or "macro") -> AUROC to expect at a new hospital; see `headline_rows.new_hospital_lookup`."""
        table = self.tables.frames.get("next_hospital", pd.DataFrame())  # a table of an extension
        return headline_rows.new_hospital_lookup(table, self.tables["recipes"])

    @cached_property
    def shortcuts(self) -> Mapping[str, list[str]]:
        """Run id -> findings for which the region transplant test finds a marker as a shortcut, for all tested runs."""
        tests = self.tables["transplants"].groupby("run_id")
        return {str(run_id): caught(rows, self.internal.key) for run_id, rows in tests}

    @cached_property
    def further_criteria(self) -> list[hooks.RankedScore]:
        """The scores of extensions that a ranked recipe has at external hospitals."""
        return [s for s in further_scores() if any(self.further_score(s.METRIC, r).has_value for r in self.ranked)]

    @cached_property
    def over_seeds(self) -> bool:
        """Return whether the intervals of the ranked recipes are over patients and seeds, and not only over patients.

        Runs that leave out different hospitals do not show the scatter between seeds.
        """
        folds = {(recipe.id, run.left_out) for recipe in self.ranked for run in recipe.members}
        return bool(self.ranked) and all(r.runs for r in self.ranked) and len(self.ranked_runs) > len(folds) + 1

    @property
    def seeds(self) -> str:
        """Return what the runs of the ranked recipes differ in, in the plural: seeds, wordings (of prompts), or both."""
        kinds = {"wordings" if r.has_prompts else "seeds" for r in self.ranked if len(r.members) > 1}
        return " and ".join(sorted(kinds)) or "seeds"

    @property
    def imported(self) -> tuple[Run, ...]:
        """All imported models, with or without a rank."""
        return tuple(r for r in self.entries if r.is_imported)

    @property
    def only_imported(self) -> bool:
        """Return whether every row of the page is an imported model."""
        return bool(self.imported) and all(r.is_imported for r in self.entries)

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
    def labels(self) -> dict[str, str]:
        """{id: label} for all runs and recipes in `entries`, and for the recipes that could not be ranked."""
        table = self.tables["runs"]
        recipes = rows_of(table[table["kind"] == "recipe"], "run_id", "name", "what")
        labels = {
            str(recipe): f"{name} ({_text(what)})" if _text(what) else str(name) for recipe, name, what in recipes
        }
        return labels | {r.id: r.label for r in self.entries}

    @property
    def scored(self) -> tuple[Run, ...]:
        """The runs with a macro AUROC at the internal hospital, or with a mean external AUROC."""
        return tuple(r for r in self.runs if r.internal.has_value or r.external.has_value)

    @property
    def not_learned(self) -> dict[str, tuple[str, ...]]:
        """Run id -> findings that the run could not learn, because they are in all or in none of its training images."""
        findings = dict(self.meta.get("unlearnt") or {})
        return {str(run_id): tuple(map(str, names)) for run_id, names in findings.items() if names}

    @property
    def not_compared(self) -> list[tuple[str, tuple[str, ...]]]:
        """Pairs (name of an external hospital, findings that cannot be compared), in order of the hospitals.

        For these findings, this hospital or the internal hospital has no labels or too few patients.
        """
        findings = dict(self.meta.get("not_compared") or {})
        order = [h.key for h in self.all_hospitals]
        # at the hospitals of a pool that are not external to any shown run, nothing is compared
        internal = {h.key for h in self.pool} - set(order)
        keys = sorted(
            (k for k in findings if findings[k] and k not in internal),
            key=lambda k: (order.index(k) if k in order else len(order), k),
        )
        return [(self.short(key), tuple(map(str, findings[key]))) for key in keys]

    @property
    def num_duplicates(self) -> int:
        """Number of internal images that have a duplicate of another patient in another split."""
        return int(self.meta.get("duplicates") or 0)

    @property
    def overlaps(self) -> list[dict[str, Any]]:
        """One dict for each pair of external hospitals: the images and patients that both have.

        The list is empty if the tables do not state shared images and patients. A dict has the keys hospitals (short
        names), num_images, images and patients; `reports.sentences.data.overlap` explains the values.
        """
        rows = (self.meta.get("compared") or {}).get("external") or ()
        return [
            {
                "hospitals": tuple(self.short(str(name)) for name in row["cohorts"]),
                **{key: row[key] for key in ("num_images", "images", "patients")},
            }
            for row in rows
        ]

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """One dict for each external cohort that is left out, because another external cohort contains it.

        A dict has the keys hospitals (names of the containing and of the left-out cohort), num_images, images and patients, as in
        `reports.sentences.data.left_out`.
        """
        rows = (self.meta.get("compared") or {}).get("left_out") or ()
        return [
            {
                "hospitals": (self.short(str(row["cohorts"][0])), str(row["title"])),
                **{key: row[key] for key in ("num_images", "images", "patients")},
            }
            for row in rows
        ]

    @cached_property
    def of_children(self) -> list[Hospital]:
        """The external hospitals of children that means over external hospitals leave out, because others have adults."""
        datasets = self.meta.get("datasets", {})
        found = [hospital for hospital in self.hospitals if datasets.get(hospital.key, {}).get("ages") == "children"]
        return found if len(found) < len(self.hospitals) else []

    @cached_property
    def averaged(self) -> list[Hospital]:
        """The external hospitals that means over external hospitals include."""
        return [hospital for hospital in self.hospitals if hospital not in self.of_children]

    def members(self, run: Run) -> Members:
        """Return the findings and hospitals in the mean external AUROC of a run, and what this mean leaves out."""
        hospitals = (hospital.key for hospital in self.averaged)
        return Members.of(run.id, self.cells, self.gaps, hospitals, self.findings, self.num_external)

    def scoring(self, finding: str) -> list[str]:
        """Return the names of the hospitals in the mean external score of a finding."""
        cells = {key[1:] for key, auroc in self.cells.items() if auroc.has_value}
        return [hospital.short for hospital in self.averaged if (hospital.key, finding) in cells]

    @cached_property
    def members_of_first(self) -> Members | None:
        """The members of the first recipe's mean external AUROC; None if nothing is ranked."""
        return self.members(self.ranked[0]) if self.ranked else None

    @property
    def findings_of_mean(self) -> tuple[str, ...]:
        """The findings of the mean external AUROC of the first recipe; () without a mean."""
        return self.members_of_first.findings if self.members_of_first else ()

    @property
    def no_mean_gap(self) -> str:
        """Words for a mean gap that is unknown."""
        reason = self.members_of_first.reason if self.members_of_first else ""
        return f"{reason.partition(':')[0] or 'too few patients'} for a mean gap"

    def macro_name(self, run: Run) -> str:
        """Return the name of the mean over findings in a table of a run that also lists findings outside this mean."""
        return "Macro mean, internally scored findings" if self.members(run).left_out else "Macro mean"

    @cached_property
    def macro_note(self) -> str:
        """A sentence on the labels of the macro that summarize its other findings; "" without such labels."""
        scored = {f for (_, dataset, f), e in self.cells.items() if dataset == self.internal.key and e.has_value}
        summaries = [finding for finding in self.findings if finding in scored & {*SUMMARIES}]
        verb = "summarizes" if len(summaries) == 1 else "summarize"
        return f"Macro scores include {listing(summaries)}, which {verb} the other findings." if summaries else ""

    @property
    def without_score(self) -> list[str]:
        """Names of the external hospitals that are in the cohort table but have no score."""
        with_score = {h.key for h in self.hospitals}
        return [self.short(key) for key in sorted(_listed_external(self.tables) - with_score)]

    @property
    def all_hospitals(self) -> tuple[Hospital, ...]:
        """The internal hospital, then the external ones."""
        return (self.internal, *self.hospitals)

    def distinct(self, fact: str) -> list[str]:
        """Return the different values of a column of the table `runs`, such as "commit", over all runs, sorted."""
        return sorted({str(r.facts[fact]) for r in self.runs if isinstance(r.facts.get(fact), str) and r.facts[fact]})

    def submission(self, run: Run) -> tuple[list[str], list[str]]:
        """Return two lists: the signers and the files of the verified bundles with this run; both are empty if the run was trained here."""
        bundles = self.meta.get("bundles") or {}
        own = [bundle for member in run.members for bundle in bundles.get(member.id, ())]
        signers = dict.fromkeys(str(bundle["signed_by"]) for bundle in own if bundle["signed_by"])
        return list(signers), list(dict.fromkeys(str(bundle["file"]) for bundle in own))

    def submission_mark(self, run: Run) -> str:
        """Return the submitter and status of a run, such as "submitted by our lab, bundle verified"; "" if trained here."""
        signers, files = self.submission(run)
        submitter = f"submitted by {', '.join(signers)}" if signers else ""
        return ", ".join(filter(None, (submitter, "bundle verified" if files else "")))

    def is_approximate(self, key: str, finding: str) -> bool:
        """Return whether a hospital's own labels match a finding only approximately."""
        return finding in (self.meta.get("datasets") or {}).get(key, {}).get("approximate", ())

    def approximate_labels(self, finding: str) -> list[str]:
        """Return the short names of hospitals whose own labels match the finding only approximately."""
        labeling = [h for h in self.all_hospitals if (h.key, finding) in self.labeled]
        return [h.short for h in labeling if self.is_approximate(h.key, finding)]

    def why_missing(self, key: str, finding: str) -> str:
        """Return why a hospital has no score for a finding: too few patients, or not labeled. `key`: cohort name."""
        few = f"< {self.min_count} patients" if self.min_count > 1 else "no patient"
        return few if (key, finding) in self.labeled else "not labeled"

    def learned(self, run_id: str) -> list[str]:
        """Return the findings that a run predicts and could learn."""
        predicted = self.meta.get("learns", {}).get(run_id, self.findings)
        return [finding for finding in predicted if finding not in self.not_learned.get(run_id, ())]

    def title(self, key: str) -> str:
        """Return the name of a hospital in full."""
        return self._hospital(key).title

    def short(self, key: str) -> str:
        """Return the name of a hospital for sentences and narrow columns."""
        return self._hospital(key).short

    def place(self, key: str) -> str:
        """Return the short name of a hospital, which says so if its patients are children."""
        children = self.meta.get("datasets", {}).get(key, {}).get("ages") == "children"
        return f"{self.short(key)}{' (children)' * children}"

    def name(self, run: Run) -> str:
        """Return the name of a recipe for sentences; with its settings if another recipe has the same name."""
        return run.name if [other.name for other in self.ranked].count(run.name) == 1 else run.label

    def _hospital(self, key: str) -> Hospital:
        """Return the hospital with the cohort name `key`, also if it has no score and is only in the cohort table."""
        return next((h for h in self.all_hospitals if h.key == key), None) or _hospital(self.tables, key, MISSING)


def read(tables: Tables) -> ReportData:
    """Join the tables of a report into the data of the page."""
    meta = tables.meta
    source = str(meta.get("source", ""))
    headline = headline_rows.HeadlineRows.of(tables, source)
    cells = headline.lookup("auroc", ("none", "platt"))
    ece = headline.lookup("ece", ("platt", "none"), finding=MACRO)
    gaps = headline_rows.gap_lookup(tables["gaps"])
    keys = sorted({dataset for _, dataset, _ in cells} - {EXTERNAL, source})  # of external cohorts that have a score
    mean_gaps = {str(row["dataset"]): Estimate.of(row) for row in records_of(tables["mean_gaps"])}  # over recipes
    hospitals = sorted(
        (_hospital(tables, key, mean_gaps.get(key, MISSING)) for key in keys),
        key=lambda h: (h.mean_gap.value if h.mean_gap.has_value else float("inf"), h.key),
    )
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
                name=_text(facts["name"]) or _text(facts["architecture"]) or run_id,
                variant=_text(facts["what"]),
                family=_text(facts["family"]),
                state=_text(facts["state"]),
                reason=_text(facts["reason"]),
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
                hospitals={h.key: _shared_auroc(cells, gaps, (run_id, h.key, MACRO)) for h in hospitals},
                hospital_gaps={h.key: gaps.get((run_id, h.key, MACRO), MISSING) for h in hospitals},
                mean_rank=float(rank.get("mean_rank", float("nan"))),
                rank_low=round(rank.get("rank_low", 0)),
                rank_high=round(rank.get("rank_high", 0)),
                p_best=float(rank.get("p_best", float("nan"))),
                lead=Estimate.of(rank, "lead"),
                group=int(rank["group"]) if rank else -1,
                kind=_text(facts["kind"]),
            )
        )
    by_id = {r.id: r for r in runs}
    runs = [replace(r, runs=tuple(by_id[i] for i in run_ids_of.get(r.id, ()) if i in by_id)) for r in runs]
    ranked = sorted(
        (r for r in runs if r.score.has_value and r.group >= 0), key=lambda r: (-r.score.value, r.label, r.id)
    )
    is_external = ranked_by.dataset == EXTERNAL
    derived_runs = (r for r in runs if r.is_derived and is_external and r.score.has_value and r not in ranked)
    derived = sorted(derived_runs, key=lambda r: (-r.score.value, r.label, r.id))
    listed_ids = {r.id for r in (*ranked, *derived)} | {run.id for recipe in ranked for run in recipe.runs}
    unranked = sorted((r for r in runs if r.id not in listed_ids and r.kind != "recipe"), key=lambda r: (r.label, r.id))
    numbers = sorted({r.group for r in ranked})
    labeled = _labeled(tables["prevalence"])
    external_keys = set(keys) | _listed_external(tables)
    scores = further_scores()
    further = failed_parts.of_extensions(
        "scores", scores, lambda score: (score.METRIC, score.scores(tables, by_criterion))
    )
    return ReportData(
        tables=tables,
        headline=headline,
        internal=_hospital(tables, source, MISSING),
        hospitals=tuple(hospitals),
        ranked=tuple(ranked),
        derived=tuple(derived),
        unranked=tuple(unranked),
        groups=tuple(tuple(r for r in ranked if r.group == number) for number in numbers),
        mean_gap=mean_gaps.get(EXTERNAL, MISSING),
        findings=tuple(str(f) for f in meta.get("findings", ())),
        cells=cells,
        gaps=gaps,
        further={**{score.METRIC: {} for score in scores}, **dict(further)},
        rankings=by_criterion,
        labeled=labeled | {(dataset, finding) for (_, dataset, finding), auroc in cells.items() if auroc.has_value},
        external_keys=frozenset(external_keys),
        answers=_answers(tables, run_ids_of),
        at_training=headline_rows.training_lookup(tables, source) if meta.get("pool") else {},
        has_common=any((source, finding) in labeled for key, finding in labeled if key in external_keys)
        or any(e.has_value for e in gaps.values()),
    )


def _answers(tables: Tables, run_ids_of: Mapping[str, Sequence[str]]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return {run id: pairs (dataset, answer)} from the table `exposure`. A run without rows gets the pairs of its recipe."""
    answers: dict[str, list[tuple[str, str]]] = {}
    for run_id, dataset, answer in rows_of(tables["exposure"], "run_id", "dataset", "answer"):
        answers.setdefault(str(run_id), []).append((str(dataset), str(answer)))
    for recipe, run_ids in run_ids_of.items():
        for run_id in run_ids if recipe in answers else ():
            answers.setdefault(run_id, answers[recipe])
    return {run_id: tuple(pairs) for run_id, pairs in answers.items()}


def config_lines(facts: Mapping[str, Any]) -> str:
    """Return the configuration of a run as indented JSON; a text that is not JSON is returned unchanged."""
    raw = _text(facts.get("config"))
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False)
    except ValueError:
        return raw


def _text(value: object) -> str:
    """Return a table cell as text; null becomes ""."""
    return value if isinstance(value, str) else ""


def _listed_external(tables: Tables) -> set[str]:
    """Return the names of the external cohorts that the cohort table lists."""
    cohorts = tables["cohorts"]
    return {str(d) for d, role in zip(cohorts["dataset"], cohorts["role"], strict=True) if role == "external"}


def _shared_auroc(
    cells: Mapping[tuple[str, str, str], Estimate],
    gaps: Mapping[tuple[str, str, str], Estimate],
    key: tuple[str, str, str],
) -> Estimate:
    """Return a run's macro AUROC at an external hospital, over the findings that the internal hospital scores, too.

    `key`: run id, dataset and "macro". If the table `gaps` has no row with this key, the AUROC in the table `scores` is
    returned.
    """
    macro = cells.get(key, MISSING)
    return headline_rows.gap_side(gaps[key], gaps[key].external, macro) if key in gaps else macro


def _score(
    criterion: Criterion,
    rank: Mapping[str, Any],
    cells: Mapping[tuple[str, str, str], Estimate],
    gaps: Mapping[tuple[str, str, str], Estimate],
    run_id: str,
) -> Estimate:
    """Return the score that decides the ranking; that of a finding has an interval only for a ranked recipe."""
    key = (run_id, criterion.dataset, criterion.finding)
    if criterion.finding == MACRO:
        return cells.get(key, MISSING)
    return Estimate.of(rank) if rank else Estimate(gaps.get(key, MISSING).external)


def _labeled(prevalence: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """Return the pairs (dataset, finding) with at least one labeled image. `prevalence`: the table of this name."""
    labeled = prevalence[prevalence[["present", "absent", "uncertain", "not_mentioned"]].sum(axis=1) > 0]
    return frozenset((str(d), str(f)) for d, f in zip(labeled["dataset"], labeled["finding"], strict=True))


def _hospital(tables: Tables, key: str, mean_gap: Estimate) -> Hospital:
    """Return the hospital with the cohort name `key`.

    Its title and place come from `meta`, else from the cohort table. If neither has a title, the title is `key`.
    """
    cohorts = tables["cohorts"]
    row: Mapping[str, Any] = next(iter(records_of(cohorts[cohorts["dataset"] == key])), {})
    entry: Mapping[str, Any] = tables.meta.get("datasets", {}).get(key, {})
    title = _text(entry.get("title")) or _text(row.get("title")) or key
    short = _text(entry.get("short")) or title
    return Hospital(key, title, short, _text(entry.get("place")) or _text(row.get("place")), mean_gap)
