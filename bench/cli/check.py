"""`bench check`: check setup, registry, data and store, some runs for symptoms, or a device."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, QuietOption, RegistryOption, StoreOption, WorkersOption, examples, only_valid

CHECK_EXAMPLES = examples(
    "bench check --data /data --quick",
    "bench check --store runs",
    "bench check 3fa9 --json",
    "bench check --device cuda:0",
)


def check(
    context: typer.Context,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="First characters of run ids: check only these runs.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="BENCH_DATA", help="Folder of datasets, or data.yaml, to check. Default: none."),
    ] = None,
    store: StoreOption = Path("runs"),
    registry: RegistryOption = None,
    device: Annotated[
        str,
        typer.Option(help="Test only this device (cuda:0, mps, cpu), for two minutes; write check-DEVICE.json."),
    ] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Open no image and read no large file of the store.")] = False,
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check setup, data, store, runs or a GPU, and suggest fixes.

    Exit code 1: a check failed. A warning alone does not change the exit code.
    """
    from dataclasses import asdict

    from bench.cli.progress_bars import choose_display
    from bench.cli.text_tables import wrapped
    from bench.planning.stored_names import store_with
    from bench.system.devices import default_workers

    only_valid(context, not device, "without --device", "--data", "--store", "--registry", "--quick", "--workers")
    only_valid(context, not runs, "without RUN", "--data", "--registry", "--device", "--quick", "--workers")
    only_valid(context, runs or store.exists() or (data and not quick), "for a folder that exists", "--store")
    only_valid(context, data and not quick, "with --data and without --quick", "--workers")
    opened = store_with(store, None, runs) if runs else None
    from bench.diagnostics.checks import examine, examine_runs, lines  # slow imports: a wrong name was refused above

    end = list[str]()
    with choose_display(quiet) as display:
        if device:
            from bench.diagnostics.device_check import examine_device

            checks, *end = examine_device(device, display.progress)
        elif runs and opened:
            checks = examine_runs(opened, runs)
        else:
            checks = examine(data, store, registry, not quick, workers or default_workers(), display.progress)
    texts = [*wrapped(lines(checks)), *end]
    typer.echo(json.dumps([asdict(item) for item in checks]) if as_json else "\n".join(texts))
    if any(item.level == "fault" for item in checks):
        raise typer.Exit(1)
