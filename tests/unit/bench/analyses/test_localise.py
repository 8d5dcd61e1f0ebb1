"""How well a heat map lies on a mask: the oracle's numbers, and what must hold for every map."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.analyses.heatmaps.image_sample import KINDS, Point, Seen, cases, positives
from bench.analyses.heatmaps.localization import above, energy, hottest, measured, near, overlap, pointing
from bench.analyses.heatmaps.pictures import SIDE, pair, png, webp
from bench.analyses.heatmaps.summary import MEASURES, OVERLAPS, summarise
from tests.twins.enrichment import enrichment

HEAT = np.array([[0, 0.2, 0.1], [0.4, 1, 0.3], [0, 0, 0]], np.float32)
BOX = np.zeros((3, 3), bool)
BOX[:2, 1:] = True

maps = arrays(np.float32, (8, 8), elements=st.floats(0, 10, width=16))
masks = arrays(np.bool_, (8, 8))


def test_the_worked_example_gives_its_published_numbers() -> None:
    found = measured(HEAT, BOX)
    assert found["iou_30"] == pytest.approx(0.4)
    assert found["dice_30"] == pytest.approx(0.5714, abs=1e-4)
    assert found["hit"] == 1
    assert energy(HEAT, BOX) == pytest.approx(0.8)
    assert enrichment(HEAT, BOX) == pytest.approx(1.8)


@given(maps, masks, st.sampled_from([0.25, 4.0]))
def test_no_measure_depends_on_the_scale_of_a_map_and_all_lie_between_0_and_1(
    heat: np.ndarray, mask: np.ndarray, scale: float
) -> None:
    found = measured(heat, mask)
    assert all(0 <= value <= 1 for value in found.values())
    assert found == pytest.approx(measured(heat * np.float32(scale), mask))
    for name in ("30", "50", "70", "top"):  # Dice is a function of IoU
        iou = found[f"iou_{name}"]
        assert found[f"dice_{name}"] == pytest.approx(2 * iou / (1 + iou))


@given(maps, masks)
def test_the_energy_inside_and_outside_is_all_of_it_and_a_flat_map_is_at_chance(
    heat: np.ndarray, mask: np.ndarray
) -> None:
    if heat.max() > 0:
        assert energy(heat, mask) + energy(heat, ~mask) == pytest.approx(1)
    if mask.any():
        assert enrichment(np.ones((8, 8), np.float32), mask) == pytest.approx(1)


@given(masks)
def test_a_map_that_is_the_mask_itself_overlaps_it_whole(mask: np.ndarray) -> None:
    if mask.any():
        assert set(measured(mask.astype(np.float32), mask).values()) == {1.0}


@given(maps, st.integers(0, 64))
def test_the_hottest_pixels_are_as_many_as_asked_for_where_no_two_are_equal(heat: np.ndarray, count: int) -> None:
    apart = np.argsort(np.argsort(heat, axis=None)).reshape(8, 8).astype(np.float32) + 1
    assert hottest(apart, count).sum() == count


def test_an_empty_map_overlaps_nothing_and_its_energy_is_no_number() -> None:
    nothing = np.zeros((3, 3), np.float32)
    assert set(measured(nothing, BOX).values()) == {0.0}
    assert np.isnan(energy(nothing, BOX))
    assert not above(nothing, 0.3).any()
    assert overlap(np.zeros(2, bool), np.zeros(2, bool)) == (0.0, 0.0)


def test_a_point_beside_a_mask_hits_it_within_the_tolerance_alone() -> None:
    mask, heat = np.zeros((224, 224), bool), np.zeros((224, 224), np.float32)
    mask[100:110, 100:110] = True
    heat[104, 124] = 1
    assert pointing(heat, mask) == 1  # 15 pixels away
    heat[104, 124], heat[104, 125] = 0, 1
    assert pointing(heat, mask) == 0
    assert not near(np.zeros((224, 224), bool)).any()


def test_a_picture_is_small_and_an_empty_map_leaves_the_image_as_it_is() -> None:
    image = np.arange(64, dtype=np.uint8).repeat(64).reshape(64, 64)
    picture = pair(image, np.zeros((64, 64), np.float32), None)
    assert picture.shape == (SIDE, 2 * SIDE + 4, 3)
    assert (picture[:, :SIDE] == picture[:, SIDE + 4 :]).all()
    hot = pair(image, np.eye(64, dtype=np.float32), np.eye(64, dtype=bool))
    assert (hot[:, :SIDE] == picture[:, :SIDE]).all()
    assert (hot[:, SIDE + 4 :] != picture[:, SIDE + 4 :]).any()
    assert len(webp(png(hot))) < len(png(hot))


def seen(num: int = 300) -> Seen:
    """A cohort of two findings in which each patient has three images."""
    draw = np.random.default_rng(0)
    ids = np.array([f"i{n}" for n in range(num)])
    patients = np.array([f"p{n // 3}" for n in range(num)])
    state = draw.choice(np.array([1, 0, -1, -2, -3], np.int8), (num, 2))
    return Seen("nih", ids, patients, state, draw.normal(0, 4, (num, 2)).astype(np.float32), ("Edema", "Mass"))


def test_a_sample_has_each_patient_once_and_known_places_first() -> None:
    cohort = seen()
    known = {(str(i), "Edema") for i in cohort.image_id[cohort.state_NK[:, 0] == 1][-4:]}
    chosen = positives(cohort, known, 5)
    rows = np.unique(np.concatenate(list(chosen.values())))
    assert len(set(cohort.patient_id[rows])) == len(rows)
    assert (cohort.labels[chosen["Edema"], 0] == 1).all()
    assert len(chosen["Edema"]) == 5
    there = [(str(i), "Edema") in known for i in cohort.image_id[chosen["Edema"]]]
    assert there == sorted(there, reverse=True)
    assert any(there)


def test_the_gallery_shows_what_its_rule_says_and_is_the_same_for_any_order_of_images() -> None:
    cohort, points = seen(), {"Edema": Point(0.0, 1.0, 0.0), "Mass": Point(float("nan"), 1.0, 0.0)}
    found = cases(cohort, points, 2)
    assert set(found["finding"]) == {"Edema"}  # without a threshold there is no call
    label, logit = cohort.labels[found["row"], 0], cohort.logit_NK[found["row"], 0]
    for kind, right in zip(KINDS, ((1, 1), (1, 0), (0, 1), (0, 0), (1, 0), (0, 1)), strict=True):
        mine = (found["kind"] == kind).to_numpy()
        assert 0 < mine.sum() <= 2
        assert (label[mine] == right[0]).all()
        assert ((logit[mine] >= 0) == right[1]).all()
    assert (found.loc[found["kind"] == "sure miss", "probability"] <= 0.1).all()
    assert (found.loc[found["kind"] == "sure false alarm", "probability"] >= 0.9).all()
    turned = Seen(
        cohort.dataset,
        *(v[::-1] for v in (cohort.image_id, cohort.patient_id, cohort.state_NK, cohort.logit_NK)),
        cohort.findings,
    )
    again = cases(turned, points, 2)
    assert turned.image_id[again["row"]].tolist() == cohort.image_id[found["row"]].tolist()


def rows(num: int, energy_of: float, area: float, patients: int) -> pd.DataFrame:
    """Measures of one region, all alike."""
    values = {
        "finding": "Edema",
        "by": "network",
        "region": "finding",
        "energy": energy_of,
        "area": area,
        "near": 0.2,
        "empty": 0.0,
    }
    frame = pd.DataFrame([values | dict.fromkeys(OVERLAPS, 0.5)] * num)
    return frame.assign(patient_id=[f"p{i % patients}" for i in range(num)])[list(MEASURES)]


def test_a_summary_is_the_mean_over_images_with_a_bootstrap_over_patients() -> None:
    mixed = pd.concat([rows(10, 0.2, 0.1, 10), rows(10, 0.6, 0.3, 10)], ignore_index=True)
    table = summarise(mixed, "nih", "run").set_index(["finding", "metric"])
    assert table.loc[("Edema", "enrichment"), "value"] == pytest.approx(2)  # mean energy .4 over mean area .2
    assert table.loc[("all", "energy"), "value"] == pytest.approx(0.4)
    assert table.loc[("Edema", "hit"), "chance"] == pytest.approx(0.2)
    assert table.loc[("Edema", "energy"), ["low", "high"]].tolist() == pytest.approx(
        [0.4, 0.4]
    )  # each patient has both
    assert table.loc[("Edema", "energy"), ["n", "num_patients"]].tolist() == [20, 10]


def test_too_few_patients_give_no_number_and_empty_maps_are_counted() -> None:
    few = summarise(rows(4, 0.2, 0.1, 4), "nih", "run")
    assert few["value"].isna().all()
    assert (few["num_patients"] == 4).all()
    half = rows(10, 0.2, 0.1, 10)
    half.loc[:4, ["empty", "energy"]] = [1.0, float("nan")]
    table = summarise(half, "nih", "run").set_index(["finding", "metric"])
    assert table.loc[("all", "empty"), "value"] == 0.5
    assert table.loc[("all", "energy"), "n"] == 5
    assert len(summarise(pd.DataFrame(columns=list(MEASURES)), "nih", "run")) == 0
