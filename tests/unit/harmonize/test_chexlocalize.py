"""Tests of COCO run lengths, with an independent encoder that follows the published C code."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from harmonize.datasets.chexlocalize import FINDINGS, decode_rle, read_outlines
from harmonize.errors import DatasetError


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Return the run lengths along the columns; the first run is of zeros."""
    runs, last = [0], False
    for value in mask.flatten(order="F").tolist():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    return runs


def text_of(runs: list[int]) -> str:
    """Encode run lengths as maskApi.c does: x = cnts[i]; if (i > 2) x -= cnts[i-2]; five bits per character, plus 48."""
    text = ""
    for i, run in enumerate(runs):
        x = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text += chr((c | 0x20 if more else c) + 48)
    return text


def rle(mask: NDArray[np.bool_]) -> dict[str, object]:
    return {"size": list(mask.shape), "counts": text_of(runs_of(mask))}


@pytest.mark.slow
@settings(max_examples=200)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_decoding_undoes_encoding(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(decode_rle(rle(mask)), mask)
    np.testing.assert_array_equal(decode_rle({"size": list(mask.shape), "counts": runs_of(mask)}), mask)


@pytest.mark.slow
def test_a_mask_of_the_size_of_a_radiograph_is_decoded() -> None:
    y, x = np.mgrid[:2320, :2828]
    mask = ((y - 1500) / 600) ** 2 + ((x - 1300) / 900) ** 2 < 1
    np.testing.assert_array_equal(decode_rle(rle(mask)), mask)


def test_the_encoder_of_this_file_agrees_with_coco() -> None:
    """Calculated by hand from maskApi.c: 40 needs two characters (8 + more, 1); 4 and 41 become 3 and 1."""
    assert text_of([6, 1, 40, 4, 41]) == "61X131"
    assert text_of([0, 4]) == "04"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"size": [2, 2], "counts": "1"}, "do not fill 2 x 2"),
        ({"size": [2, 2], "counts": "1 2"}, "byte 32"),
        ({"size": [2, 2], "counts": "X"}, "damaged run lengths"),
        ({"size": [2, 2]}, "damaged run lengths"),
        ({"size": [2], "counts": "4"}, "damaged run lengths"),
        ({"size": [100_000, 100_000], "counts": "4"}, "100000 x 100000"),
        ({"size": [2, 2], "counts": [5, -1]}, "do not fill"),
        (None, "damaged run lengths"),
    ],
)
def test_damaged_run_lengths_raise_an_error_with_their_location(bad: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        decode_rle(bad, "here.json: image.Edema")
    assert caught.value.where == "here.json: image.Edema"


@settings(max_examples=100)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=20))
def test_any_text_is_decoded_or_raises_dataset_error(text: str) -> None:
    with contextlib.suppress(DatasetError):
        assert decode_rle({"size": [3, 4], "counts": text}).shape == (3, 4)


def test_outlines_have_the_outlined_findings_with_the_names_of_this_project(tmp_path: Path) -> None:
    mask = np.zeros((6, 5), bool)
    mask[2:4, 1:3] = True
    path = tmp_path / "gt_segmentations_val.json"
    content = {finding: rle(np.zeros((6, 5), bool)) for finding in FINDINGS} | {"Airspace Opacity": rle(mask)}
    path.write_text(json.dumps({"patient64541_study1_view1_frontal": content}))
    outlines = read_outlines([path], frozenset({"patient64541_study1_view1_frontal"}))
    assert outlines.findings == {("patient64541_study1_view1_frontal", "Lung Opacity")}
    masks = outlines.masks("patient64541_study1_view1_frontal")
    assert list(masks) == ["Lung Opacity"]
    np.testing.assert_array_equal(masks["Lung Opacity"], mask)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON"),
        ("[]", "not a segmentation file"),
        ('{"a": {"Edma": 1}}', "'Edma' is not a finding"),
    ],
)
def test_another_file_raises_an_error_with_its_name(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_outlines([tmp_path / "a.json"], frozenset("a"))
    assert "a.json" in caught.value.where
