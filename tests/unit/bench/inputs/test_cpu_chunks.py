"""Chunks of a batch on the CPU give the same results as one pass."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.inputs import normalize as module
from bench.inputs.normalize import Normalizer, chunks


@given(st.integers(0, 70), st.sampled_from([8, 224, 320, 513, 1024]))
def test_chunks_cover_the_batch_and_have_no_single_image(num: int, size: int) -> None:
    parts = chunks(torch.zeros(1).expand(num, size, size))
    assert [row for part in parts for row in range(num)[part]] == list(range(num))
    assert num <= 1 or all(part.stop - part.start >= 2 for part in parts)


@pytest.mark.parametrize("op", ["zscore", "minmax", "imagenet"])
@pytest.mark.parametrize("padded", [False, True])
def test_normalization_in_chunks_equals_one_pass(op: str, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (9, 65, 65), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[0], images[1], images[2, :30] = 0, 77, 0
    normalizer = Normalizer([op], (0.4, 0.45, 0.5), (0.2, 0.25, 0.3), 3, padded=padded)
    whole = normalizer(images)
    monkeypatch.setattr(module, "CHUNK_PIXELS", 2 * 65 * 65)
    assert len(chunks(images)) == 4
    assert torch.equal(normalizer(images), whole)


def test_zscore_follows_its_formula() -> None:
    """Mean and standard deviation of the foreground in double precision; a constant image becomes 0."""
    images = torch.randint(0, 256, (3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[2] = 80
    normalized = Normalizer(["zscore"], (0.0,) * 3, (1.0,) * 3, 1)(images)
    for image, z in zip(images[:2].double() / 255, normalized[:2, 0], strict=True):
        lit = image[image > 0.02]
        assert torch.allclose(z.double(), (image - lit.mean()) / (lit.std(correction=0) + 1e-6), atol=1e-4)
    assert not normalized[2].any()
