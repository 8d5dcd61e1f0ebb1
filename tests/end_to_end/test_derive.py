"""TTA and ensembles: means of probabilities, from finished runs, without training."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.derived_runs import DerivedRun, derived_runs, logit_of_mean
from bench.planning.image_caches import prepare
from bench.planning.jobs import DerivedJob
from bench.planning.plan import Plan, make_plan
from bench.runs.make_derived import cost_of, derive_one, view_transform
from bench.store.store import Store, short_hash
from harmonize.errors import ConfigError, StoreError
from reports.formatting import interval, signed
from tests.nonempty import nonempty

Command = Callable[..., Any]
LOGITS = arrays(np.float32, (3, 4, 2), elements=st.floats(-12, 12, width=32))


@given(LOGITS)
def test_the_mean_is_of_probabilities_not_of_logits(logit_MNK: np.ndarray) -> None:
    expected = logit(expit(logit_MNK.astype(np.float64)).mean(0))
    np.testing.assert_allclose(logit_of_mean(logit_MNK), expected, rtol=1e-5, atol=1e-5)


@given(arrays(np.float32, (1, 5, 3), elements=st.floats(-80, 80, width=32)))
def test_the_mean_of_one_is_that_one(logit_MNK: np.ndarray) -> None:
    np.testing.assert_allclose(logit_of_mean(logit_MNK), logit_MNK[0], rtol=1e-6, atol=1e-12)


def test_a_certain_network_gives_finite_logits() -> None:
    found = logit_of_mean(np.array([[[300.0, -90.0]], [[250.0, -3e4]]]))
    assert np.isfinite(found).all()
    assert found[0, 0] > 200


def test_four_views_are_the_image_its_mirror_and_two_turns() -> None:
    x_N1HW = torch.rand(2, 1, 32, 32)
    assert torch.equal(view_transform((False, 0.0))(x_N1HW), x_N1HW)
    assert torch.equal(view_transform((True, 0.0))(x_N1HW), x_N1HW.flip(3))
    left, right = view_transform((False, 7.0))(x_N1HW), view_transform((False, -7.0))(x_N1HW)
    torch.testing.assert_close(left.flip(3), view_transform((False, -7.0))(x_N1HW.flip(3)))
    assert left[0, 0, 0, 0] == right[0, 0, 0, 0] == 0  # black comes in at the corners
    blob = torch.zeros(1, 1, 65, 65)
    blob[0, 0, 30:35, 60:63] = 1  # right of the centre: anticlockwise lifts it by 29 sin 7° = 3.5 rows
    rows = view_transform((False, 7.0))(blob)[0, 0].sum(1)
    assert (rows * torch.arange(65)).sum() / rows.sum() == pytest.approx(32 - 29 * np.sin(np.deg2rad(7)), abs=0.2)


def test_costs_add_up_and_four_views_are_four_passes() -> None:
    one = {"params": 10, "trainable_params": 8, "macs": 100, "flops": 200, "not_counted": ["silu 1.6 %"], "image_size": 64,
           "images_per_second": 40.0, "throughput_device": "cpu", "peak_memory_bytes": 5}  # fmt: skip
    other = {**one, "images_per_second": 10.0, "peak_memory_bytes": 7, "image_size": 96}
    both = cost_of([one, other], 0)
    assert (both["params"], both["trainable_params"], both["macs"], both["flops"]) == (20, 16, 200, 400)
    assert both["images_per_second"] == pytest.approx(8.0)
    assert (both["peak_memory_bytes"], both["image_size"]) == (7, 96)
    views = cost_of([one], 4)
    assert (views["params"], views["macs"], views["images_per_second"]) == (10, 400, 10.0)
    assert cost_of([one, {**other, "throughput_device": "gpu"}], 0)["images_per_second"] is None


GRID = """
include: {tiny}
name: made
tta: [three_views]
ensembles:
  - {{name: both, of: {{seed: [0, 1]}}}}
  - {{name: alone, of: {{seed: 0}}}}
  - {{name: both with views, tta: three_views}}
"""
TINY = Path(__file__).parents[2] / "grids" / "tiny.yaml"


def nothing(what: str, done: int, total: int) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def made(finished: Path, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A folder whose store holds the tiny grid, and what is derived from it."""
    folder = tmp_path_factory.mktemp("made") / "x"
    shutil.copytree(finished, folder, symlinks=True)
    (folder / "made.yaml").write_text(GRID.format(tiny=os.path.relpath(TINY, folder)))
    command("run", "--grid", "made.yaml", "--quiet", cwd=folder)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def plan_of(folder: Path) -> Plan:
    registry = Registry.read()
    (folder / "made.yaml").write_text(GRID.format(tiny=os.path.relpath(TINY, folder)))
    grid = Grid.read(str(folder / "made.yaml"), registry)
    plan = make_plan(grid, registry, Store(folder / "runs"), None, None, 1, "", nothing)
    prepare(plan, 1, nothing)
    return plan


def named(plan: Plan, name: str) -> DerivedRun:
    return next(d for d in plan.derived if d.name == name)


def scores(folder: Path, run_id: str) -> dict[str, pd.DataFrame]:
    at = folder / "runs" / "scores" / run_id
    return {p.stem: pd.read_parquet(p).drop(columns="run_id") for p in at.glob("*.parquet") if "source" not in p.stem}


@pytest.mark.grid
def test_an_ensemble_of_one_run_equals_it(made: Path) -> None:
    alone = named(plan_of(made), "alone")
    expected = scores(made, alone.sources[0])
    for name, frame in nonempty(scores(made, alone.id).items()):
        pd.testing.assert_frame_equal(frame, expected[name])


@pytest.mark.grid
def test_views_that_are_the_image_itself_equal_the_run(copy: Path) -> None:
    plan = plan_of(copy)
    own = replace(plan.derived[0], id="", views=((False, 0.0), (False, 0.0)), document=b'"two identical views"')
    own = replace(own, id=short_hash(own.document))
    assert derive_one(DerivedJob(own, plan.store, plan.refs, "cpu"), nothing)
    for ref in plan.refs:
        once, twice = (
            pd.read_parquet(plan.store.run_dir(i) / "predictions" / f"{ref.name}.parquet").set_index("image_id")
            for i in (own.sources[0], own.id)
        )
        pd.testing.assert_frame_equal(once, twice, rtol=1e-5, atol=1e-6)


@pytest.mark.grid
def test_an_ensemble_lies_between_its_runs_and_the_page_ranks_none_of_it(made: Path) -> None:
    plan = plan_of(made)
    both = named(plan, "both")
    first, second, mean = (
        pd.read_parquet(plan.store.run_dir(i) / "predictions" / "nih.parquet").set_index("image_id")
        for i in (*both.sources, both.id)
    )
    assert ((mean <= np.maximum(first, second) + 1e-5) & (mean >= np.minimum(first, second) - 1e-5)).all(axis=None)
    tables = made / "runs" / "report" / "made" / "tables"
    kinds = pd.read_parquet(tables / "runs.parquet").set_index("run_id")["kind"]
    assert kinds.value_counts().to_dict() == {"ensemble": 3, "run": 2, "tta": 2, "recipe": 1}
    assert set(kinds[pd.read_parquet(tables / "ranks.parquet")["run_id"]]) == {"recipe"}
    scored = pd.read_parquet(tables / "scores.parquet")
    assert set(scored["run_id"]) == set(kinds.index)
    macro = scored[(scored["metric"] == "auroc") & (scored["dataset"] == "external") & (scored["finding"] == "macro")]
    value = macro.set_index("run_id")["value"]
    changes = pd.read_parquet(tables / "derived.parquet").set_index("run_id")
    assert set(changes.index) == {run.id for run in plan.derived} - {named(plan, "alone").id}
    found = changes.loc[both.id]
    assert found["value"] == pytest.approx(value[both.id] - value[list(both.sources)].mean())
    assert found["low"] < found["value"] < found["high"]
    page = (made / "runs" / "report" / "made" / "leaderboard.html").read_text()
    assert f"{signed(found['value'])} {interval(found['low'], found['high'])} against its runs (" in page
    assert pd.read_parquet(tables / "costs.parquet").set_index("run_id").loc[both.id, "params"] == 2 * 311993


@pytest.mark.grid
def test_what_was_lost_of_a_derived_run_is_made_again_to_the_same_bytes_and_nothing_trains(copy: Path) -> None:
    plan = plan_of(copy)
    store, cohorts = plan.store, {ref.name: ref.id for ref in plan.refs}
    for derived in (plan.derived[0], named(plan, "both")):
        folder = store.run_dir(derived.id)
        lost, kept = folder / "predictions" / "nih.parquet", folder / "predictions" / "mimic.parquet"
        before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
        models = {run.id: (store.run_dir(run.id) / "model.safetensors").stat().st_mtime_ns for run in derived.runs}
        assert not derived.is_incomplete(store, cohorts)
        lost.unlink()
        (folder / "DONE").unlink()  # as a kill between two cohorts leaves it
        (folder / "cost.json").unlink()
        assert derived.is_incomplete(store, cohorts)
        assert derive_one(DerivedJob(derived, store, plan.refs, "cpu"), nothing)
        assert not derived.is_incomplete(store, cohorts)
        assert lost.read_bytes() == before
        assert kept.stat().st_mtime_ns == stamp
        assert models == {
            run.id: (store.run_dir(run.id) / "model.safetensors").stat().st_mtime_ns for run in derived.runs
        }


@pytest.mark.grid
def test_a_derived_run_is_stale_when_one_of_its_runs_predicts_anew(copy: Path) -> None:
    from bench.store.store import table_facts, write_table

    plan = plan_of(copy)
    both, cohorts = named(plan, "both"), {ref.name: ref.id for ref in plan.refs}
    path = plan.store.run_dir(both.sources[1]) / "predictions" / "brax.parquet"
    write_table(path, pd.read_parquet(path), {**table_facts(path), "fingerprint": "other images"})
    assert both.is_incomplete(plan.store, cohorts)
    assert (
        not named(plan, "alone").is_incomplete(plan.store, cohorts) or both.sources[1] in named(plan, "alone").sources
    )


@pytest.mark.grid
def test_an_ensemble_of_a_failed_run_is_listed_with_the_reason_and_not_made(copy: Path, here: Command) -> None:
    plan = plan_of(copy)
    both, alone = named(plan, "both"), named(plan, "alone")
    broken = next(s for s in both.sources if s not in alone.sources)
    (plan.store.run_dir(broken) / "DONE").unlink()
    plan.store.fail(broken, "TrainingError: the loss was not finite")
    assert (
        plan.store.first_unfinished(both.sources)
        == f"needs run {broken}, which failed: TrainingError: the loss was not finite"
    )
    with pytest.raises(StoreError, match="needs run"):
        derive_one(DerivedJob(both, plan.store, plan.refs, "cpu"), nothing)
    here("report", "--grid", "made", "--quiet", cwd=copy)
    report = copy / "runs" / "report" / "made"
    listed = pd.read_parquet(report / "tables" / "runs.parquet").set_index("run_id")
    assert listed.loc[both.id, "reason"].startswith(f"needs run {broken}")
    assert listed.loc[alone.id, "reason"] == ""
    assert f"needs run {broken}" in (report / "leaderboard.html").read_text()


@pytest.mark.grid
def test_a_dry_run_lists_what_is_derived_and_a_finished_grid_makes_nothing_again(copy: Path, here: Command) -> None:
    (copy / "made.yaml").write_text(GRID.format(tiny=os.path.relpath(TINY, copy)))
    told = here("run", "--grid", "made.yaml", "--dry-run", "--quiet", cwd=copy).stdout
    assert told.count("  tta ") == 2
    assert told.count("  ensemble ") == 3
    listed = json.loads(here("run", "--grid", "made.yaml", "--dry-run", "--quiet", "--json", cwd=copy).stdout)
    assert [row.get("kind", "run") for row in listed].count("ensemble") == 3


@pytest.mark.grid
def test_only_takes_what_derives_from_the_chosen_runs_or_the_runs_that_the_chosen_derives_from(made: Path) -> None:
    plan = plan_of(made)
    runs, derived = plan.select(plan.runs[0].id)
    assert [r.id for r in runs] == [plan.runs[0].id]
    assert {d.name for d in derived} == {"three_views", "alone"}
    runs, _ = plan.select(named(plan, "both with views").id)
    assert len(runs) == 2


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.read()


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("tta: [five_views]\n", "unknown TTA 'five_views'", "tta"),
        ("tta: [four_views]\n", "mirrors images", "tta"),
        ("tta: three_views\n", "must be a list", "tta"),
        ("tta: [three_views, three_views]\n", "different", "tta"),
        ("ensembles: {name: x}\n", "must be a list", "ensembles"),
        ("ensembles: [{of: {seed: 0}}]\n", "name is missing", "ensembles[0]"),
        ("ensembles: [{name: x, of: {seed: 7}}]\n", "no run of the grid meets", "ensembles[0].of"),
        ("ensembles: [{name: x, of: {sed: 0}}]\n", "unknown key 'sed'", "ensembles[0].of"),
        ("ensembles: [{name: x, whom: {seed: 0}}]\n", "unknown key 'whom'", "ensembles[0]"),
        ("ensembles: [{name: x, mean: logit}]\n", "one of probability", "ensembles[0].mean"),
        ("ensembles: [{name: x, tta: three_views}]\n", "has no TTA 'three_views'", "ensembles[0].tta"),
        ("ensembles: [{name: x}, {name: x, of: {seed: 0}}]\n", "two ensembles", "ensembles[1].name"),
        ("ensembles: [{name: x}, {name: y, of: {seed: [1, 0]}}]\n", "the same runs", "ensembles[1]"),
        ("base: {resample: split}\nensembles: [{name: x}]\n", "different validation splits", "ensembles[0].of"),
        (
            "sweeps: [{task: [binary], finding: [Edema, Pneumonia]}]\nensembles: [{name: x}]\n",
            "must have the same findings",
            "ensembles[0].of",
        ),
        (
            "evaluate_on: []\nbase: {train_on: [chexpert, nih]}\nleave_one_out: true\nexpect: {runs: 4}\nensembles: [{name: x}]\n",
            "leave out different hospitals",
            "ensembles[0].of",
        ),
    ],
)
def test_a_wrong_wish_is_refused_with_its_place(
    text: str, what: str, where: str, tmp_path: Path, registry: Registry
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(f"include: {os.path.relpath(TINY, tmp_path)}\n{text}")
    with pytest.raises(ConfigError) as error:
        Grid.read(str(path), registry)
    assert what in error.value.what
    assert where in error.value.where


def test_an_id_says_what_is_averaged_and_not_how_it_is_called(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "grid.yaml"
    start = f"include: {os.path.relpath(TINY, tmp_path)}\nbase: {{augmentation: light}}\n"
    path.write_text(start + "tta: [three_views]\nensembles: [{name: x}, {name: views, tta: three_views}]\n")
    grid = Grid.read(str(path), registry)
    from bench.planning.run import RunSpec

    runs = [RunSpec.of(config, registry, "internal", None) for config in grid.configs]
    first = derived_runs(runs, grid.tta, grid.ensembles)
    renamed = [replace(e, name=e.name + "!") for e in grid.ensembles]
    assert [d.id for d in derived_runs(runs[::-1], grid.tta, renamed)][2:] == [d.id for d in first][2:]
    assert len({d.id for d in first}) == 4
    assert first[3].sources == tuple(sorted(d.id for d in first[:2]))
