"""Measurements of one heat map in the regions of its image. This module does not use torch.

A region is an area of the image, such as the border, or the pixels outside the lungs.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.extensions.heat_maps.localization import center_prior, energy, iou, near, pointing
from bench.extensions.heat_maps.summary import MEASURES, NETWORK, TRUTH
from harmonize.ground_truth.ground_truth import Scene

Row = tuple[object, ...]
Heat = NDArray[np.float32]


def measure(scene: Scene, heat: Heat, finding: str, patient_id: str) -> Iterator[Row]:
    """Yield the measurements of one heat map as rows with the columns `summary.MEASURES`.

    The network's map is measured in all regions of the image and in the outline of the finding, if there is one. The
    baseline maps are measured only in the outline.
    """
    outline = scene.findings.get(finding)
    if outline is not None:
        for map_source, source_heat in ((NETWORK, heat), *baselines(scene)):
            yield _row(finding, patient_id, map_source, TRUTH, source_heat, outline)
    for name, mask in scene.regions.items():
        yield _row(finding, patient_id, NETWORK, name, heat, mask)


def baselines(scene: Scene) -> Iterator[tuple[str, Heat]]:
    """Yield (name, map) of the baseline maps: `centre` is high in the center, `lungs` is 1 inside the lungs, else 0.

    The baseline maps do not depend on the finding. `lungs` is left out without a lung mask.
    """
    yield "centre", center_prior(*scene.image.shape)
    if scene.lungs is not None and scene.lungs.any():
        yield "lungs", scene.lungs.astype(np.float32)


def _row(finding: str, patient_id: str, map_source: str, region: str, heat: Heat, mask: NDArray[np.bool_]) -> Row:
    is_truth, unknown = region == TRUTH, float("nan")
    empty = not bool((heat > 0).any())
    values = {
        "finding": finding,
        "patient_id": patient_id,
        "by": map_source,
        "region": region,
        "energy": energy(heat, mask),
        "area": float(mask.mean()),
        "near": float(near(mask).mean()) if is_truth else unknown,
        "empty": float(empty),
        "iou_50": iou(heat, mask) if is_truth else unknown,
        "hit": pointing(heat, mask) if is_truth else unknown,
    }
    return tuple(values[name] for name in MEASURES)
