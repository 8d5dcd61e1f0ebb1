"""Explanations of image files by a finished run: logits, thresholds and heat maps, as pictures and a table.

The heat map of a TTA run or an ensemble is a mean over its
views or networks; before the mean, each map is divided by its own maximum. In a panel, each finding is explained by the
network that learned this finding.

Shapes: D side of the displayed picture in pixels, K findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
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
from harmonize.images.regions import InputTransform

# smallest divisor, so that the division of an empty map by its maximum gives 0 and not NaN
_TINY = float(np.finfo(np.float32).tiny)
Gray = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Explainer:
    """A finished run that explains image files."""

    stored: StoredRun

    @property
    def threshold(self) -> dict[str, float]:
        """Return {finding: threshold}: a probability, by the threshold rule of the grid."""
        points = self.stored.points[self.stored.points["rule"] == self.stored.threshold]
        return {str(f): float(p) for f, p in zip(points["finding"], points["probability"], strict=True)}

    def explain(
        self,
        path: ImageFile,
        findings: Sequence[str],
        mask: Path | None = None,
    ) -> Explanation:
        """Return logits, thresholds and heat maps of an image, and the image resized and cropped like the network's input.

        `mask`: a file of the image's size with a region to draw next to the heat maps. Raises DatasetError for an unreadable
        image or mask, or a mask of another size. Raises ConfigError if the networks of an ensemble crop images differently.
        """
        image, geometry, threshold = _read(path), self.stored.geometry, self.threshold
        _refuse_different_frames(self.stored)
        input_side = self.stored.run.input_size
        factor = -(-SHOWN // input_side)  # the picture has this many times the side of the network input
        shown_geometry = replace(geometry, size=min(geometry.size * factor, 4096))
        gray = self._centre(to_geometry(image, shown_geometry))
        region = None
        if mask is not None:
            shown_mask = InputTransform.of(image, shown_geometry).apply_to_mask(_mask(mask, image) > 0)
            region = self._centre(shown_mask.astype(np.uint8))
        maps = _maps(self.stored, findings, _Request(image, gray.shape[0]))
        finding_maps = tuple(
            FindingMap(finding, own.logit, threshold.get(finding, float("nan")), own.heat, not (own.heat > 0).any())
            for finding, own in maps.items()
        )
        sizes = ", ".join(dict.fromkeys(size for own in maps.values() for size in own.sizes))
        return Explanation(
            path.name,
            self.stored.title,
            sizes,
            input_side,
            gray,
            region,
            finding_maps,
            self.stored.synthetic,
            self.stored.num_maps,
        )

    def _centre(self, image: Gray) -> Gray:
        """Return the central crop of an image: the area that the network gets as input."""
        side = round(image.shape[0] * self.stored.run.input_size / self.stored.geometry.size)
        start = (image.shape[0] - side) // 2
        return image[start : start + side, start : start + side]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """An image to explain: its gray values, and the side D of the displayed picture."""

    image: Gray
    side: int


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """The logit and the heat map [D, D] of one finding, and the sizes of the feature maps as texts, e.g. "7 x 7"."""

    logit: float
    heat: NDArray[np.float32]
    sizes: tuple[str, ...]


def _maps(stored: StoredRun, findings: Sequence[str], request: _Request, view: View | None = None) -> dict[str, _Map]:
    """Return finding -> heat map of the area that the network sees.

    With several networks or views, the heat map is the mean of their maps. Before the mean, each map is divided by its
    maximum, because gradients of different networks have different scales. The map of a mirrored or rotated view is
    first mirrored or rotated back. `view` None means the unchanged image.
    """
    if stored.trained is not None:
        return _network_maps(stored.trained, stored.device, findings, request, view)
    if stored.kind == "panel":
        source_by_finding = {source.run.config.finding: source for source in stored.sources}
        return {finding: _maps(source_by_finding[finding], [finding], request, view)[finding] for finding in findings}
    passes = [_maps(source, findings, request, own_view) for source, own_view in stored.passes(view)]
    return {finding: _mean([own[finding] for own in passes]) for finding in findings}


def _mean(maps: Sequence[_Map]) -> _Map:
    """Return one map: the mean of the maps, each first divided by its maximum, with the logit of the mean probability."""
    heat = np.mean([own.heat / max(float(own.heat.max()), _TINY) for own in maps], axis=0)
    logit_MNK = np.array([own.logit for own in maps])[:, None, None]
    sizes = tuple(size for own in maps for size in own.sizes)
    return _Map(float(logit_of_mean(logit_MNK)[0, 0]), heat.astype(np.float32), sizes)


def _network_maps(
    own: TrainedNetwork, device: torch.device, findings: Sequence[str], request: _Request, view: View | None
) -> dict[str, _Map]:
    """Return finding -> heat map of one network, for one view of the image (None: unchanged)."""
    with torch.no_grad():
        pixels = torch.from_numpy(to_geometry(request.image, own.run.geometry)[None].copy()).to(device)
        x_NCHW = own.normalizer(pixels, augment=view_transform(view) if view else None)
    known = own.run.config.findings
    maps = heat_maps(own.network, x_NCHW, [known.index(finding) for finding in findings])
    heat_NKDD = upsampled(maps.heat_NKhw, request.side)
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


def _refuse_different_frames(stored: StoredRun) -> None:
    """Raise ConfigError if the networks of an ensemble see different parts of an image.

    The heat maps of such networks show different areas, so a mean of the maps makes no sense.
    """
    frames = {
        (run.geometry.fit, run.geometry.region, run.input_size / run.geometry.size)
        for run in (network.run for network in stored.networks)
    }
    if len(frames) > 1:
        fix = f"explain one of its runs: {', '.join(network.id for network in stored.networks)}"
        raise ConfigError("the networks crop images differently, so their heat maps have no mean", stored.title, fix)


def explainer_of(stored: StoredRun) -> Explainer:
    """Return the explainer of a loaded run, and set torch's number of threads to that of the run."""
    torch.set_num_threads(stored.run.config.threads)
    return Explainer(stored)


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture [H, W, 3] in BGR order as PNG bytes."""
    encoded, content = cv2.imencode(".png", picture)
    if not encoded:
        raise RuntimeError("OpenCV cannot encode the picture as PNG")
    return content.tobytes()


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
    everywhere. heat_inside: share of the map's sum inside the reference region. area_inside: share of the picture
    inside this region. heat_inside equals area_inside for a uniform map; both are None without a region. mean_of:
    number of heat maps of which the map is the mean, 1 for a map of a single network and view.
    """
    rows: list[dict[str, Any]] = []
    for finding_map in explanation.finding_maps:
        y, x = divmod(int(finding_map.heat.argmax()), finding_map.heat.shape[1])
        total = float(finding_map.heat.sum(dtype=np.float64))
        inside = area = None
        if explanation.mask is not None:
            area = float(explanation.mask.mean())
            inside = (
                float(finding_map.heat[explanation.mask > 0].sum(dtype=np.float64)) / total
                if not finding_map.empty
                else None
            )
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
                "heat_inside": inside,
                "area_inside": area,
            }
        )
    return pd.DataFrame(rows)


def _read(path: ImageFile) -> Gray:
    try:
        return read_radiograph(path)
    except UnreadableImage as error:
        raise DatasetError(
            f"cannot read the image: {error}", str(path), "give a readable JPEG, PNG or DICOM file"
        ) from error


def _mask(path: Path, image: Gray) -> Gray:
    """Return a mask file as uint8 [H, W]: 1 inside, 0 outside.

    Raises DatasetError if the file cannot be read, or if the mask and the image have different sizes.
    """
    content = np.frombuffer(path.read_bytes() if path.is_file() else b"", np.uint8)
    mask = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if mask is None:
        raise DatasetError(
            "cannot read the mask", str(path), "give a PNG of the image's size, with values above 0 inside the region"
        )
    if mask.ndim == 3:
        mask = mask[..., :3].max(2)
    if mask.shape != image.shape:
        raise DatasetError(
            f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, the image {image.shape[1]} x {image.shape[0]}",
            str(path),
            "give a mask of this image, with the same width and height",
        )
    return np.asarray(mask > 0, np.uint8)
