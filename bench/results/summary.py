"""The main results of a grid, as lines of text."""

from textwrap import TextWrapper

from bench.config.settings import STUDY
from bench.planning.manifest import Manifest
from bench.results.grid_recipes import with_chosen_runs
from bench.results.report_tables import tables
from bench.results.run_table import RunRecords, ranked_ids, read_records
from bench.store.lease import is_held
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports.report_data.report_data import read
from reports.sections.opening import main_results
from reports.tables import Tables


def summary(manifest: Manifest, collected: Tables | None = None) -> list[str]:
    """Return the sentences of the page's first screen as lines.

    `collected`: the tables of a report that was just written; with None, they are collected from the stored scores.
    If the images are synthetic, the last line says so.
    """
    manifest = with_chosen_runs(manifest)
    records = read_records(manifest)
    if not ranked_ids(manifest, records):
        return [_nothing_ranked(manifest, records)]
    wrap = TextWrapper(80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False).wrap
    lines = [line for text in main_results(read(collected or tables(manifest))) for line in wrap(text)]
    table_of = {cohort.name: manifest.table(cohort) for cohort in manifest.cohorts if manifest.settings.unit == STUDY}
    single = [name for name, table in table_of.items() if not table.duplicated(["patient_id", "study_id"]).any()]
    if single:
        lines.append(f"  scores of studies are scores of images at {', '.join(single)}: no study has two images there")
    return [*lines, SYNTHETIC_NOTICE] if manifest.phantom else lines


def _nothing_ranked(manifest: Manifest, records: RunRecords) -> str:
    """Return why no run is ranked."""
    models = [run for run in (*manifest.runs, *manifest.imported) if records[run.id].is_scored]
    if not any(manifest.exposed(run) for run in models):
        at_work = any(is_held(manifest.store.run_dir(run.id) / "LOCK") for run in manifest.runs)
        reason = ": another process is at work on the runs" if at_work else ""
        return f"  no run has a score yet{reason}"
    if manifest.ranked:
        return "  nothing is ranked yet: the runs that had seen no external hospital have no score"
    return "  nothing is ranked: each model had seen an external hospital, or may have seen it"
