"""Jobs: the tasks that the main process sends to worker processes.

This module does not import torch, because the sending process does not need it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.config.analyses import Analysis
from bench.config.run_config import RunConfig
from bench.planning.derived_runs import DerivedRun
from bench.planning.plan import CohortRef, Plan
from bench.planning.run import RunSpec
from bench.store.checked_folders import AnalysisFolder
from bench.store.store import Store, canonical_json, short_hash, table_facts, write_bytes

R = TypeVar("R", RunSpec, DerivedRun)


@dataclass(frozen=True, slots=True)
class RunJob(Generic[R]):
    """One run, trained or derived, with everything that a worker needs."""

    run: R
    store: Store
    refs: tuple[CohortRef, ...]  # the internal hospital first
    device: str = "cpu"  # the device that the executor chose

    @property
    def id(self) -> str:
        """Return the name of the job in progress reports and outcomes: the run's id."""
        return self.run.id

    @property
    def folder(self) -> Path:
        """Return the run's folder."""
        return self.store.run_dir(self.run.id)

    def begin(self) -> None:
        """Create the run's folder and its run.json."""
        self.store.begin(self.run.id, self.run.document)

    def fail(self, text: str) -> None:
        """Record the reason of a failure."""
        self.store.fail(self.run.id, text)


@dataclass(frozen=True, slots=True)
class Job(RunJob[RunSpec]):
    """One run to train and freeze; its frozen network then predicts every cohort."""

    others: tuple[str, ...] = ()  # further devices for data-parallel training


@dataclass(frozen=True, slots=True)
class DerivedJob(RunJob[DerivedRun]):
    """One derived run to make from finished runs."""


@dataclass(frozen=True, slots=True)
class AnalysisJob:
    """One analysis of a finished run, or of the cohorts. An analysis of the cohorts uses only the geometry of `run`.

    The folder of an analysis contains tables, with the columns of `reports.schemas.tables.SCHEMAS`, and other files.
    The file KEY contains a hash of the inputs. KEY is written last, so an analysis with a KEY is complete. An analysis
    never changes its run: if the analysis fails, the run stays done.
    """

    analysis: Analysis
    run: RunSpec
    store: Store
    refs: tuple[CohortRef, ...]  # the internal hospital first
    device: str = "cpu"  # the device that the executor chose

    @property
    def id(self) -> str:
        """Return the name of the job in progress reports and outcomes, e.g. "3fa94c1e02bd/attention" or "analyses/acquisition-003fea0a64dd"."""
        return f"{self.run.id if self.analysis.kind.per_run else 'analyses'}/{self.folder.name}"

    @property
    def folder(self) -> Path:
        """Return the folder of the analysis: in the run's folder, or in the folder `analyses` of the store.

        The folder of an analysis of the cohorts has a name that depends on cohorts and geometry.
        """
        if self.analysis.kind.per_run:
            return self.store.run_dir(self.run.id) / self.analysis.name
        about: list[Any] = [[ref.name, ref.id] for ref in self.refs]
        if left_out := self.run.config.leave_out:
            about.append({"leave_out": left_out})
        key = short_hash(canonical_json([about, self.run.geometry.key]))
        return self.store.root / "analyses" / f"{self.analysis.name}-{key}"

    @property
    def tested(self) -> list[tuple[CohortRef, str]]:
        """Return each cohort with "", then the internal cohort with the name of its hospital that the run leaves out."""
        left_out = filter(None, [self.run.config.leave_out])
        return [*((ref, "") for ref in self.refs), *((self.refs[0], hospital) for hospital in left_out)]

    @property
    def key(self) -> str:
        """Return a hash of the inputs: options, cohorts, images and, for an analysis of a run, weights."""
        cohorts = [(ref.name, ref.role, ref.id, ref.headline_split) for ref in self.refs]
        facts = predicted(self.store, self.run.id, cohorts)
        return analysis_key(self.analysis.identity, facts, self.analysis.kind.per_run)

    @property
    def done(self) -> bool:
        """Return whether the tables of the analysis exist, are intact and are up to date."""
        return AnalysisFolder(self.folder).state(self.key)[0] == "done"

    def begin(self) -> None:
        """Create the folder and remove the FAILED file of an older attempt."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "FAILED").unlink(missing_ok=True)

    def fail(self, text: str) -> None:
        """Record the reason of a failure."""
        write_bytes(self.folder / "FAILED", text.encode())


def analysis_key(identity: Sequence[Any], facts: Sequence[Sequence[Any]], per_run: bool) -> str:
    """Return the key of an analysis: a hash of its identity (name, version, options) and of `facts`.

    `facts` is the result of `predicted` for the run of the analysis. Without `per_run`, the analysis is of the cohorts: it
    does not depend on the weights, which are the last item of a fact.
    """
    if not per_run:
        facts = [fact[:-1] for fact in facts]
    return short_hash(canonical_json([identity, facts]), 32)


def analysis_jobs(plan: Plan, runs: Sequence[RunSpec]) -> list[AnalysisJob]:
    """Return one job for each analysis of the plan and each of `runs`; for an analysis of the cohorts, one per geometry.

    A run has no job if its seed is not among the first seeds that the grid wants analysed. A run on given vectors has no job
    for an analysis in which its network would read images. If the runs of the plan leave
    out different hospitals, an analysis of the cohorts takes all hospitals of the pool as the internal cohort.
    """
    several = len({run.config.leave_out for run in plan.runs}) > 1
    on_all_hospitals = [replace(run, config=replace(run.config, leave_out="")) for run in runs]  # with their ids
    of_recipe: dict[RunConfig, list[str]] = {}
    for run in plan.runs:
        of_recipe.setdefault(replace(run.config, seed=0), []).append(run.id)
    earlier_seeds = {run_id: i for ids in of_recipe.values() for i, run_id in enumerate(ids)}
    jobs = [
        AnalysisJob(a, run if a.kind.per_run or not several else on_all, plan.store, plan.refs)
        for a in plan.grid.analyses
        for run, on_all in zip(runs, on_all_hospitals, strict=True)
        if not (a.kind.reads_images and run.has_given_vectors) and (not a.seeds or earlier_seeds[run.id] < a.seeds)
    ]
    return list({job.folder: job for job in reversed(jobs)}.values())[::-1]


def predicted(store: Store, run_id: str, cohorts: Iterable[tuple[str, str, str, str]]) -> list[list[Any]]:
    """Return the facts of a run's predictions, one row per cohort.

    A row has name, role, id and headline split (the split on the leaderboard) of the cohort, and hashes of the
    predicted images and the run's weights.
    """
    folder = store.run_dir(run_id) / "predictions"
    rows = []
    for name, role, cohort_id, headline in cohorts:
        facts = table_facts(folder / f"{name}.parquet")
        rows.append([name, role, cohort_id, headline, facts.get("fingerprint"), facts.get("weights")])
    return rows
