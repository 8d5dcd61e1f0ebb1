"""Commands about what a store holds: `bench reproduce`, `bench remove` and `bench migrate`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import run_ids
from bench.cli.options import (
    DataOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    RegistryOption,
    RunArgument,
    StoredGridOption,
    StoreOption,
    WeightsOption,
    WorkersOption,
)
from harmonize.errors import ConfigError, StoreError


def add_store_commands(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(
        epilog="Examples:  bench reproduce 3fa9   |   bench reproduce 3fa9 --data /data --weights weights/ --into again"
    )(reproduce)
    app.command(epilog="Example:  bench remove 3fa94c1e02bd")(remove)
    app.command(epilog="Example:  bench migrate --store runs")(migrate)


def reproduce(
    run: RunArgument,
    grid: StoredGridOption = None,
    data: DataOption = None,
    store: StoreOption = Path("runs"),
    into: Annotated[Path, typer.Option("--into", help="Store of the second training; it must be another one.")] = Path(
        "reproduced"
    ),
    registry: RegistryOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a stored run again from nothing, and compare. Row by row; exit 1 when it comes out otherwise."""
    from bench.cli.progress_bars import choose_display
    from bench.store.store import Store
    from bench.study import reproduce as again
    from bench.system.devices import check_device, default_workers

    check_device(device)
    opened = Store.open(store, create=False)
    with choose_display(quiet) as display:
        found = again.reproduce(
            opened, run, grid, data, weights, registry, into, device, workers or default_workers(), display
        )
    if as_json:
        rows = json.loads(found.rows.to_json(orient="records", double_precision=15))
        typer.echo(json.dumps({"run": found.run_id, "verdict": found.verdict, "checked": found.checked, "rows": rows}))
    else:
        typer.echo("\n".join(_lines(found)))
    if found.verdict == "outside":
        raise typer.Exit(1)


def _lines(found: object) -> list[str]:
    """Return a reproduction in words: what was checked, the rows that decide, all rows by verdict, the verdict."""
    from bench.cli.list_tables import aligned
    from bench.study.reproduce import ENOUGH, VERDICTS, Reproduction, headline

    assert isinstance(found, Reproduction)
    rows = headline(found.rows)
    cells = [
        [row["dataset"], row["metric"], *(f"{row[c]:.6f}" for c in ("stored", "again")), _plus(row["again"] - row["stored"]),
         _plus(row["seeds_apart"]).lstrip("+"), f"[{row['low']:.3f}, {row['high']:.3f}]", row["verdict"]]
        for row in rows.to_dict("records")
    ]  # fmt: skip
    header = ["cohort", "metric", "stored", "again", "difference", "seeds apart", "interval", "verdict"]
    counts = found.rows["verdict"].value_counts()
    said = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    few = f": fewer than {ENOUGH}, so the interval over patients is to go by" if found.num_seeds < ENOUGH else ""
    seeds = f"{found.num_seeds} seed{'s' * (found.num_seeds != 1)}{few}"
    lines = [
        f"run {found.run_id}, trained again",
        *(f"  {line}" for line in found.checked),
        "",
        *aligned([header, *cells]),
        "",
    ]
    lines += [f"all {len(found.rows)} scores ({seeds}): {said}", f"rows: {found.path}"]
    return [*lines, f"verdict: {found.verdict}"]


def _plus(value: float) -> str:
    return "" if value != value else f"{value:+.6f}"


def remove(
    runs: Annotated[
        list[str], typer.Argument(help="Whole ids: nothing is removed by a pattern.", autocompletion=run_ids)
    ],
    store: StoreOption = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete runs by name, with their scores. No other command deletes a run."""
    from bench.store.remove_run import delete, needed_by
    from bench.store.store import Store

    opened = Store.open(store, create=False)
    for run_id in runs:
        if run_id not in opened.run_ids():
            raise StoreError(f"no run {run_id!r} in the store", str(store), "give whole ids: `bench list runs`")
        if others := [other for other in needed_by(opened, run_id) if other not in runs]:
            raise StoreError(
                f"run {run_id} is what {', '.join(others)} is made of", str(store), "remove these, too, or keep it"
            )
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody to ask", "bench remove", "say --yes")
        typer.confirm(f"delete {len(runs)} runs from {store} for good?", abort=True)
    for run_id in runs:
        delete(opened, run_id)
        typer.echo(f"removed {run_id}")


def migrate(store: StoreOption = Path("runs"), quiet: QuietOption = False, as_json: JsonOption = False) -> None:
    """Bring a store of an older version up to date, in place.

    Exit status 1 when a damaged run was left as it is.
    """
    from dataclasses import asdict

    from bench.cli.progress_bars import choose_display
    from bench.diagnostics import migrate_store as migrating
    from bench.store.store import Store

    opened = Store.open(store, create=False)
    with choose_display(quiet) as display:
        found = migrating.migrate(opened, display.progress)
    if as_json:
        typer.echo(json.dumps({"store": str(store), **asdict(found)}))
    elif found.before == found.after:
        typer.echo(f"{store}: of schema {found.after} already, nothing to do")
    else:
        typer.echo(
            f"{store}: schema {found.before} -> {found.after}, {len(opened.run_ids())} runs; no number has changed"
        )
        for run_id, reason in found.left.items():
            typer.echo(f"  run {run_id} left as it is: {reason}; `bench check --store {store}` says what to do")
    if found.left:
        raise typer.Exit(1)
