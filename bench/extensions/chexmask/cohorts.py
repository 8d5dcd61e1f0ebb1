"""The hook `cohorts`: locations of lungs and heart that CheXmask knows, in addition to outlines, boxes and the masks of phantoms."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from bench.extensions.chexmask.file import QUALITY, EncodedMasks, find_table, read_masks
from bench.planning.manifest import Manifest
from bench.planning.plan import Plan
from harmonize.cohorts.pooled import Place
from harmonize.ground_truth.ground_truth import Masks, Truth
from reports.formatting import listing, places

KEY = "chexmask"


def with_masks(truth: Truth, places: Sequence[Place], image_ids: Sequence[str]) -> Truth:
    """Return the locations with the masks of these images, for which no other source has a mask of lungs or heart.

    A table is read when the first mask is asked for: it may have several GB, and the masks of most runs are in the cache.
    """
    tables = _Tables(places, image_ids)
    if not tables.stamp:
        return truth

    def masks(image_id: str, frame: tuple[int, int]) -> Masks:
        encoded = tables.encoded.get(image_id)
        return (encoded.masks(frame) if encoded else {}) | truth.masks(image_id, frame)

    return replace(truth, masks=masks, stamp=f"{truth.stamp} {tables.stamp}")


class _Tables:
    """The masks of some images at the places of a cohort; `stamp` changes when a table changes, "" without a table."""

    def __init__(self, places: Sequence[Place], image_ids: Sequence[str]) -> None:
        found = [(place, find_table(place.layout, place.root)) for place in places]
        self.tables = [(place, path) for place, path in found if path]
        self.image_ids = image_ids
        states = (path.stat() for _, path in self.tables)
        self.stamp = " ".join(f"chexmask {state.st_size}/{state.st_mtime_ns}" for state in states)

    @cached_property
    def encoded(self) -> dict[str, EncodedMasks]:
        """Return the masks by image id."""
        out: dict[str, EncodedMasks] = {}
        for place, path in self.tables:
            ids = [i.removeprefix(place.prefix) for i in self.image_ids if i.startswith(place.prefix)]
            masks = read_masks(place.layout, path, ids)
            out |= {place.prefix + image: encoded for image, encoded in masks.items()}
        return out


def facts(plan: Plan) -> dict[str, list[str]]:
    """Return the names of the cohorts with a table; {} if there are none."""
    found = [ref.name for ref in plan.refs if any(find_table(place.layout, place.root) for place in ref.places)]
    return {KEY: found} if found else {}


def meta(manifest: Manifest) -> dict[str, str]:
    """Return the sentence on the source of the lungs, {} if no cohort has a table of CheXmask."""
    cohorts = [manifest.hospital(c).short for c in manifest.cohorts if c.name in manifest.extras.get(KEY, ())]
    if not cohorts:
        return {}
    of_masks = f"Lungs and heart are CheXmask’s at {listing(cohorts)}, where its mask has a quality of {places(QUALITY, 1)} or more"
    return {"lungs": f"{of_masks}; in other images an algorithm without learning detects the lungs."}
