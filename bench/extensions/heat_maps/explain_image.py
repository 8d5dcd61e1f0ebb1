"""Explanations of image files by a finished run: logits, thresholds and heat maps, as pictures and a table.

In a panel, each finding is explained by the network that learned this finding.

Shapes: D side of the displayed picture in pixels, K findings.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.panels import SHOWN, Explanation, FindingMap
from bench.runs.stored_run import StoredRun
from harmonize.errors import ConfigError, DatasetError
from harmonize.images.image_header import ImageFile, UnreadableImage
from harmonize.images.pixels import read_radiograph, to_geometry

Gray = NDArray[np.uint8]
Heat = NDArray[np.float32]


def explain_image(stored: StoredRun, path: ImageFile, findings: Sequence[str]) -> Explanation:
    """Return logits, thresholds and heat maps of an image, and the image resized and cropped like the network's input.

    A threshold is a probability, by the threshold rule of the grid. Raises DatasetError for an unreadable image, ConfigError for
    a TTA run or an ensemble: a mean of maps of different networks says little.
    """
    if stored.trained is None and stored.kind != "panel":
        fix = f"explain one of its runs: {', '.join(network.id for network in stored.networks)}"
        raise ConfigError(f"{stored.title} has several networks or views, so it has no heat map", stored.title, fix)
    try:
        image = read_radiograph(path)
    except UnreadableImage as error:
        fix = "give a readable JPEG, PNG or DICOM file"
        raise DatasetError(f"cannot read the image: {error}", str(path), fix) from error
    points = stored.points[stored.points["rule"] == stored.threshold]
    threshold = dict(zip(points["finding"].astype(str), points["probability"].astype(float), strict=True))
    input_side, geometry = stored.run.input_size, stored.geometry
    factor = -(-SHOWN // input_side)  # the picture has this many times the side of the network input
    gray = to_geometry(image, replace(geometry, size=min(geometry.size * factor, 4096)))
    side = round(gray.shape[0] * input_side / geometry.size)
    start = (gray.shape[0] - side) // 2
    gray = gray[start : start + side, start : start + side]  # the area that the network gets as input
    maps = _maps(stored, findings, image, side)
    finding_maps = tuple(FindingMap(f, logit, threshold.get(f, math.nan), heat) for f, (logit, heat, _) in maps.items())
    sizes = ", ".join(dict.fromkeys(size for *_, size in maps.values()))
    return Explanation(path.name, stored.title, sizes, input_side, gray, finding_maps, stored.synthetic)


def _maps(stored: StoredRun, findings: Sequence[str], image: Gray, side: int) -> dict[str, tuple[float, Heat, str]]:
    """Return finding -> logit, heat map [side, side] of the area that the network sees, and size of the feature maps."""
    trained = stored.trained
    if trained is None:
        source_of = {source.run.config.finding: source for source in stored.sources}
        return {finding: _maps(source_of[finding], [finding], image, side)[finding] for finding in findings}
    pixels = torch.from_numpy(to_geometry(image, trained.run.geometry)[None].copy()).to(stored.device)
    known = trained.run.config.findings
    with torch.no_grad():
        x_NCHW = trained.normalizer(pixels)
    maps = heat_maps(trained.network, x_NCHW, [known.index(finding) for finding in findings])
    heat_KDD = upsampled(maps.heat_NKhw, side)[0].cpu().numpy()
    size = f"{maps.heat_NKhw.shape[2]} x {maps.heat_NKhw.shape[3]}"
    logits = maps.logit_NK[0].tolist()
    return {f: (logit, heat, size) for f, logit, heat in zip(findings, logits, heat_KDD, strict=True)}


def chosen_findings(stored: StoredRun, requested: Sequence[str]) -> list[str]:
    """Return the requested findings in the spelling of the run, or all findings of the run if none is requested.

    Upper and lower case do not matter in a request. Raises ConfigError for a finding that the run has not learned.
    """
    known = stored.learned
    finding_by_lowercase = {finding.lower(): finding for finding in known}
    for name in requested:
        if name.lower() not in finding_by_lowercase:
            what = f"run {stored.id} has not learned {name!r}"
            raise ConfigError(what, "--finding", ConfigError.suggestion(name, known))
    return list(dict.fromkeys(finding_by_lowercase[name.lower()] for name in requested)) or list(
        finding_by_lowercase.values()
    )


def table(explanation: Explanation, run_id: str) -> pd.DataFrame:
    """Return a table with one row per finding: probability, positive call, position of the heat map's maximum, and more.

    peak_x and peak_y: position of the maximum, as shares of the picture's width and height; None for a map that is zero
    everywhere.
    """
    rows: list[dict[str, Any]] = []
    for finding_map in explanation.finding_maps:
        y, x = divmod(int(finding_map.heat.argmax()), finding_map.heat.shape[1])
        rows.append(
            {
                "image": explanation.image,
                "run_id": run_id,
                "finding": finding_map.finding,
                "logit": finding_map.logit,
                "probability": finding_map.probability,
                "threshold": finding_map.threshold,
                "called": finding_map.called,
                "maps": explanation.maps,
                "empty": finding_map.empty,
                "peak_x": None if finding_map.empty else (x + 0.5) / finding_map.heat.shape[1],
                "peak_y": None if finding_map.empty else (y + 0.5) / finding_map.heat.shape[0],
            }
        )
    return pd.DataFrame(rows)
