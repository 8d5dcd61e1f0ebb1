"""Histogram standardization and matching, compared with numpy, scikit-image and calculated numbers; learned on internal images only."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.exposure import match_histograms

from bench.inputs.histogram_reference import reference
from bench.inputs.histograms import LANDMARKS, histmatch, histograms, histstd, interpolate, landmarks, learn, look_up
from bench.inputs.normalize import Normalizer
from bench.planning.image_caches import prepare
from bench.planning.jobs import Job
from bench.planning.plan import Plan
from bench.planning.protocol import internal_split
from bench.runs.run_one import run_one
from harmonize.errors import ConfigError, DatasetError
from tests.nonempty import nonempty
from tests.unit.bench.planning.test_images import distinct
from tests.unit.bench.planning.test_plan import GRID, patients, plan, silent

Images = np.ndarray[Any, np.dtype[np.uint8]]


def beta_images() -> tuple[Images, Images, Images]:
    """Return one image at three exposures."""
    base = np.random.default_rng(0).beta(2, 3, (64, 64))
    one, two, three = (np.round(255 * np.clip(base**g, 1e-3, 1)).astype(np.uint8) for g in (0.7, 1, 1.4))
    return one, two, three


def batch(*images: Images) -> torch.Tensor:
    return torch.from_numpy(np.stack(images))


def standardised(images: torch.Tensor, standard: list[float]) -> Images:
    return look_up(images, histstd(histograms(images), standard)[:, None])[:, 0].numpy()


def textbook(images: list[Any], darkest: float) -> tuple[Any, Any]:
    """Return the standard landmarks and the standardized images, computed one by one as in the paper."""
    marks = [np.percentile(image[image > darkest], LANDMARKS) for image in images]
    standard = np.mean([np.interp(own, [own[0], own[-1]], [0, 1]) for own in marks], axis=0)
    return standard, np.stack(
        [np.clip(np.interp(i, own, standard), 0, 1) for i, own in zip(images, marks, strict=True)]
    )


def test_three_exposures_of_one_image_become_one_image() -> None:
    """In floating point the textbook method differs by 0.0019; 256 gray values and the excluded dark pixels add 0.01."""
    base = np.random.default_rng(0).beta(2, 3, (64, 64))
    exact = [np.clip(base**g, 1e-3, 1) for g in (0.7, 1, 1.4)]
    _, after = textbook(exact, 0)
    assert np.abs(exact[0] - exact[2]).mean() == pytest.approx(0.2146, abs=5e-5)
    assert np.abs(after[0] - after[2]).mean() == pytest.approx(0.0019, abs=5e-5)
    images = batch(*beta_images())
    ours = standardised(images, learn("histstd", [images]))
    assert np.abs(ours[0] - ours[2]).mean() == pytest.approx(0.0116, abs=5e-5)


def test_histstd_equals_the_textbook() -> None:
    images = beta_images()
    standard, expected = textbook(list(images), 5)
    learned = learn("histstd", [batch(*images)])
    np.testing.assert_allclose(learned, standard, atol=1e-12)
    np.testing.assert_allclose(standardised(batch(*images), learned), expected, atol=1e-6)


@given(arrays(np.uint8, (3, 7, 9)))
def test_landmarks_equal_numpy_percentiles_of_the_foreground(images: Images) -> None:
    computed = landmarks(histograms(torch.from_numpy(images))).numpy()
    for image, own in nonempty(zip(images, computed, strict=True)):
        foreground = image[image > 5] if (image > 5).any() else image.ravel()
        np.testing.assert_allclose(own, np.percentile(foreground, LANDMARKS), atol=1e-9)


@pytest.mark.slow
@given(arrays(np.uint8, (2, 6, 8)), arrays(np.uint8, (1, 6, 8)))
def test_histmatch_equals_scikit_image(images: Images, other: Images) -> None:
    learned = learn("histmatch", [torch.from_numpy(other)])
    tensor = torch.from_numpy(images)
    computed = look_up(tensor, histmatch(histograms(tensor), learned)[:, None])[:, 0].numpy() * 255
    for image, own in nonempty(zip(images, computed, strict=True)):
        np.testing.assert_allclose(
            own, match_histograms(image, other[0]), atol=1
        )  # scikit-image rounds to integer gray values


def test_an_image_matched_to_itself_is_unchanged() -> None:
    image = batch(beta_images()[1])
    computed = look_up(image, histmatch(histograms(image), learn("histmatch", [image]))[:, None])
    torch.testing.assert_close(computed[:, 0], image.float() / 255, atol=1e-6, rtol=0)


@pytest.mark.slow
@given(arrays(np.uint8, (2, 5, 5)))
def test_every_table_is_monotonic_and_between_0_and_1(images: Images) -> None:
    three = batch(*beta_images())
    count = histograms(torch.from_numpy(images))
    for table in (histstd(count, learn("histstd", [three])), histmatch(count, learn("histmatch", [three]))):
        assert bool((table.diff(dim=1) >= -1e-6).all())
        assert 0 <= float(table.min()) <= float(table.max()) <= 1


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6), st.lists(st.floats(-3, 12), min_size=1, max_size=8))
def test_interpolation_equals_numpy(points: list[int], x: list[float]) -> None:
    rising = np.sort(np.array(points, float))
    y = np.linspace(0, 1, len(points))
    computed = interpolate(
        torch.tensor([x], dtype=torch.float64), torch.from_numpy(rising[None]), torch.from_numpy(y[None])
    )
    np.testing.assert_allclose(computed[0], np.interp(x, rising, y), atol=1e-9)


@given(arrays(np.uint8, (4, 3, 5)))
def test_histograms_count_every_pixel_of_every_image(images: Images) -> None:
    expected = [np.bincount(image.ravel(), minlength=256) for image in images]
    np.testing.assert_array_equal(histograms(torch.from_numpy(images)), expected)


@pytest.mark.parametrize("op", ["histstd", "histmatch"])
def test_the_reference_does_not_depend_on_the_batches(op: str) -> None:
    images = torch.randint(256, (9, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert learn(op, [images]) == learn(op, images.split(4)) == learn(op, images.split(1))


def test_images_without_contrast_are_not_learned_from_and_become_black() -> None:
    flat = torch.full((2, 8, 8), 90, dtype=torch.uint8)
    images = batch(*beta_images())
    standard = learn("histstd", [images])
    assert learn("histstd", [images, torch.full((2, 64, 64), 90, dtype=torch.uint8)]) == standard
    assert not standardised(flat, standard).any()
    with pytest.raises(ValueError, match="no training image"):
        learn("histstd", [flat])
    with pytest.raises(ValueError, match="padding"):
        learn("histmatch", [torch.zeros((2, 64, 64), dtype=torch.uint8)], padded=True)


def test_an_op_without_its_reference_is_refused() -> None:
    with pytest.raises(ConfigError, match="histstd has no histogram reference"):
        Normalizer(["histstd"], (0.5,) * 3, (0.5,) * 3)


def planned(tmp_path: Path, preprocessing: str = "histstd_64", **schedule: object) -> Plan:
    made = plan(tmp_path, patients(60), grid=GRID.replace("imagenet_64", preprocessing) + extra(schedule))
    for name in ("internal", "far"):
        distinct(tmp_path / name)
    return made


def extra(schedule: dict[str, object]) -> str:
    return f"sweeps:\n  - {{schedule: {json.dumps(schedule)}}}\n" if schedule else ""


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", ["histstd_64", "histmatch_64", "adaptive_roi_hist_64"])
def test_the_reference_depends_only_on_internal_training_images(preprocessing: str, tmp_path: Path) -> None:
    made = planned(tmp_path, preprocessing)
    run, internal = made.runs[0], made.refs[0]
    prepare(made, 1, silent)
    first = reference(run, made.store, internal, tmp_path / "first")
    assert json.loads((tmp_path / "first" / "reference.json").read_text()) == first
    split = internal_split(pd.read_parquet(internal.table), run.config)
    names = pd.read_parquet(internal.table)["path"]
    for path in [*(tmp_path / "far").glob("*.png"), *(tmp_path / "internal" / str(n) for n in names[split != "train"])]:
        cv2.imwrite(str(path), np.random.default_rng(len(path.name)).integers(0, 99, (50, 60)).astype(np.uint8))
    prepare(made, 1, silent)
    assert reference(run, made.store, internal, tmp_path / "second") == first
    cv2.imwrite(str(tmp_path / "internal" / str(names[split == "train"].iloc[0])), np.eye(70, 80, dtype=np.uint8) * 200)
    prepare(made, 1, silent)
    assert reference(run, made.store, internal, tmp_path / "third") != first
    assert reference(run, made.store, internal, tmp_path / "first") == first  # a stored reference is not learned again


def test_an_internal_cohort_without_contrast_gives_an_error_with_its_folder(tmp_path: Path) -> None:
    """The single different pixel disappears when the image is resized; a blank file would be unreadable."""
    made = planned(tmp_path)
    image = np.full((70, 80), 90, np.uint8)
    image[35, 2] = 91
    for path in (tmp_path / "internal").glob("*.png"):
        cv2.imwrite(str(path), image)
    prepare(made, 1, silent)
    with pytest.raises(DatasetError, match="histstd cannot learn from the internal cohort"):
        reference(made.runs[0], made.store, made.refs[0], tmp_path / "run")


@pytest.mark.slow
def test_a_lost_reference_is_learned_again(tmp_path: Path) -> None:
    made = planned(tmp_path, epochs=1, batch_size=16)
    prepare(made, 1, silent)
    run = made.runs[0]
    job, folder = Job(run, made.store, made.refs, "cpu"), made.store.run_dir(run.id)
    assert run_one(job, silent)
    learned, before = (folder / "reference.json").read_bytes(), pd.read_parquet(folder / "predictions" / "far.parquet")
    for lost in (folder / "reference.json", folder / "predictions" / "far.parquet"):
        lost.unlink()
    assert run_one(job, silent)
    assert (folder / "reference.json").read_bytes() == learned
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions" / "far.parquet"), before)


@pytest.mark.slow
def test_cost_is_measured_at_the_input_size_of_the_network(tmp_path: Path) -> None:
    made = planned(tmp_path, "crop_72_64, augmentation: chexnet", epochs=1, batch_size=16)
    prepare(made, 1, silent)
    assert run_one(Job(made.runs[0], made.store, made.refs, "cpu"), silent)
    cost = json.loads((made.store.run_dir(made.runs[0].id) / "cost.json").read_text())
    assert cost["image_size"] == 64
