"""`bench data stats`: describe cohorts as text or as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.cli.data import data_app
from harmonize.errors import CxrError

if TYPE_CHECKING:
    from bench.config.grid import Grid
    from bench.extensions.cohort_statistics.describe import Stats
    from bench.extensions.cohort_statistics.image_sample import ImageSample
    from bench.study.job_progress import Display
    from harmonize.cohorts.cohort import Cohort
    from harmonize.cohorts.specs import CohortSpec

DEMO = "demo"  # without --grid, the split, label space and synthetic cohorts of this grid are used


def add(_app: typer.Typer) -> None:
    """Add the command `stats` to the group `bench data`."""
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
    with choose_display(quiet) as display:
        chosen_grid = Grid.read(grid or DEMO, Registry.read(registry))
        specs = _specs(data, chosen_grid, store, workers, display)
        cohorts, failed = _read(specs, chosen_grid, no_images, display)
        described = _describe(cohorts, chosen_grid, no_images, display)
        samples = {} if no_images else _samples(cohorts, sample, seed, display)
    if as_json:
        typer.echo(json.dumps(_document(described, samples, failed), allow_nan=False))
    else:
        from bench.extensions.cohort_statistics.data_tables import lines

        typer.echo("\n".join(wrapped(lines(list(described.values()), samples))))
    for name, error in failed.items():
        typer.echo(f"error: {name}: {error}", err=True)
    if failed:
        raise typer.Exit(1)


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
    specs: "Mapping[str, CohortSpec]", grid: "Grid", no_images: bool, display: "Display"
) -> "tuple[dict[str, Cohort], dict[str, CxrError]]":
    """Load cohorts; return {name: cohort} of the readable cohorts and {name: error} of the other cohorts.

    `no_images`: do not search the disk for image files. Raises the first error if no cohort can be read.
    """
    from harmonize.cohorts.cohort import load
    from harmonize.labels.findings import space

    cohorts: dict[str, Cohort] = {}
    failed: dict[str, CxrError] = {}
    for done, (name, spec) in enumerate(specs.items()):
        display.progress("read cohorts", done, len(specs))
        try:
            cohorts[name] = load(spec, findings=space(grid.configs[0].space), images=not no_images)
        except CxrError as error:
            failed[name] = error
    display.progress("read cohorts", len(specs), len(specs))
    if not cohorts:
        raise next(iter(failed.values()))
    return cohorts, failed


def _describe(cohorts: "Mapping[str, Cohort]", grid: "Grid", no_images: bool, display: "Display") -> "dict[str, Stats]":
    """Return {name: statistics} of the cohorts; see `_read`."""
    from bench.extensions.cohort_statistics.describe import describe
    from harmonize.labels.findings import space

    shares, findings = asdict(grid.configs[0].split), space(grid.configs[0].space)
    described = {}
    for done, (name, cohort) in enumerate(cohorts.items()):
        display.progress("count", done, len(cohorts))
        described[name] = describe(cohort, findings, shares, disk_searched=not no_images)
    display.progress("count", len(cohorts), len(cohorts))
    return described


def _samples(cohorts: "Mapping[str, Cohort]", number: int, seed: int, display: "Display") -> "dict[str, ImageSample]":
    """Decode a random sample of `number` images per cohort; return {name: measurements}."""
    from bench.extensions.cohort_statistics.image_sample import draw

    return {name: draw(cohort, number, seed, display.progress) for name, cohort in cohorts.items()}


def _document(
    described: "Mapping[str, Stats]", samples: "Mapping[str, ImageSample]", failed: Mapping[str, CxrError]
) -> dict[str, Any]:
    """Return all statistics as a document for JSON, with the errors of the cohorts that could not be read."""
    from bench.extensions.cohort_statistics import describe as stats
    from bench.extensions.cohort_statistics import image_sample as sample

    cohorts = [
        stats.as_dict(cohort) | ({"pixels": sample.as_dict(samples[name])} if name in samples else {})
        for name, cohort in described.items()
    ]
    return {"schema": 1, "cohorts": cohorts, "failed": {name: str(error) for name, error in failed.items()}}
