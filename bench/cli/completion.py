"""Suggest words when the user presses TAB in the shell: run ids, grids, findings, registry entries.

`bench --install-completion` sets the completion up. This module imports little, because the user waits at the prompt. If a file
cannot be read, there are no suggestions. The error is reported when the user runs the command.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from harmonize.errors import CxrError
from harmonize.labels.findings import ALL_FINDINGS


def run_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the store's runs that start with the typed text."""
    return _starting_with(incomplete, (path.parent.name for path in _store(ctx).glob("[0-9a-f][0-9a-f]/*/run.json")))


def stored_grids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the store's grids that start with the typed text."""
    return _starting_with(incomplete, (path.stem for path in (_store(ctx) / "grids").glob("*.json")))


def grids(incomplete: str) -> list[str]:
    """Return the names of shipped grids, and of YAML files in the current folder, that start with the typed text."""
    from bench.config.grid_file import shipped_grids

    return _starting_with(incomplete, [*shipped_grids(), *(path.name for path in Path().glob("*.yaml"))])


def findings(incomplete: str) -> list[str]:
    """Return the findings that start with the typed text, ignoring case."""
    return sorted(name for name in ALL_FINDINGS if name.lower().startswith(incomplete.lower()))


def sections(incomplete: str) -> list[str]:
    """Return the sections of `bench list` that start with the typed text."""
    from bench.config.registry import SECTIONS

    return _starting_with(incomplete, [*SECTIONS, "grids", "runs"])


def entries(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names in a section of `bench list` that start with the typed text: registry entries, run ids or grids.

    The section is the argument that the user typed before.
    """
    from bench.config.registry import Registry

    section = str(ctx.params.get("section") or "")
    if section == "runs":
        return run_ids(ctx, incomplete)
    if section == "grids":
        return grids(incomplete)
    try:
        registry = Registry.read(ctx.params.get("registry"))
    except CxrError:
        return []
    return _starting_with(incomplete, registry.sections.get(section, ()))


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Return a completion function for a fixed list of words: it returns the words that start with the typed text."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _store(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("store") or os.environ.get("BENCH_STORE") or "runs")


def _starting_with(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
