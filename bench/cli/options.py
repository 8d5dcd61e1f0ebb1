"""Define the options and arguments that several commands share, so that equal names have equal help texts."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harmonize.errors import ConfigError
from harmonize.labels.findings import ALL_FINDINGS


def examples(*lines: str) -> str:
    r"""Return the text at the end of a command's help: a heading, then one example per line.

    The mark ``\b`` at the beginning tells the help formatter not to join the lines.
    """
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def only_valid(context: typer.Context, is_valid: object, when: str, *options: str) -> None:
    """Unless `is_valid`, raise ConfigError for options of the command line that are only valid `when`; environment variables pass."""
    for param in () if is_valid else context.command.params:
        source = context.get_parameter_source(str(param.name))
        word = max(param.opts, key=len)
        if word in options and source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"{word} is only valid {when}", context.command_path, f"remove {word}, or use it {when}")


def _one_format(context: typer.Context, value: bool) -> bool:
    """Return the value of --json or --csv. Raises ConfigError if the command line has both."""
    if value and (context.params.get("as_json") or context.params.get("as_csv")):
        raise ConfigError("--json and --csv exclude each other", context.command_path, "give only one of them")
    return value


GridOption = Annotated[
    str,
    typer.Option("--grid", help="Grid file, or name of a shipped grid (bench list grids)."),
]
STORED_GRID = partial(typer.Option, "--grid")
StoredGridOption = Annotated[
    str | None, STORED_GRID(help="Name of a grid in the store. Required if the store has several.")
]
GridOfRunOption = Annotated[
    str | None, STORED_GRID(help="Name of a grid in the store. Default: a grid that has the named runs.")
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="BENCH_DATA",
        help="Folder of datasets, or data.yaml. Only a grid with `phantom:` runs without it, on synthetic images.",
    ),
]
StoreOption = Annotated[Path, typer.Option("--store", envvar="BENCH_STORE", help="Folder in which runs are stored.")]
RegistryOption = Annotated[
    Path | None,
    typer.Option(
        "--registry", help="A registry.yaml (list of architectures, losses, ...). Default: the one of this program."
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="Folder of safetensors files with pretrained weights. Default: timm's hub."),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda or cuda:N."),
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Number of processes; 0: one per core.")]
TogetherOption = Annotated[
    int, typer.Option("--together", min=1, help="Number of devices that train one run together.")
]
PerDeviceOption = Annotated[
    int,
    typer.Option(
        "--per-device",
        min=0,
        help="Number of runs at the same time on each GPU, or on the CPU. 0: one per GPU, or as many as the cores allow.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan within seconds; draw no image and train nothing.")
]
ExecutorOption = Annotated[
    str, typer.Option("--executor", help="local, ray or slurm. Resources follow a colon: slurm:partition=gpu,hours=12.")
]
RunArgument = Annotated[str, typer.Argument(help="Run id, or its first characters (bench list runs).")]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Run id, or its first characters (bench list runs); or a folder or hub repository of `bench upload`.",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="Allow code that a folder brings. Only if you trust its author."),
]


def _known_findings(names: list[str] | None) -> list[str] | None:
    """Return the value of --finding. Raises ConfigError for a name that no label space has, before any network is loaded."""
    known = {finding.casefold() for finding in ALL_FINDINGS}
    for name in names or ():
        if name.casefold() not in known:
            raise ConfigError(f"no finding {name!r}", "--finding", ConfigError.suggestion(name, ALL_FINDINGS))
    return names


FindingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--finding",
        metavar="FINDING",
        help="Only this finding; repeat for several. Default: all.",
        callback=_known_findings,
    ),
]
CohortsOption = Annotated[
    list[str] | None,
    typer.Option("--cohort", metavar="COHORT", help="Only this cohort; repeat for several. Default: all."),
]
THRESHOLD_RULES = ("f1_max", "youden", "sens_90", "f1_grid")
ThresholdOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        help=f"Threshold, chosen on internal validation data: {', '.join(THRESHOLD_RULES)}. Default: that of the grid.",
    ),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV.", callback=_one_format)]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.", callback=_one_format)]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write the page to. Default: in the store.")
]
WithImagesOption = Annotated[
    bool,
    typer.Option("--with-images", help="Also show small images of real patients in the gallery. Do not publish them."),
]
