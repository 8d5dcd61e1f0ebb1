"""A panel: networks that learn one finding each, read as one row, which is ranked in their place."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.derived_runs import derived_runs
from bench.planning.manifest import read_manifest
from bench.planning.run import RunSpec
from bench.store.store import Store


def test_binary_runs_that_differ_in_their_finding_alone_make_one_panel_for_each_recipe(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "include: ROOT/xand-ray-smoke.yaml\nname: two\nexpect: {runs: 5}\n"
        "sweeps:\n  - {finding: [Edema, Pneumonia], seed: [0, 1]}\n  - {finding: Edema, seed: 2}\n".replace(
            "ROOT", "../" * len(tmp_path.parts) + str(Path(__file__).parents[2] / "grids").lstrip("/")
        )
    )
    grid = Grid.read(str(path), Registry.read())
    runs = [RunSpec.of(config, Registry.read(), "internal", None) for config in grid.configs]
    panels = derived_runs(runs, (), ())
    assert [panel.kind for panel in panels] == ["panel", "panel"]
    for seed, panel in enumerate(panels):
        assert {(run.config.finding, run.config.seed) for run in panel.runs} == {("Edema", seed), ("Pneumonia", seed)}
        assert (panel.config.task, len(panel.config.findings)) == ("multilabel", 9)


def internal_scores(store: Store, run_id: str, finding: str) -> pd.DataFrame:
    scores = pd.read_parquet(store.root / "scores" / run_id / "scores.parquet")
    chosen = scores[(scores["finding"] == finding) & (scores["split"] == "test")]
    return chosen.drop(columns="run_id").reset_index(drop=True)


@pytest.mark.grid
def test_a_panel_repeats_the_logits_of_its_networks_and_is_ranked_for_them(small: Callable[[str], Path]) -> None:
    folder = small("xand-ray")
    store = Store(folder / "runs")
    manifest = read_manifest(store, "xand-ray-smoke")
    (panel,) = manifest.derived
    assert manifest.ranked == [panel]
    whole = pd.read_parquet(store.run_dir(panel.id) / "predictions" / "padchest.parquet").set_index("image_id")
    for run in manifest.runs:
        alone = pd.read_parquet(store.run_dir(run.id) / "predictions" / "padchest.parquet").set_index("image_id")
        finding = run.config.finding
        np.testing.assert_array_equal(whole[finding], alone.loc[whole.index, finding])
        ours, theirs = (internal_scores(store, run_id, finding) for run_id in (panel.id, run.id))
        pd.testing.assert_frame_equal(ours, theirs)
    report = folder / "runs" / "report" / "xand-ray-smoke"
    assert list(pd.read_parquet(report / "tables" / "ranks.parquet")["run_id"]) == [panel.id]
    runs = pd.read_parquet(report / "tables" / "runs.parquet").set_index("run_id")
    assert runs.loc[panel.id, "what"] == "2 networks, one finding each"
    assert all("part of a panel" in runs.loc[run.id, "reason"] for run in manifest.runs)
