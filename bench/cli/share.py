"""Commands that hand results on: `bench track` (MLflow) and `bench upload` (Hugging Face)."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import run_ids
from bench.cli.options import JsonOption, QuietOption, RunArgument, StoredGridOption, StoreOption
from harmonize.errors import ConfigError, StoreError


def add_share_commands(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(
        epilog="Examples:  bench track --to sqlite:///mlflow.db   |   bench track 3fa9 --to http://localhost:5000 --experiment cxr"
    )(track)
    app.command(
        epilog="Examples:  bench upload 3fa9 --repo lab/densenet-cxr --dry-run   |   bench upload 3fa9 --repo lab/densenet-cxr --yes"
    )(upload)


def track(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Beginnings of ids; without, every finished or failed run of the grid.", autocompletion=run_ids
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", envvar="MLFLOW_TRACKING_URI", help="Database or server of MLflow.")
    ] = "sqlite:///mlflow.db",
    experiment: Annotated[str, typer.Option("--experiment", help="Its experiment; by default the grid's name.")] = "",
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write runs into MLflow. Parameters, curves, scores with intervals, memory, data in numbers; again: only what changed."""
    from bench.cli.progress_bars import choose_display
    from bench.planning.manifest import read_manifest
    from bench.planning.run import find_run
    from bench.sharing import mlflow as tracking
    from bench.store.store import Store

    opened = Store.open(store, create=False)
    manifest = read_manifest(opened, grid)
    name = experiment or str(manifest.content["name"])
    every = [run["id"] for run in (*manifest.runs, *manifest.derived)]
    ids = [find_run(opened, asked) for asked in runs or ()] or every
    if others := [run_id for run_id in ids if run_id not in every]:
        what = f"run {others[0]} is not of the grid {manifest.content['name']}"
        raise ConfigError(what, "bench track", "name its grid: --grid")
    with choose_display(quiet) as display:
        found = tracking.records(manifest, ids, display.progress)
        if not found:
            raise StoreError("no run is finished", str(opened.root), "finish some with `bench run`")
        done = tracking.track(found, to, name, display.progress)
    if as_json:
        typer.echo(tracking.as_json(done, to, name))
    else:
        counts = ", ".join(f"{len(done[kind])} {kind}" for kind in ("new", "changed", "same"))
        typer.echo(f"{tracking.shown(to)}, experiment {name}: {counts}")
        if to.startswith("sqlite"):
            typer.echo(
                f"look at it: mlflow server --backend-store-uri {to}   (pip install mlflow, in an environment of its own)"
            )


def upload(
    run: RunArgument,
    repo: Annotated[str, typer.Option("--repo", help="Repository on the hub: OWNER/NAME.")],
    public: Annotated[
        bool, typer.Option("--public", help="Everybody may see a new repository; else it is private.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Put a run on the Hugging Face hub: no image, no id, no gallery. It holds weights, configuration and card."""
    from bench.sharing import hub
    from bench.store.store import Store

    hub.check_name(repo)
    run_id, manifest, files = hub.files_of(Store.open(store, create=False), run, grid)
    licences = hub.licences(manifest, run_id)
    place = ""
    if not as_json:
        typer.echo("\n".join([f"run {run_id} -> {repo}{' (public)' if public else ' (private where it is new)'}"]))
        typer.echo("\n".join(f"  {each.size:>12,} bytes  {each.name}" for each in files))
        typer.echo("\n".join(f"  {line}" for line in licences))
    if not dry_run:
        if not yes:
            if not sys.stdin.isatty() or as_json:
                raise ConfigError("nobody to ask", "bench upload", "say --yes, or --dry-run")
            typer.confirm("do these licences and your agreements allow it to leave?", abort=True)
        place = hub.upload(files, repo, f"Run {run_id}", public)
    if as_json:
        listed = [{"name": each.name, "bytes": each.size} for each in files]
        said = {"run": run_id, "repo": repo, "public": public, "files": listed, "licences": licences, "uploaded": place}
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"uploaded: {place}" if place else "nothing was sent (--dry-run)")
