"""Truth moves with its image: a mark in the file is where the network sees it, in every geometry."""

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
from harmonize.images.regions import Place, border, boxed, padding, pleura
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
def test_a_known_mark_moves_with_the_image(geometry: Geometry) -> None:
    picture = (255 * twin(PhantomSettings(size=256), "nih", 3).image).astype(np.uint8)
    picture = np.ascontiguousarray(picture[:, 20:230])
    mark = np.zeros(picture.shape, bool)
    mark[96:148, 80:122] = True
    place = Place.of(picture, geometry)
    clean, marked = picture.copy(), picture.copy()
    clean[mark], marked[mark] = 0, 255
    shown = [to_geometry(image[place.box], Geometry(geometry.size, geometry.fit)) for image in (clean, marked)]
    seen = shown[1].astype(int) - shown[0] > 127
    assert iou(place.moved(mark), seen) > 0.94  # half-filled pixels may round either way


def test_a_mask_of_another_resolution_and_a_centre_input_give_the_same_place() -> None:
    picture = np.full((200, 100), 90, np.uint8)
    mark = boxed(np.array([[30.0, 60.0, 70.0, 140.0]]), (200, 100))
    large = np.repeat(np.repeat(mark, 3, 0), 3, 1)
    place = Place.of(picture, Geometry(64, "letterbox"), 32)
    assert place.moved(mark).shape == (32, 32)
    assert iou(place.moved(mark), place.moved(large)) > 0.9
    assert place.moved(mark).sum() == Place.of(picture, Geometry(64, "letterbox")).moved(mark)[16:48, 16:48].sum()


def test_a_thin_mark_keeps_a_pixel_and_one_that_is_cut_off_has_none() -> None:
    picture = np.full((100, 200), 90, np.uint8)
    place = Place.of(picture, Geometry(16, "smallest_crop"))
    thin = boxed(np.array([[100.0, 50.0, 101.0, 51.0]]), (100, 200))
    gone = boxed(np.array([[0.0, 0.0, 20.0, 100.0]]), (100, 200))
    assert place.moved(thin).any()
    assert not place.moved(gone).any()


def test_boxes_beyond_the_image_are_cut_and_each_has_a_pixel() -> None:
    mask = boxed(np.array([[-5.0, -5.0, 2.0, 2.0], [7.2, 7.2, 7.3, 7.3], [50.0, 50.0, 60.0, 60.0]]), (8, 8))
    assert mask[:2, :2].all()
    assert mask[7, 7]
    assert mask.sum() == 5


def test_the_border_is_six_per_cent_wide_and_padding_is_what_is_black_from_end_to_end() -> None:
    assert border(100).sum() == 100**2 - 88**2
    square = to_geometry(np.full((50, 100), 120, np.uint8), Geometry(64, "letterbox"))
    assert padding(square).mean() == pytest.approx(0.5)
    assert not padding(np.full((9, 9), 120, np.uint8)).any()
    assert not padding(np.zeros((9, 9), np.uint8)).any()  # a black image has no inside to be padded
    lungs = boxed(np.array([[10.0, 10.0, 40.0, 80.0]]), (100, 100))
    band = pleura(lungs)
    assert band[45, 40]
    assert not band[45, 25]


def test_lungs_and_the_tag_of_phantoms_are_found() -> None:
    dice, found, elsewhere = [], [], []
    for number in range(8):
        taken = twin(PhantomSettings(size=256), "nih", number, token=True)
        image = (255 * taken.image).round().astype(np.uint8)
        field, lungs = lung_field(image), taken.masks["lungs"]
        if field is not None:
            dice.append(2 * (field & lungs).sum() / (field.sum() + lungs.sum()))
        written, tag = markers(image), taken.masks["token"]
        found.append((written & tag).sum() / tag.sum())
        elsewhere.append((written & ~tag).mean())
    assert len(dice) >= 7
    assert np.median(dice) > 0.8
    assert np.median(found) > 0.9
    assert np.mean(elsewhere) < 0.02
    assert lung_field(np.full((50, 50), 9, np.uint8)) is None
    assert not markers(np.full((50, 50), 255, np.uint8)).any()


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    write_cohorts(root, PhantomSettings(images={"chexpert": 12, "nih": 12, "vindr": 12}, size=96, seed=5), masks=True)
    return root


@pytest.mark.parametrize("site", ["chexpert", "nih", "vindr"])
def test_the_truth_of_a_phantom_is_what_was_written_with_it(phantoms: Path, site: str) -> None:
    table = pd.read_parquet(phantoms / "truth" / f"{site}.parquet")
    table = table[(table["view"] != "LATERAL") & (table["kind"] == "")]
    truth = truth_of(site, phantoms / site, table)
    assert truth.source == "phantom"
    for image_id, path in table[["image_id", "path"]].head(6).itertuples(index=False):
        place = scene(phantoms / site / path, image_id, Geometry(96), 0, truth)
        folder = (phantoms / "masks" / site / path).with_suffix("")
        for name in ("heart", *place.findings):
            written = cv2.imread(str(folder / f"{name}.png"), cv2.IMREAD_GRAYSCALE) > 127
            assert (
                iou(
                    Place.of(np.zeros(written.shape, np.uint8), Geometry(96)).moved(written),
                    (place.findings | place.regions)[name],
                )
                > 0.94
            )
        assert place.lungs_known
        assert (place.regions[OUTSIDE] == ~place.lungs).all()
        assert {(image_id, f) for f in place.findings} >= {k for k in truth.known if k[0] == image_id}


def test_boxes_of_nih_and_vindr_lie_where_the_phantom_drew_the_finding(phantoms: Path, tmp_path: Path) -> None:
    for site in ("nih", "vindr"):
        (tmp_path / site).symlink_to(phantoms / site, target_is_directory=True)  # without phantom.json above it
        table = pd.read_parquet(phantoms / "truth" / f"{site}.parquet")
        table = table[table["kind"] == ""]
        boxes, drawn = truth_of(site, tmp_path / site, table), truth_of(site, phantoms / site, table)
        assert boxes.source == "boxes"
        compared = 0
        for image_id, path in table[["image_id", "path"]].itertuples(index=False):
            ours, real = (scene(phantoms / site / path, image_id, Geometry(96), 0, t) for t in (boxes, drawn))
            for finding in ours.findings.keys() & real.findings.keys():
                outline = real.findings[finding]
                assert (ours.findings[finding] & outline).sum() / outline.sum() > 0.85, (site, image_id, finding)
                compared += 1
            assert not ours.lungs_known
        assert compared >= 3


def test_outlines_of_chexlocalize_are_read_and_give_the_heart(phantoms: Path, tmp_path: Path) -> None:
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
    assert truth.known == {("a", "Cardiomegaly")}
    place = scene(root / "a.png", "a", Geometry(20), 0, truth)
    assert place.findings["Cardiomegaly"][:, 10:15].all()
    assert place.findings["Cardiomegaly"].sum() == 100
    assert (place.regions["heart"] == place.findings["Cardiomegaly"]).all()


def test_a_cohort_without_truth_still_has_regions_and_damaged_boxes_are_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 20), 100, np.uint8))
    frame = pd.DataFrame({"image_id": ["a"]})
    assert truth_of("mimic", tmp_path, frame).source == ""
    place = scene(tmp_path / "a.png", "a", Geometry(20, "letterbox"), 0, truth_of("mimic", tmp_path, frame))
    assert set(place.regions) == {"border", "padding"}
    assert place.lungs is None
    boxes = pd.DataFrame(
        [["a", "Edema", 1, 2, float("nan"), 4]], columns=["image_id", "finding", "x_min", "y_min", "x_max", "y_max"]
    )
    nih.write_boxes(boxes, tmp_path)
    assert scene(tmp_path / "a.png", "a", Geometry(20), 0, truth_of("nih", tmp_path, frame)).findings == {}


def test_lung_masks_of_a_table_are_used_where_they_are_there_and_below_the_root(tmp_path: Path) -> None:
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
    place = scene(tmp_path / "a.png", "a.png", Geometry(20), 0, truth)
    assert place.lungs_known
    assert (place.regions[OUTSIDE].mean(1) == ([1.0] * 5 + [0.0] * 10 + [1.0] * 5)).all()
    outside = table.assign(lung_mask="../" + tmp_path.name + "x/a.png")
    assert not truth_of("table", tmp_path, outside).lung_masks


def test_a_scene_is_the_same_after_it_was_stored(phantoms: Path) -> None:
    table = pd.read_parquet(phantoms / "truth" / "nih.parquet")
    image_id, path = table.loc[table["token"], ["image_id", "path"]].iloc[0]
    first = scene(
        phantoms / "nih" / path, image_id, Geometry(50, "letterbox"), 40, truth_of("nih", phantoms / "nih", table)
    )
    again = Scene.unpacked(first.packed())
    assert (again.image == first.image).all()
    assert again.image.shape == (40, 40)
    assert again.lungs_known == first.lungs_known
    assert (again.lungs == first.lungs).all()
    for mine, other in ((again.findings, first.findings), (again.regions, first.regions)):
        assert mine.keys() == other.keys()
        assert all((mine[name] == other[name]).all() for name in mine)
