"""`bench data stats`: describe cohorts as text or as JSON. `bench data batch`: show a training batch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.data import data_app
from harmonize.errors import ConfigError, CxrError

if TYPE_CHECKING:
    from bench.config.grid import Grid
    from bench.study.job_progress import Display
    from harmonize.cohorts.cohort import Cohort
    from harmonize.cohorts.specs import CohortSpec

DEMO = "demo"  # without --grid, the split, label space and synthetic cohorts of this grid are used


def add(_app: typer.Typer) -> None:
    """Add the commands `stats` and `batch` to the group `bench data`."""
    data_app.command(epilog=options.examples("bench data batch chexnet.yaml --data data.yaml -o pictures"))(batch)
    data_app.command(
        epilog=options.examples("bench data stats --sample 100", "bench data stats --data data.yaml --no-images")
    )(stats)


def stats(
    context: typer.Context,
    data: options.DataOption = None,
    grid: Annotated[
        str | None,
        typer.Option("--grid", help="Use the split, label space and synthetic cohorts of this grid. Default: demo."),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Read only the tables; open no image.")] = False,
    sample: Annotated[int, typer.Option(min=1, max=1000, help="Number of images to decode, per cohort.")] = 36,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of that sample.")] = 0,
    store: options.StoreOption = Path("runs"),
    registry: options.RegistryOption = None,
    workers: options.WorkersOption = 0,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Describe cohorts: images, labels, patients, splits and pixels."""
    from bench.cli.progress_bars import choose_display
    from bench.cli.text_tables import wrapped
    from bench.config.grid import Grid
    from bench.config.registry import Registry

    options.only_valid(context, not no_images, "without --no-images", "--sample", "--seed")
    options.only_valid(context, data is None, "without --data and BENCH_DATA", "--workers")
    options.only_valid(context, data is None, "without --data and BENCH_DATA", "--store")
    chosen_grid = Grid.read(grid or DEMO, Registry.read(registry))
    # slow imports: a wrong request was refused above
    from bench.extensions.cohort_statistics.data_tables import lines
    from bench.extensions.cohort_statistics.describe import describe
    from bench.extensions.cohort_statistics.image_sample import draw
    from harmonize.labels.findings import space

    with choose_display(quiet) as display:
        specs = _specs(data, chosen_grid, store, workers, display)
        findings = space(chosen_grid.configs[0].space)
        cohorts, failed = _read(specs, findings, no_images, display)
        shares = asdict(chosen_grid.configs[0].split)
        described = [describe(cohort, findings, shares) for cohort in cohorts.values()]
        samples = {}
        if not no_images:
            samples = {name: draw(cohort, sample, seed, display.progress) for name, cohort in cohorts.items()}
    if as_json:
        pixels = {name: drawn.document for name, drawn in samples.items()}
        rows = [stats.document | {"pixels": pixels.get(stats.name)} for stats in described]
        errors = {name: str(error) for name, error in failed.items()}
        typer.echo(json.dumps({"schema": 3, "cohorts": rows, "failed": errors}, allow_nan=False))
    else:
        typer.echo("\n".join(wrapped(lines(described, samples))))
    for name, error in failed.items():
        typer.echo(f"error: {name}: {error}", err=True)
    if failed:
        raise typer.Exit(1)


def batch(
    grid: Annotated[str, typer.Argument(help="Grid file, or name of a shipped grid.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the PNG files and index.html.")],
    data: options.DataOption = None,
    only: Annotated[
        str | None,
        typer.Option("--only", help="Only runs with this id prefix or architecture, or this TTA, ensemble or panel."),
    ] = None,
    store: options.StoreOption = Path("runs"),
    registry: options.RegistryOption = None,
    workers: options.WorkersOption = 0,
    quiet: options.QuietOption = False,
) -> None:
    """Show a training batch as the network gets it, with its labels.

    The batch is the first of the grid's first run, or of the first run that --only names.
    """
    from bench.cli.progress_bars import choose_display
    from bench.extensions.cohort_statistics.first_batch import FirstBatch
    from bench.planning.image_caches import prepare
    from bench.planning.plan import make_plan
    from bench.store.store import Store
    from bench.study.request import Request
    from bench.system.devices import default_workers

    if output.exists() and any(output.iterdir()):
        raise ConfigError("the folder has files", str(output), "name an empty or new folder with -o")
    with choose_display(quiet) as display:
        request = Request.read(grid, registry, data, None)
        opened = Store.open(store)
        count = workers or default_workers()
        plan = make_plan(request.grid, request.registry, opened, data, None, count, request.command, display.progress)
        run = plan.select(only)[0][0]
        prepare(replace(plan, runs=(run,), refs=plan.refs[:1]), count, display.progress)
        page = FirstBatch.of(run, opened, plan.refs[0]).write(output, run)
    typer.echo(f"first training batch of run {run.id}: {page}")


def _specs(
    data: Path | None, grid: "Grid", store: Path, workers: int, display: "Display"
) -> "Mapping[str, CohortSpec]":
    """Return {name: specification} of the cohorts of --data.

    Without --data, return the synthetic cohorts of the grid. These cohorts are made if the store does not have them yet.
    """
    from harmonize.cohorts.specs import read_data

    if data is not None:
        return read_data(data)
    from bench.planning.read_cohorts import make_phantom
    from bench.store.store import Store
    from bench.system.devices import default_workers

    opened = Store.open(store)
    typer.echo(
        f"without --data: uses synthetic cohorts of the grid {grid.name} in {opened.phantom_dir(grid.phantom_settings.key)}",
        err=True,
    )
    return read_data(make_phantom(grid, opened, workers or default_workers(), display.progress))


def _read(
    specs: "Mapping[str, CohortSpec]", findings: "Sequence[str]", no_images: bool, display: "Display"
) -> "tuple[dict[str, Cohort], dict[str, CxrError]]":
    """Load cohorts; return {name: cohort} of the readable cohorts and {name: error} of the other cohorts.

    `no_images`: do not search the disk for image files. Raises the first error if no cohort can be read.
    """
    from harmonize.cohorts.cohort import load

    cohorts: dict[str, Cohort] = {}
    failed: dict[str, CxrError] = {}
    for done, (name, spec) in enumerate(specs.items()):
        display.progress("read cohorts", done, len(specs))
        try:
            cohorts[name] = load(spec, findings=findings, images=not no_images)
            if no_images:
                del cohorts[name].flow["absent"]  # not 0, but unknown
        except CxrError as error:
            failed[name] = error
    if not cohorts:
        raise next(iter(failed.values()))
    return cohorts, failed
