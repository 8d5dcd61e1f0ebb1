"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

GridOption = Annotated[
    str, typer.Option("--grid", help="A grid file, or the name of a shipped grid (bench list grids).")
]
StoredGridOption = Annotated[
    str | None, typer.Option("--grid", help="Name of a grid in the store; needed when there are several.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="BENCH_DATA", help="Folder of datasets or data.yaml; without it phantom cohorts are made."
    ),
]
StoreOption = Annotated[Path, typer.Option("--store", envvar="BENCH_STORE", help="Folder of runs.")]
RegistryOption = Annotated[Path | None, typer.Option("--registry", help="Another registry.yaml.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Folder of safetensors files to start training from.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes at once; 0 = one per core.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the page.")]
