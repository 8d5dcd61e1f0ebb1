"""`bench explain`: where in an image a run sees the evidence for a finding."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import FindingsOption, JsonOption, QuietOption, RunArgument, StoreOption
from harmonize.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    import pandas as pd

    from bench.analyses.heatmaps.panel import Asked

EXAMPLES = (
    "Examples:  bench explain 3fa9 image.png --finding Cardiomegaly   |   "
    "bench explain 3fa9 image.dcm --finding Edema --finding 'Pleural Effusion' --mask effusion.png -o out/"
)


def explain(
    run: RunArgument,
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG or DICOM files.", metavar="IMAGE...")],
    finding: FindingsOption = None,
    method: Annotated[str, typer.Option("--method", help="gradcam, gradcam++ or hirescam.")] = "gradcam",
    stage: Annotated[
        int | None, typer.Option("--stage", help="Which feature maps, 0 = the largest, -1 = the last.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="PNG of the image's size, above 0 where a reader saw the finding.")
    ] = None,
    box: Annotated[
        str | None, typer.Option("--box", help="X,Y,WIDTH,HEIGHT in pixels of the image, instead of a mask.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures and explained.csv.")] = Path(
        "explained"
    ),
    store: StoreOption = Path("runs"),
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw heat maps of images: where a run sees evidence. A picture per finding, one of all, and a table; not for clinical use."""
    import pandas as pd

    from bench.analyses.explain_image import chosen_findings, explainer, parse_box, table
    from bench.cli.progress_bars import choose_display
    from bench.store.safe_csv import csv_text
    from bench.store.store import Store

    if mask is not None and box is not None:
        raise ConfigError("both a mask and a box", "bench explain", "give --mask or --box")
    reference = mask if mask is not None else parse_box(box) if box is not None else None
    if reference is not None and len(images) > 1:
        raise ConfigError("one reference for several images", "bench explain", "give one image")
    asked_of = explainer(Store.open(store, create=False), run)
    findings = chosen_findings(asked_of.run, finding or ())
    output.mkdir(parents=True, exist_ok=True)
    tables: list[pd.DataFrame] = []
    stems: list[str] = []
    with choose_display(quiet) as display:
        for done, path in enumerate(images):
            display.progress("explain", done, len(images))
            try:
                answer = asked_of.ask(path, findings, method, stage, reference)
            except DatasetError as error:
                typer.echo(f"error: {error}", err=True)
                continue
            stems.append(path.stem)
            again = stems.count(path.stem)
            named = _draw(answer, output, f"{path.stem}-{again}" if again > 1 else path.stem)
            tables.append(table(answer, asked_of.run.id).assign(picture=named))
        display.progress("explain", len(images), len(images))
    if tables:
        found = pd.concat(tables, ignore_index=True)
        (output / "explained.csv").write_text(csv_text(found), encoding="utf-8")
        if as_json:
            typer.echo(found.to_json(orient="records", double_precision=15))
        else:
            typer.echo("\n".join(_lines(found)))
            typer.echo(f"pictures and explained.csv: {output}")
    if len(tables) < len(images):
        raise typer.Exit(1)


def _draw(answer: "Asked", output: Path, stem: str) -> list[str]:
    """Write a picture for each finding and, of several, one of all; return the names of the first."""
    from bench.analyses.explain_image import png
    from bench.analyses.heatmaps.panel import panel, several
    from bench.store.store import write_bytes

    pictures = {f"{stem}-{_plain(each.finding)}.png": panel(answer, each) for each in answer.answers}
    named = list(pictures)
    if len(named) > 1:
        pictures[f"{stem}.png"] = several(answer)
    for name, picture in pictures.items():
        write_bytes(output / name, png(picture))
    return named


def _lines(found: "pd.DataFrame") -> list[str]:
    """Return the table as text."""
    from bench.cli.list_tables import aligned

    rows = [["image", "finding", "logit", "probability", "threshold", "", "map"]]
    for row in found.to_dict("records"):
        known = row["threshold"] == row["threshold"]  # not NaN
        verdict = ("called" if row["called"] else "not called") if known else ""
        peak = "empty: nothing speaks for it" if row["empty"] else f"peak at {row['peak_x']:.2f}, {row['peak_y']:.2f}"
        threshold = f"{row['threshold']:.3f}" if known else "-"
        numbers = [f"{row['logit']:+.2f}", f"{row['probability']:.3f}", threshold]
        rows.append([row["image"], row["finding"], *numbers, verdict, peak])
    return aligned(rows)


def _plain(name: str) -> str:
    """Return a name fit for a file."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())
