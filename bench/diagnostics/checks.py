"""Run the checks of `bench check` and format their results.

Each check has a level: ok, note, warning or fault.
"""

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from itertools import combinations
from pathlib import Path

from bench.config.grid import Grid
from bench.config.grid_file import shipped_grids
from bench.config.registry import Registry
from bench.diagnostics.run_checks import of_run, of_store
from bench.diagnostics.store_audit import examine_store
from bench.planning.overlap import shares_patient_ids
from bench.planning.stored_names import find_run
from bench.store.store import Store
from harmonize.checks.release import Check
from harmonize.cohorts.cohort import Cohort
from harmonize.errors import CxrError
from harmonize.progress import Progress
from reports import extensions
from reports.formatting import plural

_MARKS = {"fault": "BAD ", "warning": "warn", "note": "note", "ok": "ok  "}


def examine(
    data: Path | None,
    store: Path,
    registry_file: Path | None,
    images: bool = True,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Check]:
    """Check environment, data and store; return the checks in this order.

    `data`: data file or folder of datasets, checked if it is given. `store`: checked if it exists. `images`: also open every
    image of the cohorts, and read every table and weights file of the store. The store keeps the result of each image. So an
    interrupted check resumes, and a second check is fast.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    python = _check("python", sys.version_info >= (3, 11), version)
    checks = [python, *_packages(), *_registry(registry_file)]
    if data:
        checks += _data(data, store if images else None, workers, progress)
    if store.exists():
        checks += _store(store, images, progress)
    return checks


def examine_runs(store: Store, run_prefixes: Sequence[str]) -> list[Check]:
    """Return the symptoms of some runs, given the beginnings of their ids.

    Raises StoreError for an unknown run or a damaged file.
    """
    ids = [find_run(store, prefix) for prefix in run_prefixes]
    return [check for run_id in ids for check in of_run(store, run_id)]


def lines(checks: Sequence[Check]) -> list[str]:
    """Return one line per check, and a last line with the numbers of faults and warnings.

    If a check has several likely causes, the line is followed by a numbered list of the causes.
    """
    output = []
    for check in checks:
        what = f"{check.dataset}: {check.what}" if check.dataset else check.what
        expected = f"expected {check.expected}, " if check.expected else ""
        causes = check.fix.split("\n")
        fix = f" -> {check.fix}" if check.fix else ""
        if len(causes) > 1:
            fix = "".join(f"\n       {number}. {cause}" for number, cause in enumerate(causes, 1))
        output.append(f"{_MARKS[check.level]} {what}: {expected}{check.found}{fix}")
    faults, warnings = (sum(check.level == level for check in checks) for level in ("fault", "warning"))
    output.append(f"{plural(faults, 'fault')}, {plural(warnings, 'warning')}")
    return output


def _check(what: str, ok: bool, found: str) -> Check:
    """Return a check that belongs to no dataset, with the level "ok" or "fault"."""
    return Check("", what, "ok" if ok else "fault", "", found)


def _packages() -> list[Check]:
    names = ("torch", "torchvision", "timm", "fvcore", "shap")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names if name not in missing)
    return [_check("packages", True, found), *(_check(n, False, "missing: pip install unseen-cxr") for n in missing)]


def _is_installed(module: str) -> bool:
    """Return whether a module such as "package.module" exists, without importing the module or its package.

    `importlib.util.find_spec("package.module")` would import the package.
    """
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package)
    for i in range(len(inner)):
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(".".join([package, *inner[: i + 1]]), spec.submodule_search_locations)
    return spec is not None


def _registry(path: Path | None) -> list[Check]:
    """Check that the registry, its modules and the shipped grids can be used. Add a fault for each extension that is refused.

    `path`: the registry file; None for the registry of this program.
    """
    try:
        registry = Registry.read(path)
        for entry in registry:
            module, _, _ = entry.use.partition(":")
            if module and not _is_installed(module):
                return [_check("registry", False, f"{entry.section}.{entry.name}: no module {module}")]
        for name in shipped_grids():
            Grid.read(name, registry)
    except (CxrError, ModuleNotFoundError) as error:
        return [_check("registry", False, str(error).replace("\n", "; "))]
    summary = f"{registry.path}, {sum(1 for _ in registry)} entries; every shipped grid expands"
    refused = [Check("", f"extension {n}", "fault", "", e.what, e.fix) for n, e in extensions.refused.items()]
    return [_check("registry", True, summary), *refused]


def _data(data: Path, store: Path | None, workers: int, progress: Progress | None) -> list[Check]:
    """Check the table of each cohort, and look for patients that two cohorts share.

    If `store` is given, also open every image and look for duplicate images; the store keeps the result of each image. `data`:
    data file or folder of datasets.
    """
    from harmonize.checks.duplicates import ScannedCohort, check_duplicates, check_images
    from harmonize.checks.release import inspect
    from harmonize.checks.scan import scan
    from harmonize.cohorts.specs import read_data
    from harmonize.ground_truth.positions import check_positions

    try:
        specs = read_data(data)
    except CxrError as error:
        return [Check("", "data", "fault", "", f"{error.what} ({error.where})", error.fix)]
    checks, cohorts, scanned_cohorts = [], [], []
    for name, spec in specs.items():
        cohort, table_checks = inspect(spec, tables_alone=store is None)
        checks += table_checks
        if cohort is None:
            continue
        cohorts.append(cohort)
        if store is None:
            checks += check_positions(cohort, None)
            continue
        folder = Store.open(store).root / "check"
        results = scan(name, cohort.root, cohort.table["path"].tolist(), folder, workers, progress)
        scanned_cohorts.append(ScannedCohort(cohort, results))
        checks += check_images(scanned_cohorts[-1])
        checks += check_positions(cohort, scanned_cohorts[-1])
    checks += _shared_patients(cohorts)
    if scanned_cohorts:
        checks += check_duplicates(scanned_cohorts)
    elif store is None:
        checks.append(
            Check("", "images", "note", "", "not opened (--quick): unreadable and duplicate images are not detected")
        )
    return checks


def _shared_patients(cohorts: Sequence[Cohort]) -> list[Check]:
    """Look for patients that two cohorts share; return one check for each pair of cohorts.

    Pairs of cohorts in which equal patient ids may mean different patients are skipped. Shared patients are only a warning,
    because the data file does not state on which cohort a grid trains. If both cohorts have the same root folder, shared patients
    are a note: for example, a subset with expert labels shares patients on purpose.
    """
    checks = []
    for one, other in combinations(cohorts, 2):
        if not shares_patient_ids(one.spec, other.spec):
            continue
        num = len(set(one.table["patient_id"]) & set(other.table["patient_id"]))
        what = f"patients shared with {other.name}"
        if num == 0:
            checks.append(Check(one.name, what, "ok", "", "none"))
        elif one.root.resolve() == other.root.resolve():
            check = Check(one.name, what, "note", "", f"{num:,}: never train on one cohort and test on the other")
            checks.append(check)
        else:
            fix = (
                "never train on one cohort and test on the other; if equal ids are different patients, give each cohort its own"
                " `population:` in the data file"
            )
            checks.append(Check(one.name, what, "warning", "none", f"{num:,}", fix))
    return checks


def _store(store: Path, files: bool, progress: Progress | None) -> list[Check]:
    """Check a store: the number of runs per state, the files and, with `files`, the symptoms of all runs.

    `files`: also read every table and weights file.
    """
    try:
        opened = Store.open(store, create=False)
    except CxrError as error:
        return [_check("store", False, str(error).replace("\n", "; "))]
    states = [opened.state(i) for i in opened.run_ids()]
    free = shutil.disk_usage(store).free / 2**30
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("done", "started", "failed") if s in states) or "no runs"
    checks = examine_store(opened, files, progress)
    if files:
        checks += of_store(opened, progress)
    return [_check("store", "failed" not in states, f"{store}: {counts}; {free:.0f} GiB free"), *checks]
