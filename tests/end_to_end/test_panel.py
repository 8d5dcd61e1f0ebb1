"""A panel: networks that learn one finding each, read as one row, which is ranked in their place."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.derived_runs import derived_runs
from bench.planning.manifest import read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.run import RunSpec
from bench.runs.stored_run import load
from bench.store.store import Store
from harmonize.errors import ConfigError


def test_binary_runs_that_differ_in_their_finding_alone_make_one_panel_for_each_recipe(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "include: ROOT/xand-ray-smoke.yaml\nname: two\nexpect: {runs: 5}\nchoose: ''\n"
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
    first, second, chosen = manifest.derived
    assert manifest.ranked == [first, second, chosen]
    report = folder / "runs" / "report" / "xand-ray-smoke" / "tables"
    assert set(pd.read_parquet(report / "ranks.parquet")["run_id"]) == {first.id, second.id, chosen.id}
    runs = pd.read_parquet(report / "runs.parquet").set_index("run_id")
    for panel, source in ((first, "chexbert"), (second, "visualchexbert")):
        assert panel.config.label_source == source
        assert runs.loc[panel.id, "what"] == f"label_source {source} · 2 networks, one finding each"
        repeats(store, panel, [run for run in manifest.runs if run.id in panel.of])
    assert all("part of a panel" in runs.loc[run.id, "reason"] for run in manifest.runs)


@pytest.mark.grid
def test_a_row_has_the_label_source_that_the_official_validation_images_choose(small: Callable[[str], Path]) -> None:
    store = Store(small("xand-ray") / "runs")
    manifest = read_manifest(store, "xand-ray-smoke")
    chosen = manifest.derived[-1]
    best: dict[str, tuple[float, PlannedRun]] = {}
    for run in manifest.runs:
        history = pd.read_parquet(store.run_dir(run.id) / "history.parquet")
        value = history["expert_valid_auroc"].max()  # the selected epoch is the best
        if value > best.get(run.config.finding, (-1.0, run))[0]:
            best[run.config.finding] = value, run
    repeats(store, chosen, [run for _, run in best.values()])
    runs = pd.read_parquet(store.root / "report" / "xand-ray-smoke" / "tables" / "runs.parquet").set_index("run_id")
    for finding, (_, run) in best.items():
        said = re.search(rf"\b{run.config.label_source} for ([^;·]*)", runs.loc[chosen.id, "what"])
        assert said
        assert finding in said[1]
    assert {network.id for network in load(store, chosen.id).networks} == {run.id for _, run in best.values()}
    params = [
        json.loads((store.run_dir(i) / "cost.json").read_text())["params"]
        for i in (chosen.id, best["Cardiomegaly"][1].id)
    ]
    assert params[0] == 2 * params[1]


@pytest.mark.grid
def test_the_page_has_the_peak_test_auroc_of_each_run(small: Callable[[str], Path]) -> None:
    store = Store(small("xand-ray") / "runs")
    report = store.root / "report" / "xand-ray-smoke"
    peaks = json.loads((report / "tables" / "meta.json").read_text())["peaks"]
    runs = read_manifest(store, "xand-ray-smoke").runs
    assert [peak["split"] for peak in peaks] == ["test", "expert_test"] * len(runs)
    for i, run in enumerate(runs):
        history = pd.read_parquet(store.run_dir(run.id) / "history.parquet")
        assert peaks[2 * i + 1]["peak"] == history["expert_test_auroc"].max() >= peaks[2 * i + 1]["selected"]
    assert "Peak test AUROC" in (report / "leaderboard.html").read_text()


def test_a_choice_needs_runs_of_one_finding_and_several_sources(tmp_path: Path) -> None:
    start = f"include: {Path(__file__).parents[2] / 'grids' / 'xand-ray-smoke.yaml'}\nname: two\nexpect: {{}}\n"
    for text, what in (
        ("sweeps: [{finding: [Edema, Pneumonia]}]\n", "all runs have the same label source"),
        ("choose: loss\n", "choose is 'loss'"),
        ("sweeps: [{task: multilabel, finding: '', label_source: [default, chexbert]}]\n", "learn one finding each"),
    ):
        (tmp_path / "two.yaml").write_text(start + text)
        with pytest.raises(ConfigError, match=what):
            Grid.read(str(tmp_path / "two.yaml"), Registry.read())


def repeats(store: Store, panel: PlannedRun, networks: list[PlannedRun]) -> None:
    """Check that the logits and scores of a panel are those of its networks."""
    whole = pd.read_parquet(store.run_dir(panel.id) / "predictions" / "padchest.parquet").set_index("image_id")
    assert len(networks) == 2
    for run in networks:
        alone = pd.read_parquet(store.run_dir(run.id) / "predictions" / "padchest.parquet").set_index("image_id")
        finding = run.config.finding
        np.testing.assert_array_equal(whole[finding], alone.loc[whole.index, finding])
        ours, theirs = (internal_scores(store, run_id, finding) for run_id in (panel.id, run.id))
        pd.testing.assert_frame_equal(ours, theirs)
