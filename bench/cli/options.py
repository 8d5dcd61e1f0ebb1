"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion

GridOption = Annotated[
    str,
    typer.Option(
        "--grid",
        help="A grid file, or the name of a shipped grid (bench list grids).",
        autocompletion=completion.grids,
    ),
]
StoredGridOption = Annotated[
    str | None,
    typer.Option(
        "--grid",
        help="Name of a grid in the store; needed when there are several.",
        autocompletion=completion.stored_grids,
    ),
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
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda or cuda:N.", autocompletion=completion.one_of("auto", "cpu", "cuda")
    ),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Processes at once; 0 = one per core.")]
TogetherOption = Annotated[int, typer.Option("--together", min=1, help="Devices that train one run together.")]
PerDeviceOption = Annotated[
    int, typer.Option("--per-device", min=0, help="Runs that share a GPU (or the cores); 0 = one per GPU.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan, what it will take in hours, disk and memory, and stop.")
]
OnePassOption = Annotated[
    bool,
    typer.Option("--one-pass", help="Train all, then predict with all that share images in one pass over each cohort."),
]
EstimateOption = Annotated[
    bool, typer.Option("--estimate/--no-estimate", help="With --dry-run: rehearse, to say what the plan will take.")
]
ExecutorOption = Annotated[
    str,
    typer.Option("--executor", help="local, ray or slurm, with what a run asks for: slurm:partition=gpu,hours=12."),
]
RunArgument = Annotated[
    str,
    typer.Argument(help="The beginning of a run's id (bench list runs).", autocompletion=completion.run_ids),
]
FindingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--finding", help="Only this finding; may be repeated. Without it: all.", autocompletion=completion.findings
    ),
]
CohortsOption = Annotated[
    list[str] | None, typer.Option("--cohort", help="Only this cohort; may be repeated. Without it: all.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write the page.")]
WithImagesOption = Annotated[
    bool, typer.Option("--with-images", help="Show small pictures of real radiographs in the gallery, too.")
]
