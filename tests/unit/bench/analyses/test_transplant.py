"""Image changes of the region transplant test: changed pixels, unchanged pixels, and odd images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from bench.analyses.shortcuts import transplant
from harmonize.phantom import PhantomSettings, twin

Gray = NDArray[np.uint8]
images = arrays(np.uint8, (24, 24))


def noise(seed: int, size: int = 64) -> Gray:
    """Return a smooth image with noise."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, size)[None, :] * np.ones((size, 1))
    return np.clip(ramp + generator.normal(0, 12, (size, size)), 0, 255).astype(np.uint8)


def test_ring_and_corners_cover_the_expected_pixels() -> None:
    ring, corners = transplant.ring(64), transplant.corners(64)
    assert ring.sum() == 64**2 - 56**2
    assert corners.sum() == 4 * 16**2
    assert not ring[4:60, 4:60].any()
    assert corners[0, 0]
    assert not corners[0, 32]


@given(host=images, donor=images)
def test_pasting_copies_only_the_donors_pixels_inside_the_mask(host: Gray, donor: Gray) -> None:
    mask = transplant.corners(24)
    out = transplant.pasted(host, donor, mask)
    assert (out[mask] == donor[mask]).all()
    assert (out[~mask] == host[~mask]).all()


@given(host=images)
def test_an_image_matched_to_itself_is_unchanged(host: Gray) -> None:
    assert (transplant.intensity_matched(host, host) == host).all()
    assert np.abs(transplant.resolution_matched(host, host).astype(int) - host).max() <= 1


@pytest.mark.slow
@given(host=images, donor=images)
def test_matching_gray_values_keeps_ranks_and_takes_only_gray_values_of_the_donor(host: Gray, donor: Gray) -> None:
    out = transplant.intensity_matched(host, donor)
    order = np.argsort(host.ravel(), kind="stable")
    assert (np.diff(out.ravel()[order].astype(int)) >= 0).all()
    assert set(np.unique(out)) <= set(np.unique(donor))


def test_matching_gray_values_gives_the_donors_histogram() -> None:
    host, donor = noise(0), (noise(1) // 2 + 90).astype(np.uint8)
    out = transplant.intensity_matched(host, donor)
    assert np.abs(np.quantile(out, [0.1, 0.5, 0.9]) - np.quantile(donor, [0.1, 0.5, 0.9])).max() <= 3


def test_a_sharp_host_becomes_as_blurred_as_its_donor_and_back() -> None:
    import cv2

    sharp = noise(2)
    blurred = np.asarray(cv2.GaussianBlur(noise(3), (0, 0), 2.0), np.uint8)

    def fine(image: Gray) -> float:
        return float(np.var(image.astype(float) - cv2.GaussianBlur(image.astype(float), (0, 0), 1.0)))

    assert fine(transplant.resolution_matched(sharp, blurred)) < 0.1 * fine(sharp)
    assert fine(transplant.resolution_matched(blurred, sharp)) > 5 * fine(blurred)
    assert abs(transplant.resolution_matched(sharp, blurred).mean() - sharp.mean()) < 1


@given(host=images, mask=arrays(np.bool_, (24, 24)))
def test_flattening_and_erasing_change_only_the_mask_and_its_rim(host: Gray, mask: NDArray[np.bool_]) -> None:
    import cv2

    flat = transplant.flattened(host, mask)
    assert (flat[~mask] == host[~mask]).all()
    assert len(np.unique(flat[mask])) <= 1
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (transplant.erased(host, mask)[~near] == host[~near]).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_images_are_accepted(value: int) -> None:
    flat, other = np.full((32, 32), value, np.uint8), noise(4, 32)
    for out in (
        transplant.intensity_matched(flat, other),
        transplant.intensity_matched(other, flat),
        transplant.resolution_matched(flat, other),
        transplant.resolution_matched(other, flat),
    ):
        assert out.shape == (32, 32)
        assert out.dtype == np.uint8


def test_erasing_a_phantoms_tag_nearly_restores_the_pixels_below_it() -> None:
    settings = PhantomSettings(seed=5, size=128)
    before, after = [], []
    for patient in range(6):
        plain, tagged = (twin(settings, "chexpert", patient, token=token) for token in (False, True))
        clean, marked = (np.round(255 * phantom.image).astype(np.uint8) for phantom in (plain, tagged))
        side = min(clean.shape)
        clean, marked, mask = clean[:side, :side], marked[:side, :side], tagged.masks["token"][:side, :side]
        out = transplant.erased(marked, mask)
        before.append(np.abs(marked[mask].astype(int) - clean[mask]).mean())
        after.append(np.abs(out[mask].astype(int) - clean[mask]).mean())
    assert np.mean(after) < 0.2 * np.mean(before)


def letterboxed(seed: int, tall: bool) -> Gray:
    """Return a picture between bands of padding."""
    out, inside = np.zeros((48, 48), np.uint8), np.maximum(noise(seed, 48), 1)
    band = np.s_[:, 3:45] if tall else np.s_[2:46, :]
    out[band] = inside[band]
    return out


@pytest.mark.parametrize("tall", [False, True])
def test_padding_and_content_of_a_letterbox_keep_their_positions_for_any_donor(tall: bool) -> None:
    host, donor = letterboxed(0, tall), letterboxed(1, not tall)
    mark = np.zeros_like(host, bool)
    mark[20:26, 8:14] = mark[5:9, 20:30] = True
    changed = {
        "corner": transplant.pasted(host, donor, transplant.corners(48), True),
        "intensity": transplant.intensity_matched(host, donor, True),
        "resolution": transplant.resolution_matched(host, donor, True),
        "erased": transplant.erased(host, mark, True),
        "flattened": transplant.flattened(host, ~mark, True),
    }
    for name, out in changed.items():
        assert ((out > 0) == (host > 0)).all(), name
        assert (out != host).any(), name


def test_padding_does_not_affect_the_matching_of_gray_values_and_sharpness() -> None:
    host, donor = letterboxed(0, True), letterboxed(1, False)
    content = (np.s_[:, 3:45], np.s_[2:46, :])
    out = transplant.intensity_matched(host, donor, True)[content[0]]
    assert abs(np.median(out) - np.median(donor[content[1]])) <= 2
    matched = transplant.resolution_matched(host, host, True)
    assert np.abs(matched.astype(int) - host).max() <= 1
