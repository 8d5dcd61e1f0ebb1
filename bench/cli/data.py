"""`bench data`: make synthetic cohorts, and read demographics from DICOM headers."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.group import ReadableHelp
from bench.cli.options import QuietOption, WorkersOption, examples
from harmonize.errors import ConfigError

data_app = typer.Typer(
    cls=ReadableHelp, no_args_is_help=True, rich_markup_mode=None, help="Make synthetic cohorts; describe cohorts."
)


@data_app.command(epilog=examples("bench data phantom phantoms --source 2000 --external 300 --shortcut 0.9"))
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for chexpert/ mimic/ nih/ padchest/ vindr/ brax/.")],
    source: Annotated[int, typer.Option(min=1, help="Number of frontal images of the training hospital.")] = 2300,
    external: Annotated[int, typer.Option(min=1, help="Number of frontal images of each other hospital.")] = 320,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Long side of the images in pixels.")] = 128,
    shortcut: Annotated[float, typer.Option(min=0.0, max=1.0, help="Strength of the planted shortcut, 0 to 1.")] = 0.0,
    finding: Annotated[
        str, typer.Option(help="Finding whose images get the shortcut, a PORT tag.")
    ] = "Pleural Effusion",
    seed: Annotated[int, typer.Option(help="Random seed. --shortcut does not change the patients.")] = 0,
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Draw images of six synthetic hospitals with known findings.

    The files have the same folders and tables as the real datasets.
    """
    from bench.cli.progress_bars import choose_display
    from bench.system.devices import default_workers  # slow imports: a wrong request was refused above
    from harmonize.phantom import PhantomSettings, write_cohorts
    from harmonize.phantom.folder import PARTIAL, SETTINGS_FILE

    names = ("mimic", "nih", "padchest", "vindr", "brax")
    images = {"chexpert": source, **dict.fromkeys(names, external)}
    try:
        settings = PhantomSettings(seed=seed, images=images, size=size, shortcut=shortcut, finding=finding)
    except ValueError as error:
        raise ConfigError(str(error), "bench data phantom", "see `bench data phantom --help` for the ranges") from error
    # a command that was killed leaves a working folder
    started = folder / SETTINGS_FILE, folder / PARTIAL
    if folder.exists() and any(folder.iterdir()) and not any(path.exists() for path in started):
        raise ConfigError("the folder has other files", str(folder), "name an empty or new folder")
    with choose_display(quiet) as display:
        write_cohorts(folder, settings, workers=workers or default_workers(), progress=display.progress)
    typer.echo(f"six synthetic cohorts in {folder}; next: bench run --grid demo --data {folder}")


@data_app.command(epilog=examples("bench data people /data/vindr -o /data/vindr/people.csv"))
def people(
    root: Annotated[Path, typer.Argument(help="Folder of VinDr-CXR, with train/ and test/.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="CSV file to write: image_id, sex, age, rows, columns.")
    ],
    workers: WorkersOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Read sex, age and size of the image from VinDr's DICOM headers.

    Run this once, and write the file as people.csv into the folder of VinDr-CXR. Later commands read sex and age from
    it, and the size if you have copies of the images in another format.
    """
    from bench.cli.progress_bars import choose_display
    from bench.store.safe_csv import csv_text
    from bench.store.store import write_bytes
    from bench.system.devices import default_workers
    from harmonize.cohorts.dicom_demographics import read_people
    from harmonize.datasets.vindr import images

    files = images(root)
    if not files:
        raise ConfigError("train/ and test/ have no DICOM file", str(root), "name the folder of VinDr-CXR as published")
    with choose_display(quiet) as display:
        table = read_people(files, workers or default_workers(), display.progress)
    write_bytes(output, csv_text(table).encode())
    sexes, ages = int((table["sex"] != "").sum()), int(table["age"].notna().sum())
    typer.echo(f"{output}: {len(table):,} images, {sexes:,} with a sex, {ages:,} with an age")
