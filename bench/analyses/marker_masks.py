"""Masks of markers and lungs in images. Markers of phantoms are known from a table; other markers are detected."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.planning.plan import CohortRef
from harmonize.ground_truth.ground_truth import tag_boxes
from harmonize.images.lungs import lung_field
from harmonize.images.markers import markers
from harmonize.images.pixels import Geometry, read_gray
from harmonize.images.regions import InputTransform, Mask, box_mask


@dataclass(frozen=True, slots=True, eq=False)
class ImageMasks:
    """Masks [S, S] of one image, resized and cropped like the image in the cache, which has S pixels per side."""

    marker: Mask  # all False without a marker
    lungs: Mask | None  # None if two lungs are not detected


def image_masks(ref: CohortRef, image_ids: Sequence[str], geometry: Geometry) -> list[ImageMasks]:
    """Return the masks of markers and lungs of each image, resized and cropped like the images in the cache.

    In a phantom cohort, the markers are the tags (drawn letters) in the truth table. In other cohorts,
    `harmonize.images.markers` detects markers. `harmonize.images.lungs` detects the lungs in all cohorts.
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
        lungs = lung_field(picture)
        masks.append(
            ImageMasks(transform.apply_to_mask(marker), None if lungs is None else transform.apply_to_mask(lungs))
        )
    return masks
