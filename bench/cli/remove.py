"""`bench remove`: delete runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import StoreOption, examples
from harmonize.errors import ConfigError, StoreError
from reports.formatting import plural

REMOVE_EXAMPLES = examples("bench remove 3fa94c1e02bd")


def remove(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Complete run ids, not prefixes.")],
    store: StoreOption = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete runs and their scores.

    No other command deletes a run.
    """
    from bench.store.store import Store

    opened = Store.open(store, create=False)
    stored = opened.run_ids()
    for run_id in runs:
        if run_id not in stored:
            raise StoreError(f"no run {run_id!r} in the store", str(store), "give complete ids: see `bench list runs`")
    from bench.planning.remove_run import delete, needed_by  # imports pandas: a wrong id was refused above

    for run_id in runs:
        if others := [other for other in needed_by(opened, run_id) if other not in runs]:
            fix = "remove the derived runs, too"
            raise StoreError(f"{', '.join(others)} is derived from run {run_id}", str(store), fix)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("cannot ask for confirmation: this is not a terminal", "bench remove", "add --yes")
        typer.confirm(f"Remove {plural(len(runs), 'run')} from {store} permanently?", abort=True)
    for run_id in runs:
        delete(opened, run_id)
        typer.echo(f"removed {run_id}")
