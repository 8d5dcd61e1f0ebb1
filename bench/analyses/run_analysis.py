"""Run one analysis of a finished run and write its tables."""

import shutil
from importlib import import_module

from bench.planning.jobs import AnalysisJob
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import lease
from bench.store.store import write_bytes
from harmonize.progress import Progress


def run_one_analysis(job: AnalysisJob, progress: Progress) -> bool:
    """Run an analysis unless its result already exists. Return True when the analysis is done.

    Return False if another process holds the lease of the analysis and works on this analysis. An exception of the
    analysis is not caught, because the caller records the exception as the reason of the failure.
    """
    with lease(job.folder) as acquired:
        if not acquired:
            return False
        if job.done:
            return True
        (job.folder / "KEY").unlink(missing_ok=True)
        for path in job.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in {"LOCK", "log.txt"}:
                path.unlink()
        module, _, name = job.analysis.kind.use.partition(":")
        getattr(import_module(module), name)(job, job.folder, progress)
        CheckedFolder(job.folder).record_checksums()
        write_bytes(job.folder / "KEY", job.key.encode())
    return True
