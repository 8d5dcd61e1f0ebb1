"""Localization metrics of heat maps: published examples, and properties of every map."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.extensions.heat_maps.image_sample import KINDS, OperatingPoint, ScoredImages, cases, positives
from bench.extensions.heat_maps.localization import energy, iou, near, pointing
from bench.extensions.heat_maps.pictures import SIDE, views, webp
from bench.extensions.heat_maps.summary import MEASURES, OVERLAPS, summarize
from tests.extensions.heat_maps.enrichment import enrichment

HEAT = np.array([[0, 0.2, 0.1], [0.4, 1, 0.3], [0, 0, 0]], np.float32)
BOX = np.zeros((3, 3), bool)
BOX[:2, 1:] = True

maps = arrays(np.float32, (8, 8), elements=st.floats(0, 10, width=16))
masks = arrays(np.bool_, (8, 8))


def test_a_worked_example_has_its_published_values() -> None:
    assert iou(HEAT, BOX) == pytest.approx(0.25)  # 1 of 4 pixels
    assert pointing(HEAT, BOX) == 1
    assert energy(HEAT, BOX) == pytest.approx(0.8)
    assert enrichment(HEAT, BOX) == pytest.approx(1.8)


@given(maps, masks, st.sampled_from([0.25, 4.0]))
def test_metrics_do_not_depend_on_the_scale_of_a_map_and_lie_between_0_and_1(
    heat: np.ndarray, mask: np.ndarray, scale: float
) -> None:
    for metric in (iou, pointing):
        value = metric(heat, mask)
        assert 0 <= value <= 1
        assert value == pytest.approx(metric(heat * np.float32(scale), mask))


@given(maps, masks)
def test_energies_inside_and_outside_sum_to_1_and_a_uniform_map_is_at_chance(
    heat: np.ndarray, mask: np.ndarray
) -> None:
    if heat.max() > 0:
        assert energy(heat, mask) + energy(heat, ~mask) == pytest.approx(1)
    if mask.any():
        assert enrichment(np.ones((8, 8), np.float32), mask) == pytest.approx(1)


@given(masks)
def test_a_map_equal_to_the_mask_overlaps_it_completely(mask: np.ndarray) -> None:
    if mask.any():
        assert iou(mask.astype(np.float32), mask) == pointing(mask.astype(np.float32), mask) == 1


def test_an_empty_map_has_overlap_0_and_energy_nan() -> None:
    nothing = np.zeros((3, 3), np.float32)
    assert iou(nothing, BOX) == pointing(nothing, BOX) == 0
    assert np.isnan(energy(nothing, BOX))


def test_a_point_outside_a_mask_hits_it_only_within_the_tolerance() -> None:
    mask, heat = np.zeros((224, 224), bool), np.zeros((224, 224), np.float32)
    mask[100:110, 100:110] = True
    heat[104, 124] = 1
    assert pointing(heat, mask) == 1  # 15 pixels away
    heat[104, 124], heat[104, 125] = 0, 1
    assert pointing(heat, mask) == 0
    assert not near(np.zeros((224, 224), bool)).any()


def four(picture: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the views of a gallery picture: image, image with map, map alone, image with outline."""
    assert picture.shape == (2 * SIDE + 4, 2 * SIDE + 4, 3)
    first, second = slice(SIDE), slice(SIDE + 4, None)
    return picture[first, first], picture[first, second], picture[second, first], picture[second, second]


def test_a_picture_has_four_views_and_an_empty_map_leaves_the_image_as_it_is() -> None:
    image = np.arange(64, dtype=np.uint8).repeat(64).reshape(64, 64)
    plain, overlay, cold, outlined = four(views(image, np.zeros((64, 64), np.float32), None))
    assert (plain == overlay).all()
    assert (plain == outlined).all()
    assert (cold == cold[0, 0]).all()
    heat, square = np.zeros((64, 64), np.float32), np.zeros((64, 64), bool)
    heat[:32], square[40:50, 40:50] = 1, True
    picture = views(image, heat, square)
    same, overlay, hot, outlined = four(picture)
    assert (same == plain).all()
    assert (hot[:48] != cold[:48]).any(-1).all()  # the heated half of the map
    assert (hot[64:] == cold[64:]).all()
    edge = (outlined != plain).any(-1)
    assert edge.any()
    assert np.nonzero(edge)[0].min() >= 40 * SIDE // 64 - 1
    assert (overlay[edge] == outlined[edge]).all()  # the same outline in both views
    assert not edge[45 * SIDE // 64, 45 * SIDE // 64]  # an outline, not an area
    assert len(webp(picture)) < picture.size / 10


def scored_images(num: int = 300) -> ScoredImages:
    """Return a cohort with two findings and three images per patient."""
    draw = np.random.default_rng(0)
    ids = np.array([f"i{n}" for n in range(num)])
    patients = np.array([f"p{n // 3}" for n in range(num)])
    state = draw.choice(np.array([1, 0, -1, -2, -3], np.int8), (num, 2))
    return ScoredImages("nih", ids, patients, state, draw.normal(0, 4, (num, 2)).astype(np.float32), ("Edema", "Mass"))


def test_a_sample_has_one_image_per_patient_and_outlined_images_first() -> None:
    cohort = scored_images()
    outlined_pairs = {(str(i), "Edema") for i in cohort.image_id[cohort.state_NK[:, 0] == 1][-4:]}
    chosen = positives(cohort, outlined_pairs, 5)
    rows = np.unique(np.concatenate(list(chosen.values())))
    assert len(set(cohort.patient_id[rows])) == len(rows)
    assert (cohort.labels[chosen["Edema"], 0] == 1).all()
    assert len(chosen["Edema"]) == 5
    has_outline = [(str(i), "Edema") in outlined_pairs for i in cohort.image_id[chosen["Edema"]]]
    assert has_outline == sorted(has_outline, reverse=True)
    assert any(has_outline)


def test_gallery_cases_follow_their_rule_and_do_not_depend_on_the_order_of_images() -> None:
    cohort, points = (
        scored_images(),
        {"Edema": OperatingPoint(0.0, 1.0, 0.0), "Mass": OperatingPoint(float("nan"), 1.0, 0.0)},
    )
    metrics = cases(cohort, points, 2)
    assert set(metrics["finding"]) == {"Edema"}  # without a threshold has_outline is no call
    label, logit = cohort.labels[metrics["row"], 0], cohort.logit_NK[metrics["row"], 0]
    for kind, (true_label, true_call) in zip(KINDS, ((1, 1), (1, 0), (0, 1), (0, 0), (1, 0), (0, 1)), strict=True):
        of_kind = (metrics["kind"] == kind).to_numpy()
        assert 0 < of_kind.sum() <= 2
        assert (label[of_kind] == true_label).all()
        assert ((logit[of_kind] >= 0) == true_call).all()
    assert (metrics.loc[metrics["kind"] == "sure miss", "probability"] <= 0.1).all()
    assert (metrics.loc[metrics["kind"] == "sure false alarm", "probability"] >= 0.9).all()
    reversed_cohort = ScoredImages(
        cohort.dataset,
        *(v[::-1] for v in (cohort.image_id, cohort.patient_id, cohort.state_NK, cohort.logit_NK)),
        cohort.findings,
    )
    reversed_cases = cases(reversed_cohort, points, 2)
    assert reversed_cohort.image_id[reversed_cases["row"]].tolist() == cohort.image_id[metrics["row"]].tolist()


def rows(num: int, energy_of: float, area: float, patients: int) -> pd.DataFrame:
    """Return equal measurements of one region."""
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


def test_a_summary_is_the_mean_over_images_with_an_interval_over_patients() -> None:
    mixed = pd.concat([rows(10, 0.2, 0.1, 10), rows(10, 0.6, 0.3, 10)], ignore_index=True)
    table = summarize(mixed, "nih", "run").set_index(["finding", "metric"])
    assert table.loc[("Edema", "enrichment"), "value"] == pytest.approx(2)  # mean energy .4 over mean area .2
    assert table.loc[("all", "energy"), "value"] == pytest.approx(0.4)
    assert table.loc[("Edema", "hit"), "chance"] == pytest.approx(0.2)
    # each patient has both, so none has an influence: the interval is that of a share of 17 images (Agresti and Coull)
    assert table.loc[("Edema", "energy"), ["low", "high"]].tolist() == pytest.approx([0.207, 0.630], abs=0.001)
    assert table.loc[("Edema", "energy"), ["n", "num_patients"]].tolist() == [20, 10]


def test_too_few_patients_give_nan_and_empty_maps_are_counted() -> None:
    too_few = summarize(rows(4, 0.2, 0.1, 4), "nih", "run")
    assert too_few["value"].isna().all()
    assert (too_few["num_patients"] == 4).all()
    half = rows(10, 0.2, 0.1, 10)
    half.loc[:4, ["empty", "energy"]] = [1.0, float("nan")]
    table = summarize(half, "nih", "run").set_index(["finding", "metric"])
    assert table.loc[("all", "empty"), "value"] == 0.5
    assert table.loc[("all", "energy"), "n"] == 5
    assert len(summarize(pd.DataFrame(columns=list(MEASURES)), "nih", "run")) == 0
