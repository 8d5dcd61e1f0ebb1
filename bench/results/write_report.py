"""Write the report of a grid: its tables and its page, or a site."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.planning.manifest import Manifest
from bench.results.long_tables import LongTables
from bench.results.report_tables import tables
from bench.results.score_runs import CORES, score_all
from bench.store.checked_folders import ReportFolder
from bench.store.store import replacing, write_bytes
from harmonize.progress import Progress
from reports import failed_parts
from reports.failed_parts import FailedPart
from reports.tables import Tables


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written. failed: the parts that it lacks; log: the file with their tracebacks."""

    page: Path
    tables: Tables
    failed: Sequence[FailedPart]
    log: Path

    def failures(self) -> list[str]:
        """Return a line for each part that failed."""
        return [f"  {part.name} failed: {part.reason}\n    log: {self.log}" for part in self.failed]


def score_and_report(
    manifest: Manifest,
    output: Path | None,
    progress: Progress,
    with_images: bool = False,
    site: Path | None = None,
    say: Callable[[str], None] | None = None,
    processes: int = CORES,
) -> Report:
    """Score the runs whose scores are missing, out of date or damaged, then write the report and return it.

    `say` and `processes`: see `score_all`. The other arguments: see `write_report`.
    """
    score_all(manifest, progress, processes, say)
    return write_report(manifest, output, progress, with_images, site)


def write_report(
    manifest: Manifest, output: Path | None, progress: Progress, with_images: bool = False, site: Path | None = None
) -> Report:
    """Write the page and its tables from the stored scores.

    `output`: path of the page; if it is given, no table files are written. If it is None, the page is written into the folder
    `report/<grid>` of the store, and the tables into `report/<grid>/tables`. `site`: if this folder is given, only a
    site of several linked pages is written, into this folder, and `output` is ignored. `with_images`: allow pictures of
    real radiographs on the page.

    The page is written without the parts that fail; their tracebacks are in `report/<grid>/failed.log`.
    """
    log = manifest.store.root / "report" / manifest.name / "failed.log"
    with failed_parts.collected() as failed:
        page, collected = _written(manifest, output, progress, with_images, site)
    if failed:
        write_bytes(log, "\n".join(f"{part.name}\n{part.trace}" for part in failed).encode())
    else:
        log.unlink(missing_ok=True)
    return Report(page, collected, failed, log)


def _written(
    manifest: Manifest, output: Path | None, progress: Progress, with_images: bool, site: Path | None
) -> tuple[Path, Tables]:
    """Write a report; return the path of the page, and its tables.

    The tables get their checksums last. After a kill, the older checksums do not match the new tables, so commands refuse
    a mixture of old and new tables.
    """
    from reports.page import render

    progress("write the leaderboard", 0, 1)
    if site is not None:
        from reports.site import write_site

        collected = tables(manifest, with_images)
        return write_site(collected, site), collected
    folder = manifest.store.root / "report" / manifest.name
    page = output or folder / "leaderboard.html"
    with LongTables(folder / "tables" if output is None else None, manifest.phantom) as long_tables:
        collected = tables(manifest, with_images, long_tables)
    with ThreadPoolExecutor(1) as pool:  # the pool's thread saves the other tables while this thread builds the page
        saved = pool.submit(collected.save, folder / "tables", long_tables.written) if output is None else None
        content = render(collected).encode()
        with replacing(page, needed=len(content)) as temporary:
            temporary.write_bytes(content)
            if saved:
                # if saving the tables failed, raise the error here, before the page replaces the old page
                saved.result()
                ReportFolder(folder / "tables").record_checksums()
    progress("write the leaderboard", 1, 1)
    return page, collected
