"""Masks of markers and lungs in images. Markers of phantoms are known from a table; other markers are detected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.planning.plan import CohortRef
from bench.store.array_files import read_arrays, write_arrays
from bench.store.store import canonical_json, short_hash
from harmonize.cohorts.pooled import Place
from harmonize.ground_truth.ground_truth import LUNGS, Truth, tag_boxes
from harmonize.images.lungs import lung_field
from harmonize.images.markers import markers
from harmonize.images.pixels import Geometry, read_gray
from harmonize.images.regions import InputTransform, Mask, box_mask
from reports import extensions, hooks

MASK_VERSION = 1  # part of the key of stored masks; increase this number when the computation of masks changes


@dataclass(frozen=True, slots=True, eq=False)
class ImageMasks:
    """Masks [S, S] of one image, resized and cropped like the image in the cache, which has S pixels per side."""

    marker: Mask  # all False without a marker
    lungs: Mask | None  # None if two lungs are not detected


def stored_masks(
    ref: CohortRef, image_ids: Sequence[str], geometry: Geometry, fingerprint: str, folder: Path
) -> list[ImageMasks]:
    """Return `image_masks` of the images, read from a file in the folder, or computed and stored there.

    The runs of a grid test the same sample of a cohort, so the first one computes the masks for all. `fingerprint`: that of
    the decoded images.
    """
    anatomy = with_anatomy(Truth(""), ref.places, image_ids)
    key = [ref.id, fingerprint, geometry.key, list(image_ids), MASK_VERSION]
    if anatomy.stamp:
        key.append(anatomy.stamp)
    path = folder / f"{ref.name}-{short_hash(canonical_json(key))}.npz"
    if (stored := read_arrays(path, _unstacked)) is not None:
        return stored
    masks = image_masks(ref, image_ids, geometry, anatomy)
    if masks:
        lungs = [np.zeros_like(mask.marker) if mask.lungs is None else mask.lungs for mask in masks]
        arrays = {"marker": np.stack([mask.marker for mask in masks]), "lungs": np.stack(lungs)}
        write_arrays(path, arrays | {"has_lungs": np.array([mask.lungs is not None for mask in masks])})
    return masks


def _unstacked(arrays: Mapping[str, NDArray[np.bool_]]) -> list[ImageMasks]:
    """Return the masks of the arrays that `stored_masks` writes."""
    columns = (arrays[name] for name in ("marker", "lungs", "has_lungs"))
    return [ImageMasks(marker, lungs if has else None) for marker, lungs, has in zip(*columns, strict=True)]


def with_anatomy(truth: Truth, places: Sequence[Place], image_ids: Sequence[str]) -> Truth:
    """Return the locations with the masks of lungs and heart that extensions know of these images."""
    for module in extensions.modules(hooks.Cohorts):
        truth = module.with_masks(truth, places, image_ids)
    return truth


def image_masks(
    ref: CohortRef, image_ids: Sequence[str], geometry: Geometry, anatomy: Truth | None = None
) -> list[ImageMasks]:
    """Return the masks of markers and lungs of each image, resized and cropped like the images in the cache.

    In a phantom cohort, the markers are the tags (drawn letters) in the truth table. In other cohorts,
    `harmonize.images.markers` detects markers. `harmonize.images.lungs`
    detects the lungs of images of which `anatomy` has no mask.
    """
    path_by_image = ref.read(["image_id", "path"]).set_index("image_id")["path"]
    tags = tag_boxes(ref.places)
    masks = []
    for image_id in image_ids:
        path = ref.root / str(path_by_image[image_id])
        picture = read_gray(path, geometry.decode_at)
        transform = InputTransform.of(picture, geometry)
        marker = (
            markers(picture) if tags is None else box_mask(tags.get(image_id, np.empty((0, 4))), read_gray(path).shape)
        )
        known = (anatomy or Truth("")).masks(image_id, picture.shape)
        lungs = known[LUNGS] if LUNGS in known else lung_field(picture)
        masks.append(
            ImageMasks(transform.apply_to_mask(marker), None if lungs is None else transform.apply_to_mask(lungs))
        )
    return masks
