"""CheXlocalize: masks that radiologists outlined on the CheXpert validation and test images.

gt_segmentations_{val,test}.json: {"patient64541_study1_view1_frontal": {"Cardiomegaly": {"size": [H, W], "counts":
"<COCO run lengths>"}, ...10 findings}}. The keys are the image ids of the CheXpert cohort. The mask of an absent
finding is empty, not missing. "Airspace Opacity" is Lung Opacity in this project.
Source: Saporta et al. 2022, doi:10.1038/s42256-022-00536-x; run lengths: COCO API, maskApi.c, rleFrString.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmonize.errors import DatasetError
from harmonize.images.limits import MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Outlines:
    """Outlined findings in the images of a cohort. The function `masks` draws the masks of one image."""

    findings: frozenset[tuple[str, str]]  # (image id, finding) of every non-empty mask
    masks: Callable[[str], dict[str, NDArray[np.bool_]]]  # image id -> {finding: mask [H, W]}
    frames: Mapping[str, tuple[int, int]]  # image id -> (height, width) of its masks
    fingerprint: str  # a text that changes when the files change


FINDINGS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Airspace Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
)
_PROJECT_NAMES = {"Airspace Opacity": "Lung Opacity"}


def masks_of_image(encoded: Mapping[str, Any], where: str) -> dict[str, NDArray[np.bool_]]:
    """Return {finding: mask [H, W]} of one image, with the finding names of this project and without empty masks."""
    masks = {_project_name(finding, where): decode_rle(rle, f"{where}.{finding}") for finding, rle in encoded.items()}
    return {finding: mask for finding, mask in masks.items() if mask.any()}


def outlined_findings(encoded: Mapping[str, Any], where: str) -> set[str]:
    """Return the findings with a non-empty mask in an image, by the names of this project, without drawing a mask."""
    findings = set()
    for finding, rle in encoded.items():
        name = _project_name(finding, where)
        try:
            counts = rle["counts"]
            runs = _runs(counts.encode("ascii") if isinstance(counts, str) else counts)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            fix = "download the file again"
            raise DatasetError(f"damaged run lengths: {error}", f"{where}.{finding}", fix) from error
        if any(runs[1::2]):
            findings.add(name)
    return findings


def _project_name(finding: str, where: str) -> str:
    """Return this project's name of a finding in a segmentation file; raise DatasetError for an unknown finding."""
    if finding not in FINDINGS:
        fix = f"use the published file, whose findings are: {', '.join(FINDINGS)}"
        raise DatasetError(f"{finding!r} is not a finding of CheXlocalize", f"{where}.{finding}", fix)
    return _PROJECT_NAMES.get(finding, finding)


def content(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the content of a segmentation file; raise DatasetError if the file has another form."""
    try:
        content = json.loads(path.read_bytes())  # recognizes UTF-16 and a byte order mark
    except (OSError, ValueError) as error:
        raise DatasetError(f"not a readable JSON file: {error}", str(path), "download the file again") from error
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise DatasetError("not a segmentation file", str(path), "use gt_segmentations_val.json or ..._test.json")
    return content


def read_outlines(files: Sequence[Path], image_ids: frozenset[str]) -> Outlines:
    """Return the outlines of these images, read from all files; a mask is drawn when it is requested."""
    encoded_by_image = {
        image: (encoded, f"{path}: {image}")
        for path in files
        for image, encoded in content(path).items()
        if image in image_ids
    }

    def masks(image_id: str) -> dict[str, NDArray[np.bool_]]:
        return masks_of_image(*encoded_by_image[image_id]) if image_id in encoded_by_image else {}

    findings = {
        (image, finding) for image in encoded_by_image for finding in outlined_findings(*encoded_by_image[image])
    }
    fingerprint = " ".join(f"{path.stat().st_size}/{path.stat().st_mtime_ns}" for path in files)
    frames: dict[str, tuple[int, int]] = {}
    for image, (encoded, where) in encoded_by_image.items():
        sizes = {mask_size(rle, f"{where}.{finding}") for finding, rle in encoded.items()}
        if len(sizes) > 1:
            raise DatasetError(f"masks of {len(sizes)} sizes", where, "download the file again")
        frames |= dict.fromkeys([image] if sizes else [], *sizes)
    return Outlines(frozenset(findings), masks, frames, fingerprint)


def mask_size(rle: Any, where: str) -> tuple[int, int]:
    """Return (height, width) of an encoded mask; raise DatasetError if it states no size."""
    try:
        height, width = (int(side) for side in rle["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"damaged run lengths: {error}", where, "download the file again") from error
    return height, width


def decode_rle(rle: Any, where: str = "mask") -> NDArray[np.bool_]:
    """Return the mask [H, W] of {"size": [H, W], "counts": text or list of run lengths}.

    A run is a number of consecutive pixels, counted down the columns from left to right. Runs lie alternately outside
    and inside the mask; the first run is outside. Raises DatasetError unless the runs fill the image.

    >>> decode_rle({"size": [2, 2], "counts": "121"}).astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    fix = "download the file again"
    height, width = mask_size(rle, where)
    try:
        counts = rle["counts"]
        runs = _runs(counts.encode("ascii") if isinstance(counts, str) else counts)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DatasetError(f"damaged run lengths: {error}", where, fix) from error
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise DatasetError(f"invalid mask size: {height} x {width} pixels", where, fix)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise DatasetError(f"run lengths do not fill {height} x {width} pixels", where, fix)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _runs(counts: Any) -> list[int]:
    """Decode run lengths: a list, or text with five bits per character, lowest bits first.

    From the fourth run on, the text contains differences: run minus the run two positions earlier.
    """
    if not isinstance(counts, bytes):
        return [int(run) for run in counts]
    runs: list[int] = []
    position = 0
    while position < len(counts):
        value, shift, more = 0, 0, True
        while more:
            code = counts[position] - 48
            if not 0 <= code < 64:
                raise ValueError(f"invalid byte {counts[position]} at {position}")
            value |= (code & 31) << shift
            more, shift, position = bool(code & 32), shift + 5, position + 1
            if not more and code & 16:
                value -= 1 << shift  # the last character of a number contains its sign bit
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
