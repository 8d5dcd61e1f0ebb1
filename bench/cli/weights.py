"""`bench weights`: list, check and fetch the starting weights of a grid."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import JsonOption, QuietOption, RegistryOption, WeightsOption, examples
from reports.formatting import DASH

if TYPE_CHECKING:
    from bench.study.starting_weights import StartingWeights

WEIGHTS_EXAMPLES = examples("bench weights main-study", "bench weights real-mini --weights weights/ --offline")


def weights(
    grid: Annotated[str, typer.Argument(help="A grid file, or the name of a shipped grid.")],
    folder: WeightsOption = None,
    registry: RegistryOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="List and check only; do not use the network.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the starting weights of a grid; download them.

    Exit code 1 if a file is missing or damaged.
    """
    from bench.cli.progress_bars import choose_display
    from bench.cli.text_tables import table_lines, wrapped
    from bench.config.grid import Grid
    from bench.config.registry import Registry
    from bench.study.starting_weights import fetch, needed
    from bench.system.hub_client import is_reachable

    entries = Registry.read(registry)
    with choose_display(quiet) as display:
        files = needed(Grid.read(grid, entries), entries, folder)
        if not offline and any(file.state == "missing" for file in files) and is_reachable():
            files = fetch(files, display.progress)
    if as_json:
        typer.echo(json.dumps([asdict(file) for file in files], indent=1))
    else:
        typer.echo("\n".join([*(table_lines(rows(files)) if files else []), *wrapped([sentence(files)])]))
    if any(file.state != "present" for file in files):
        raise typer.Exit(1)


def rows(files: "Sequence[StartingWeights]") -> list[list[str]]:
    """Return a table: a header and one row per file of starting weights."""
    from harmonize.disk_space import size

    header = ["weights", "corpus", "size", "licence", "state", "SHA-256", "file, or where to get it"]
    return [
        header,
        *(
            [
                file.name,
                file.corpus or "not stated",
                ("" if file.exact else "about ") + size(file.num_bytes) if file.num_bytes else "unknown",
                file.licence or "not stated",
                file.state,
                file.sha256[:12] or DASH,
                file.path,
            ]
            for file in files
        ),
    ]


def sentence(files: "Sequence[StartingWeights]") -> str:
    """Return a sentence: the numbers of present, missing and damaged files, and the fix for missing or damaged files."""
    if not files:
        return "all runs of this grid start from random weights"
    missing = [file for file in files if file.state == "missing"]
    damaged = [file for file in files if file.state == "damaged"]
    parts = [f"{len(files)} files of starting weights: {sum(file.state == 'present' for file in files)} present"]
    if missing:
        parts.append(f"{len(missing)} missing (run this command where there is a network, or put the files there)")
    if damaged:
        parts.append(f"{len(damaged)} damaged (delete the file and run this command again)")
    return ", ".join(parts)
