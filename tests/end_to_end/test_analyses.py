"""What a grid asks to be found out beside scores: read, done once, and made again when it is out of date."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from bench.analyses.run_analysis import run_one_analysis
from bench.config import analyses
from bench.config.analyses import Kind, read_analyses
from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.image_caches import prepare
from bench.planning.jobs import AnalysisJob, analysis_jobs
from bench.planning.manifest import read_manifest
from bench.planning.plan import make_plan
from bench.results.cross_run_tables import stored_analyses
from bench.store.store import Store, table_facts, write_table
from harmonize.errors import ConfigError
from harmonize.progress import Progress
from reports.schemas.tables import SCHEMAS

TINY = Path(__file__).parents[2] / "grids" / "tiny.yaml"


@dataclass(frozen=True, slots=True)
class Toy:
    """Options of the analysis of these tests."""

    images: int = 5


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def count(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write one row of the `sources` table, and a line for each time it was done."""
    progress("count", 1, 1)
    row = dict.fromkeys(SCHEMAS["sources"], 0) | {"run_id": job.run.id, "n": job.analysis.options.images}
    write_table(folder / "sources.parquet", pd.DataFrame([row]))
    write_table(folder / "own.parquet", pd.DataFrame({"not": ["in the schemas"]}))


def stop(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Stop."""
    raise RuntimeError("no lungs")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"toy": Kind(f"{__name__}:count", Toy), "bad": Kind(f"{__name__}:stop", Toy)}
    monkeypatch.setattr(analyses, "kinds", lambda: known)


@pytest.mark.usefixtures("toys")
def test_all_analyses_are_done_unless_they_are_refused() -> None:
    assert [a.name for a in read_analyses({}, "g")] == ["toy", "bad"]
    assert read_analyses(False, "g") == ()
    (toy,) = read_analyses({"bad": False, "toy": {"images": 3}}, "g")
    assert toy.options == Toy(3)
    assert toy.identity == ["toy", 1, {"images": 3}]
    # a question mark leaves out the analysis of an extension that is not installed
    assert read_analyses({"bad?": False, "toy?": {"images": 3}, "heat?": {"images": 9}}, "g") == (toy,)


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"toys": True}, "did you mean 'toy'"),
        ({"toy": {"image": 3}}, "did you mean 'images'"),
        ({"toy": 3}, "a block of keys"),
        ("all", "a block of keys"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": True}, "at least 1"),
        ({"seed": 1}, "did you mean"),
    ],
)
def test_an_analysis_that_is_misspelt_is_refused_with_its_place(raw: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_analyses(raw, "grid.yaml: analyses")
    assert "grid.yaml: analyses" in caught.value.where


@pytest.mark.grid
@pytest.mark.usefixtures("toys")
def test_an_analysis_is_done_once_and_again_when_weights_options_or_images_changed(store_copy: Path) -> None:
    """When analyses are done again."""
    registry = Registry.read()
    grid = store_copy / "toy.yaml"
    grid.write_text(
        f"include: {os.path.relpath(TINY, store_copy)}\nname: tiny\nanalyses: {{toy: {{images: 7}}, bad: false}}\n"
    )
    store = Store(store_copy / "runs")
    plan = make_plan(Grid.read(str(grid), registry), registry, store, None, None, 1, "", silent)
    first, second = analysis_jobs(plan, plan.runs)
    assert not first.done
    first.begin()
    assert run_one_analysis(first, silent)
    assert first.done
    assert not second.done
    stamp = (first.folder / "sources.parquet").stat().st_mtime_ns
    assert run_one_analysis(first, silent)
    assert (first.folder / "sources.parquet").stat().st_mtime_ns == stamp
    path = store.run_dir(first.run.id) / "predictions" / "nih.parquet"
    write_table(path, pd.read_parquet(path), {**table_facts(path), "weights": "others"})
    assert not first.done


@pytest.mark.grid
@pytest.mark.usefixtures("toys")
def test_analyses_of_the_same_cohorts_at_two_sizes_have_ids_of_their_own(
    store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(analyses.kinds(), "toy", Kind(f"{__name__}:count", Toy, per_run=False))
    registry, grid = Registry.read(), store_copy / "toy.yaml"
    grid.write_text(
        f"include: {os.path.relpath(TINY, store_copy)}\nname: tiny\nanalyses: {{bad: false}}\n"
        "sweeps: [{preprocessing: [imagenet_64, imagenet_96]}]\n"
    )
    plan = make_plan(Grid.read(str(grid), registry), registry, Store(store_copy / "runs"), None, None, 1, "", silent)
    jobs = analysis_jobs(plan, plan.runs)
    assert len({job.run.geometry for job in jobs}) == len({job.id for job in jobs}) == 2
    assert all((plan.store.root / job.id) == job.folder for job in jobs)


@pytest.mark.grid
@pytest.mark.usefixtures("toys")
def test_with_one_seed_the_first_run_of_each_recipe_is_analysed(store_copy: Path) -> None:
    registry, grid = Registry.read(), store_copy / "toy.yaml"
    grid.write_text(
        f"include: {os.path.relpath(TINY, store_copy)}\nname: tiny\nanalyses: {{bad: false, seeds: 1}}\n"
        "expect: {runs: 4}\nsweeps: [{optimizer: [adamw, lion], seed: [3, 1]}]\n"
    )
    plan = make_plan(Grid.read(str(grid), registry), registry, Store(store_copy / "runs"), None, None, 1, "", silent)
    analysed = [job.run.config for job in analysis_jobs(plan, plan.runs)]
    assert sorted((config.optimizer, config.seed) for config in analysed) == [("adamw", 3), ("lion", 3)]


@pytest.mark.grid
@pytest.mark.usefixtures("toys")
def test_the_report_shows_what_is_whole_and_says_what_failed(store_copy: Path) -> None:
    from bench.planning.manifest import write_manifest

    registry = Registry.read()
    grid = store_copy / "toy.yaml"
    grid.write_text(f"include: {os.path.relpath(TINY, store_copy)}\nname: tiny\nanalyses: true\n")
    store = Store(store_copy / "runs")
    plan = make_plan(Grid.read(str(grid), registry), registry, store, None, None, 1, "", silent)
    write_manifest(plan, prepare(plan, 1, silent).caches, 0)
    for job in analysis_jobs(plan, plan.runs):
        job.begin()
        if job.analysis.name == "toy":
            run_one_analysis(job, silent)
        else:
            with pytest.raises(RuntimeError, match="no lungs"):
                run_one_analysis(job, silent)
            job.fail("Traceback\nRuntimeError: no lungs")
    manifest = read_manifest(store, "tiny")
    found = stored_analyses(manifest, [plan.runs[0].id], manifest.analysis_states())
    assert set(found) == {"sources"}
    assert found["sources"]["run_id"].tolist() == [plan.runs[0].id]
    states = {(s["name"], s["state"], s["reason"]) for s in manifest.analysis_states()}
    assert states == {("toy", "done", ""), ("bad", "failed", "RuntimeError: no lungs")}
