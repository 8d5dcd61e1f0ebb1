"""The checks behind `bench check`."""

import importlib.metadata
import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.grid import Grid, shipped_grids
from bench.registry import Registry
from bench.store import Store
from harmonize.errors import CxrError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    what: str
    ok: bool
    detail: str


def examine(data: Path | None, store: Path, registry_file: Path | None) -> list[Check]:
    """Return what was looked at and whether it is well, in the order a user meets it."""
    checks = [_python(), *_packages(), _registry(registry_file)]
    if data:
        checks += _data(data)
    if store.exists():
        checks.append(_store(store))
    return checks


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version)


def _packages() -> list[Check]:
    checks = []
    for name in ("torch", "torchvision", "timm", "fvcore", "netcal", "plotly", "shap", "numba"):
        found = importlib.util.find_spec(name) is not None
        checks.append(
            Check(name, found, importlib.metadata.version(name) if found else "missing: pip install unseen-cxr")
        )
    return checks


def _registry(path: Path | None) -> Check:
    try:
        registry = Registry.read(path)
        for entry in registry:
            module, _, _ = entry.use.partition(":")
            if module and importlib.util.find_spec(module) is None:
                return Check("registry", False, f"{entry.section}.{entry.name}: no module {module}")
        for name in shipped_grids():
            Grid.read(name, registry)
    except CxrError as error:
        return Check("registry", False, str(error).replace("\n", "; "))
    return Check("registry", True, f"{registry.path}, {sum(1 for _ in registry)} entries; every shipped grid expands")


def _data(data: Path) -> list[Check]:
    from harmonize.cohort import load
    from harmonize.specs import read_data

    try:
        specs = read_data(data)
    except CxrError as error:
        return [Check("data", False, str(error).replace("\n", "; "))]
    checks = []
    for name, spec in specs.items():
        try:
            cohort = load(spec)
        except CxrError as error:
            checks.append(Check(name, False, str(error).replace("\n", "; ")))
            continue
        flow = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in cohort.flow.items())
        absent = len(cohort.quarantine)
        checks.append(
            Check(
                name,
                absent == 0,
                f"{flow}"
                + (f"; {absent} listed but not usable, e.g. {cohort.quarantine['image_id'].iloc[0]}" if absent else ""),
            )
        )
    return checks


def _store(store: Path) -> Check:
    try:
        opened = Store.open(store, create=False)
    except CxrError as error:
        return Check("store", False, str(error).replace("\n", "; "))
    states = [opened.state(i) for i in opened.run_ids()]
    free = shutil.disk_usage(store).free / 2**30
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("done", "started", "failed") if s in states) or "no runs"
    return Check("store", "failed" not in states, f"{store}: {counts}; {free:.0f} GiB free")
