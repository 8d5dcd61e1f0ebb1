"""Training: epochs chosen at the internal hospital, and a run that was stopped ends as one that was not."""

import itertools
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.config.registry import Registry
from bench.config.run_config import RunConfig, Schedule
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples, probe_rows
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.models.predict import predict, weights_sha256
from bench.planning.run import RunSpec
from bench.training import TrainingError, checkpoint
from bench.training.checkpoint import FORMAT, load_checkpoint, write_checkpoint
from bench.training.fit import TrainingResult, fit, validate

REGISTRY = Registry.read()
CPU = torch.device("cpu")
K = 9


def a_run(optimizer: str = "adamw", **changes: object) -> RunSpec:
    schedule = changes.pop("schedule", Schedule(epochs=3, batch_size=8, lr=1e-3))
    if REGISTRY.sections["optimizers"][optimizer].facts.get("schedule"):
        schedule = replace(schedule, kind="constant")
    changes = {"loss": "bce", "uncertainty": "u_ignore", "augmentation": "light"} | changes
    config = RunConfig(
        architecture="seresnet_tiny", optimizer=optimizer,
        preprocessing="imagenet_64", channels=1, schedule=schedule, **changes,
    )  # fmt: skip
    return RunSpec.of(config, REGISTRY, "internal", None)


def a_cohort(n: int = 40, seed: int = 0) -> tuple[BatchReader, Examples, Examples]:
    """Images whose brightness is the first finding; the other findings are noise."""
    draw = np.random.default_rng(seed)
    state = draw.choice(np.array([1, 0, -1, -2, -3], np.int8), (n, K))
    state[:, 0] = np.arange(n) % 2
    images = draw.integers(0, 120, (n, 32, 32)).astype(np.uint8) + (state[:, 0, None, None] * 100).astype(np.uint8)
    ids = np.array([f"image{i}" for i in range(n)], object)
    examples = [
        Examples(ids[part], ids[part], np.flatnonzero(part), state[part])
        for part in (np.arange(n) < 28, np.arange(n) >= 28)
    ]
    return BatchReader(images, CPU), examples[0], examples[1]


def train(run: RunSpec, last: Path, stop_at: int | None = None) -> TrainingResult:
    torch.set_num_threads(1)
    reader, internal, val = a_cohort()
    watched = dict.fromkeys(run.config.schedule.watched, val)
    network = build(run.entries["architecture"].use, run.entries["architecture"].options, K, 1, None, 0)

    def progress(what: str, done: int, total: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    return fit(
        run,
        network,
        Normalizer(["imagenet"], network.mean, network.std, 1),
        reader,
        internal,
        watched,
        CPU,
        last,
        progress,
    )


EMA = {"optimizer": "sgd", "schedule": Schedule(epochs=3, batch_size=8, lr=1e-3, ema=0.9, freeze_epochs=1)}


@pytest.mark.parametrize("steps", [0, 1], ids=["end of an epoch", "within an epoch"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"optimizer": name}, marks=[] if name in {"adamw", "sam", "schedulefree"} else pytest.mark.slow)
        for name in REGISTRY.sections["optimizers"]
    ]
    + [EMA],
    ids=[*REGISTRY.sections["optimizers"], "ema"],
)
def test_a_run_that_was_stopped_and_went_on_ends_with_the_same_bits(
    options: dict[str, Any], steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second step of the second epoch of three steps; then resumed after `steps` steps of this epoch."""
    whole = train(a_run(**options), tmp_path / "whole.pt")
    monkeypatch.setattr(checkpoint, "EVERY_S", 600 * (1 - steps))
    with pytest.raises(KeyboardInterrupt):
        train(a_run(**options), tmp_path / "stopped.pt", stop_at=5)
    assert load_checkpoint(tmp_path / "stopped.pt", a_run(**options).id)["epoch"][0] == steps
    resumed = train(a_run(**options), tmp_path / "stopped.pt")
    assert weights_sha256(resumed.network) == weights_sha256(whole.network)
    assert resumed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_in_a_step_acts_after_this_step_and_loses_none(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(number: int, _: object) -> None:
        raise SystemExit(number)

    before = signal.signal(number, end)
    try:
        whole, calls = train(a_run(), tmp_path / "whole.pt"), itertools.count(1)
        own = Normalizer.__call__

        def in_step(*arguments: Any, **options: Any) -> torch.Tensor:
            if next(calls) == 6:  # the validation after three steps is the fourth call, so in step 5
                signal.raise_signal(number)
            return own(*arguments, **options)

        monkeypatch.setattr(Normalizer, "__call__", in_step)
        with pytest.raises(SystemExit):
            train(a_run(), tmp_path / "stopped.pt")
        assert signal.getsignal(number) is end
        assert load_checkpoint(tmp_path / "stopped.pt", a_run().id)["epoch"][0] == 2
        resumed = train(a_run(), tmp_path / "stopped.pt")
    finally:
        signal.signal(number, before)
    assert weights_sha256(resumed.network) == weights_sha256(whole.network)
    assert resumed.gradient_evaluations == whole.gradient_evaluations


@pytest.mark.slow
def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    first, second = (train(a_run(seed=seed), tmp_path / f"{seed}.pt") for seed in (0, 1))
    assert weights_sha256(first.network) != weights_sha256(second.network)


@pytest.mark.slow
def test_the_network_learns_what_can_be_seen(tmp_path: Path) -> None:
    trained = train(a_run(schedule=Schedule(epochs=6, batch_size=8, lr=3e-3)), tmp_path / "c.pt")
    reader, _, val = a_cohort()
    logit, _ = predict(
        trained.network, Normalizer(["imagenet"], trained.network.mean, trained.network.std, 1), reader, val.rows, CPU
    )
    assert logit[val.state_NK[:, 0] == 1, 0].min() > logit[val.state_NK[:, 0] == 0, 0].max()


def test_micro_batches_take_the_same_share_of_the_step(tmp_path: Path) -> None:
    """Without batch norm's statistics they would be equal; here only the first loss is, up to batch norm."""
    run = a_run(schedule=Schedule(epochs=1, batch_size=8, micro_batch=4, lr=1e-3))
    assert np.isfinite(train(run, tmp_path / "c.pt").history["train_loss"]).all()


@pytest.mark.slow
def test_best_val_keeps_the_best_epoch_and_last_keeps_the_last(tmp_path: Path) -> None:
    best = train(a_run(), tmp_path / "best.pt")
    assert best.best_epoch == 1 + int(best.history["val_auroc"].to_numpy().argmax())
    assert train(a_run(selection="last"), tmp_path / "last.pt").best_epoch == 3


def test_one_changed_byte_of_a_tensor_makes_a_checkpoint_useless(tmp_path: Path) -> None:
    path, weights = tmp_path / "c.pt", torch.arange(1000, dtype=torch.float32)
    write_checkpoint(path, {"run": "a", "format": FORMAT, "best": weights})
    stored = bytearray(path.read_bytes())
    assert torch.equal(load_checkpoint(path, "a")["best"], weights)
    stored[stored.index(weights.numpy().tobytes()) + 2000] ^= 1
    path.write_bytes(stored)
    assert load_checkpoint(path, "a") == {}


def test_a_damaged_or_foreign_checkpoint_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    assert load_checkpoint(path, "a") == {}
    write_checkpoint(path, {"run": "b", "format": FORMAT})
    assert load_checkpoint(path, "a") == {}
    assert load_checkpoint(path, "b") != {}
    write_checkpoint(path, {"run": "b", "format": FORMAT - 1})
    assert load_checkpoint(path, "b") == {}
    torch.save({"run": "b", "format": FORMAT}, path)
    assert load_checkpoint(path, "b") == {}, "without its hash"
    write_checkpoint(path, {"run": "b", "format": FORMAT})
    path.write_bytes(path.read_bytes()[:100])
    assert load_checkpoint(path, "b") == {}


class Planted:
    """Unpickling this runs code."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (Path.touch, (Path("planted"),))  # type: ignore[return-value]


def test_a_pickle_in_place_of_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "c.pt", {"run": "a", "format": FORMAT, "planted": Planted()})
    assert load_checkpoint(tmp_path / "c.pt", "a") == {}
    assert not (tmp_path / "planted").exists()


def test_a_loss_that_is_not_a_number_ends_the_run_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lower schedule\.lr"):
        train(a_run("sgd", schedule=Schedule(epochs=3, batch_size=8, lr=1e30, warmup=0.0)), tmp_path / "c.pt")


def test_validation_reads_certain_labels_only() -> None:
    state = np.array([[1, 1], [0, -1], [-2, -3], [-1, -1]], np.int8)
    logit = np.array([[2.0, 0], [-1, 9], [-1, 9], [9, 9]], np.float32)
    area, loss = validate(logit, state)
    assert area == 1.0
    assert np.isclose(loss, np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), np.log1p(np.exp(-1.0))]))
    assert validate(logit[:, :1], state[:, :1]) == (area, loss)  # the other finding has no absent image


def test_the_probe_sample_is_one_image_a_patient_and_does_not_move_when_patients_are_added() -> None:
    patients = np.array([f"p{i // 2}" for i in range(40)], object)
    chosen = probe_rows(patients, most=5)
    assert len(set(patients[chosen])) == 5
    more = np.concatenate([patients, np.array([f"q{i}" for i in range(3)], object)])
    kept = set(patients[chosen]) & set(more[probe_rows(more, most=5)])
    assert len(kept) >= 2
