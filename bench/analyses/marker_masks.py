"""Where markers and lungs are in a sample of images: from the truth of a phantom, else found in the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.planning.plan import CohortRef
from harmonize.ground_truth.ground_truth import tag_boxes
from harmonize.images.lungs import lung_field
from harmonize.images.markers import markers
from harmonize.images.pixels import Geometry, read_gray
from harmonize.images.regions import Mask, Place, boxed


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Masks of one image as it lies in the cache [S, S]."""

    marker: Mask  # empty where nothing is written
    lungs: Mask | None  # None where no two are found


def marks(ref: CohortRef, image_ids: Sequence[str], geometry: Geometry) -> list[Marks]:
    """Return what is written on each image and where its lungs are, moved as the image was.

    Of a phantom what is written is the tag of its truth table, elsewhere what `harmonize.images.markers` finds. Lungs are those of
    `harmonize.images.lungs`.
    """
    table = pd.read_parquet(ref.table, columns=["image_id", "path"]).set_index("image_id")["path"]
    tags = tag_boxes(ref.root)
    found = []
    for image_id in image_ids:
        path = ref.root / str(table[image_id])
        picture = read_gray(path, geometry.decode_at)
        place = Place.of(picture, geometry)
        written = (
            markers(picture) if tags is None else boxed(tags.get(image_id, np.empty((0, 4))), read_gray(path).shape)
        )
        field = lung_field(picture)
        found.append(Marks(place.moved(written), None if field is None else place.moved(field)))
    return found
