"""Write the report of a grid: its tables and its page, or a site."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.planning.manifest import Manifest
from bench.results.long_tables import LongTables
from bench.results.report_tables import tables
from bench.results.score_runs import CORES, score_all
from bench.store.checked_folders import ReportFolder
from bench.store.store import replacing
from harmonize.progress import Progress
from reports.tables import Tables


def score_and_report(
    manifest: Manifest,
    output: Path | None,
    progress: Progress,
    with_images: bool = False,
    site: Path | None = None,
    say: Callable[[str], None] | None = None,
    processes: int = CORES,
) -> Path:
    """Score the runs whose scores are missing, out of date or damaged, then write the report; return the page's path.

    `say` and `processes`: see `score_all`. The other arguments: see `write_report`.
    """
    score_all(manifest, progress, processes, say)
    return write_report(manifest, output, progress, with_images, site)


def write_report(
    manifest: Manifest, output: Path | None, progress: Progress, with_images: bool = False, site: Path | None = None
) -> Path:
    """Write the page and its tables from the stored scores; return the path of the page.

    `output`: path of the page; if it is given, no table files are written. If it is None, the page is written into the folder
    `report/<grid>` of the store, and the tables into `report/<grid>/tables`. `site`: if this folder is given, only a
    site of several linked pages is written, into this folder, and `output` is ignored. `with_images`: allow pictures of
    real radiographs on the page.
    """
    return report_and_tables(manifest, output, progress, with_images, site)[0]


def report_and_tables(
    manifest: Manifest, output: Path | None, progress: Progress, with_images: bool = False, site: Path | None = None
) -> tuple[Path, Tables]:
    """Write a report like `write_report`; return the path of the page, and the tables of the page.

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
