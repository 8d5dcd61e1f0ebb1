"""`bench track` (MLflow) and `bench upload` (Hugging Face): commands that send results elsewhere."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.cli.group import SHARE
from harmonize.errors import ConfigError


def add(app: typer.Typer) -> None:
    """Add the commands `bench track` and `bench upload` to the application."""
    app.command(
        rich_help_panel=SHARE,
        epilog=options.examples(
            "bench track --to sqlite:///mlflow.db", "bench track 3fa9 --to http://localhost:5000 --experiment cxr"
        ),
    )(track)
    app.command(
        rich_help_panel=SHARE,
        epilog=options.examples(
            "bench upload 3fa9 --repo lab/densenet-cxr --dry-run",
            "bench upload 3fa9 --repo lab/densenet-cxr --yes",
            "bench upload 3fa9 --folder densenet-cxr",
        ),
    )(upload)


def track(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="First characters of run ids. Default: all finished or failed runs of the grid.",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", envvar="MLFLOW_TRACKING_URI", help="MLflow database or server.")
    ] = "sqlite:///mlflow.db",
    experiment: Annotated[
        str, typer.Option("--experiment", help="MLflow experiment. Default: the name of the grid.")
    ] = "",
    grid: options.StoredGridOption = None,
    store: options.StoreOption = Path("runs"),
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Write runs into MLflow.

    Writes parameters, learning curves, scores with intervals, memory and counts of images. Skips runs that have not changed.
    """
    from bench.planning.stored_names import find_run, store_with

    opened = store_with(store, grid, runs or ())
    from bench.cli.progress_bars import choose_display
    from bench.extensions.tracking import mlflow  # slow imports: a wrong name was refused above
    from bench.planning.manifest import read_manifest

    manifest = read_manifest(opened, grid)
    name = experiment or manifest.name
    grid_ids = list(manifest.run_of)
    ids = [find_run(opened, prefix) for prefix in runs or ()] or grid_ids
    if others := [run_id for run_id in ids if run_id not in grid_ids]:
        what = f"run {others[0]} does not belong to the grid {manifest.name}"
        raise ConfigError(what, "bench track", "name the run's grid with --grid")
    with choose_display(quiet) as display:
        tracked = mlflow.track(manifest, ids, to, name, display.progress)
    address = mlflow.without_password(to)
    if as_json:
        typer.echo(json.dumps({"to": address, "experiment": name, **tracked}))
    else:
        counts = ", ".join(f"{len(tracked[kind])} {kind}" for kind in ("new", "changed", "same"))
        typer.echo(f"{address}, experiment {name}: {counts}")
        if to.startswith("sqlite"):
            typer.echo(f"to see it: mlflow server --backend-store-uri {to}")
            typer.echo("(install mlflow in an environment of its own: pip install mlflow)")


def upload(
    context: typer.Context,
    run: options.RunArgument,
    repo: Annotated[str, typer.Option("--repo", help="Repository on the Hugging Face hub: OWNER/NAME.")] = "",
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Write the files into this new folder; send nothing.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public. Default: private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files; send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    grid: options.GridOfRunOption = None,
    store: options.StoreOption = Path("runs"),
    as_json: options.JsonOption = False,
) -> None:
    """Upload a run to the Hugging Face hub.

    Weights, configuration and model card are sent; no image, no patient id and no gallery. `bench predict`, `explain` and
    `evaluate` take the repository, or the folder of --folder, in place of a run.
    """
    from bench.planning.stored_names import store_with
    from bench.system.hub_client import check_name

    if (folder is None) == (not repo):
        raise ConfigError("name one place", "bench upload", "give --repo OWNER/NAME, or --folder FOLDER")
    options.only_valid(context, repo, "with --repo", "--public")
    if repo:
        check_name(repo)
    opened = store_with(store, grid, [run])
    from bench.extensions.tracking import hub  # imports pandas: a wrong name was refused above

    run_id, manifest, files = hub.files_of(opened, run, grid)
    licences = hub.licences(manifest, run_id)
    url = ""
    if not as_json:
        place = folder if folder is not None else f"{repo}{' (public)' if public else ' (private if it is new)'}"
        listed = [f"{file.size:>12,} bytes  {file.name}" for file in files]
        typer.echo("\n  ".join([f"run {run_id} -> {place}", *listed, *licences]))
    if dry_run:
        done = "nothing was sent (--dry-run)"
    elif folder is not None:
        hub.write_folder(files, folder)
        done = f"written: {folder}"
    else:
        if not yes and (as_json or not sys.stdin.isatty()):
            what = "cannot ask for confirmation: this is not a terminal"
            raise ConfigError(what, "bench upload", "add --yes, or use --dry-run")
        if not yes:
            typer.confirm("Do these licences and your data agreements allow the upload?", abort=True)
        url = hub.upload(files, repo, f"Run {run_id}", public)
        done = f"uploaded: {url}"
    if as_json:
        facts: dict[str, object] = {
            "run": run_id,
            "repo": repo,
            "public": public,
            "licences": licences,
            "uploaded": url,
        }
        facts["folder"] = "" if folder is None or dry_run else str(folder)
        facts["files"] = [{"name": file.name, "bytes": file.size} for file in files]
        typer.echo(json.dumps(facts))
    else:
        typer.echo(done)
