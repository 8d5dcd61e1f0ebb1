"""What every uncertainty policy, preprocessing variant and augmentation of the registry promises."""

import pytest
import torch

from bench.ops import geometry
from bench.preprocess import Tone
from bench.registry import Entry
from bench.uncertainty import Labels

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


@pytest.mark.parametrize("channels", [1, 3])
def test_preprocessing_treats_each_image_by_itself(preprocessing: Entry, channels: int) -> None:
    tone = Tone(preprocessing.facts["ops"], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), channels)
    images = torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[1] = 0  # black
    images[2] = 100  # constant
    x = tone(images)
    assert x.shape == (3, channels, 32, 32)
    assert x.dtype == torch.float32
    assert bool(torch.isfinite(x).all())
    assert float(x.abs().max()) < 20
    for i in range(3):
        torch.testing.assert_close(tone(images[i : i + 1]), x[i : i + 1])


def test_preprocessing_has_a_cached_geometry(preprocessing: Entry) -> None:
    assert geometry(preprocessing.facts).size == preprocessing.facts["size"]


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
