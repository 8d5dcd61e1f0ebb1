"""Explanations of image files by a finished run: logits, thresholds and heat maps, as pictures and a table.

The heat map of a TTA run or an ensemble is a mean over its views or networks; before the mean, each map is divided by its own
maximum. In a panel, each finding is explained by the network that learned this finding.

Shapes: D side of the displayed picture in pixels, K findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.config.tta_and_ensembles import View
from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.panels import SHOWN, Explanation, FindingMap
from bench.planning.derived_runs import logit_of_mean
from bench.runs.make_derived import view_transform
from bench.runs.stored_run import StoredRun, TrainedNetwork
from harmonize.errors import ConfigError, DatasetError
from harmonize.images.image_header import ImageFile, UnreadableImage
from harmonize.images.pixels import read_radiograph, to_geometry

# smallest divisor, so that the division of an empty map by its maximum gives 0 and not NaN
_TINY = float(np.finfo(np.float32).tiny)
Gray = NDArray[np.uint8]


def explain_image(stored: StoredRun, path: ImageFile, findings: Sequence[str]) -> Explanation:
    """Return logits, thresholds and heat maps of an image, and the image resized and cropped like the network's input.

    A threshold is a probability, by the threshold rule of the grid. Raises DatasetError for an unreadable image. Raises
    ConfigError if the networks of an ensemble crop images differently: their maps show different areas and have no mean.
    """
    try:
        image = read_radiograph(path)
    except UnreadableImage as error:
        fix = "give a readable JPEG, PNG or DICOM file"
        raise DatasetError(f"cannot read the image: {error}", str(path), fix) from error
    runs = [network.run for network in stored.networks]
    if len({(run.geometry.fit, run.geometry.region, run.input_size / run.geometry.size) for run in runs}) > 1:
        fix = f"explain one of its runs: {', '.join(run.id for run in runs)}"
        raise ConfigError("the networks crop images differently, so their heat maps have no mean", stored.title, fix)
    points = stored.points[stored.points["rule"] == stored.threshold]
    threshold = dict(zip(points["finding"].astype(str), points["probability"].astype(float), strict=True))
    input_side, geometry = stored.run.input_size, stored.geometry
    factor = -(-SHOWN // input_side)  # the picture has this many times the side of the network input
    gray = to_geometry(image, replace(geometry, size=min(geometry.size * factor, 4096)))
    side = round(gray.shape[0] * input_side / geometry.size)
    start = (gray.shape[0] - side) // 2
    gray = gray[start : start + side, start : start + side]  # the area that the network gets as input
    maps = _maps(stored, findings, image, side)
    finding_maps = tuple(FindingMap(f, own.logit, threshold.get(f, float("nan")), own.heat) for f, own in maps.items())
    sizes = ", ".join(dict.fromkeys(size for own in maps.values() for size in own.sizes))
    names = path.name, stored.title, sizes
    return Explanation(*names, input_side, gray, finding_maps, stored.synthetic, stored.num_maps)


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """The logit and the heat map [D, D] of one finding, and the sizes of the feature maps as texts, e.g. "7 x 7"."""

    logit: float
    heat: NDArray[np.float32]
    sizes: tuple[str, ...]


def _maps(
    stored: StoredRun, findings: Sequence[str], image: Gray, side: int, view: View | None = None
) -> dict[str, _Map]:
    """Return finding -> heat map [side, side] of the area that the network sees.

    With several networks or views, the heat map is the mean of their maps. Before the mean, each map is divided by its
    maximum, because gradients of different networks have different scales. The map of a mirrored or rotated view is
    first mirrored or rotated back. `view` None means the unchanged image.
    """
    if stored.trained is not None:
        return _network_maps(stored.trained, stored.device, findings, image, side, view)
    if stored.kind == "panel":
        source_by_finding = {source.run.config.finding: source for source in stored.sources}
        return {
            finding: _maps(source_by_finding[finding], [finding], image, side, view)[finding] for finding in findings
        }
    passes = [_maps(source, findings, image, side, own_view) for source, own_view in stored.passes(view)]
    return {finding: _mean([own[finding] for own in passes]) for finding in findings}


def _mean(maps: Sequence[_Map]) -> _Map:
    """Return one map: the mean of the maps, each first divided by its maximum, with the logit of the mean probability."""
    heat = np.mean([own.heat / max(float(own.heat.max()), _TINY) for own in maps], axis=0)
    logit_MNK = np.array([own.logit for own in maps])[:, None, None]
    sizes = tuple(size for own in maps for size in own.sizes)
    return _Map(float(logit_of_mean(logit_MNK)[0, 0]), heat.astype(np.float32), sizes)


def _network_maps(
    own: TrainedNetwork, device: torch.device, findings: Sequence[str], image: Gray, side: int, view: View | None
) -> dict[str, _Map]:
    """Return finding -> heat map of one network, for one view of the image (None: unchanged)."""
    with torch.no_grad():
        pixels = torch.from_numpy(to_geometry(image, own.run.geometry)[None].copy()).to(device)
        x_NCHW = own.normalizer(pixels, augment=view_transform(view) if view else None)
    known = own.run.config.findings
    maps = heat_maps(own.network, x_NCHW, [known.index(finding) for finding in findings])
    heat_NKDD = upsampled(maps.heat_NKhw, side)
    if view is not None:
        mirrored, degrees = view
        # a view is mirrored first and then rotated, so its map is rotated back first
        heat_NKDD = view_transform((False, -degrees))(heat_NKDD)
        heat_NKDD = heat_NKDD.flip(3) if mirrored else heat_NKDD
    size = f"{maps.heat_NKhw.shape[2]} x {maps.heat_NKhw.shape[3]}"
    return {
        finding: _Map(logit, heat, (size,))
        for finding, logit, heat in zip(findings, maps.logit_NK[0].tolist(), heat_NKDD[0].cpu().numpy(), strict=True)
    }


def chosen_findings(stored: StoredRun, requested: Sequence[str]) -> list[str]:
    """Return the requested findings in the spelling of the run, or all findings of the run if none is requested.

    Upper and lower case do not matter in a request. Raises ConfigError for a finding that the run has not learned.
    """
    known = stored.learned
    finding_by_lowercase = {finding.lower(): finding for finding in known}
    for name in requested:
        if name.lower() not in finding_by_lowercase:
            raise ConfigError(
                f"run {stored.id} has not learned {name!r}", "--finding", ConfigError.suggestion(name, known)
            )
    return list(dict.fromkeys(finding_by_lowercase[name.lower()] for name in requested)) or list(
        finding_by_lowercase.values()
    )


def table(explanation: Explanation, run_id: str) -> pd.DataFrame:
    """Return a table with one row per finding: probability, positive call, position of the heat map's maximum, and more.

    peak_x and peak_y: position of the maximum, as shares of the picture's width and height; None for a map that is zero
    everywhere. mean_of: number of heat maps of which the map is the mean, 1 for a map of a single network and view.
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
                "mean_of": explanation.mean_of,
                "empty": finding_map.empty,
                "peak_x": None if finding_map.empty else (x + 0.5) / finding_map.heat.shape[1],
                "peak_y": None if finding_map.empty else (y + 0.5) / finding_map.heat.shape[0],
            }
        )
    return pd.DataFrame(rows)
