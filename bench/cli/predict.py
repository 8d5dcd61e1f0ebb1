"""`bench predict`: predict images with a stored run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli import options
from bench.cli.text_tables import printable, table_lines, wrapped
from bench.system.disclaimer import NOTICE, TRAINED_ON_SYNTHETIC
from harmonize.errors import ConfigError
from reports.formatting import known, number, plural

if TYPE_CHECKING:
    from bench.runs.new_images import Inference

PREDICT_EXAMPLES = options.examples(
    "bench predict 3fa9 chest.png",
    "bench predict 3fa9 chest.dcm --finding Edema",
    "bench predict 3fa9 inbox/ --csv > predictions.csv",
    "bench predict lab/densenet-cxr chest.png",
)


def predict(
    context: typer.Context,
    run: options.ModelArgument,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Image files, folders, or a CSV with a column `path`.")
    ],
    store: options.StoreOption = Path("runs"),
    grid: options.GridOfRunOption = None,
    finding: options.FindingsOption = None,
    at: options.ThresholdOption = None,
    device: options.DeviceOption = "auto",
    trust: options.TrustOption = False,
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
    as_csv: options.CsvOption = False,
) -> None:
    """Predict images with a stored run.

    Prints probabilities, positive calls, and how far each image is from the internal images. For research only, not for clinical use.
    """
    from bench.cli.progress_bars import choose_display
    from bench.planning.stored_names import store_with
    from bench.runs.image_paths import images_of
    from bench.runs.model_reference import check_reference
    from bench.system.devices import check_device, first_device, require_device

    check_rule(at)
    options.only_valid(context, not (as_json or as_csv), "without --json and --csv, which have all thresholds", "--at")
    check_model_options(context, run)
    check_device(device)
    require_device(device)
    left_out: list[str] = []
    paths = images_of(images, left_out.append)
    model = check_reference(run, store)
    if grid:
        store_with(store, grid, [run])
    from bench.runs.model_folder import load_model  # imports torch: wrong requests were refused above
    from bench.runs.new_images import infer

    with choose_display(quiet) as display:
        stored = load_model(model, store, first_device(device), trust=trust, grid=grid)
        learned = stored.learned
        for name in finding or ():
            if name not in learned:
                fix = f"choose from: {', '.join(learned)}"
                raise ConfigError(f"run {stored.id} was not trained on {name!r}", "--finding", fix)
        inference = infer(stored, paths, display.progress)
    table = inference.table[inference.table["finding"].isin(finding or learned)]
    if as_json:
        typer.echo(json.dumps(json_document(inference, table), allow_nan=False))
    elif as_csv:
        if inference.synthetic:
            typer.echo(TRAINED_ON_SYNTHETIC, err=True)
        typer.echo(csv_document(inference, table), nl=False)
    else:
        typer.echo("\n".join(wrapped(_lines(inference, table, at or inference.threshold), 0)))
    for line in (*map(printable, left_out), *([] if as_json else _skipped(inference))):
        typer.echo(line, err=True)
    if not as_json:
        typer.echo("\n".join(wrapped([NOTICE], 0, stderr=as_csv)), err=as_csv)
    if not inference.num_images:
        raise typer.Exit(1)


def _skipped(inference: "Inference") -> list[str]:
    return [f"skipped {printable(row.image)}: {row.reason}" for row in inference.skipped.itertuples()]


def check_model_options(context: typer.Context, reference: str) -> None:
    """Raise ConfigError for --store and --grid with a model from outside the store, and for --trust with a run of the store."""
    from bench.runs.model_reference import is_outside

    options.only_valid(context, is_outside(reference), "for a folder or a hub repository", "--trust")
    options.only_valid(context, not is_outside(reference), "for a run of the store", "--store", "--grid")


def check_rule(rule: str | None) -> None:
    """Raise ConfigError for an unknown threshold rule; None stands for the rule of the grid."""
    if rule not in (None, *options.THRESHOLD_RULES):
        fix = f"choose from: {', '.join(options.THRESHOLD_RULES)}"
        raise ConfigError(f"unknown threshold rule {rule!r}", "--at", fix)


def csv_document(inference: "Inference", table: Any) -> str:
    """Return the predictions in `table` as CSV text, with a column that says whether the run was trained on synthetic images.

    `table`: all or some rows of `inference.table`.
    """
    from bench.store.safe_csv import csv_text

    # a call is empty without a threshold, so pandas stores it as a decimal number
    whole = [name for name in table if name.startswith("call_")]
    return csv_text(table.astype(dict.fromkeys(whole, "Int64")).assign(trained_on_synthetic=inference.synthetic))


def json_document(inference: "Inference", table: Any) -> dict[str, Any]:
    """Return the predictions in `table` as a document for JSON. NaN becomes None.

    `table`: all or some rows of `inference.table`.
    """
    from bench.runs.elsewhere import ELSEWHERE

    distance_columns = [name for name in table if str(name).startswith("distance")]
    images = []
    for name, rows in table.groupby("image", sort=False):
        findings = {}
        for row in rows.to_dict("records"):
            calls = {rule: _call(row[f"call_{rule}"]) for rule in options.THRESHOLD_RULES}
            numbers = {key: known(row[key]) for key in ("logit", "probability", "calibrated", *ELSEWHERE[2:5])}
            thresholds = {rule: known(row[f"threshold_{rule}"]) for rule in options.THRESHOLD_RULES}
            words = {key: row[key] if isinstance(row[key], str) else "" for key in ("verdict", "hospital")}
            findings[row["finding"]] = numbers | words | {"calls": calls, "thresholds": thresholds}
        warnings = rows["warnings"].iloc[0]
        distances = {key: known(rows[key].iloc[0]) for key in distance_columns}
        listed = {"warnings": warnings.split("; ") if warnings else []}
        images.append({"image": name} | distances | listed | {"findings": findings})
    skipped = inference.skipped.to_dict("records")
    return {
        "run": inference.run_id,
        "trained_on_synthetic": inference.synthetic,
        "notice": f"{TRAINED_ON_SYNTHETIC} {NOTICE}" if inference.synthetic else NOTICE,
        "distances": {
            "measured_by": inference.measured_by or None,
            "validation_images": inference.num_validation,
            "not_available": inference.no_distances or None,
        },
        "images": images,
        "skipped": skipped,
    }


def distance_line(inference: "Inference", percentile: float) -> str:
    """Return the distance of an image as text, "" without a distance. `percentile`: from the column `distance`."""
    if percentile != percentile:  # NaN
        return ""
    return f"distance: percentile {percentile:.1f} among {inference.num_validation} internal validation images (near 100: unlike them)"


def _call(value: float) -> bool | None:
    return None if value != value else bool(value)  # NaN means that there is no threshold


def _lines(inference: "Inference", table: Any, rule: str) -> Sequence[str]:
    """Return the predictions as lines of text: for each image, its warnings, then a table of its findings.

    If the run was trained on synthetic images, the first line says so.
    """
    from bench.runs.elsewhere import call_of, worth_of

    lines = [TRAINED_ON_SYNTHETIC] if inference.synthetic else []
    lines += [f"run {inference.run_id}: {plural(inference.num_images, 'image')}, {len(inference.skipped)} skipped"]
    if inference.no_distances:
        lines.append(f"distances: not available ({inference.no_distances})")
    for name, rows in table.groupby("image", sort=False):
        lines += ["", printable(name)]
        if line := distance_line(inference, rows["distance"].iloc[0]):
            lines.append(f"  {line}")
        warnings = rows["warnings"].iloc[0]
        lines += [f"  warning: {warning}" for warning in warnings.split("; ") if warning]
        cells = [["finding", "probability", "threshold", f"call ({rule})", "calibrated", "at a new hospital"]]
        for row in rows.to_dict("records"):
            numbers = (number(row[name]) for name in ("probability", f"threshold_{rule}"))
            cells.append([row["finding"], *numbers, call_of(row, rule), number(row["calibrated"]), worth_of(row)])
        lines += [f"  {line}" for line in table_lines(cells)]
    return [*lines, "", *evidence_notes(table)] if inference.num_images else lines


def evidence_notes(table: Any) -> list[str]:
    """Return sentences on what the calls are worth at hospitals that the run has never seen. `table`: as `Inference.table`."""
    from reports.verdicts import USEFUL

    if not table["verdict"].notna().any():
        return ["no calls: nothing is known of the run at other hospitals"]
    notes = []
    if table["auroc"].notna().any():
        notes.append("at a new hospital: expected AUROC with its 95 % prediction interval, from the page of the grid")
    if not (table["verdict"] == USEFUL).all():
        notes.append("no call: the page does not show that the finding is useful at a new hospital")
    return notes
