"""`bench adapt`: what labels of a few patients of a hospital buy."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.group import NEW_HOSPITAL
from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from bench.extensions.adaptation.curve import Curve

LEAST_DRAWS = 5  # with 2 that differ much, intervals contain the mean change in 82 % of samples, with 5 in 96 to 98 %
EXAMPLES = options.examples("bench adapt 3fa9 --at nih", "bench adapt 3fa9 --at nih --patients 20,50 --draws 20 --csv")


def add(app: typer.Typer) -> None:
    """Add the command `bench adapt`."""
    app.command(rich_help_panel=NEW_HOSPITAL, epilog=EXAMPLES)(adapt)


def adapt(
    run: options.RunArgument,
    hospital: Annotated[str, typer.Option("--at", metavar="COHORT", help="An external cohort of the run's grid.")],
    patients: Annotated[str, typer.Option("--patients", help="Numbers of labeled patients.")] = "20,50,100,500",
    draws: Annotated[
        int, typer.Option("--draws", min=LEAST_DRAWS, max=1000, help="Random samples of patients.")
    ] = LEAST_DRAWS,
    grid: options.GridOfRunOption = None,
    store: options.StoreOption = Path("runs"),
    device: options.DeviceOption = "auto",
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
    as_csv: options.CsvOption = False,
) -> None:
    """Adapt a run to labeled patients of a hospital.

    Recalibration, a refitted output layer and LoRA are each compared with the run as it is, on other patients of the
    hospital. `bench report` then shows the curve.
    """
    from bench.cli.progress_bars import choose_display
    from bench.planning.stored_names import store_with
    from bench.system.devices import Devices, first_device

    numbers = _numbers(patients)
    device = Devices.of(device, workers=1).name  # refuses a device that is not here
    opened = store_with(store, grid, [run])
    from bench.extensions.adaptation.curve import adaptation_curve  # imports torch: a wrong request was refused above
    from bench.store.safe_csv import csv_text

    with choose_display(quiet) as display:
        progress = display.progress
        curve = adaptation_curve(opened, run, hospital, numbers, draws, grid, first_device(device), progress)
    if as_json:
        rows = json.loads(curve.table.to_json(orient="records", double_precision=15))
        facts = {"run": curve.run, "hospital": curve.hospital, "synthetic": curve.synthetic, "notes": list(curve.notes)}
        typer.echo(json.dumps({**facts, "rows": rows}))
    elif as_csv:
        typer.echo(csv_text(curve.table.assign(synthetic=curve.synthetic)), nl=False)
    else:
        typer.echo("\n".join(_lines(curve)))


def _numbers(text: str) -> list[int]:
    """Return the numbers of a text such as "20,50". Raises ConfigError for another text."""
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 2:
        fix = "write numbers from 2, such as 20,50,100"
        raise ConfigError(f"{text!r} are not numbers of patients", "--patients", fix)
    return sorted(set(numbers))


def _lines(curve: "Curve") -> list[str]:
    """Return the answer as lines of text: a sentence, a table of the means over findings, and notes."""
    from bench.cli.text_tables import table_lines, wrapped
    from bench.extensions.adaptation.sections import METHODS, METRICS, answer
    from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
    from reports.formatting import number, with_interval

    macro = curve.table[curve.table["finding"] == "macro"].to_dict("records")
    head = [f"run {curve.run} at {curve.hospital}", *([answer(macro)] if macro else [])]
    cells = [["method", "patients", "score", "zero-shot", "adapted", "difference", "worse in"]]
    for row in macro:
        change = with_interval(row["difference"], row["low"], row["high"], "+.3f")
        numbers = [number(row["zero_shot"]), number(row["value"]), change, f"{row['harmed']:.0%}".replace("%", " %")]
        cells.append([METHODS[row["method"]], str(row["patients"]), METRICS[row["metric"]], *numbers])
    table = [f"  {line}" for line in table_lines(cells)] if macro else []
    out = [SYNTHETIC_NOTICE] if curve.synthetic else []
    return [*out, *wrapped(head), "", *table, "", *wrapped(curve.notes)]
