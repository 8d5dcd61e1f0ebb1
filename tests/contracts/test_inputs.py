"""What every uncertainty policy, preprocessing variant and augmentation of the registry promises."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config.preprocessing_ops import geometry, input_size, learned_op
from bench.config.registry import Entry, Registry
from bench.config.run_config import RunConfig
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.histograms import learn
from bench.inputs.normalize import Normalizer
from bench.models.predict import predict
from bench.planning.run import RunSpec
from bench.training.step import Step
from bench.training.training_loss import TrainingLoss, TrainingTargets
from bench.training.uncertainty import Labels
from harmonize.images.pixels import to_geometry
from tests.nonempty import nonempty

FINDINGS = ("Edema", "Atelectasis", "Pneumonia")


def labels(state: list[list[int]], seed: int = 0) -> Labels:
    return Labels(torch.tensor(state, dtype=torch.int8), [f"i{n}" for n in range(len(state))], FINDINGS, seed)


def test_a_policy_keeps_what_is_known_and_drops_what_is_unmapped(policy: Entry) -> None:
    target, weight = policy.load()(labels([[1, 0, -3], [-1, 1, 0]]), **policy.options)
    assert target.dtype == weight.dtype == torch.float32
    assert weight[0].tolist() == [1, 1, 0]
    assert target[0, :2].tolist() == [1, 0]
    assert 0 <= float(target.min()) <= float(target.max()) <= 1


def test_a_policy_wants_blanks_resolved_first(policy: Entry) -> None:
    with pytest.raises(ValueError, match="blank"):
        policy.load()(labels([[-2, 0, 0]]), **policy.options)


def test_a_policy_reads_each_row_by_itself_and_the_same_each_time(policy: Entry) -> None:
    states = [[-1, -1, 0], [1, -1, -3], [-1, 0, -1]]
    whole = labels(states)
    target, weight = policy.load()(whole, **policy.options)
    turned = Labels(whole.state_NK.flip(0), whole.image_id[::-1], FINDINGS)
    for ours, theirs in zip((target, weight), policy.load()(turned, **policy.options), strict=True):
        assert torch.equal(ours, theirs.flip(0))
    alone, _ = policy.load()(Labels(whole.state_NK[1:2], ["i1"], FINDINGS), **policy.options)
    assert torch.equal(alone[0], target[1])


def small(preprocessing: Entry) -> dict[str, Any]:
    """Return the entry's facts at 64 pixels, what the network sees of them in proportion."""
    facts = dict(preprocessing.facts)
    seen = {"input": 2 * round(32 * facts["input"] / facts["size"])} if "input" in facts else {}
    return facts | seen | {"size": 64}


def normalizer(facts: dict[str, Any], channels: int) -> Normalizer:
    """Return the tone of an entry; what it must learn is learnt from drawn images."""
    op = learned_op(facts["ops"])
    draw = torch.Generator().manual_seed(3)
    learnt = {op: learn(op, [torch.randint(256, (4, 64, 64), dtype=torch.uint8, generator=draw)])} if op else {}
    return Normalizer.of(facts, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), channels, learnt)


@pytest.mark.parametrize("channels", [1, 3])
def test_preprocessing_treats_each_image_by_itself(preprocessing: Entry, channels: int) -> None:
    facts = small(preprocessing)
    prepare = normalizer(facts, channels)
    images = torch.randint(256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[1] = 0  # black
    images[2] = 100  # constant
    x = prepare(images)
    seen = input_size(facts)
    assert x.shape == (3, channels, seen, seen)
    assert x.dtype == torch.float32
    assert bool(torch.isfinite(x).all())
    assert float(x.abs().max()) < 20
    for i in range(3):
        torch.testing.assert_close(prepare(images[i : i + 1]), x[i : i + 1])


def test_preprocessing_after_the_cache_is_one_table_of_256_entries_for_each_image(preprocessing: Entry) -> None:
    """Geometry, region and CLAHE live in the cache: what is left gives equal gray values of an image equal numbers."""
    prepare = normalizer(small(preprocessing), 3)
    images = torch.randint(256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    seen_NCHW = prepare(images)
    margin = (64 - seen_NCHW.shape[2]) // 2
    for image, channels in nonempty(
        zip(images[:, margin : 64 - margin, margin : 64 - margin].long(), seen_NCHW, strict=True)
    ):
        for shown in channels:
            table = torch.full((256,), torch.nan)
            table[image] = shown
            assert torch.equal(table[image], shown)


def test_preprocessing_has_a_cached_geometry(preprocessing: Entry) -> None:
    form = geometry(preprocessing.facts)
    assert form.size == preprocessing.facts["size"]
    image = np.random.default_rng(0).integers(0, 256, (70, 90)).astype(np.uint8)
    assert to_geometry(image, geometry(small(preprocessing))).shape == (64, 64)


class Probe(torch.nn.Module):
    """A network that keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(9))
        self.seen: list[Tensor] = []

    def forward(self, x_NCHW: Tensor) -> Tensor:
        self.seen.append(x_NCHW.detach().clone())
        return x_NCHW.mean((1, 2, 3))[:, None] * self.scale

    def outputs(self, x_NCHW: Tensor) -> Tensor:
        return self(x_NCHW)

    def findings(self, output_NO: Tensor) -> Tensor:
        return output_NO

    def outputs_and_features(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        logit_NK = self(x_NCHW)
        return logit_NK, logit_NK


def test_training_without_augmentation_shows_the_bits_that_evaluation_shows(preprocessing: Entry) -> None:
    """So nothing but the augmentation can differ between them."""
    config = RunConfig("seresnet_tiny", "adamw", "bce", "u_ignore", preprocessing.name)
    run = RunSpec.of(config, Registry.read(), "internal", None)
    rows, cpu = np.arange(12), torch.device("cpu")
    ids = rows.astype(str).astype(object)
    state = np.tile(np.arange(12)[:, None] % 2, (1, 9)).astype(np.int8)
    internal = Examples(ids, ids, rows, state)
    pixels = np.random.default_rng(1).integers(0, 256, (12, 64, 64)).astype(np.uint8)
    prepare, reader, network = normalizer(small(preprocessing), 3), BatchReader(pixels, cpu), Probe()
    step = Step(run, network, prepare, reader, rows, TrainingLoss(run, TrainingTargets.of(run, internal, cpu)), cpu)
    step(rows, 1, 0)
    predict(network, prepare, reader, rows, cpu)
    trained, evaluated = network.seen
    assert torch.equal(trained, evaluated)


def test_an_augmentation_is_decided_by_its_seed_and_stays_an_image(augmentation: Entry) -> None:
    if not augmentation.use:
        pytest.skip("this entry changes nothing")
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (augmentation.load()(images, seed, **augmentation.options) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1 + 1e-6
