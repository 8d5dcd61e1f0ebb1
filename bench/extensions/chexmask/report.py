"""What the page states about the lungs of heat maps and region transplant tests."""

from collections.abc import Mapping
from typing import Any

from bench.extensions.chexmask.file import QUALITY
from bench.extensions.chexmask.plan import KEY
from bench.planning.manifest import Manifest
from reports.formatting import listing, places


def meta(manifest: Manifest, _records: Mapping[str, Any]) -> dict[str, str]:
    """Return the sentence on the source of the lungs, {} if no cohort has a table of CheXmask."""
    cohorts = [manifest.hospital(c).short for c in manifest.cohorts if c.name in manifest.extras.get(KEY, ())]
    if not cohorts:
        return {}
    of_masks = f"Lungs and heart are CheXmask’s at {listing(cohorts)}, where its mask has a quality of {places(QUALITY, 1)} or more"
    return {"lungs": f"{of_masks}; in other images an algorithm without learning detects the lungs."}
