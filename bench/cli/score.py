"""`bench score`: score the runs of a grid again, with the same or other settings."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.cli.text_tables import wrapped
from harmonize.errors import ConfigError

OUTPUTS = ("auto", "probability", "logit")
SCORE_EXAMPLES = options.examples(
    "bench score --store runs --grid demo",
    "bench score --grid demo --as demo-strict --mapping strict",
    "bench score --grid demo --as demo-present --labels-read uncertain-present",
    'bench score --grid demo --as demo-edema --findings "Edema,Pneumonia"',
    "bench score --grid demo --as demo-20 --min-count 20 --threshold youden",
    "bench score --grid demo --as demo-study --unit study",
    "bench score --predictions predictions.csv --labels labels.csv",
)


def score(
    context: typer.Context,
    grid: options.StoredGridOption = None,
    store: options.StoreOption = Path("runs"),
    name: Annotated[
        str | None, typer.Option("--as", help="Keep the old scores; save the new ones as a grid with this name.")
    ] = None,
    mapping: Annotated[str | None, typer.Option("--mapping", help="Label mapping: default, strict or broad.")] = None,
    labels_read: Annotated[
        str | None,
        typer.Option(
            "--labels-read",
            help="Reading of labels: standard, uncertain-present, uncertain-absent or unmentioned-dropped.",
        ),
    ] = None,
    findings: Annotated[
        str | None, typer.Option("--findings", help='Only these findings, for example "Edema,Pneumonia".')
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option(
            "--min-count",
            min=1,
            help="Minimum number of patients with and without a finding. Default: the grid's; 10 for a table.",
        ),
    ] = None,
    threshold: Annotated[
        str | None, typer.Option("--threshold", help="Threshold rule: f1_max, youden, sens_90 or f1_grid.")
    ] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="Unit of scores: image or study.")] = None,
    registry: Annotated[Path | None, typer.Option("--registry", help="Use the metrics of this registry.yaml.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", help="Score this table instead of a grid: image_id, and a column per finding."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Labels of --predictions (1, 0, empty): image_id, optionally patient_id."),
    ] = None,
    outputs: Annotated[
        str, typer.Option("--outputs", help="Kind of --predictions: probability, logit or auto.")
    ] = "auto",
    quiet: options.QuietOption = False,
    as_json: options.JsonOption = False,
) -> None:
    """Score a grid or a table of predictions, without images.

    A different label mapping, reading, threshold, unit or set of findings needs --as.
    """
    chosen = tuple(dict.fromkeys(word.strip() for word in (findings or "").split(",") if word.strip()))
    if findings is not None and not chosen:
        raise ConfigError("--findings names no finding", "--findings", 'name findings: --findings "Edema,Pneumonia"')
    of_grids = ("--grid", "--store", "--as", "--mapping", "--threshold", "--unit", "--registry")
    if predictions or labels:
        if predictions is None or labels is None:
            missing = "--predictions" if predictions is None else "--labels"
            raise ConfigError(f"{missing} is missing", "bench score", "give --predictions FILE and --labels FILE")
        options.only_valid(context, False, "for a grid of the store", *of_grids)
        ConfigError.check_choices("outputs", [outputs], OUTPUTS)
        from bench.cli.score_files import score_files

        typer.echo(score_files(predictions, labels, chosen, min_count, outputs, labels_read, as_json=as_json))
        return
    options.only_valid(context, False, "with --predictions", "--outputs")
    from bench.config.grid_file import check_name
    from bench.config.settings import words_of
    from bench.planning.stored_names import store_with

    keys = ("mapping", "reading", "threshold", "unit", "findings", "min_count")
    values = (mapping, labels_read, threshold, unit, chosen or None, min_count)
    changes = {key: value for key, value in zip(keys, values, strict=True) if value is not None}
    words_of(changes)  # refuses unknown values
    if name is not None:
        check_name(name, "--as")
    opened = store_with(store, grid)
    if name is None and (changes or registry):
        fix = "store the new scores under a name: --as NAME"
        raise ConfigError("other settings would overwrite the first scores", "bench score", fix)
    from bench.cli.progress_bars import choose_display
    from bench.planning.manifest import read_manifest  # slow imports: a wrong name was refused above
    from bench.results.score_runs import rescored, score_all
    from bench.results.summary import summary

    manifest = read_manifest(opened, grid)
    if name is not None:
        manifest = rescored(manifest, name, changes, " ".join(["bench", *sys.argv[1:]]), registry)
    with choose_display(quiet) as display:
        scored = score_all(manifest, display.progress, say=display.say)
    if as_json:
        typer.echo(json.dumps({"grid": manifest.name, "scored": list(scored)}))
        return
    typer.echo(f"scored {len(scored)} runs x {len(manifest.cohorts)} cohorts")
    typer.echo("\n".join(wrapped(summary(manifest))))
    if name is not None:
        typer.echo(f"page: bench report --grid {name}")
