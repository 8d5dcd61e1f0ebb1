"""`bench reproduce` and `bench remove`: commands that maintain a store."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import run_ids
from bench.cli.group import STORE
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
    examples,
)
from harmonize.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from bench.study.reproduce import Reproduction


def add_store_commands(app: typer.Typer) -> None:
    """Add the commands `bench reproduce` and `bench remove` to the application."""
    app.command(
        rich_help_panel=STORE,
        epilog=examples("bench reproduce 3fa9", "bench reproduce 3fa9 --data /data --weights weights/ --into again"),
    )(reproduce)
    app.command(rich_help_panel=STORE, epilog=examples("bench remove 3fa94c1e02bd"))(remove)


def reproduce(
    run: RunArgument,
    grid: StoredGridOption = None,
    data: DataOption = None,
    store: StoreOption = Path("runs"),
    into: Annotated[Path, typer.Option("--into", help="Another store, for the second training.")] = Path("reproduced"),
    registry: RegistryOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = 0,
    sign: Annotated[Path | None, typer.Option("--sign", help="Sign with this SSH key; writes a .sig file.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Retrain a run from scratch and compare the scores.

    Exit code 1: a score differs by more than the variation over seeds or over patients explains.
    """
    from bench.cli.progress_bars import choose_display
    from bench.planning.stored_names import store_with
    from bench.system.devices import check_device, default_workers, require_device

    check_device(device)
    opened = store_with(store, grid, [run])
    from bench.study.reproduction_request import ReproductionRequest  # imports pandas: a wrong name was refused above

    request = ReproductionRequest.read(opened, run, grid, data, registry, into)
    require_device(device)
    # this module imports torch, which takes seconds: a wrong request was refused above
    from bench.study import reproduce as reproducing

    with choose_display(quiet) as display:
        result = reproducing.reproduce(request, data, weights, into, device, workers or default_workers(), display)
    if sign is not None:
        from bench.store.sign import sign as signed
        from bench.study.reproduction_record import NAMESPACE

        signed(result.record, sign, NAMESPACE)
    if as_json:
        rows = json.loads(result.rows.to_json(orient="records", double_precision=15))
        facts = {"run": result.run_id, "verdict": result.verdict, "checked": result.checked, "rows": rows}
        facts["record"] = str(result.record)
        typer.echo(json.dumps(facts))
    else:
        typer.echo("\n".join(_lines(result)))
    if result.verdict == "outside":
        raise typer.Exit(1)


def _lines(result: "Reproduction") -> list[str]:
    """Return the result of `bench reproduce` as lines of text.

    The lines are the checks, a table of the main scores, the number of scores with each verdict, and the verdict on the run.
    """
    from bench.cli.text_tables import interval, table_lines
    from bench.study.reproduction_record import ENOUGH, VERDICTS, headline
    from reports.formatting import number

    cells = [["hospital", "metric", "stored", "again", "difference", "seeds apart", "interval", "verdict"]]
    cells += [
        [
            result.hospitals.get(row["dataset"], row["dataset"]),
            row["metric"],
            number(row["stored"], ".6f"),
            number(row["again"], ".6f"),
            number(row["again"] - row["stored"], "+.6f"),
            number(row["seeds_apart"], ".6f"),
            interval(row["low"], row["high"]),
            row["verdict"],
        ]
        for row in headline(result.rows).to_dict("records")
    ]
    counts = result.rows["verdict"].value_counts()
    verdicts = ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)
    few = f", fewer than {ENOUGH}: the verdict uses the interval over patients" if result.num_seeds < ENOUGH else ""
    seeds = f"{result.num_seeds} seed{'s' * (result.num_seeds != 1)}{few}"
    lines = [f"run {result.run_id}, trained again", *(f"  {line}" for line in result.checked), ""]
    lines += [*table_lines(cells), "", f"all {len(result.rows)} scores ({seeds}): {verdicts}", f"rows: {result.path}"]
    lines.append(f"record: {result.record}")
    return [*lines, f"verdict: {result.verdict}"]


def remove(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="Complete run ids, not prefixes.", autocompletion=run_ids)
    ],
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
            raise StoreError(
                f"{', '.join(others)} is derived from run {run_id}", str(store), "remove the derived runs, too"
            )
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("cannot ask for confirmation: this is not a terminal", "bench remove", "add --yes")
        typer.confirm(f"Delete {len(runs)} run{'s' * (len(runs) != 1)} from {store} permanently?", abort=True)
    for run_id in runs:
        delete(opened, run_id)
        typer.echo(f"removed {run_id}")
