"""`bench score`: the scores of a grid from its store, as they were asked for or in another way."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, QuietOption, StoredGridOption, StoreOption
from harmonize.errors import ConfigError

SCORE_EXAMPLES = (
    "Examples:  bench score --store runs --grid demo   |   bench score --grid demo --as demo-strict --mapping strict   |   "
    'bench score --grid demo --as demo-edema --findings "Edema,Pneumonia" --min-count 20 --threshold youden'
)


def score(
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    name: Annotated[
        str | None, typer.Option("--as", help="Score in another way, beside the first scores, as a grid of this name.")
    ] = None,
    mapping: Annotated[
        str | None, typer.Option("--mapping", help="Read the labels so: default, strict, broad.")
    ] = None,
    findings: Annotated[str | None, typer.Option("--findings", help='Count these only: "Edema,Pneumonia".')] = None,
    min_count: Annotated[
        int | None, typer.Option("--min-count", help="Patients with and without a finding that a number needs.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option("--threshold", help="Call at this rule: f1_max, youden, sens_90, f1_grid.")
    ] = None,
    registry: Annotated[Path | None, typer.Option("--registry", help="Score the metrics of this registry.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score the runs of a grid again, without GPU or images. Under other labels, findings or thresholds, too."""
    from bench.cli.progress_bars import choose_display
    from bench.planning.manifest import read_manifest
    from bench.results.rescore import Change, rescored
    from bench.results.score_runs import score_all
    from bench.store.store import Store
    from bench.study.run_grid import summary

    opened = Store.open(store, create=False)
    manifest = read_manifest(opened, grid)
    wanted = tuple(part.strip() for part in (findings or "").split(",") if part.strip())
    if findings is not None and not wanted:
        raise ConfigError("no finding is named", "--findings", 'name some: --findings "Edema,Pneumonia"')
    change = Change(mapping, wanted, min_count, threshold, registry)
    if name is None and not change.empty:
        raise ConfigError("the first scores would be lost", "bench score", "name the new ones: --as NAME")
    if name is not None:
        manifest = rescored(manifest, name, change, " ".join(["bench", *sys.argv[1:]]))
    with choose_display(quiet) as display:
        scored = score_all(manifest, display.progress)
    if as_json:
        typer.echo(json.dumps({"grid": manifest.content["name"], "scored": list(scored)}))
        return
    typer.echo(
        f"scored {len(scored)} runs x {len(manifest.cohorts)} cohorts ({manifest.settings.num_resamples:,} patient resamples)"
    )
    typer.echo("\n".join(summary(opened, str(manifest.content["name"]))))
    if name is not None:
        typer.echo(f"page: bench report --grid {name}")
