"""`bench reproduce`: train a run again in another store, and compare the scores."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.group import STORE
from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from bench.extensions.reproduction.reproduce import Reproduction

REPRODUCE_EXAMPLES = options.examples(
    "bench reproduce 3fa9", "bench reproduce 3fa9 --data /data --weights weights/ --into again"
)


def add(app: typer.Typer) -> None:
    """Add the command `bench reproduce`."""
    app.command(rich_help_panel=STORE, epilog=REPRODUCE_EXAMPLES)(reproduce)


def reproduce(
    run: options.RunArgument,
    grid: options.GridOfRunOption = None,
    data: options.DataOption = None,
    store: options.StoreOption = Path("runs"),
    into: Annotated[Path, typer.Option("--into", help="Another store, for the second training.")] = Path("reproduced"),
    registry: options.RegistryOption = None,
    weights: options.WeightsOption = None,
    device: options.DeviceOption = "auto",
    workers: options.WorkersOption = 0,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Retrain a run from scratch and compare the scores.

    Exit code 1: a score differs by more than the variation over seeds or over patients explains.
    """
    from bench.cli.progress_bars import choose_display
    from bench.config.registry import Registry
    from bench.planning.stored_names import store_with
    from bench.study.request import check_weights_folder
    from bench.system.devices import check_device, default_workers, require_device
    from harmonize.cohorts.specs import read_data

    check_device(device)
    opened = store_with(store, grid, [run])
    if data is not None:
        read_data(data)
    check_weights_folder(weights)
    entries = Registry.read(registry)
    if into.resolve() == store.resolve():
        raise ConfigError("a run cannot be reproduced in its own store", str(into), "name another folder with --into")
    from bench.extensions.reproduction.request import (
        ReproductionRequest,  # imports pandas: a wrong name was refused above
    )

    request = ReproductionRequest.read(opened, run, grid, data, entries)
    require_device(device)
    # this module imports torch, which takes seconds: a wrong request was refused above
    from bench.extensions.reproduction import reproduce as reproducing

    with choose_display(quiet) as display:
        result = reproducing.reproduce(request, data, weights, into, device, workers or default_workers(), display)
    if as_json:
        rows = json.loads(result.rows.to_json(orient="records", double_precision=15))
        typer.echo(
            json.dumps({"run": result.run_id, "verdict": result.verdict, "checked": result.checked, "rows": rows})
        )
    else:
        typer.echo("\n".join(_lines(result)))
    if result.verdict == "outside":
        raise typer.Exit(1)


def _lines(result: "Reproduction") -> list[str]:
    """Return the result of `bench reproduce` as lines of text.

    The lines are the checks, a table of the main scores, the number of scores with each verdict, and the verdict on the run.
    """
    from bench.cli.text_tables import interval, table_lines
    from bench.extensions.reproduction.compared_scores import ENOUGH, VERDICTS, headline
    from reports.formatting import number, plural

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
    seeds = f"{plural(result.num_seeds, 'seed')}{few}"
    lines = [f"run {result.run_id}, trained again", *(f"  {line}" for line in result.checked), ""]
    lines += [*table_lines(cells), "", f"all {len(result.rows)} scores ({seeds}): {verdicts}", f"rows: {result.path}"]
    return [*lines, f"verdict: {result.verdict}"]
