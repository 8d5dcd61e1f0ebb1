"""Descriptors of image acquisition, tree ensembles on them, and source networks on masked images."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bench.analyses.shortcuts.acquisition import (
    HEADER,
    PIXELS,
    descriptor_rows,
    header_descriptors,
    pixel_descriptors,
    text_likelihood,
    trees,
)
from bench.analyses.shortcuts.cnn import border, center_masked, low_res, network_probe, unmasked
from bench.analyses.shortcuts.sample import Sample, draw_sample

RNG = np.random.default_rng(0)
RADIOGRAPH = np.clip(
    cv2.GaussianBlur(RNG.normal(120, 60, (96, 96)), (0, 0), 6) + RNG.normal(0, 2, (96, 96)), 0, 255
).astype(np.uint8)


def three_sources(num: int = 40) -> Sample:
    sample = draw_sample({name: np.arange(num) for name in "abc"})
    assert isinstance(sample, Sample)
    return sample


def descriptors_of(image: np.ndarray) -> dict[str, float]:
    return dict(zip(PIXELS, pixel_descriptors(image), strict=True))


def test_descriptors_show_changes_of_an_image() -> None:
    plain = descriptors_of(RADIOGRAPH)
    assert plain["mean gray"] == pytest.approx(RADIOGRAPH.mean() / 255)
    framed = RADIOGRAPH.copy()
    framed[:, :12] = framed[:, -12:] = 0
    assert descriptors_of(framed)["border width"] == pytest.approx(24 / 96 / 2, abs=0.01)
    assert descriptors_of(framed)["share black"] > plain["share black"] + 0.2
    assert descriptors_of(cv2.GaussianBlur(RADIOGRAPH, (0, 0), 2))["sharpness"] < plain["sharpness"] / 2
    marked = RADIOGRAPH.copy()
    cv2.putText(marked, "PORT", (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    assert descriptors_of(marked)["corner top left"] == 1
    assert text_likelihood(marked) > 3 * text_likelihood(RADIOGRAPH)


def test_flat_and_tiny_images_have_finite_descriptors() -> None:
    for image in (np.zeros((64, 64), np.uint8), np.full((8, 8), 255, np.uint8), RADIOGRAPH[:, :9].copy()):
        assert np.isfinite(pixel_descriptors(np.ascontiguousarray(image))).all()


def test_header_descriptors_have_size_depth_and_quantization(tmp_path: Path) -> None:
    for quality in (20, 95):
        cv2.imwrite(str(tmp_path / f"{quality}.jpg"), RADIOGRAPH[:48], [cv2.IMWRITE_JPEG_QUALITY, quality])
    cv2.imwrite(str(tmp_path / "deep.png"), RADIOGRAPH.astype(np.uint16) * 256)
    low, high, deep = (
        dict(zip(HEADER, header_descriptors(tmp_path / n), strict=True)) for n in ("20.jpg", "95.jpg", "deep.png")
    )
    assert (low["height"], low["width"], low["aspect ratio"], low["bit depth"]) == (48, 96, 2, 8)
    assert low["JPEG quantisation"] > high["JPEG quantisation"] > 0
    assert (deep["bit depth"], deep["JPEG quantisation"]) == (16, 0)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xdb")
    assert np.isnan(header_descriptors(tmp_path / "broken.jpg")).all()
    assert np.isnan(header_descriptors(tmp_path / "absent.png")).all()


@pytest.mark.slow
def test_trees_identify_the_descriptor_that_differs_and_shap_values_add_up() -> None:
    sample = three_sources()
    x = np.random.default_rng(1).normal(size=(len(sample.source), 4))
    x[:, 2] += 3 * sample.source
    x[5] = np.nan
    explained = trees(x, sample, sample.source, explain=6)  # raises if SHAP values do not sum to the probabilities
    assert (explained.prob_NK.argmax(1) == sample.source).mean() > 0.85
    assert explained.prob_NK.min() > 0
    assert explained.prob_NK.sum(1) == pytest.approx(1)
    assert explained.shap_ND.shape == (30, 4)
    table = descriptor_rows(explained, x, sample, "pixels", ("p", "q", "r", "s"))
    overall = table[(table["kind"] == "importance") & (table["source"] == "")].set_index("descriptor")["shap"]
    assert overall.idxmax() == "r"
    points = table[table["kind"] == "point"]
    assert len(points) == 30 * 4
    assert points["rank"].between(0, 1).all()
    mixed = trees(x, sample, np.random.default_rng(2).permutation(sample.source))
    assert (mixed.prob_NK.argmax(1) == sample.source).mean() < 0.6


def test_views_of_an_image_hide_what_they_say_they_hide() -> None:
    x = torch.rand(2, 1, 20, 20)
    assert torch.equal(unmasked(x), x)
    assert border(x)[:, :, 2:-2, 2:-2].abs().sum() == 0
    assert torch.equal(border(x)[:, :, :2], x[:, :, :2])
    assert center_masked(x)[:, :, 5:15, 5:15].abs().sum() == 0
    assert torch.equal(center_masked(x)[:, :, :, :5], x[:, :, :, :5])
    small = low_res(torch.rand(2, 1, 64, 64))
    assert all(len(image.unique()) <= 64 for image in small)


@pytest.mark.slow
def test_a_network_names_sources_by_their_border_and_not_where_it_is_hidden() -> None:
    sample = three_sources(30)
    images = np.random.default_rng(3).integers(0, 256, (len(sample.source), 16, 16)).astype(np.uint8)
    images[:, :1] = (sample.source * 120)[:, None, None]
    prob = network_probe(images, sample, sample.source, border, torch.device("cpu"), epochs=12, num_folds=1)
    judged = np.isfinite(prob).all(1)
    assert (judged == (sample.fold == 0)).all()
    assert (prob[judged].argmax(1) == sample.source[judged]).mean() > 0.8
    assert prob[judged].sum(1) == pytest.approx(1)
    again = network_probe(images, sample, sample.source, border, torch.device("cpu"), epochs=12, num_folds=1)
    assert np.array_equal(prob, again, equal_nan=True)
