"""`bench estimate`: the scores to expect at a hospital without labels."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.group import NEW_HOSPITAL
from bench.cli.text_tables import wrapped
from bench.system.disclaimer import NOTICE
from harmonize.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

ESTIMATE_EXAMPLES = options.examples(
    "bench estimate --grid main-study",
    "bench estimate inbox/ --grid main-study",
    "bench estimate images.csv --grid main-study --save-logits logits",
    "bench estimate --logits logits --grid main-study -o estimate.html",
    "bench estimate --logits logits --grid main-study --labels labels.csv",
)


def add(app: typer.Typer) -> None:
    """Add the command `bench estimate`."""
    app.command("estimate", rich_help_panel=NEW_HOSPITAL, epilog=ESTIMATE_EXAMPLES)(estimate)


def estimate(
    context: typer.Context,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE", help="Image files, folders, or a CSV with a column `path`.")
    ] = None,
    grid: options.StoredGridOption = None,
    store: options.StoreOption = Path("runs"),
    logits: Annotated[
        Path | None,
        typer.Option("--logits", help="Instead of images: a folder with <run id>.csv or .parquet for each run."),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option("--run", help="Only this run (id or its start); repeatable."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            exists=True,
            dir_okay=False,
            help="Labels of some of the images (1, 0, empty): image_id, optionally patient_id.",
        ),
    ] = None,
    estimator: Annotated[str, typer.Option(help="mean_gap, cbpe or atc (estimates the accuracy only).")] = "mean_gap",
    save_logits: Annotated[
        Path | None, typer.Option("--save-logits", help="Write the logits of the images to this folder.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write a page for the person who decides: a .html file.")
    ] = None,
    device: options.DeviceOption = "auto",
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
    as_csv: options.CsvOption = False,
) -> None:
    """Estimate scores at a hospital without labels.

    The estimates are learned from the labeled hospitals of the grid, each with a 90 % interval or the reason why there
    is none. Without images, the 95 % prediction intervals for a new hospital. For research only, not for clinical use.
    """
    from bench.cli.progress_bars import choose_display
    from bench.extensions.estimates.estimators import check_estimator
    from bench.planning.stored_names import store_with
    from bench.runs.image_paths import images_of
    from bench.system.devices import Devices, first_device

    options.only_valid(context, images, "with IMAGE", "--device")
    needs_images = ("--estimator", "--labels", "--save-logits")
    options.only_valid(context, images or logits, "with IMAGE or --logits", *needs_images)
    if images and logits:
        raise ConfigError("IMAGE and --logits are given together", "bench estimate", "give one of them")
    check_estimator(estimator)
    device = Devices.of(device, workers=1).name  # refuses a device that is not here
    opened = store_with(store, grid, run or ())
    if output is not None and output.is_dir():
        raise ConfigError("the output is a folder", str(output), "name a file, such as estimate.html")
    files = images_of(images, partial(typer.echo, err=True)) if images else []
    from bench.extensions.estimates import estimate_text, expected_at_hospital
    from bench.planning.manifest import read_manifest
    from bench.results.score_runs import score_all
    from bench.store.safe_csv import csv_text
    from bench.store.store import write_bytes  # slow imports: a wrong request was refused above

    manifest = read_manifest(opened, grid)
    with choose_display(quiet) as display:
        score_all(manifest, display.progress, say=display.say)  # another grid of the store may have been scored since
        runs = expected_at_hospital.runs_to_estimate(manifest, run or ())
        run_ids = [chosen.id for chosen in runs]
        findings = expected_at_hospital.checked_request(manifest, run_ids, estimator, labels)
        of_runs: Mapping[str, pd.DataFrame] = expected_at_hospital.no_images(run_ids, findings)
        notes: list[str] = []
        if logits is not None:
            of_runs = expected_at_hospital.read_logits(logits, runs)
        elif images:
            from bench.extensions.estimates.hospital_logits import hospital_logits  # imports torch

            of_runs, notes = hospital_logits(manifest, runs, files, first_device(device), display.progress)
    if save_logits is not None:
        for run_id, table in of_runs.items():
            write_bytes(save_logits / f"{run_id}.csv", csv_text(table).encode())
    result = expected_at_hospital.expected_scores(manifest, of_runs, estimator, labels, notes)
    if output is not None:
        from bench.extensions.estimates.estimate_page import render

        write_bytes(output, render(result).encode())
        typer.echo(f"page: {output}", err=True)
    if as_json:
        typer.echo(json.dumps(estimate_text.json_document(result), indent=1))
    elif as_csv:
        typer.echo(csv_text(result.table.assign(synthetic=manifest.phantom)), nl=False)
    else:
        typer.echo("\n".join(wrapped(estimate_text.lines(result))))
    typer.echo("\n".join(wrapped([NOTICE], 0, stderr=as_csv or as_json)), err=as_csv or as_json)
