"""Tests that masks stay aligned with their image in every geometry, and tests of regions and scenes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from harmonize.datasets import nih
from harmonize.ground_truth.ground_truth import OUTSIDE, Scene, scene, truth_of
from harmonize.images.lungs import lung_field
from harmonize.images.markers import markers
from harmonize.images.pixels import Geometry, to_geometry
from harmonize.images.regions import InputTransform, border, box_mask, padding, pleura
from harmonize.phantom import PhantomSettings, write_cohorts
from harmonize.phantom.radiograph import twin

GEOMETRIES = (
    Geometry(96),
    Geometry(64, "letterbox"),
    Geometry(96, "letterbox", (2.0, 8)),
    Geometry(64, "smallest_crop"),
    Geometry(96, "squash", None, ("roi", 0.9)),
    Geometry(96, "letterbox", None, ("adaptive_roi", 0.2)),
)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: g.key)
def test_a_mask_stays_aligned_with_the_image(geometry: Geometry) -> None:
    picture = (255 * twin(PhantomSettings(size=256), "nih", 3).image).astype(np.uint8)
    picture = np.ascontiguousarray(picture[:, 20:230])
    mask = np.zeros(picture.shape, bool)
    mask[96:148, 80:122] = True
    transform = InputTransform.of(picture, geometry)
    dark, bright = picture.copy(), picture.copy()
    dark[mask], bright[mask] = 0, 255
    inputs = [to_geometry(image[transform.box], Geometry(geometry.size, geometry.fit)) for image in (dark, bright)]
    transformed = inputs[1].astype(int) - inputs[0] > 127
    assert iou(transform.apply_to_mask(mask), transformed) > 0.94  # half-covered pixels may be rounded up or down


def test_the_resolution_of_a_mask_and_a_center_crop_do_not_move_it() -> None:
    picture = np.full((200, 100), 90, np.uint8)
    mask = box_mask(np.array([[30.0, 60.0, 70.0, 140.0]]), (200, 100))
    large = np.repeat(np.repeat(mask, 3, 0), 3, 1)
    transform = InputTransform.of(picture, Geometry(64, "letterbox"), 32)
    assert transform.apply_to_mask(mask).shape == (32, 32)
    assert iou(transform.apply_to_mask(mask), transform.apply_to_mask(large)) > 0.9
    assert (
        transform.apply_to_mask(mask).sum()
        == InputTransform.of(picture, Geometry(64, "letterbox")).apply_to_mask(mask)[16:48, 16:48].sum()
    )


def test_a_thin_mask_keeps_a_pixel_and_a_mask_outside_the_crop_is_empty() -> None:
    picture = np.full((100, 200), 90, np.uint8)
    transform = InputTransform.of(picture, Geometry(16, "smallest_crop"))
    thin = box_mask(np.array([[100.0, 50.0, 101.0, 51.0]]), (100, 200))
    outside = box_mask(np.array([[0.0, 0.0, 20.0, 100.0]]), (100, 200))
    assert transform.apply_to_mask(thin).any()
    assert not transform.apply_to_mask(outside).any()


def test_boxes_are_clipped_to_the_image_and_have_at_least_one_pixel() -> None:
    mask = box_mask(np.array([[-5.0, -5.0, 2.0, 2.0], [7.2, 7.2, 7.3, 7.3], [50.0, 50.0, 60.0, 60.0]]), (8, 8))
    assert mask[:2, :2].all()
    assert mask[7, 7]
    assert mask.sum() == 5


def test_border_padding_and_pleura_have_the_documented_areas() -> None:
    assert border(100).sum() == 100**2 - 88**2
    square = to_geometry(np.full((50, 100), 120, np.uint8), Geometry(64, "letterbox"))
    assert padding(square).mean() == pytest.approx(0.5)
    assert not padding(np.full((9, 9), 120, np.uint8)).any()
    assert not padding(np.zeros((9, 9), np.uint8)).any()  # an entirely black image has no padding
    lungs = box_mask(np.array([[10.0, 10.0, 40.0, 80.0]]), (100, 100))
    band = pleura(lungs)
    assert band[45, 40]
    assert not band[45, 25]


def test_lungs_and_tag_of_phantoms_are_detected() -> None:
    dice, tag_recall, false_area = [], [], []
    for number in range(8):
        radiograph = twin(PhantomSettings(size=256), "nih", number, token=True)
        image = (255 * radiograph.image).round().astype(np.uint8)
        lung_mask, lungs = lung_field(image), radiograph.masks["lungs"]
        if lung_mask is not None:
            dice.append(2 * (lung_mask & lungs).sum() / (lung_mask.sum() + lungs.sum()))
        detected, tag = markers(image), radiograph.masks["token"]
        tag_recall.append((detected & tag).sum() / tag.sum())
        false_area.append((detected & ~tag).mean())
    assert len(dice) >= 7
    assert np.median(dice) > 0.8
    assert np.median(tag_recall) > 0.9
    assert np.mean(false_area) < 0.02
    assert lung_field(np.full((50, 50), 9, np.uint8)) is None
    assert not markers(np.full((50, 50), 255, np.uint8)).any()


SETTINGS = PhantomSettings(images={"chexpert": 12, "nih": 12, "vindr": 12}, size=96, seed=5)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    write_cohorts(root, SETTINGS)
    return root


@pytest.mark.parametrize("site", ["chexpert", "nih", "vindr"])
def test_the_masks_of_a_phantom_equal_its_drawing(phantoms: Path, site: str) -> None:
    table = pd.read_parquet(phantoms / "truth" / f"{site}.parquet")
    table = table[(table["view"] != "LATERAL") & (table["kind"] == "")]
    truth = truth_of(site, phantoms / site, table)
    assert truth.source == "phantom"
    for image_id, path, patient, study in (
        table[["image_id", "path", "patient", "study"]].head(6).itertuples(index=False)
    ):
        drawn = twin(SETTINGS, site, int(patient), int(study)).masks
        phantom_scene = scene(phantoms / site / path, image_id, Geometry(96), 0, truth)
        for name in ("heart", *phantom_scene.findings):
            transform = InputTransform.of(np.zeros(drawn[name].shape, np.uint8), Geometry(96))
            seen = (phantom_scene.findings | phantom_scene.regions)[name]
            assert iou(transform.apply_to_mask(drawn[name]), seen) > 0.94
        assert phantom_scene.lungs_known
        assert (phantom_scene.regions[OUTSIDE] == ~phantom_scene.lungs).all()
        assert {(image_id, f) for f in phantom_scene.findings} >= {k for k in truth.located if k[0] == image_id}


@pytest.mark.slow
def test_boxes_of_nih_and_vindr_cover_the_findings_of_the_phantom(phantoms: Path, tmp_path: Path) -> None:
    for site in ("nih", "vindr"):
        # without phantom.json in the parent folder
        (tmp_path / site).symlink_to(phantoms / site, target_is_directory=True)
        table = pd.read_parquet(phantoms / "truth" / f"{site}.parquet")
        table = table[table["kind"] == ""]
        box_truth, phantom_truth = truth_of(site, tmp_path / site, table), truth_of(site, phantoms / site, table)
        assert box_truth.source == "boxes"
        compared = 0
        for image_id, path in table[["image_id", "path"]].itertuples(index=False):
            from_boxes, from_phantom = (
                scene(phantoms / site / path, image_id, Geometry(96), 0, t) for t in (box_truth, phantom_truth)
            )
            for finding in from_boxes.findings.keys() & from_phantom.findings.keys():
                outline = from_phantom.findings[finding]
                assert (from_boxes.findings[finding] & outline).sum() / outline.sum() > 0.85, (site, image_id, finding)
                compared += 1
            assert not from_boxes.lungs_known
        assert compared >= 3


def test_outlines_of_chexlocalize_give_findings_and_the_heart(phantoms: Path, tmp_path: Path) -> None:
    root = tmp_path / "chexpert"
    root.mkdir()
    cv2.imwrite(str(root / "a.png"), np.full((40, 20), 100, np.uint8))
    rules = {
        "Cardiomegaly": {"size": [40, 20], "counts": [400, 200, 200]},
        "Edema": {"size": [40, 20], "counts": [800]},
    }
    (root / "gt_segmentations_val.json").write_text(json.dumps({"a": rules, "b": rules}))
    truth = truth_of("chexpert", root, pd.DataFrame({"image_id": ["a"]}))
    assert truth.source == "outlines"
    assert truth.located == {("a", "Cardiomegaly")}
    image_scene = scene(root / "a.png", "a", Geometry(20), 0, truth)
    assert image_scene.findings["Cardiomegaly"][:, 10:15].all()
    assert image_scene.findings["Cardiomegaly"].sum() == 100
    assert (image_scene.regions["heart"] == image_scene.findings["Cardiomegaly"]).all()


def test_a_cohort_without_locations_has_regions_and_damaged_boxes_are_ignored(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 20), 100, np.uint8))
    frame = pd.DataFrame({"image_id": ["a"]})
    assert truth_of("mimic", tmp_path, frame).source == ""
    image_scene = scene(tmp_path / "a.png", "a", Geometry(20, "letterbox"), 0, truth_of("mimic", tmp_path, frame))
    assert set(image_scene.regions) == {"border", "padding"}
    assert image_scene.lungs is None
    boxes = pd.DataFrame(
        [["a", "Edema", 1, 2, float("nan"), 4]], columns=["image_id", "finding", "x_min", "y_min", "x_max", "y_max"]
    )
    nih.write_boxes(boxes, tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 40), 100, np.uint8))
    assert scene(tmp_path / "a.png", "a", Geometry(20), 0, truth_of("nih", tmp_path, frame)).findings == {}


def test_lung_masks_of_a_table_are_used_if_they_exist_below_the_root(tmp_path: Path) -> None:
    from harmonize.cohorts.cohort import load
    from harmonize.cohorts.specs import read_data

    (tmp_path / "masks").mkdir()
    mask = np.zeros((40, 20), np.uint8)
    mask[10:30] = 255
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((40, 20), 100, np.uint8))
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), mask)
    (tmp_path / "t.csv").write_text("file,who,edema\na.png,1,1\nb.png,2,0\n")
    rules = 'image: "{file}"\npatient: who\nlung_mask: "masks/{file}"\nfindings: {Edema: {column: edema, present: [1], absent: [0]}}\n'
    (tmp_path / "m.yaml").write_text(rules)
    (tmp_path / "data.yaml").write_text(f"own: {{layout: table, root: {tmp_path}, table: t.csv, mapping: m.yaml}}\n")
    table = load(read_data(tmp_path / "data.yaml")["own"]).table
    truth = truth_of("table", tmp_path, table)
    assert set(truth.lung_masks) == {"a.png"}
    image_scene = scene(tmp_path / "a.png", "a.png", Geometry(20), 0, truth)
    assert image_scene.lungs_known
    assert (image_scene.regions[OUTSIDE].mean(1) == ([1.0] * 5 + [0.0] * 10 + [1.0] * 5)).all()
    outside = table.assign(lung_mask="../" + tmp_path.name + "x/a.png")
    assert not truth_of("table", tmp_path, outside).lung_masks


def test_a_scene_can_be_packed_and_unpacked(phantoms: Path) -> None:
    table = pd.read_parquet(phantoms / "truth" / "nih.parquet")
    image_id, path = table.loc[table["token"], ["image_id", "path"]].iloc[0]
    first = scene(
        phantoms / "nih" / path, image_id, Geometry(50, "letterbox"), 40, truth_of("nih", phantoms / "nih", table)
    )
    unpacked = Scene.unpacked(first.packed())
    assert (unpacked.image == first.image).all()
    assert unpacked.image.shape == (40, 40)
    assert unpacked.lungs_known == first.lungs_known
    assert (unpacked.lungs == first.lungs).all()
    for masks, expected in ((unpacked.findings, first.findings), (unpacked.regions, first.regions)):
        assert masks.keys() == expected.keys()
        assert all((masks[name] == expected[name]).all() for name in masks)
