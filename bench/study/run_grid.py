"""Run a grid: decode the images, do missing trainings and predictions, score, analyze, report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.executors.execute_job import Executor
from bench.planning.derived_runs import DerivedRun
from bench.planning.image_caches import prepare
from bench.planning.jobs import AnalysisJob, DerivedJob, Job, analysis_jobs
from bench.planning.manifest import write_manifest
from bench.planning.plan import Plan
from bench.planning.run import RunSpec
from bench.results.report_state import current_report
from bench.results.score_runs import score_all
from bench.study.job_progress import Display, Tally
from bench.study.page_so_far import PageSoFar
from bench.study.plan_remarks import plan_remarks


@dataclass(frozen=True, slots=True)
class Result:
    """The result of running a grid."""

    done: int  # number of finished runs
    trained: int  # number of runs that this call finished
    failed: dict[str, str]  # id of a run or of an analysis -> reason
    held: int  # number of jobs that were skipped, because another process works on their run
    page: Path | None
    derived: int = 0  # number of finished derived runs
    waiting: Mapping[str, str] = field(default_factory=dict)  # derived run id -> the run that it waits for
    logs: Mapping[str, Path] = field(default_factory=dict)  # id of a failed job -> its log
    names: Mapping[str, str] = field(default_factory=dict)  # id of a failed job or waiting derived run -> its name
    dropped: Sequence[str] = ()  # imported models that are no longer rows of the grid
    summary: Sequence[str] = ()  # the main results as lines
    missing_parts: Sequence[str] = ()  # parts of the page that failed, as lines

    def lines(self, grid: str, num_runs: int, num_derived: int) -> list[str]:
        """Return the result as lines: counts, waiting derived runs, dropped imported models, failures with logs."""
        held = f", {self.held} held by another process" if self.held else ""
        lines = [f"{self.done} of {num_runs} runs done ({self.trained} now), {len(self.failed)} failed{held}"]
        if num_derived:
            lines.append(f"{self.derived} of {num_derived} derived from them (TTA, ensembles, panels)")
        lines += [f"  {run_id} {self.names[run_id]} {reason}" for run_id, reason in self.waiting.items()]
        again = f"evaluate it again: bench evaluate --model MODEL.yaml --grid {grid}"
        why = "was evaluated on other cohorts, findings or splits and is no longer in the grid"
        lines += [f"  {name} (trained elsewhere) {why}; {again}" for name in self.dropped]
        for run_id, reason in self.failed.items():
            name = f" {self.names[run_id]}".rstrip()
            lines.append(f"  {run_id}{name} failed: {reason}\n    log: {self.logs[run_id]}")
        return lines


def execute(
    plan: Plan,
    runs: Sequence[RunSpec],
    derived: Sequence[DerivedRun],
    executor: Executor,
    workers: int,
    display: Display,
    *,
    with_images: bool = False,
) -> Result:
    """Finish the runs and the derived runs; write the manifest, the scores and the page.

    The executor trains, predicts and analyzes; up to `workers` processes on this machine decode images, and score. With
    `with_images`, the page may show real radiographs.
    """
    images, found = prepare(plan, workers, display.progress).compared(display.progress)
    plan = images.plan
    for line in (*plan_remarks(plan, found), *images.wrong_views):
        display.warn(line)
    for line in images.fallbacks:
        display.say(line)
    manifest, dropped = write_manifest(plan, images.caches, images.count_duplicates())
    images.write_lists()
    # one run of each recipe first, so that an early page compares recipes
    todo = sorted((run for run in runs if images.is_incomplete(run)), key=lambda run: run.config.seed)
    tally = Tally.of(display, executor)
    names = {run_id: str(name) for run_id, name in RunSpec.names(runs).items()}
    jobs = [Job(run, plan.store, plan.refs) for run in todo]
    if jobs:
        tally.expect("runs", len(runs) - len(jobs), len(runs))
    is_search = bool(manifest.search)
    # a search ranks only the runs that it chooses when all trials are finished
    so_far = None if is_search else PageSoFar(manifest, with_images, display).update
    ended = tally.work(jobs, names, so_far)
    _derive(plan, derived, tally, names)
    analyses = _Analyses(tally, names)
    if not is_search:  # a search analyses only the runs that it chooses by their scores
        analyses.find_missing(plan, runs)
        # Analyses of the cohorts take longest. After the scores, they share the cores with all analyses that are left.
        analyses.work([j for j in analyses.missing if j.analysis.kind.per_run and not j.analysis.kind.reads_scores])
    scored = set(score_all(manifest, display.progress, workers, say=display.say))
    if is_search:
        analyses.find_missing(plan, [run for run in runs if run.id in scored])
    analyses.work([job for job in analyses.missing if job.run.id in scored or not job.analysis.kind.per_run])
    page, lines, missing_parts = current_report(manifest, display.progress, with_images)
    done = sum(plan.store.state(r.id) == "done" for r in runs)
    waiting = {d.id: reason for d in derived if (reason := plan.store.first_unfinished(d.sources, names))}
    finished = sum(plan.store.state(d.id) == "done" for d in derived if d.id not in waiting)
    titles = {run_id: tally.names[run_id] for run_id in tally.failed} | {
        d.id: f"{d.kind} {d.name}" for d in derived if d.id in waiting
    }
    return Result(
        done,
        len(ended),
        tally.failed,
        tally.held,
        page,
        finished,
        waiting,
        tally.logs,
        titles,
        dropped,
        lines,
        missing_parts,
    )


def _derive(plan: Plan, derived: Sequence[DerivedRun], tally: Tally, names: Mapping[str, str]) -> None:
    """Make the derived runs whose sources are finished: TTA first, because an ensemble may average probabilities of TTA."""
    cohorts = {ref.name: ref.id for ref in plan.refs}
    for kind in ("tta", "panel", "ensemble"):
        ready = [d for d in derived if d.kind == kind and not plan.store.first_unfinished(d.sources)]
        todo = [d for d in ready if d.is_incomplete(plan.store, cohorts)]
        if todo:
            tally.expect(f"derived runs ({kind})", len(ready) - len(todo), len(ready))
        titles = {d.id: f"{d.kind} {d.name}" for d in todo}
        titles |= {d.id: f"{titles[d.id]} of {names[d.runs[0].id]}" for d in todo if kind == "tta"}
        tally.work([DerivedJob(d, plan.store, plan.refs) for d in todo], titles)


@dataclass(slots=True)
class _Analyses:
    """The missing or outdated analyses. Those of single runs that need no scores can be at work while another process scores."""

    tally: Tally
    names: Mapping[str, str]  # run id -> name
    missing: list[AnalysisJob] = field(default_factory=list)
    total: int = 0

    def find_missing(self, plan: Plan, runs: Sequence[RunSpec]) -> None:
        """Find the missing analyses of the finished runs."""
        finished = [run for run in runs if plan.store.state(run.id) == "done"]
        # The analyses of the cohorts are first, because they take longest. Then each run has all its analyses one after the
        # other: the first run computes regions and masks that the others read, so two runs at once would both compute them.
        position = {run.id: i for i, run in enumerate(finished)}
        jobs = analysis_jobs(plan, finished)
        jobs.sort(key=lambda job: (job.analysis.kind.per_run, position[job.run.id]))
        self.missing, self.total = [job for job in jobs if not job.done], len(jobs)

    def work(self, jobs: Sequence[AnalysisJob]) -> None:
        """Run some of the missing analyses; none of them is run again, also if it failed."""
        if jobs:
            self.tally.expect("analyses", self.total - len(self.missing), self.total)
        self.tally.work(jobs, {job.id: self.names[job.run.id] if job.analysis.kind.per_run else "" for job in jobs})
        worked = {job.folder for job in jobs}
        self.missing = [job for job in self.missing if job.folder not in worked]
