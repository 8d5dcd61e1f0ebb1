"""What the shell completes after TAB: ids of runs, names of grids, findings, registry entries. Nothing heavy is imported.

`bench --install-completion` sets it up. What cannot be read completes to nothing: a shell that waits for a word is no place
for an error.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from harmonize.errors import CxrError
from harmonize.labels.findings import FINDINGS


def run_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the store's runs that begin so."""
    return _beginning(incomplete, (path.parent.name for path in _store(ctx).glob("[0-9a-f][0-9a-f]/*/run.json")))


def stored_grids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the store's grids that begin so."""
    return _beginning(incomplete, (path.stem for path in (_store(ctx) / "grids").glob("*.json")))


def grids(incomplete: str) -> list[str]:
    """Return the shipped grids, and the YAML files here, that begin so."""
    from bench.config.grid_file import shipped_grids

    return _beginning(incomplete, [*shipped_grids(), *(path.name for path in Path().glob("*.yaml"))])


def findings(incomplete: str) -> list[str]:
    """Return the findings that begin so, whatever the case of their letters."""
    return sorted(name for name in FINDINGS if name.lower().startswith(incomplete.lower()))


def sections(incomplete: str) -> list[str]:
    """Return what `bench list` can list."""
    from bench.config.registry import SECTIONS

    return _beginning(incomplete, [*SECTIONS, "grids", "runs"])


def entries(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names in the section that was given before: architectures, losses, ...; runs and grids, too."""
    from bench.config.registry import Registry

    section = str(ctx.params.get("section") or "")
    if section == "runs":
        return run_ids(ctx, incomplete)
    if section == "grids":
        return grids(incomplete)
    try:
        known = Registry.read(ctx.params.get("registry"))
    except CxrError:
        return []
    return _beginning(incomplete, known.sections.get(section, ()))


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Return a completion among these words."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _store(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("store") or os.environ.get("BENCH_STORE") or "runs")


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
