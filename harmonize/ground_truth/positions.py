"""Check that the positions of findings and the lung masks of a cohort fit its image files."""

from typing import Any

import numpy as np

from harmonize.checks.duplicates import ScannedCohort
from harmonize.checks.release import Check
from harmonize.cohorts.cohort import Cohort
from harmonize.errors import DatasetError
from harmonize.ground_truth.ground_truth import FIT, LUNGS, Truth, frame_misfit, truth_of
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import read_gray

_EXAMPLES = 3


def check_positions(cohort: Cohort, scanned: ScannedCohort | None) -> list[Check]:
    """Return a check of the positions in a cohort: a fault if some do not fit; [] if the cohort has no positions.

    Without a scan, sizes of the image files are unknown, so only unreadable positions and unknown frames are found.
    """
    try:
        truth = truth_of(cohort.spec.layout, cohort.root, cohort.table)
    except DatasetError as error:
        return [Check(cohort.name, "positions of findings", "fault", "", f"{error.what} ({error.where})", error.fix)]
    if truth.source == "phantom":  # drawn for each file, in its size
        return []
    located = {image for image, _ in truth.located} | truth.lung_masks.keys()
    if scanned is None or not located:
        return []
    ids = cohort.table["image_id"].astype(str).to_numpy(object)
    rows = np.flatnonzero(np.isin(ids, list(located)) & (scanned.scan.reason == ""))
    problems = {ids[row]: text for row in rows if (text := _problem(truth, ids[row], scanned.scan.size[row]))}
    if not problems:
        found = f"the positions in {len(rows):,} images fit the files"
        return [Check(cohort.name, "positions of findings", "ok", "", found)]
    examples = "; ".join(f"{image} ({text})" for image, text in list(problems.items())[:_EXAMPLES])
    found = f"{len(problems):,} of {len(rows):,} images do not fit: {examples}"
    return [Check(cohort.name, "positions of findings", "fault", "", found, FIT)]


def _problem(truth: Truth, image_id: str, size: Any) -> str:
    """Return why the positions in an image do not fit its file of this size (height, width), or ""."""
    height, width = (int(side) for side in size)
    problem = truth.misfit(image_id, (height, width))
    if problem or image_id not in truth.lung_masks:
        return problem
    try:
        mask = read_gray(truth.lung_masks[image_id])
    except UnreadableImage as error:
        return f"lung mask: {error}"
    return frame_misfit(LUNGS, mask.shape, (height, width))
