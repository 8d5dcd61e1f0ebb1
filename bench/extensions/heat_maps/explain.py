"""`bench explain`: draw heat maps of the image areas in which a network finds evidence for a finding."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options
from bench.cli.predict import check_model_options
from bench.system.disclaimer import NOTICE, TRAINED_ON_SYNTHETIC
from harmonize.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

    from bench.extensions.heat_maps.panels import Explanation

EXAMPLES = options.examples(
    "bench explain 3fa9 image.png --finding Cardiomegaly",
    "bench explain 3fa9 image.dcm --finding Edema --finding 'Pleural Effusion'",
)


def explain(
    context: typer.Context,
    run: options.ModelArgument,
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG or DICOM files.", metavar="IMAGE")],
    finding: options.FindingsOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and explained.csv.")] = Path(
        "explained"
    ),
    store: options.StoreOption = Path("runs"),
    grid: options.GridOfRunOption = None,
    trust: options.TrustOption = False,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Draw heat maps for images.

    Writes one picture per finding, and a table of numbers. For research only, not for clinical use.
    """
    from bench.planning.stored_names import store_with
    from bench.runs.model_reference import check_reference
    from bench.store.store import write_bytes

    check_model_options(context, run)
    model = check_reference(run, store)
    if grid:
        store_with(store, grid, [run])
    if not any(path.exists() for path in images):
        raise DatasetError("no such file", ", ".join(map(str, images)), "give JPEG, PNG or DICOM files")
    import pandas as pd  # slow imports: a wrong request was refused above
    import torch

    from bench.cli.progress_bars import choose_display
    from bench.cli.text_tables import wrapped
    from bench.extensions.heat_maps.explain_image import chosen_findings, explain_image, table
    from bench.runs.model_folder import load_model
    from bench.store.safe_csv import csv_text

    stored = load_model(model, store, trust=trust, grid=grid)
    torch.set_num_threads(stored.run.config.threads)
    findings = chosen_findings(stored, finding or ())
    output.mkdir(parents=True, exist_ok=True)
    tables: list[pd.DataFrame] = []
    stems: list[str] = []
    with choose_display(quiet) as display:
        for done, path in enumerate(images):
            display.progress("explain", done, len(images))
            try:
                explanation = explain_image(stored, path, findings)
            except DatasetError as error:
                typer.echo(f"error: {error}", err=True)
                continue
            stems.append(path.stem)
            repeats = stems.count(path.stem)
            pictures = _draw(explanation, output, f"{path.stem}-{repeats}" if repeats > 1 else path.stem)
            rows = table(explanation, stored.id)
            tables.append(rows.assign(picture=pictures, trained_on_synthetic=explanation.synthetic))
        display.progress("explain", len(images), len(images))
    if tables:
        rows = pd.concat(tables, ignore_index=True)
        write_bytes(output / "explained.csv", csv_text(rows).encode())
        if as_json:
            notice = f"{TRAINED_ON_SYNTHETIC} {NOTICE}" if stored.synthetic else NOTICE
            typer.echo(rows.assign(notice=notice).to_json(orient="records", double_precision=15))
        else:
            notice_lines = [TRAINED_ON_SYNTHETIC] if stored.synthetic else []
            typer.echo("\n".join([*wrapped(notice_lines, 0), *_lines(rows)]))
            typer.echo(f"pictures and explained.csv: {output}")
    if len(tables) < len(images):
        raise typer.Exit(1)


def _draw(explanation: "Explanation", output: Path, stem: str) -> list[str]:
    """Write one picture per finding into the folder `output`, and return the file names, which begin with `stem`."""
    import cv2

    from bench.extensions.heat_maps.panels import panel
    from bench.store.store import write_bytes

    names = [f"{stem}-{_file_name(finding_map.finding)}.png" for finding_map in explanation.finding_maps]
    for name, finding_map in zip(names, explanation.finding_maps, strict=True):
        write_bytes(output / name, cv2.imencode(".png", panel(explanation, finding_map))[1].tobytes())
    return names


def _lines(rows: "pd.DataFrame") -> list[str]:
    """Return the explained images and findings as lines of a text table: logit, probability, threshold, call, peak of the map."""
    from bench.cli.text_tables import table_lines
    from reports.formatting import number

    cells = [["image", "finding", "logit", "probability", "threshold", "call", "map"]]
    for row in rows.to_dict("records"):
        call = "positive" if row["called"] else "negative"
        if math.isnan(row["threshold"]):
            call = ""
        peak = "empty: no evidence for it" if row["empty"] else f"peak at {row['peak_x']:.2f}, {row['peak_y']:.2f}"
        numbers = [f"{row['logit']:+.2f}", f"{row['probability']:.3f}", number(row["threshold"])]
        cells.append([row["image"], row["finding"], *numbers, call, peak])
    return table_lines(cells)


def _file_name(finding: str) -> str:
    """Return a finding's name in a form for file names: lowercase, with "-" for all but letters and digits."""
    return "".join(c if c.isalnum() else "-" for c in finding.lower())
