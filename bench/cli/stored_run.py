"""Commands about one stored run: `bench predict`, `bench errors`, `bench card`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.completion import one_of
from bench.cli.options import (
    CohortsOption,
    CsvOption,
    DeviceOption,
    FindingsOption,
    JsonOption,
    QuietOption,
    RunArgument,
    StoredGridOption,
    StoreOption,
)
from bench.system.disclaimer import NOTICE
from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from bench.runs.new_images import Inference

RULES = ("f1_max", "youden", "sens_90", "f1_grid")
PREDICT_EXAMPLES = (
    "Examples:  bench predict 3fa9 chest.png   |   bench predict 3fa9 chest.dcm --cam --finding Edema -o pictures   |   "
    "bench predict 3fa9 inbox/ --csv > found.csv"
)
AtOption = Annotated[str, typer.Option("--at", help=f"Threshold of internal validation: {', '.join(RULES)}.")]


def add_run_commands(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog=PREDICT_EXAMPLES)(predict)
    app.command(epilog="Example:  bench errors 3fa9 --cohort nih --finding Edema --kind fn -n 50 --csv")(errors)
    app.command(epilog="Example:  bench card 3fa9")(card)


def predict(
    run: RunArgument,
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of them, or a CSV with a column `path`.")],
    store: StoreOption = Path("runs"),
    finding: FindingsOption = None,
    at: AtOption = "f1_max",
    cam: Annotated[bool, typer.Option("--cam", help="Draw where the evidence lies: a PNG per image.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures of --cam.")] = Path(
        "predicted"
    ),
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Predict images with a stored run: probabilities and calls. For research, not for clinical use."""
    from bench.cli.progress_bars import choose_display
    from bench.runs import new_images as infer
    from bench.store.safe_csv import csv_text
    from bench.store.store import Store
    from bench.system.devices import check_device, choose_devices

    _check_rule(at)
    check_device(device)
    with choose_display(quiet) as display:
        paths = infer.images_of(images)
        stored = infer.load(Store.open(store, create=False), run, choose_devices(device, 1, 1)[0])
        known = [name for name in stored.run.config.findings if name not in stored.unlearnt]
        for name in finding or ():
            if name not in known:
                raise ConfigError(
                    f"run {stored.run.id} predicts no {name!r}", "--finding", f"it has {', '.join(known)}"
                )
        found = infer.infer(stored, paths, display.progress)
        overlays: dict[str, str] = {}
        if cam:
            from bench.analyses.explain_image import Explainer, draw_overlays

            whole = [Path(name) for name in found.table["image"].unique()]
            overlays = draw_overlays(Explainer(stored), whole, finding or known, output, display.progress)
    chosen = found.table[found.table["finding"].isin(finding or known)]
    if as_json:
        typer.echo(json.dumps(_as_json(found, chosen, NOTICE, overlays), allow_nan=False))
    elif as_csv:
        typer.echo(csv_text(chosen), nl=False)
    else:
        typer.echo("\n".join(_lines(found, chosen, at, overlays)))
    for row in found.skipped.itertuples() if as_csv or not as_json else ():
        typer.echo(f"skipped {_printable(row.image)}: {row.reason}", err=True)
    if not as_json:
        typer.echo(NOTICE, err=as_csv)
    if not found.num_images:
        raise typer.Exit(1)


def errors(
    run: RunArgument,
    cohort: CohortsOption = None,
    finding: FindingsOption = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", help="fp: called but absent; fn: present but not called.", autocompletion=one_of("fp", "fn")
        ),
    ] = "",
    most: Annotated[int, typer.Option("-n", min=1, help="How many, the surest first.")] = 20,
    at: AtOption = "f1_max",
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the surest mistakes of a run, with ids and paths. They are for those who may see the images."""
    from bench.cli.list_tables import aligned
    from bench.results.worst_errors import COLUMNS, mistakes
    from bench.store.safe_csv import csv_text
    from bench.store.store import Store

    _check_rule(at)
    table = mistakes(Store.open(store, create=False), run, grid, cohort or (), finding or (), kind, at, most)
    if as_json:
        typer.echo(table.to_json(orient="records", double_precision=15))
    elif as_csv:
        typer.echo(csv_text(table), nl=False)
    elif len(table):
        rows = [[_printable(v) if isinstance(v, str) else f"{v:.3f}" for v in row] for row in table.to_numpy(object)]
        typer.echo("\n".join(aligned([list(COLUMNS), *rows])))
    else:
        typer.echo("no such mistakes")


def card(
    run: RunArgument,
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
) -> None:
    """Write a run's model card beside its weights. MODEL_CARD.md, in Markdown."""
    from bench.results.model_card import write_card
    from bench.store.store import Store

    typer.echo(f"model card: {write_card(Store.open(store, create=False), run, grid)}")


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise ConfigError(f"no threshold {rule!r}", "--at", f"choose from: {', '.join(RULES)}")


def _printable(text: object) -> str:
    """Return a name without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def _as_json(found: "Inference", chosen: Any, notice: str, overlays: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer for programs: NaN as null; `overlay` names the picture of --cam."""
    images = []
    for name, rows in chosen.groupby("image", sort=False):
        findings = {}
        for row in rows.to_dict("records"):
            calls = {rule: None if row[f"call_{rule}"] != row[f"call_{rule}"] else bool(row[f"call_{rule}"]) for rule in RULES}  # fmt: skip
            numbers = {key: _number(row[key]) for key in ("logit", "probability", "calibrated")}
            findings[row["finding"]] = numbers | {"calls": calls}
        warnings = rows["warnings"].iloc[0]
        drawn = {"overlay": overlays[name]} if name in overlays else {}
        images.append(
            {"image": name, "warnings": warnings.split("; ") if warnings else [], "findings": findings} | drawn
        )
    return {"run": found.run_id, "notice": notice, "images": images, "skipped": found.skipped.to_dict("records")}


def _number(value: float) -> float | None:
    return None if value != value else float(value)  # NaN


def _lines(found: "Inference", chosen: Any, rule: str, overlays: Mapping[str, str]) -> Sequence[str]:
    from bench.cli.list_tables import aligned

    images = f"{found.num_images} image{'s' if found.num_images != 1 else ''}"
    lines = [f"run {found.run_id}: {images}, {len(found.skipped)} skipped"]
    for name, rows in chosen.groupby("image", sort=False):
        lines += ["", _printable(name)]
        warnings = rows["warnings"].iloc[0]
        lines += [f"  warning: {said}" for said in warnings.split("; ") if said]
        table = [["finding", "probability", "calibrated", f"call ({rule})"]]
        for row in rows.to_dict("records"):
            call = {1.0: "yes", 0.0: "no"}.get(row[f"call_{rule}"], "no threshold")
            shown = "" if row["calibrated"] != row["calibrated"] else f"{row['calibrated']:.3f}"
            table.append([row["finding"], f"{row['probability']:.3f}", shown, call])
        lines += [f"  {line}" for line in aligned(table)]
        lines += [f"  overlay: {_printable(overlays[name])}"] if name in overlays else []
    return lines
