"""Tests of the detection of inverted and turned radiographs, on phantoms, which were not used to fit the weights."""

from collections.abc import Callable

import numpy as np
import pytest

from harmonize.checks.frontal_view import wrong_views
from harmonize.images.perceptual_hash import smaller, thumbnail
from harmonize.phantom import PhantomSettings, twin
from harmonize.phantom.sites import SITES


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    settings = PhantomSettings(seed=3)
    drawn = [twin(settings, site, number) for site in SITES for number in range(12)]
    return [(255 * study.image).astype(np.uint8) for study in drawn if study.study.view != "LATERAL"]


@pytest.mark.parametrize(
    ("change", "said", "least", "most"),
    [
        (lambda image: image, "", 0, 0.005),
        (lambda image: 255 - image, "looks inverted", 60 / 64, 1),
        (lambda image: image[::-1], "looks upside down", 60 / 64, 1),
        (lambda image: image[::-1, ::-1], "looks upside down", 60 / 64, 1),
        (np.rot90, "looks turned by 90 degrees", 60 / 64, 1),
        (lambda image: 255 - np.rot90(image, -1), "looks inverted and turned by 90 degrees", 60 / 64, 1),
    ],
)
def test_wrong_images_are_found_without_other_images_of_their_hospital(
    images: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray], said: str, least: float, most: float
) -> None:
    changed = [thumbnail(np.ascontiguousarray(change(image))) for image in images]
    remarks = wrong_views(smaller(np.stack(changed)))
    share = np.mean([remark != "" for remark in remarks])
    assert least <= share <= most
    assert np.mean([remark == said for remark in remarks]) >= 60 / 64


def test_a_blank_image_has_no_view() -> None:
    assert wrong_views(np.full((2, 256), 9, np.uint8)) == ["", ""]
