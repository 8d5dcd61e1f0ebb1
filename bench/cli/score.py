"""`bench score`: score the runs of a grid again, with the same or other settings."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, QuietOption, StoredGridOption, StoreOption, examples
from harmonize.errors import ConfigError

SCORE_EXAMPLES = examples(
    "bench score --store runs --grid demo",
    "bench score --grid demo --as demo-strict --mapping strict",
    'bench score --grid demo --as demo-edema --findings "Edema,Pneumonia"',
    "bench score --grid demo --as demo-20 --min-count 20 --threshold youden",
)


def score(
    grid: StoredGridOption = None,
    store: StoreOption = Path("runs"),
    name: Annotated[
        str | None, typer.Option("--as", help="Keep the old scores; save the new ones as a grid with this name.")
    ] = None,
    mapping: Annotated[str | None, typer.Option("--mapping", help="Label mapping: default, strict or broad.")] = None,
    findings: Annotated[
        str | None, typer.Option("--findings", help='Only these findings, for example "Edema,Pneumonia".')
    ] = None,
    min_count: Annotated[
        int | None, typer.Option("--min-count", help="Minimum number of patients with and without a finding.")
    ] = None,
    threshold: Annotated[
        str | None, typer.Option("--threshold", help="Threshold rule: f1_max, youden, sens_90 or f1_grid.")
    ] = None,
    registry: Annotated[Path | None, typer.Option("--registry", help="Use the metrics of this registry.yaml.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score the runs of a grid again, without images.

    A different label mapping, threshold or set of findings needs --as.
    """
    from bench.cli.progress_bars import choose_display
    from bench.planning.manifest import read_manifest
    from bench.results.rescore import Change, rescored
    from bench.results.score_runs import score_all
    from bench.results.summary import summary
    from bench.store.store import Store

    opened = Store.open(store, create=False)
    manifest = read_manifest(opened, grid)
    chosen = tuple(word.strip() for word in (findings or "").split(",") if word.strip())
    if findings is not None and not chosen:
        raise ConfigError("--findings names no finding", "--findings", 'name findings: --findings "Edema,Pneumonia"')
    change = Change(mapping, chosen, min_count, threshold, registry)
    if name is None and not change.empty:
        raise ConfigError(
            "other settings would overwrite the first scores",
            "bench score",
            "store the new scores under a name: --as NAME",
        )
    if name is not None:
        manifest = rescored(manifest, name, change, " ".join(["bench", *sys.argv[1:]]))
    with choose_display(quiet) as display:
        scored = score_all(manifest, display.progress, say=display.say)
    if as_json:
        typer.echo(json.dumps({"grid": manifest.content["name"], "scored": list(scored)}))
        return
    resamples = f"{manifest.settings.num_resamples:,} bootstrap samples of patients"
    typer.echo(f"scored {len(scored)} runs x {len(manifest.cohorts)} cohorts ({resamples})")
    typer.echo("\n".join(summary(manifest)))
    if name is not None:
        typer.echo(f"page: bench report --grid {name}")
