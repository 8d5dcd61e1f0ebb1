"""`bench register`: register plan and hypotheses of a grid before its first external test."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.cli.group import RUN

REGISTER_EXAMPLES = options.examples(
    "bench register --grid demo --hypotheses hypotheses.yaml --dry-run",
    "bench register --grid main-study --data /data --hypotheses hypotheses.yaml",
)


def add(app: typer.Typer) -> None:
    """Add the command `bench register`."""
    app.command(rich_help_panel=RUN, epilog=REGISTER_EXAMPLES)(register)


def register(
    grid: options.GridOption,
    data: options.DataOption = None,
    hypotheses: Annotated[
        Path | None,
        typer.Option(
            "--hypotheses",
            exists=True,
            dir_okay=False,
            help="YAML list of hypotheses: name, statement, optionally check.",
        ),
    ] = None,
    store: options.StoreOption = Path("runs"),
    registry: options.RegistryOption = None,
    weights: options.WeightsOption = None,
    amend: Annotated[
        bool, typer.Option("--amend", help="Register a changed plan; names the hash of the previous registration.")
    ] = False,
    workers: options.WorkersOption = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and print everything; write no registration.")
    ] = False,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Register a study before its first external test.

    Writes runs, hospitals, findings, metrics, settings and hypotheses into the store, and prints their SHA-256. Publish
    this hash at once. The report then says what was registered, and shows deviations. Give the same options as to `bench run`.
    """
    from bench.cli.progress_bars import choose_display
    from bench.store.store import Store
    from bench.study.request import Request
    from bench.system.devices import default_workers

    with choose_display(quiet) as display:
        request = Request.read(grid, registry, data, weights)
        from bench.extensions.registration.hypotheses import read_items
        from bench.extensions.registration.register import register as write
        from bench.planning.plan import make_plan  # slow imports: a wrong request was refused above

        if hypotheses is not None:
            read_items(hypotheses)  # before images are drawn or read, which may take minutes
        opened = Store.open(store)
        plan = make_plan(
            request.grid,
            request.registry,
            opened,
            data,
            weights,
            workers or default_workers(),
            request.command,
            display.progress,
        )
        made = write(plan, hypotheses, amend=amend, dry_run=dry_run)
    if as_json:
        facts = {"path": str(made.path) if made.path else "", "sha256": made.registration.sha256}
        typer.echo(json.dumps(facts | {"registration": made.registration.content}))
        return
    typer.echo("\n".join(made.lines))
    if made.path is None:
        typer.echo("nothing was written (--dry-run)")
        return
    typer.echo(f"registration: {made.path}")
    typer.echo(f"sha256: {made.registration.sha256}")
    typer.echo(
        "publish this hash now, where nobody can change its date: in a public git commit, or on OSF or AsPredicted"
    )
