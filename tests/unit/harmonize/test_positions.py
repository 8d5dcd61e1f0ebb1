"""Tests that positions of findings are used in the frame of their image, or refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from native_tables import TABLES
from numpy.typing import NDArray
from pictures import ramp, save, save_dicom

from harmonize.checks.duplicates import ScannedCohort
from harmonize.checks.release import Check
from harmonize.checks.scan import scan
from harmonize.cohorts.cohort import load
from harmonize.cohorts.dicom_demographics import read_people
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import nih, padchest, vindr
from harmonize.errors import DatasetError
from harmonize.ground_truth.ground_truth import frame_misfit, scene, truth_of
from harmonize.ground_truth.positions import check_positions
from harmonize.images.pixels import Geometry

IMAGE = ramp(240, 200)
BOX = ("Cardiomegaly", 60.0, 120.0, 140.0, 200.0)  # finding, x_min, y_min, x_max, y_max


def vindr_copy(root: Path, image: NDArray[np.uint8], name: str, box: tuple[object, ...] = BOX) -> CohortSpec:
    """Write a VinDr cohort of one image with one box."""
    table = TABLES["vindr"]().iloc[3:4].reset_index(drop=True)
    vindr.write(table, root)
    image_id = table["image_id"][0]
    columns = ["image_id", "finding", "x_min", "y_min", "x_max", "y_max"]
    vindr.write_boxes(pd.DataFrame([[image_id, *box]], columns=columns), root, pd.Series(["test"]))
    (save_dicom if name == ".dicom" else save)(root / "test" / f"{image_id}{name}", image)
    return CohortSpec("vindr", "vindr", root)


def seen(spec: CohortSpec) -> NDArray[np.bool_]:
    """Return the mask of Cardiomegaly in the input image of a network."""
    table = load(spec).table
    truth = truth_of(spec.layout, spec.root, table)
    image_id, path = table[["image_id", "path"]].iloc[0]
    return scene(spec.root / path, image_id, Geometry(60, "letterbox"), 0, truth).findings["Cardiomegaly"]


def checked(spec: CohortSpec, store: Path, quick: bool = False) -> list[Check]:
    cohort = load(spec)
    scanned = None if quick else scan(spec.name, cohort.root, cohort.table["path"].tolist(), store)
    return check_positions(cohort, None if scanned is None else ScannedCohort(cohort, scanned))


def smaller(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(("height", "text"), [(64, "fit the files"), (40, "its boxes are of an image with 128 x 64")])
def test_both_readers_of_padchest_gr_are_read(height: int, text: str, tmp_path: Path) -> None:
    table = TABLES["padchest"]().iloc[:1].assign(drop="", view="PA", rows=64, columns=128)
    image, path = table[["image_id", "path"]].iloc[0]
    padchest.write(table, tmp_path)
    save(tmp_path / path, np.tile(np.arange(128, dtype=np.uint8), (height, 1)))
    finding = {"labels": ["Pleural effusion"], "boxes": [[0, 0, 0.25, 0.5]], "extra_boxes": [[0.5, 0.5, 1, 1]]}
    reports = [{"ImageID": image, "findings": [finding, {"abnormal": False}]}, {"ImageID": "other", "findings": []}]
    (tmp_path / "grounded_reports_20240819.json").write_text(json.dumps(reports))
    spec = CohortSpec("padchest", "padchest", tmp_path)
    assert text in checked(spec, tmp_path / "store")[0].found
    truth = truth_of("padchest", tmp_path, load(spec).table)
    mask = truth.masks(image, (64, 128))["Pleural Effusion"]
    assert mask[:32, :32].all()
    assert mask[32:, 64:].all()
    assert mask.sum() == 32 * 32 + 32 * 64


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.33])
def test_boxes_of_a_resized_copy_are_those_of_the_dicom_if_its_size_is_known(scale: float, tmp_path: Path) -> None:
    native = vindr_copy(tmp_path / "native", IMAGE, ".dicom")
    copy = vindr_copy(tmp_path / "copy", smaller(IMAGE, scale), ".png")
    read_people(vindr.images(native.root)).to_csv(copy.root / "people.csv", index=False)
    expected = seen(native)
    assert expected[30:50, 20:40].all()
    assert expected.sum() == 400
    np.testing.assert_array_equal(seen(copy), expected)
    for spec in (native, copy):
        (check,) = checked(spec, tmp_path / "store")
        assert (check.level, check.found) == ("ok", "the positions in 1 images fit the files")
        assert checked(spec, tmp_path / "store", quick=True) == []


@pytest.mark.parametrize(
    "people", ["", "image_id,sex,age\nother,F,50\n", "image_id,sex,age,rows,columns\nother,F,50,240,200\n"]
)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_boxes_of_a_copy_without_the_size_of_the_dicom_are_refused(people: str, scale: float, tmp_path: Path) -> None:
    copy = vindr_copy(tmp_path / "copy", smaller(IMAGE, scale), ".png")
    if people:
        (copy.root / "people.csv").write_text(people)
    with pytest.raises(DatasetError, match="size is unknown for 1 copies"):
        seen(copy)
    for quick in (True, False):
        (check,) = checked(copy, tmp_path / "store", quick)
        assert check.level == "fault"
        assert "people.csv" in check.fix


def test_a_box_outside_of_its_image_is_refused(tmp_path: Path) -> None:
    spec = vindr_copy(tmp_path / "small", smaller(IMAGE, 0.5), ".dicom")
    with pytest.raises(DatasetError, match="a box ends at x 140, y 200, outside of its image of 100 x 120 pixels"):
        seen(spec)
    (check,) = checked(spec, tmp_path / "store")
    assert check.level == "fault"
    assert check.found.startswith("1 of 1 images do not fit: ")
    over_the_edge = vindr_copy(tmp_path / "edge", IMAGE, ".dicom", ("Cardiomegaly", 60.0, 120.0, 202.0, 243.0))
    assert checked(over_the_edge, tmp_path / "store")[0].level == "ok"


@pytest.mark.parametrize(
    "corners",
    [(0.3, 0.5, 0.7, 0.8), (60.0, 120.0, 55.0, 80.0), (140.0, 200.0, 60.0, 120.0), (-60.0, 120.0, 140.0, 200.0)],
)
def test_corners_that_are_shares_sizes_exchanged_or_negative_are_refused(
    corners: tuple[float, ...], tmp_path: Path
) -> None:
    (check,) = checked(vindr_copy(tmp_path / "wrong", IMAGE, ".dicom", ("Cardiomegaly", *corners)), tmp_path / "store")
    assert check.level == "fault"
    assert f"x {corners[0]:g} to {corners[2]:g}, y {corners[1]:g} to {corners[3]:g} is no box in pixels" in check.found
    over_the_edge = vindr_copy(tmp_path / "edge", IMAGE, ".dicom", ("Cardiomegaly", -2.0, -3.0, 140.0, 200.0))
    assert checked(over_the_edge, tmp_path / "store")[0].level == "ok"


def test_boxes_whose_ids_are_written_in_another_way_are_refused(tmp_path: Path) -> None:
    spec = vindr_copy(tmp_path / "vindr", IMAGE, ".dicom")
    path = tmp_path / "vindr" / "annotations" / "annotations_test.csv"
    table = pd.read_csv(path)
    table.assign(image_id=table["image_id"] + ".dicom").to_csv(path, index=False)
    (check,) = checked(spec, tmp_path / "store")
    assert check.level == "fault"
    assert "the boxes match no image: the endings of file names differ" in check.found
    table.assign(image_id="0" * 32).to_csv(path, index=False)  # boxes of images that a subset does not have
    assert checked(spec, tmp_path / "store") == []


def test_a_cropped_copy_of_a_known_size_is_refused(tmp_path: Path) -> None:
    copy = vindr_copy(tmp_path / "copy", IMAGE[:200], ".png")
    image_id = load(copy).table["image_id"][0]
    (copy.root / "people.csv").write_text(f"image_id,sex,age,rows,columns\n{image_id},,,240,200\n")
    with pytest.raises(DatasetError, match="200 x 200 pixels"):
        seen(copy)
    assert checked(copy, tmp_path / "store")[0].level == "fault"


@pytest.mark.parametrize(("shape", "fits"), [((1024, 1024), True), ((256, 256), True), ((256, 200), False)])
def test_boxes_of_nih_need_a_square_image(shape: tuple[int, int], fits: bool, tmp_path: Path) -> None:
    nih.write_boxes(
        pd.DataFrame(
            [["a", "Cardiomegaly", 256.0, 512.0, 768.0, 1024.0]],
            columns=["image_id", "finding", "x_min", "y_min", "x_max", "y_max"],
        ),
        tmp_path,
    )
    save(tmp_path / "a.png", ramp(*shape))
    truth = truth_of("nih", tmp_path, pd.DataFrame({"image_id": ["a"], "path": ["a.png"]}))
    if not fits:
        with pytest.raises(DatasetError, match="boxes are of an image with 1024 x 1024"):
            scene(tmp_path / "a.png", "a", Geometry(16), 0, truth)
        return
    mask = scene(tmp_path / "a.png", "a", Geometry(16), 0, truth).findings["Cardiomegaly"]
    assert mask[8:, 4:12].all()
    assert mask.sum() == 64


@pytest.mark.parametrize(("shape", "fits"), [((40, 20), True), ((20, 10), True), ((123, 62), True), ((40, 30), False)])
def test_outlines_need_an_image_of_their_shape(shape: tuple[int, int], fits: bool, tmp_path: Path) -> None:
    shape = (shape[0] * 2, shape[1] * 2)
    rules = {"Cardiomegaly": {"size": [40, 20], "counts": [400, 200, 200]}}
    (tmp_path / "gt_segmentations_val.json").write_text(json.dumps({"a": rules}))
    save(tmp_path / "a.png", ramp(*shape))
    truth = truth_of("chexpert", tmp_path, pd.DataFrame({"image_id": ["a"]}))
    assert (truth.misfit("a", shape) == "") == fits
    if fits:
        assert scene(tmp_path / "a.png", "a", Geometry(20), 0, truth).findings["Cardiomegaly"].sum() == 100
    else:
        with pytest.raises(DatasetError, match="outlines are of an image with 20 x 40"):
            scene(tmp_path / "a.png", "a", Geometry(20), 0, truth)


@pytest.mark.parametrize(("shape", "level"), [((240, 200), "ok"), ((48, 40), "ok"), ((240, 240), "fault")])
def test_a_lung_mask_needs_the_shape_of_its_image(shape: tuple[int, int], level: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png", IMAGE)
    save(tmp_path / "masks" / "a.png", np.where(ramp(*shape) > 100, 255, 0).astype(np.uint8))
    (tmp_path / "t.csv").write_text("file,who,edema\na.png,1,1\n")
    (tmp_path / "m.yaml").write_text(
        'image: "{file}"\npatient: who\nlung_mask: "masks/{file}"\nfindings: {Edema: {column: edema, present: [1], absent: [0]}}\n'
    )
    spec = CohortSpec("own", "table", tmp_path, table="t.csv", mapping="m.yaml")
    (check,) = checked(spec, tmp_path / "store")
    assert check.level == level
    truth = truth_of("table", tmp_path, load(spec).table)
    if level == "ok":
        assert scene(tmp_path / "a.png", "a.png", Geometry(20), 0, truth).lungs_known
    else:
        with pytest.raises(DatasetError, match="lungs are of an image with 240 x 240"):
            scene(tmp_path / "a.png", "a.png", Geometry(20), 0, truth)


def test_a_resized_copy_may_be_rounded_by_a_pixel() -> None:
    for height, width in ((2828, 2320), (3056, 2544), (1024, 1025)):
        for side in (224, 320, 512, 1000):
            scale = side / min(height, width)
            for rounding in (np.floor, np.ceil, np.round):
                size = (int(rounding(height * scale)), int(rounding(width * scale)))
                assert frame_misfit("boxes", (height, width), size) == ""
    assert frame_misfit("boxes", (2828, 2320), (320, 390)) != ""  # turned
    assert frame_misfit("boxes", (2828, 2320), (390, 320)) == ""  # CheXpert-small
