"""Tests of the seeded image sample: selection, measurements and unreadable images."""

import cv2
import numpy as np
import pytest

from bench.extensions.cohort_statistics.image_sample import draw
from tests.hand import ROWS, cohort


@pytest.fixture
def six_images(tmp_path):
    for k in range(len(ROWS)):
        cv2.imwrite(str(tmp_path / f"i{k}.png"), np.full((40 + k, 20), 10 * k, np.uint8))
    (tmp_path / "i3.png").write_bytes(b"")
    return cohort(root=tmp_path)


def test_sizes_and_gray_values_match_the_files(six_images):
    sample = draw(six_images, 36)
    assert sample.document["drawn"] == 6
    assert sample.unreadable == ("empty file",)
    assert sorted(sample.images["height"]) == [40, 41, 42, 44, 45]
    assert sorted(sample.images["median_gray"]) == [0, 10, 20, 40, 50]


def test_crop_and_enlargement_are_measured_on_readable_images(six_images):
    numbers = draw(six_images, 36).document
    assert numbers["cropped_away"] == pytest.approx(
        np.mean([1 - 20 / height for height in (40, 41, 42, 44, 45)]), abs=1e-6
    )
    assert numbers["enlarged"] == {"224": 1, "512": 1, "1024": 1, "2048": 1}
    assert numbers["no_lungs"] == 5


def test_a_320_by_390_image_loses_18_per_cent_to_a_square_crop(tmp_path):
    for k in range(len(ROWS)):
        cv2.imwrite(str(tmp_path / f"i{k}.png"), np.full((320, 390), 90, np.uint8))
    assert draw(cohort(root=tmp_path)).document["cropped_away"] == pytest.approx(70 / 390, abs=1e-6)


@pytest.mark.slow
def test_the_seed_selects_the_images_in_any_order_of_rows(six_images):
    def sizes(table, seed):
        changed = cohort(root=six_images.root)
        changed.table.update(table)
        object.__setattr__(changed, "table", table)
        return draw(changed, 3, seed).images["height"].tolist()

    assert sizes(six_images.table, 1) == sizes(six_images.table.iloc[::-1].reset_index(drop=True), 1)
    assert len({tuple(sizes(six_images.table, seed)) for seed in range(12)}) > 3


def test_a_cohort_of_unreadable_images_has_an_empty_sample(tmp_path):
    sample = draw(cohort(root=tmp_path))
    assert sample.images.empty
    assert sample.document["cropped_away"] is None
