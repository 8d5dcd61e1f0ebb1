"""Tests of one phantom radiograph: randomness, token, masks, heart ratio."""

import cv2
import numpy as np
import pytest

from harmonize.phantom import PhantomSettings, twin
from harmonize.phantom.names import names
from harmonize.phantom.patient import draw_patient, draw_study
from harmonize.phantom.radiograph import has_token
from harmonize.phantom.sites import DRAWN, SITES

NOTHING = dict.fromkeys(DRAWN, False)
STRONG, NONE = PhantomSettings(seed=3, shortcut=0.9), PhantomSettings(seed=3, shortcut=0.0)


@pytest.mark.parametrize("site", SITES)
def test_the_same_study_gives_the_same_image_in_any_order_of_calls(site: str) -> None:
    first = twin(STRONG, site, 4)
    twin(STRONG, site, 5)
    again = twin(STRONG, site, 4)
    assert np.array_equal(first.image, again.image)
    assert first.masks.keys() == again.masks.keys()
    assert first.image.dtype == np.float32
    assert max(first.image.shape) == STRONG.size
    assert 0 <= first.image.min() < first.image.max() <= 1


def test_another_seed_gives_another_image() -> None:
    other = PhantomSettings(seed=4)
    assert not np.array_equal(twin(STRONG, "nih", 4).image, twin(other, "nih", 4).image)


@pytest.mark.slow
def test_the_strength_of_the_shortcut_changes_only_the_token() -> None:
    toggled = 0
    for number in range(24):
        weak, strong = twin(NONE, "chexpert", number), twin(STRONG, "chexpert", number)
        assert weak.study.present == strong.study.present
        outside = ~(weak.masks["token"] | strong.masks["token"])
        assert np.array_equal(weak.image[outside], strong.image[outside])
        toggled += weak.token != strong.token
    assert toggled > 4


def _token_rates(settings: PhantomSettings, site: str) -> tuple[float, float]:
    """Return P(token | finding) and P(token | no finding) over 1,500 patients."""
    tokens: dict[bool, list[bool]] = {True: [], False: []}
    for number in range(1500):
        patient = draw_patient(settings.seed, site, number)
        study = draw_study(patient, 0)
        tokens[settings.finding in study.present].append(has_token(settings, patient, study))
    return float(np.mean(tokens[True])), float(np.mean(tokens[False]))


@pytest.mark.slow
def test_the_token_goes_with_the_finding_at_the_source_only() -> None:
    with_finding, without_finding = _token_rates(STRONG, "chexpert")
    assert abs(with_finding - 0.95) < 0.04
    assert abs(without_finding - 0.05) < 0.04
    with_finding, without_finding = _token_rates(STRONG, "mimic")
    assert abs(with_finding - 0.5) < 0.10
    assert abs(without_finding - 0.5) < 0.06


def test_without_a_shortcut_the_token_does_not_depend_on_the_finding() -> None:
    with_finding, without_finding = _token_rates(NONE, "chexpert")
    assert abs(with_finding - 0.5) < 0.08
    assert abs(without_finding - 0.5) < 0.08


@pytest.mark.parametrize("site", SITES)
def test_the_token_is_a_bright_patch_at_64_pixels(site: str) -> None:
    with_token, without = (twin(STRONG, site, 2, token=token) for token in (True, False))
    small, mask, plain = (
        cv2.resize(image.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
        for image in (with_token.image, with_token.masks["token"], without.image)
    )
    inside = mask > 0.9
    assert inside.sum() >= 8
    assert not without.masks["token"].any()
    assert small[inside].mean() > 0.6
    assert np.abs(small - plain)[mask == 0].max() == 0


@pytest.mark.parametrize("finding", DRAWN)
def test_a_finding_changes_the_image_inside_its_mask(finding: str) -> None:
    # Volume loss and a collapsed lung also change the image elsewhere, so compare means over several hospitals.
    ratios = []
    for number, site in enumerate(SITES):
        settings = PhantomSettings(seed=2, size=192)
        without = twin(settings, site, number, findings=NOTHING, devices=False)
        with_it = twin(settings, site, number, findings=NOTHING | {finding: 0.7}, devices=False)
        change = cv2.GaussianBlur(np.abs(with_it.image - without.image), (0, 0), 1.5)
        change = np.clip(change - np.percentile(change, 60), 0, None)  # the automatic window shifts all gray values
        inside = cv2.dilate(with_it.masks[finding].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert inside.any()
        assert finding not in without.masks
        ratios.append(change[inside].mean() / (change[~inside].mean() + 1e-6))
    assert np.median(ratios) > 4


def test_masks_are_aligned_with_the_image() -> None:
    # Lungs are darker than the heart. Devices and token are off, because they would change gray values.
    for site in SITES:
        radiograph = twin(STRONG, site, 8, findings=NOTHING, devices=False, token=False)
        lungs, heart = radiograph.masks["lungs"] & ~radiograph.masks["heart"], radiograph.masks["heart"]
        assert radiograph.image[lungs].mean() < radiograph.image[heart].mean() - 0.2


@pytest.mark.slow
def test_the_heart_is_wider_than_half_the_thorax_only_with_cardiomegaly() -> None:
    for number in range(40):
        normal = twin(NONE, "padchest", number, findings=NOTHING)
        large = twin(NONE, "padchest", number, findings=NOTHING | {"Cardiomegaly": number / 40 or 0.01})
        assert normal.heart_ratio < 0.5 < large.heart_ratio
        assert large.masks["heart"].sum() > normal.masks["heart"].sum()


def test_another_scanner_gives_another_image_of_the_same_patient() -> None:
    at_own_hospital, at_other_hospital = (
        twin(NONE, "nih", 1, token=False),
        twin(NONE, "nih", 1, token=False, scanner="mimic"),
    )
    assert at_own_hospital.image.shape != at_other_hospital.image.shape
    assert at_own_hospital.heart_ratio == at_other_hospital.heart_ratio
    assert at_own_hospital.study.present == at_other_hospital.study.present


def test_the_image_size_does_not_change_the_anatomy() -> None:
    small, large = (twin(PhantomSettings(seed=5, size=size), "nih", 3, devices=False) for size in (128, 256))
    shrunk = cv2.resize(large.image, small.image.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(shrunk.ravel(), small.image.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    "change",
    [{"findings": {"Cardiomegali": True}}, {"findings": {"Edema": 1.5}}, {"view": "LATERAL"}, {"scanner": "here"}],
)
def test_an_invalid_change_raises_an_error(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"use one of|not"):
        twin(NONE, "nih", 0, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("site", SITES)
def test_names_are_valid_paths_and_unique(site: str) -> None:
    split = {"chexpert": "train", "vindr": "test"}.get(site, "")
    all_names = [
        names(site, split, number, study, False)
        for number in range(400)
        for study in range(1 if site == "vindr" else 3)
    ]
    assert len({image.image_id for image in all_names}) == len({image.path for image in all_names}) == len(all_names)
    assert len({image.patient_id for image in all_names}) == 400
    assert all(".." not in image.path and not image.path.startswith("/") for image in all_names)
