"""Locate findings and anatomy in the images of a cohort: outlines, boxes, lung masks, or the masks of a phantom.

The first available source is used:
1. phantom.json in the cohort's folder or in its parent folder: the masks are drawn again from the patient number;
2. the function `boxes` of the dataset's adapter (its module in `harmonize.datasets`);
3. the function `outlines` of the adapter.
With source 2 or 3, or without a source, the column `lung_mask` of the cohort's table can name files of lung masks.

Frame of the positions: each position refers to an image of a known size, its frame. This is the size of the outline or
mask, the size that the adapter's function `box_frames` states, or the size of the file. A file must be its frame at
any resolution, so the ratio of its sides must be equal; a cropped or padded copy is refused.

The tag of a phantom is a white tag with text (`token` in names). A network may use the tag as a shortcut.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cohorts.pooled import Place
from harmonize.datasets import adapter
from harmonize.datasets.chexlocalize import Outlines
from harmonize.datasets.ids import difference
from harmonize.errors import DatasetError
from harmonize.images.lungs import lung_field
from harmonize.images.markers import markers
from harmonize.images.pixels import Geometry, Gray, file_size, fit_to_square, read_gray
from harmonize.images.regions import InputTransform, Mask, border, box_mask, padding, pleura
from harmonize.images.shards import file_bytes
from harmonize.phantom import PhantomSettings
from harmonize.phantom.folder import SETTINGS_FILE
from harmonize.phantom.radiograph import twin

LUNGS, HEART, DEVICES, TAG = "lungs", "heart", "devices", "token"
ANATOMY = (LUNGS, HEART, DEVICES, TAG)  # masks of a phantom that are not findings
OUTSIDE, MARKERS = "outside lungs", "markers"

FIT = "use the images as published, or copies resized without cropping or padding; or remove the file of positions"
_CORNERS = ["x_min", "y_min", "x_max", "y_max"]
_OUTSIDE = 0.02  # share of a side by which a box may end outside of its image: readers draw boxes over the edge

Masks = dict[str, Mask]


@dataclass(frozen=True, slots=True)
class Truth:
    """Locations of findings and anatomy in the images of a cohort, and a function that returns their masks."""

    source: str  # phantom, outlines, boxes, or "" if there are no locations
    # pairs (image id, finding) whose location is known
    located: frozenset[tuple[str, str]] = frozenset()
    # a function of the image id and of (height, width) of the image file; it returns a dict: finding or part of anatomy
    # -> mask
    masks: Callable[[str, tuple[int, int]], Masks] = field(default=lambda _image, _frame: {})
    # a function of the image id and of (height, width) of the image file; it returns why the positions do not fit the
    # file, or ""
    misfit: Callable[[str, tuple[int, int]], str] = field(default=lambda _image, _frame: "")
    lung_masks: Mapping[str, Path] = field(default_factory=dict)  # image id -> mask file
    stamp: str = ""  # a text that changes when the locations change


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """An input image [S, S] of a network, with masks [S, S] of findings and regions. No mask is empty."""

    image: Gray
    findings: Masks
    # border in every image; if present, also padding, markers, outside lungs, pleura, heart, devices, token (the tag)
    regions: Masks
    lungs: Mask | None  # None if the lungs are neither outlined nor detected
    lungs_known: bool  # True if the lungs were outlined, False if they were detected

    def packed(self) -> dict[str, NDArray[np.uint8]]:
        """Return the image and the masks, with 8 pixels of a mask in each byte; `unpacked` is the inverse."""
        masks = {"f:" + n: m for n, m in self.findings.items()} | {"r:" + n: m for n, m in self.regions.items()}
        masks |= {"l:known" if self.lungs_known else "l:found": self.lungs} if self.lungs is not None else {}
        return {"image": self.image} | {name: np.packbits(mask) for name, mask in masks.items()}

    @classmethod
    def unpacked(cls, arrays: Mapping[str, NDArray[np.uint8]]) -> "Scene":
        """Return the scene from the arrays of `packed`."""
        image = arrays["image"]
        masks = {
            name: np.unpackbits(bits, count=image.size).reshape(image.shape).astype(bool)
            for name, bits in arrays.items()
            if name != "image"
        }
        findings, regions = ({n[2:]: m for n, m in masks.items() if n.startswith(kind)} for kind in ("f:", "r:"))
        lungs = next((m for n, m in masks.items() if n.startswith("l:")), None)
        return cls(image, findings, regions, lungs, lungs_known="l:known" in masks)


def truth_of(layout: str, root: Path, table: pd.DataFrame) -> Truth:
    """Return the locations of findings and anatomy in the images of a cohort.

    The table needs the column image_id, and may have the column lung_mask: paths of mask files, relative to root.

    Raises DatasetError if a file of boxes or outlines cannot be read, or if boxes refer to images of unknown size or id.
    """
    ids = frozenset(table["image_id"].astype(str))
    # a copy of a phantom cohort has no table of truth: it is read as any other cohort
    if (root.parent / SETTINGS_FILE).is_file() and (root.parent / "truth" / f"{root.name}.parquet").is_file():
        return _phantom(root.parent, root.name, ids)
    lungs = _lung_masks(root, table)
    module = adapter(layout)
    if hasattr(module, "boxes"):
        listed = module.boxes(root)
        boxes = listed[listed["image_id"].isin(ids) & np.isfinite(listed[_CORNERS].to_numpy(float)).all(axis=1)]
        if not len(boxes) and (unlike := difference(listed["image_id"].astype(str), ids)):
            fix = "write the ids as in the table of images"
            raise DatasetError(f"the boxes match no image: {unlike}", str(root), fix)
        if len(boxes):
            frames = {}
            if hasattr(module, "box_frames"):
                frames = module.box_frames(root, table[table["image_id"].astype(str).isin(boxes["image_id"])])
            by_image = {str(image): rows for image, rows in boxes.groupby("image_id", sort=False)}
            masks, misfit = partial(_from_boxes, by_image, frames), partial(_box_misfit, by_image, frames)
            stamp = sha256((boxes.to_csv(index=False) + repr(frames)).encode()).hexdigest()
            return Truth("boxes", _pairs(boxes), masks, misfit, lungs, stamp)
    if hasattr(module, "outlines"):
        outlines: Outlines = module.outlines(root, ids)
        if outlines.findings:
            return Truth(
                "outlines",
                outlines.findings,
                lambda image_id, _frame: outlines.masks(image_id),
                lambda image_id, frame: frame_misfit("outlines", outlines.frames.get(image_id, frame), frame),
                lungs,
                outlines.fingerprint,
            )
    return Truth("", lung_masks=lungs)


def truth_of_places(places: Sequence[Place], table: pd.DataFrame) -> Truth:
    """Return the locations in the images of a cohort that may have several hospitals; errors as in `truth_of`."""
    truths = {}
    for place in places:
        rows = table[table["image_id"].astype(str).str.startswith(place.prefix)]
        rows = rows.assign(image_id=rows["image_id"].astype(str).str.removeprefix(place.prefix))
        truths[place.prefix] = truth_of(place.layout, place.root, rows)
    if len(truths) == 1:
        return next(iter(truths.values()))

    def of_place(image_id: str) -> tuple[Truth, str]:
        prefix = next(prefix for prefix in truths if image_id.startswith(prefix))
        return truths[prefix], image_id.removeprefix(prefix)

    def masks(image_id: str, frame: tuple[int, int]) -> Masks:
        truth, image = of_place(image_id)
        return truth.masks(image, frame)

    def misfit(image_id: str, frame: tuple[int, int]) -> str:
        truth, image = of_place(image_id)
        return truth.misfit(image, frame)

    return Truth(
        "/".join(dict.fromkeys(truth.source for truth in truths.values() if truth.source)),
        frozenset((prefix + image, finding) for prefix, truth in truths.items() for image, finding in truth.located),
        masks,
        misfit,
        {prefix + image: path for prefix, truth in truths.items() for image, path in truth.lung_masks.items()},
        "/".join(truth.stamp for truth in truths.values()),
    )


def scene(path: Path, image_id: str, geometry: Geometry, center: int, truth: Truth) -> Scene:
    """Return one image of a cohort as a network gets it, with its masks.

    `center` is the side of the network's center crop in pixels, 0 for no crop. Raises UnreadableImage if the file
    cannot be read, and DatasetError if positions do not fit the file: heat would be measured at a wrong place.
    """
    picture = read_gray(path, geometry.decode_at)
    transform = InputTransform.of(picture, geometry, center)
    image = transform.center_crop(fit_to_square(np.ascontiguousarray(picture[transform.box]), geometry))
    size = file_size(file_bytes(path), picture)
    native = truth.masks(image_id, size)
    if image_id in truth.lung_masks:
        native[LUNGS] = read_gray(truth.lung_masks[image_id]) >= 128
    problems = [truth.misfit(image_id, size), *(frame_misfit(name, mask.shape, size) for name, mask in native.items())]
    if any(problems):
        raise DatasetError(next(filter(None, problems)), f"{path}: {image_id}", FIT)
    masks = {name: mask for name, full in native.items() if (mask := transform.apply_to_mask(full)).any()}
    outlined = masks.get(LUNGS)
    lungs = outlined
    if lungs is None and (detected := lung_field(picture)) is not None:
        lungs = transform.apply_to_mask(detected)
    regions = {
        "border": border(len(image)),
        "padding": padding(image),
        MARKERS: transform.apply_to_mask(markers(picture)),
    }
    regions |= {name: masks[name] for name in (HEART, DEVICES, TAG) if name in masks}
    if truth.source == "outlines" and "Cardiomegaly" in masks:
        regions[HEART] = masks["Cardiomegaly"]  # radiologists outlined the heart as Cardiomegaly
    if lungs is not None and lungs.any():
        regions[OUTSIDE] = ~lungs
        if outlined is not None:
            regions["pleura"] = pleura(lungs)
    findings = {name: mask for name, mask in masks.items() if name not in ANATOMY}
    return Scene(image, findings, {n: m for n, m in regions.items() if m.any()}, lungs, outlined is not None)


def frame_misfit(what: str, frame: tuple[int, ...], size: tuple[int, int]) -> str:
    """Return why positions in an image of size `frame` do not fit a file of this size, or "".

    Both are (height, width). They fit if the file is a resized copy; the shorter side may be rounded by a pixel.

    >>> frame_misfit("boxes", (2000, 1000), (500, 250)), frame_misfit("boxes", (2000, 1000), (512, 512))
    ('', 'the file has 512 x 512 pixels (width x height), but its boxes are of an image with 1000 x 2000')
    """
    (height, width), (rows, columns) = frame, size
    if abs(columns * height - rows * width) <= max(height, width):
        return ""
    return f"the file has {columns} x {rows} pixels (width x height), but its {what} are of an image with {width} x {height}"


def _phantom(root: Path, site: str, ids: frozenset[str]) -> Truth:
    """Return the locations in a phantom cohort `site` below `root`.

    The tables in the folder `truth` state which findings have a location. A mask is drawn again at each request.
    """
    settings = PhantomSettings.from_dict(
        json.loads((root / SETTINGS_FILE).read_text())["settings"], str(root / SETTINGS_FILE)
    )
    truth = pd.read_parquet(root / "truth" / f"{site}.parquet", columns=["image_id", "patient", "study"])
    numbers = {str(i): (int(p), int(s)) for i, p, s in truth.itertuples(index=False, name=None) if str(i) in ids}
    boxes = pd.read_parquet(root / "truth" / f"{site}-boxes.parquet")
    boxes = boxes[boxes["image_id"].isin(ids) & (boxes["finding"] != TAG)]

    def masks(image_id: str, _frame: tuple[int, int]) -> Masks:
        return dict(twin(settings, site, *numbers[image_id]).masks)

    return Truth("phantom", _pairs(boxes), masks, stamp=settings.key)


def tag_boxes(places: Sequence[Place]) -> dict[str, NDArray[np.float64]] | None:
    """Return the boxes of tags in a phantom cohort, image id -> [n boxes, 4], or None for any other cohort.

    A box is x_min, y_min, x_max, y_max in pixels.
    """
    boxes_of: dict[str, NDArray[np.float64]] = {}
    for place in places:
        boxes = place.root.parent / "truth" / f"{place.root.name}-boxes.parquet"
        if not (place.root.parent / SETTINGS_FILE).is_file() or not boxes.is_file():
            return None
        table = pd.read_parquet(boxes)
        tags = table[table["finding"] == TAG].groupby("image_id")[["x_min", "y_min", "x_max", "y_max"]]
        boxes_of |= {f"{place.prefix}{image}": rows.to_numpy(np.float64) for image, rows in tags}
    return boxes_of


def _pairs(boxes: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """Return the pairs (image id, finding) that have a box."""
    return frozenset(zip(boxes["image_id"].astype(str), boxes["finding"].astype(str), strict=True))


def _from_boxes(
    boxes: Mapping[str, pd.DataFrame], frames: Mapping[str, tuple[int, int]], image_id: str, size: tuple[int, int]
) -> Masks:
    """Return one mask per finding: the union of the boxes of all readers.

    Box coordinates refer to an image of the size (height, width) in `frames`; without an entry, of `size`, the size of
    the file.
    """
    rows = boxes.get(image_id)
    if rows is None:
        return {}
    frame = frames.get(image_id, size)
    return {str(f): box_mask(r[_CORNERS].to_numpy(float), frame) for f, r in rows.groupby("finding")}


def _box_misfit(
    boxes: Mapping[str, pd.DataFrame], frames: Mapping[str, tuple[int, int]], image_id: str, size: tuple[int, int]
) -> str:
    """Return why the boxes of an image do not fit its file, or "": a box is none, or ends outside, or the frame differs."""
    if image_id not in boxes:
        return ""
    frame = frames.get(image_id, size)
    corners = boxes[image_id][_CORNERS].to_numpy(float)
    limit = np.array([frame[1], frame[0]]) * (1 + _OUTSIDE) + 1
    low, high = corners[:, :2], corners[:, 2:]
    wrong = corners[
        (corners.max(1, initial=0) <= 1) | (high < low).any(1) | (low < [frame[1], frame[0]] - limit).any(1)
    ]
    if len(wrong):
        left, top, right, bottom = wrong[0]
        return f"x {left:g} to {right:g}, y {top:g} to {bottom:g} is no box in pixels (x_min, x_max, y_min, y_max)"
    if (high > limit).any():
        right, bottom = corners[:, 2:].max(axis=0)
        return f"a box ends at x {right:.0f}, y {bottom:.0f}, outside of its image of {frame[1]} x {frame[0]} pixels"
    return frame_misfit("boxes", frame, size)


def _lung_masks(root: Path, table: pd.DataFrame) -> dict[str, Path]:
    """Return the lung mask file of each image, by image id; files that do not exist below root are left out."""
    if "lung_mask" not in table:
        return {}
    base = root.resolve()
    paths = (
        (str(i), (base / str(p)).resolve()) for i, p in zip(table["image_id"], table["lung_mask"], strict=True) if p
    )
    return {image: path for image, path in paths if path.is_relative_to(base) and path.is_file()}
