"""CheXmask's masks of lungs and heart: their tables, what is refused, and where they are used."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.analyses.marker_masks import image_masks, with_anatomy
from bench.extensions.chexmask import cohorts
from bench.extensions.chexmask.file import (
    HEIGHT,
    LEFT,
    OF_HEART,
    RCA,
    RIGHT,
    TABLES,
    WIDTH,
    decode,
    find_table,
    read_masks,
)
from bench.store.store import Store
from harmonize.cohorts.pooled import Place
from harmonize.errors import DatasetError
from harmonize.ground_truth.ground_truth import HEART, LUNGS, Truth, scene
from harmonize.images.lungs import lung_field
from harmonize.images.pixels import Geometry, read_gray
from harmonize.phantom import PhantomSettings
from harmonize.phantom.radiograph import twin
from tests.manifests import invented_manifest

# id in the tables of the dataset -> image id of this program
IDS = {
    "chexpert": ("train/patient18591/study2/view1_frontal.jpg", "patient18591_study2_view1_frontal"),
    "mimic": ("66049acc-ee1e6b29-1298f53b-32d453b3-41377f10",) * 2,
    "nih": ("00028162_002.png",) * 2,
    "padchest": ("216840111366964013217898866992011332134237003_01-031-075.png",) * 2,
    "vindr": ("5780e843511eb33150ad2d151aeed276",) * 2,
}


def box(shape: tuple[int, int], left: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[2:8, left : left + 3] = True
    return mask


def rows(*names: str, quality: float = 0.9, shape: tuple[int, int] = (12, 16)) -> dict:
    return {name: (quality, box(shape, 10), box(shape, 1), box(shape, 7)) for name in names}


def encode(mask: np.ndarray) -> str:
    """Return the run lengths of a mask [H, W]; `decode` is the inverse."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.ravel(), [False]])))
    return " ".join(f"{start + 1} {stop - start}" for start, stop in edges.reshape(-1, 2))


def write_table(layout: str, rows: dict[str, tuple], folder: Path) -> Path:
    """Write the table of a dataset from {id of its own tables: (quality, left lung, right lung, heart)}; return its path."""
    name, column = TABLES[layout]
    lines = [
        (image, quality, quality, "[[1, 2]]", *map(encode, masks), *masks[0].shape)
        for image, (quality, *masks) in rows.items()
    ]
    columns = [column, RCA, "Dice RCA (Max)", "Landmarks", LEFT, RIGHT, OF_HEART, HEIGHT, WIDTH]
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(lines, columns=columns).to_csv(folder / f"{name}.gz", index=False)
    return folder / f"{name}.gz"


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths_are_those_of_the_authors(mask: np.ndarray) -> None:
    """The expected text is computed as in the authors' get_RLE_from_mask, one pixel after another."""
    runs, start = [], None
    for k, pixel in enumerate([*mask.flatten().tolist(), False]):
        if pixel and start is None:
            start = k
        if not pixel and start is not None:
            runs += [start + 1, k - start]
            start = None
    assert encode(mask) == " ".join(map(str, runs))
    np.testing.assert_array_equal(decode(encode(mask), mask.shape), mask)


@pytest.mark.parametrize("layout", list(TABLES))
def test_a_written_table_is_read_again(tmp_path: Path, layout: str) -> None:
    native, image = IDS[layout]
    path = write_table(layout, rows(native), tmp_path / "CheXmask" / "OriginalResolution")
    assert find_table(layout, tmp_path / layout) == path
    masks = read_masks(layout, path, [image, "absent"])
    assert list(masks) == [image]
    found = masks[image].masks((24, 32))
    np.testing.assert_array_equal(found[LUNGS], box((12, 16), 10) | box((12, 16), 1))
    np.testing.assert_array_equal(found[HEART], box((12, 16), 7))


def test_masks_without_a_size_are_not_used(tmp_path: Path) -> None:
    path = write_table("nih", rows("a.png", "b.png"), tmp_path)
    changed(HEIGHT, "")(pd.read_csv(path, dtype=str)).to_csv(path, index=False)
    assert list(read_masks("nih", path, ["a.png", "b.png"])) == ["a.png"]


def test_masks_of_low_quality_are_not_used(tmp_path: Path) -> None:
    path = write_table("nih", {**rows("a.png", quality=0.69), **rows("b.png", quality=0.7)}, tmp_path)
    assert list(read_masks("nih", path, ["a.png", "b.png"])) == ["b.png"]


def changed(column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table.assign(**{column: [table[column].iloc[0], value]})


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (changed(HEIGHT, "0"), "invalid numbers: Dice RCA (Mean) '0.9', Height '0'"),
        (changed(RCA, "good"), "invalid numbers: Dice RCA (Mean) 'good'"),
        (changed(RCA, "90"), "invalid numbers"),
        (changed(LEFT, "190 9"), "a run ends outside of the mask"),
        (changed(LEFT, "1 2 3"), "damaged run lengths"),
        (changed(LEFT, "one 2"), "damaged run lengths"),
        (changed("Image Index", "a.png"), "the image has two rows"),
        (lambda table: table.rename(columns={"Heart": "heart"}), "no column 'Heart'"),
    ],
)
def test_a_damaged_table_is_refused_with_file_and_row(
    tmp_path: Path, damage: Callable[[pd.DataFrame], pd.DataFrame], what: str
) -> None:
    path = write_table("nih", rows("a.png", "b.png"), tmp_path)
    damage(pd.read_csv(path, dtype=str)).to_csv(path, index=False)
    with pytest.raises(DatasetError) as refused:
        [encoded.masks((12, 16)) for encoded in read_masks("nih", path, ["a.png", "b.png"]).values()]
    assert what in refused.value.what
    assert str(path) in refused.value.where
    if "column" not in what:
        assert "row 3" in refused.value.where
    assert refused.value.fix


def test_a_page_in_place_of_a_table_and_a_table_of_another_dataset_are_refused(tmp_path: Path) -> None:
    path = write_table("nih", rows("a.png"), tmp_path)
    with pytest.raises(DatasetError, match="none of 20 images") as refused:
        read_masks("nih", path, [f"{k}.png" for k in range(20)])
    assert "'a.png'" in refused.value.what
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=path.name):
        read_masks("nih", path, ["a.png"])


@pytest.fixture
def nih(tmp_path: Path) -> SimpleNamespace:
    """A folder of NIH with an image of a phantom as a real file, and the phantom's own lungs as CheXmask's."""
    phantom = twin(PhantomSettings(size=160), "nih", 3)
    root = tmp_path / "nih"
    root.mkdir()
    image = (255 * phantom.image).round().astype(np.uint8)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(root / name), image)
    known, heart = phantom.masks["lungs"], phantom.masks["heart"]
    empty = np.zeros_like(known)
    write_table("nih", {"a.png": (0.9, known, empty, heart)}, tmp_path / "CheXmask")
    table = pd.DataFrame({"image_id": ["a.png", "b.png"], "path": ["a.png", "b.png"]})
    ref = SimpleNamespace(name="nih", root=root, places=(Place("nih", root),), read=lambda _columns: table)
    return SimpleNamespace(root=root, ref=ref, table=table, image=image, known=known, heart=heart)


def test_known_lungs_replace_detected_ones_in_heat_maps_and_transplants(nih: SimpleNamespace) -> None:
    geometry = Geometry(64)
    truth = with_anatomy(Truth(""), nih.ref.places, ["a.png", "b.png"])
    scenes = {name: scene(nih.root / name, name, geometry, 0, truth) for name in ("a.png", "b.png")}
    assert [scenes[name].lungs_known for name in ("a.png", "b.png")] == [True, False]
    assert HEART in scenes["a.png"].regions
    assert HEART not in scenes["b.png"].regions
    detected = lung_field(read_gray(nih.root / "b.png", geometry.decode_at))
    assert detected is not None
    known, found = (m.lungs for m in image_masks(nih.ref, ["a.png", "b.png"], geometry, truth))
    assert known is not None
    assert found is not None
    np.testing.assert_array_equal(known, scenes["a.png"].lungs)
    np.testing.assert_array_equal(found, scenes["b.png"].lungs)
    assert (known != found).any()
    # the mask that heat maps get has the size of the known lungs
    assert known.mean() == pytest.approx(nih.known.mean(), abs=0.02)


def test_a_mask_of_another_image_size_is_refused_with_file_row_and_fix(nih: SimpleNamespace, tmp_path: Path) -> None:
    path = write_table("nih", rows("a.png", shape=(12, 40)), tmp_path / "CheXmask")
    truth = with_anatomy(Truth(""), nih.ref.places, ["a.png"])
    with pytest.raises(DatasetError) as refused:
        scene(nih.root / "a.png", "a.png", Geometry(64), 0, truth)
    height, width = nih.image.shape
    assert f"the file has {width} x {height} pixels" in refused.value.what
    assert "an image with 40 x 12" in refused.value.what
    assert (str(path) in refused.value.where, "row 2 (a.png)" in refused.value.where) == (True, True)
    assert "OriginalResolution" in refused.value.fix


def test_other_sources_of_lungs_come_first_and_a_new_table_changes_the_stamp(
    nih: SimpleNamespace, tmp_path: Path
) -> None:
    own = {LUNGS: np.ones((4, 4), bool)}
    truth = with_anatomy(Truth("phantom", masks=lambda _image, _frame: own, stamp="s"), nih.ref.places, ["a.png"])
    masks = truth.masks("a.png", nih.image.shape)
    assert masks[LUNGS] is own[LUNGS]
    np.testing.assert_array_equal(masks[HEART], nih.heart)
    write_table("nih", rows("a.png"), tmp_path / "CheXmask")
    assert with_anatomy(Truth("", stamp="s"), nih.ref.places, ["a.png"]).stamp != truth.stamp
    other = Place("brax", tmp_path / "nih")
    assert with_anatomy(truth, [other], ["a.png"]) is truth


def test_the_page_says_whose_lungs_are_meant(nih: SimpleNamespace, tmp_path: Path) -> None:
    found = cohorts.facts(SimpleNamespace(refs=[nih.ref]))  # type: ignore[arg-type]
    assert found == {"chexmask": ["nih"]}
    manifest = invented_manifest(Store.open(tmp_path / "runs"))
    assert cohorts.meta(manifest) == {}
    manifest.extras["chexmask"] = [manifest.cohorts[0].name]  # type: ignore[index]
    said = cohorts.meta(manifest)["lungs"]
    assert manifest.hospital(manifest.cohorts[0]).short in said
    assert "in other images an algorithm without learning detects the lungs" in said
