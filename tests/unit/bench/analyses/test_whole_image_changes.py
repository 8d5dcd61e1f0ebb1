"""JPEG quality and CLAHE in the region transplant test: a network that uses them is reported, a different one is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from bench.analyses.shortcuts import effects, transplant
from bench.analyses.shortcuts.jpeg_quality import jpeg_quality
from bench.analyses.transplants import (
    TransplantRun,
    TransplantSample,
    cross_cohort_effects,
    marker_example,
    marker_pasted,
    quality_swapped,
    single_cohort_effects,
    with_means,
)
from reports.schemas.change_rules import CLAHE, JPEG, JPEG_LOW, changed

Gray = NDArray[np.uint8]
Feature = Callable[[NDArray[np.float64]], NDArray[np.float64]]
SIDE, NUM = 64, 30
FINDINGS = ("Edema", "Mass")


def radiographs(seed: int) -> NDArray[np.uint8]:
    """Return images [N, S, S] of smooth anatomy with noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(60, 190, (NUM, 8, 8)).astype(np.float32)
    smooth = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for image in coarse])
    return np.clip(smooth + generator.normal(0, 3, smooth.shape), 1, 255).astype(np.uint8)


def sample(name: str, seed: int, quality: int, run: TransplantRun) -> TransplantSample:
    """Return a cohort whose files have this JPEG quality, 0 for PNG files."""
    image = radiographs(seed)
    if quality:
        image = np.stack([transplant.reencoded(i, quality) for i in image])
    state = np.random.default_rng(seed).integers(0, 2, (NUM, 2)).astype(np.int8)
    no_marker = tuple(np.zeros((SIDE, SIDE), bool) for _ in range(NUM))
    qualities = np.full(NUM, quality, np.int64)
    return TransplantSample(name, image, state, no_marker, (None,) * NUM, run.predict_logits(image), qualities)


def blocks(image_NSS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean step [N] at the edges of 8 x 8 blocks, minus the mean step inside blocks."""
    step = np.abs(np.diff(image_NSS, axis=2))
    edge = np.arange(SIDE - 1) % 8 == 7
    return step[:, :, edge].mean((1, 2)) - step[:, :, ~edge].mean((1, 2))


def contrast(image_NSS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation [N] of the gray values of each image."""
    return image_NSS.std((1, 2)) / 5


def side(image_NSS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean gray value [N] of the left half minus that of the right half."""
    return (image_NSS[:, :, : SIDE // 2].mean((1, 2)) - image_NSS[:, :, SIDE // 2 :].mean((1, 2))) / 40


def order(image_NSS: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share [N] of pixels that are brighter than their right neighbor, whatever the contrast."""
    return 10 * (np.sign(np.diff(image_NSS, axis=2)) / 2).mean((1, 2))


def network(feature: Feature) -> TransplantRun:
    """Return a linear network: the feature is the logit of Edema; the left-right difference is the logit of Mass."""
    center = feature(radiographs(0).astype(np.float64)).mean()

    def logits(image_NSS: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = image_NSS.astype(np.float64)
        return np.stack([feature(x) - center, side(x)], 1).astype(np.float32)

    return TransplantRun(logits, FINDINGS, np.zeros(2), np.arange(2))


def table_of(feature: Feature, internal_quality: int, external_quality: int) -> pd.DataFrame:
    """Return the table `transplants` of a network with one internal and one external cohort."""
    run = network(feature)
    internal, external = sample("a", 1, internal_quality, run), sample("b", 2, external_quality, run)
    cells = {
        (kind, donor, host.name): cell
        for host, other in ((external, internal), (internal, external))
        for (kind, donor), cell in (
            single_cohort_effects(run, host, internal) | cross_cohort_effects(run, host, [other])
        ).items()
    }
    return effects.rows(with_means(cells, "a"))


@pytest.mark.parametrize("quality", [20, 60, 95])
def test_the_quality_of_a_file_is_read_from_its_quantization_table(tmp_path: Path, quality: int) -> None:
    image = radiographs(0)[0]
    for name, options in (("a.jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]), ("a.png", [])):
        (tmp_path / name).write_bytes(cv2.imencode(Path(name).suffix, image, options)[1].tobytes())
    assert jpeg_quality(tmp_path / "a.jpg") == quality
    assert jpeg_quality(tmp_path / "a.png") == 0
    assert jpeg_quality(tmp_path / "missing.jpg") == 0


@pytest.mark.slow
def test_a_network_that_uses_jpeg_blocks_is_reported_and_a_different_one_is_not() -> None:
    table = table_of(blocks, 15, 95)
    assert changed(table, "a", JPEG) == ["Edema"]
    assert changed(table, "a", JPEG_LOW) == ["Edema"]
    table = table_of(side, 15, 95)
    assert changed(table, "a", JPEG) == changed(table, "a", JPEG_LOW) == []


def test_a_network_that_uses_contrast_is_reported_and_a_different_one_is_not() -> None:
    table = table_of(contrast, 15, 95)
    assert "Edema" in changed(table, "a", CLAHE)
    assert changed(table, "a", JPEG) == changed(table, "a", JPEG_LOW) == []
    assert "Edema" not in changed(table_of(order, 0, 0), "a", CLAHE)


def test_equal_qualities_have_no_effect() -> None:
    table = table_of(blocks, 40, 40)
    rows = table[(table["kind"] == JPEG) & (table["measure"] == "abs_dp")]
    assert len(rows)
    assert (rows["effect"] == 0).all()


def test_cohorts_without_jpeg_files_have_only_the_low_quality() -> None:
    table = table_of(blocks, 0, 95)
    assert JPEG not in set(table["kind"])
    assert {JPEG_LOW, CLAHE} <= set(table["kind"])
    assert changed(table, "a", JPEG_LOW) == ["Edema"]
    clahe = table[table["kind"] == CLAHE]
    assert clahe["control"].isna().all()
    assert (clahe["effect"] == clahe["value"]).all()


def test_files_of_other_formats_are_left_out_of_the_swap() -> None:
    run = network(blocks)
    host, donor = sample("b", 2, 95, run), sample("a", 1, 15, run)
    host.quality[:10] = 0
    donor.quality[:25] = 0
    rows, after, control = quality_swapped(host, donor)
    assert rows.tolist() == list(range(10, NUM))
    assert all((image == transplant.reencoded(host.image[i], 15)).all() for i, image in zip(rows, after, strict=True))
    assert all((image == transplant.reencoded(host.image[i], 95)).all() for i, image in zip(rows, control, strict=True))


def test_padding_stays_black_and_content_does_not() -> None:
    host = np.zeros((48, 48), np.uint8)
    host[:, 5:41] = radiographs(3)[0][:48, :36]
    for out in (transplant.reencoded(host, 10, True), transplant.equalized(host, True)):
        assert ((out > 0) == (host > 0)).all()
        assert (out != host).any()


def test_the_example_is_the_image_with_the_median_change_by_a_marker() -> None:
    def logits(image_NSS: NDArray[np.uint8]) -> NDArray[np.float32]:  # the first finding reacts to a bright corner
        bright = image_NSS[:, :8, :8].mean((1, 2)) / 25.5 - 5
        return np.stack([bright, np.zeros(len(image_NSS))], 1).astype(np.float32)

    run = TransplantRun(logits, FINDINGS, np.zeros(2), np.arange(2))
    internal, host = sample("a", 0, 0, run), sample("b", 1, 0, run)
    marker = np.zeros((SIDE, SIDE), bool)
    marker[:8, :8] = True
    image = internal.image.copy()
    image[:, :8, :8] = 255
    internal = replace(internal, image=image, marker=(marker,) * NUM)
    (row,) = marker_example(run, internal, [host]).to_dict("records")
    rows, after, _ = marker_pasted(host, internal)
    before_N, after_N = (expit(logits(images)[:, 0].astype(float)) for images in (host.image[rows], np.stack(after)))
    assert (row["dataset"], row["finding"], row["n"]) == ("b", "Edema", NUM)
    assert row["after"] - row["before"] == pytest.approx(np.sort(np.abs(after_N - before_N))[NUM // 2])
    assert cv2.imdecode(np.frombuffer(row["picture"], np.uint8), cv2.IMREAD_GRAYSCALE).shape == (SIDE, 2 * SIDE)
    assert marker_example(run, host, [host]).empty
