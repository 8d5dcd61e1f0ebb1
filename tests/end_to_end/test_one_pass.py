"""Runs that share images are predicted with in one pass over them: the same bytes as of a pass each."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from disturbed import WITH_IMAGES, assert_same_bytes, with_parts
from safetensors.torch import load_file, save_file

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.executors.local import Local
from bench.inputs.batches import BatchReader
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.models.predict import PredictionRequest, predict, predict_many
from bench.planning.image_caches import DecodedImages, prepare
from bench.planning.jobs import PassJob
from bench.planning.plan import Plan, make_plan
from bench.planning.run import RunSpec
from bench.runs.run_one import pass_one
from bench.runs.shared_passes import passes
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import lease
from bench.store.store import Store

Command = Callable[..., "subprocess.CompletedProcess[str]"]
ALL = ("run", "--grid", "tiny", "--workers", "1")
CPU = torch.device("cpu")
SAID = "and 1 more predicted in one pass over the images"


def runs(folder: Path) -> list[Path]:
    store = Store(folder / "runs")
    return [store.run_dir(run_id) for run_id in store.run_ids()]


def contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.glob("*/*") if p.suffix in {".parquet", ".npz"}}


class Counting(BatchReader):
    """A feed that counts the images it gives."""

    given = 0

    def __call__(self, rows: np.ndarray) -> torch.Tensor:
        self.given += len(rows)
        return super().__call__(rows)


def planned(folder: Path) -> Plan:
    """Return the plan of the finished grid."""
    registry = Registry.read(None)
    grid = Grid.read("tiny", registry)
    plan = make_plan(grid, registry, Store.open(folder / "runs"), None, None, 1, "", lambda *_: None)
    prepare(plan, 1, lambda *_: None)
    return plan


class Rude(torch.nn.Module):
    """A network that changes its input in place."""

    def outputs_and_features(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sums = x_NCHW.sub_(3).mean((2, 3))
        return sums, sums

    def findings(self, output_NO: torch.Tensor) -> torch.Tensor:
        return output_NO


def test_several_networks_read_each_image_once_and_say_what_each_says_alone() -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (150, 32, 32), dtype=np.uint8)
    rows, kept = draw.permutation(150)[:130], np.array([3, 64, 129])
    networks = [build("bench.models.se_resnet:se_resnet", {}, 3, 1, seed=seed) for seed in range(3)]
    networks += [build("bench.models.se_resnet:se_resnet", {}, 3, 3, seed=3)]
    ways = [["minmax", "imagenet"], ["minmax", "imagenet"], ["zscore"], ["imagenet"]]
    tones = [
        Normalizer(ops, n.mean, n.std, channels) for ops, n, channels in zip(ways, networks, (1, 1, 1, 3), strict=True)
    ]
    places = [kept, None, kept[:1], kept]
    asked = [PredictionRequest(*each) for each in zip(networks, tones, places, strict=True)]
    asked.insert(0, PredictionRequest(Rude(), tones[0]))  # type: ignore[arg-type]
    reader = Counting(images, CPU)
    together = predict_many(asked, reader, rows, CPU)
    assert reader.given == len(rows)
    for each, (logit_NK, feature_ND) in zip(asked, together, strict=True):
        alone = predict(
            each.network, each.normalizer, BatchReader(images, CPU), rows, CPU, features_of=each.features_of
        )
        np.testing.assert_array_equal(logit_NK, alone[0])
        np.testing.assert_array_equal(feature_ND, alone[1])
    assert not np.array_equal(together[1][0], together[2][0])


@pytest.mark.parametrize("size", [64, 7])
def test_when_memory_runs_out_every_network_gets_fewer_images_at_a_time(size: int) -> None:
    class Small(torch.nn.Module):
        mean = std = (0.5, 0.5, 0.5)

        def outputs_and_features(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if len(x_NCHW) > size:
                raise torch.OutOfMemoryError
            sums = x_NCHW.sum((2, 3))
            return sums, sums

        def findings(self, output_NO: torch.Tensor) -> torch.Tensor:
            return output_NO

    images = np.random.default_rng(1).integers(0, 256, (70, 8, 8), dtype=np.uint8)
    normalizer = Normalizer(["minmax"], (0.0,) * 3, (1.0,) * 3, 1)
    wide = build("bench.models.se_resnet:se_resnet", {}, 2, 1, seed=0)
    asked = [PredictionRequest(wide, normalizer), PredictionRequest(Small(), normalizer)]  # type: ignore[arg-type]
    logits = [logit for logit, _ in predict_many(asked, BatchReader(images, CPU), np.arange(70), CPU)]
    expected = normalizer(torch.from_numpy(images)).sum((2, 3)).numpy()
    np.testing.assert_allclose(logits[1], expected, rtol=1e-6)
    assert len(logits[0]) == 70


@pytest.mark.grid
def test_a_cohort_that_finished_runs_lack_is_read_once_for_all_of_them(store_copy: Path, command: Command) -> None:
    before = {run.name: contents(run) for run in runs(store_copy)}
    for run in runs(store_copy):
        (run / "predictions" / "brax.parquet").unlink()
        (run / "features" / "brax.npz").unlink()
    said = command(*ALL, cwd=store_copy)
    assert SAID in said.stderr
    assert "2 of 2 runs done" in said.stdout
    assert {run.name: contents(run) for run in runs(store_copy)} == before
    assert not list((store_copy / "runs" / "passes").iterdir()), "its log is of use only when it failed"
    assert SAID not in command(*ALL, cwd=store_copy).stderr


@pytest.mark.grid
def test_a_whole_grid_with_one_pass_is_the_same_bytes(finished: Path, tmp_path: Path, command: Command) -> None:
    folder = with_parts(finished, tmp_path / "once", WITH_IMAGES)
    said = command(*ALL, "--one-pass", cwd=folder)
    assert said.stderr.count("seresnet_tiny seed 0 trained in") == 1
    assert SAID in said.stderr
    assert "2 of 2 runs done (2 now)" in said.stdout
    assert_same_bytes(finished, folder)


@pytest.mark.grid
def test_what_is_wrong_with_one_run_is_no_harm_to_the_others(store_copy: Path, command: Command) -> None:
    bad, good = runs(store_copy)
    expected = contents(good)
    for run in (bad, good):
        (run / "predictions" / "brax.parquet").unlink()
    weights = load_file(bad / "model.safetensors")
    save_file(
        {k: v * float("nan") if v.is_floating_point() else v for k, v in weights.items()}, bad / "model.safetensors"
    )
    (bad / "checksums.json").unlink()
    said = command(*ALL, cwd=store_copy, code=None)
    assert SAID in said.stderr
    assert "1 of 2 runs done" in said.stdout
    assert "logits on chexpert are not finite numbers" in said.stdout
    assert contents(good) == expected


@pytest.mark.grid
def test_a_run_that_another_process_holds_is_left_out(store_copy: Path, command: Command) -> None:
    theirs, mine = runs(store_copy)
    for run in (theirs, mine):
        (run / "predictions" / "brax.parquet").unlink()
    with lease(theirs) as held:
        assert held
        said = command(*ALL, cwd=store_copy, code=None)
    assert "1 held by another process" in said.stdout
    assert (mine / "predictions" / "brax.parquet").is_file()
    assert not (theirs / "predictions" / "brax.parquet").exists()


@pytest.mark.grid
def test_a_pass_that_is_killed_leaves_finished_runs_finished_until_it_writes(
    store_copy: Path, command: Command
) -> None:
    expected = {run.name: contents(run) for run in runs(store_copy)}
    for run in runs(store_copy):
        for name in ("brax", "vindr"):
            (run / "predictions" / f"{name}.parquet").unlink()
    plan = planned(store_copy)
    job = PassJob(plan.runs, plan.store, plan.refs)

    def killed(what: str, done: int, total: int) -> None:
        if what == "predict vindr":
            assert all((run / "DONE").is_file() and CheckedFolder(run).checksums() for run in runs(store_copy))
        if what == "predict brax":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pass_one(job, killed)
    for run in runs(store_copy):
        known = CheckedFolder(run).checksums()
        assert known is not None
        assert not (run / "DONE").exists()
        assert "predictions/vindr.parquet" not in known, "it was written anew"
        assert "predictions/mimic.parquet" in known, "what was not is still known"
        assert not (run / "LOCK").exists()
    assert "2 of 2 runs done" in command(*ALL, cwd=store_copy).stdout
    assert {run.name: contents(run) for run in runs(store_copy)} == expected


@pytest.mark.grid
def test_a_damaged_run_is_left_to_its_own_job_which_says_so(store_copy: Path, command: Command) -> None:
    bad, good = runs(store_copy)
    for run in (bad, good):
        (run / "predictions" / "brax.parquet").unlink()
    weights = bad / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    plan = planned(store_copy)
    assert pass_one(PassJob(plan.runs, plan.store, plan.refs), lambda *_: None)
    assert (good / "predictions" / "brax.parquet").is_file()
    assert (bad / "DONE").is_file(), "nothing of it was touched"
    command(*ALL, cwd=store_copy)
    assert "model.safetensors differs from its checksum" in (bad / "log.txt").read_text()
    assert (bad / "DONE").is_file()


@pytest.mark.grid
@pytest.mark.parametrize(("places", "sizes"), [(1, [5]), (2, [2, 3]), (4, [1, 1, 1, 2]), (5, []), (9, [])])
def test_runs_are_shared_out_evenly_and_nobody_waits(
    places: int, sizes: list[int], store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(store_copy)
    many = [replace(plan.runs[0], id=f"{i:012}") for i in range(5)]
    monkeypatch.setattr(RunSpec, "is_trained", lambda *_: True)
    monkeypatch.setattr(DecodedImages, "needs_predictions", lambda *_: True)
    jobs = passes(DecodedImages(plan, {}), many, places)
    assert [len(job.runs) for job in jobs] == sizes
    assert [run.id for job in jobs for run in job.runs] == [run.id for run in many][: sum(sizes)]
    monkeypatch.setattr("bench.runs.shared_passes.MOST_RUNS", 2)
    assert max([len(job.runs) for job in passes(DecodedImages(plan, {}), many, 1)]) == 2


def test_places_that_would_be_idle_get_passes_of_their_own() -> None:
    assert Local("cpu", 4, 2).side_by_side(1) == 2
    assert Local("cpu", 4).side_by_side(2) == 2
