"""`bench check`: environment, registry, data and store, or the symptoms of runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.options import DataOption, JsonOption, QuietOption, RegistryOption, StoreOption, WorkersOption

CHECK_EXAMPLES = (
    "Examples:  bench check --data /data --quick   |   bench check --store runs   |   bench check 3fa9 --json"
)


def check(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Beginnings of ids: look at these runs alone, and show their networks images of the internal hospital again.",
            autocompletion=completion.run_ids,
        ),
    ] = None,
    data: DataOption = None,
    store: StoreOption = Path("runs"),
    registry: RegistryOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Open no image, and of the store no large file.")] = False,
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong with set-up, data, store or runs. Says what to mend; exit 1 on a fault, not on a warning."""
    from dataclasses import asdict

    from bench.cli.progress_bars import choose_display
    from bench.diagnostics.checks import examine, examine_runs, lines
    from bench.store.store import Store
    from bench.system.devices import default_workers

    with choose_display(quiet) as display:
        if runs:
            results = examine_runs(Store.open(store, create=False), runs, quick, display.progress)
        else:
            results = examine(data, store, registry, not quick, workers or default_workers(), display.progress)
    typer.echo(json.dumps([asdict(r) for r in results]) if as_json else "\n".join(lines(results)))
    if any(r.level == "fault" for r in results):
        raise typer.Exit(1)
