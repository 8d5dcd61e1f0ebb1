"""One phantom radiograph: randomness, tokens, masks, the truth about the heart."""

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
def test_the_same_examination_gives_the_same_picture_whatever_was_drawn_before(site: str) -> None:
    first = twin(STRONG, site, 4)
    twin(STRONG, site, 5)
    again = twin(STRONG, site, 4)
    assert np.array_equal(first.image, again.image)
    assert first.masks.keys() == again.masks.keys()
    assert first.image.dtype == np.float32
    assert max(first.image.shape) == STRONG.size
    assert 0 <= first.image.min() < first.image.max() <= 1


def test_another_seed_gives_another_picture() -> None:
    other = PhantomSettings(seed=4)
    assert not np.array_equal(twin(STRONG, "nih", 4).image, twin(other, "nih", 4).image)


def test_the_strength_of_the_shortcut_changes_nothing_outside_the_token() -> None:
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


def test_the_token_goes_with_the_finding_at_the_source_only() -> None:
    here, not_here = _token_rates(STRONG, "chexpert")
    assert abs(here - 0.95) < 0.04
    assert abs(not_here - 0.05) < 0.04
    here, not_here = _token_rates(STRONG, "mimic")
    assert abs(here - 0.5) < 0.10
    assert abs(not_here - 0.5) < 0.06


def test_without_a_shortcut_the_token_is_a_fair_coin_at_the_source() -> None:
    here, not_here = _token_rates(NONE, "chexpert")
    assert abs(here - 0.5) < 0.08
    assert abs(not_here - 0.5) < 0.08


@pytest.mark.parametrize("site", SITES)
def test_the_token_is_still_a_bright_patch_at_64_pixels(site: str) -> None:
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
def test_a_finding_changes_the_picture_inside_its_mask(finding: str) -> None:
    # Volume loss and a collapsed lung change the picture elsewhere too: hence a ratio of means, over several hospitals.
    ratios = []
    for number, site in enumerate(SITES):
        settings = PhantomSettings(seed=2, size=192)
        without = twin(settings, site, number, findings=NOTHING, devices=False)
        with_it = twin(settings, site, number, findings=NOTHING | {finding: 0.7}, devices=False)
        change = cv2.GaussianBlur(np.abs(with_it.image - without.image), (0, 0), 1.5)
        change = np.clip(
            change - np.percentile(change, 60), 0, None
        )  # the automatic window moves all grey values a bit
        inside = cv2.dilate(with_it.masks[finding].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        assert inside.any()
        assert finding not in without.masks
        ratios.append(change[inside].mean() / (change[~inside].mean() + 1e-6))
    assert np.median(ratios) > 4


def test_masks_move_with_the_picture() -> None:
    # Devices are drawn at fixed places of the canvas; the token at fixed places of the frame. Lungs are darker than hearts.
    for site in SITES:
        taken = twin(STRONG, site, 8, findings=NOTHING, devices=False, token=False)
        lungs, heart = taken.masks["lungs"] & ~taken.masks["heart"], taken.masks["heart"]
        assert taken.image[lungs].mean() < taken.image[heart].mean() - 0.2


def test_the_heart_is_wider_than_half_the_thorax_exactly_where_cardiomegaly_is() -> None:
    for number in range(40):
        normal = twin(NONE, "padchest", number, findings=NOTHING)
        large = twin(NONE, "padchest", number, findings=NOTHING | {"Cardiomegaly": number / 40 or 0.01})
        assert normal.heart_ratio < 0.5 < large.heart_ratio
        assert large.masks["heart"].sum() > normal.masks["heart"].sum()


def test_the_same_patient_can_be_seen_at_another_hospital() -> None:
    own, elsewhere = twin(NONE, "nih", 1, token=False), twin(NONE, "nih", 1, token=False, scanner="mimic")
    assert own.image.shape != elsewhere.image.shape
    assert own.heart_ratio == elsewhere.heart_ratio
    assert own.study.present == elsewhere.study.present


def test_the_canvas_does_not_change_what_is_drawn() -> None:
    small, large = (twin(PhantomSettings(seed=5, size=size), "nih", 3, devices=False) for size in (128, 256))
    shrunk = cv2.resize(large.image, small.image.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(shrunk.ravel(), small.image.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    "change",
    [{"findings": {"Cardiomegali": True}}, {"findings": {"Edema": 1.5}}, {"view": "LATERAL"}, {"scanner": "here"}],
)
def test_an_impossible_twin_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"known|not"):
        twin(NONE, "nih", 0, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("site", SITES)
def test_names_have_the_form_of_the_release_and_never_collide(site: str) -> None:
    split = {"chexpert": "train", "vindr": "test"}.get(site, "")
    seen = [
        names(site, split, number, study, False)
        for number in range(400)
        for study in range(1 if site == "vindr" else 3)
    ]
    assert len({one.image_id for one in seen}) == len({one.path for one in seen}) == len(seen)
    assert len({one.patient_id for one in seen}) == 400
    assert all(".." not in one.path and not one.path.startswith("/") for one in seen)
