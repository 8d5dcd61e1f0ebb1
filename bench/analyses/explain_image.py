"""A finished run asked about image files: its logits, its thresholds and where the evidence lies, as pictures and a table.

S: side of what the network sees, D: side of the picture shown, K findings.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.analyses.heatmaps.gradcam import heat_maps, upsampled
from bench.analyses.heatmaps.panel import SHOWN, Answer, Asked, panel, several
from bench.config.preprocessing_ops import input_size
from bench.planning.run import Run
from bench.runs.new_images import StoredRun, load
from bench.store.store import Progress, Store, write_bytes
from harmonize.errors import ConfigError, DatasetError
from harmonize.images.image_header import ImageFile
from harmonize.images.pixels import Geometry, UnreadableImage, read_gray, to_geometry
from harmonize.images.regions import Place

Gray = NDArray[np.uint8]
Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the file


@dataclass(frozen=True, eq=False)
class Explainer:
    """A finished run, ready to be asked."""

    stored: StoredRun

    @property
    def run(self) -> Run:
        """Return the run that is asked."""
        return self.stored.run

    @property
    def threshold(self) -> dict[str, float]:
        """Return the probability from which a finding is called (f1_max, fixed on the internal validation images), by finding."""
        points = self.stored.points[self.stored.points["rule"] == "f1_max"]
        return {str(f): float(p) for f, p in zip(points["finding"], points["probability"], strict=True)}

    def ask(
        self,
        path: ImageFile,
        findings: Sequence[str],
        method: str,
        stage: int | None,
        reference: "Path | Box | None" = None,
    ) -> Asked:
        """Return what the network says of an image and where the evidence lies, in pixels as the network is shown them.

        `reference`: a mask of the image's size, or a box, to be drawn beside the maps. Raises DatasetError for a file
        that is no usable image or no mask of its size.
        """
        image, geometry, threshold = _read(path), self.stored.geometry, self.threshold
        with torch.no_grad():
            x_NCHW = self.stored.tone(torch.from_numpy(to_geometry(image, geometry)[None].copy()))
        every = self.run.config.findings
        found = heat_maps(self.stored.network, x_NCHW, method, stage, [every.index(finding) for finding in findings])
        factor = -(-SHOWN // input_size(self.run.preprocessing))  # the picture is larger than what the network sees
        shown = Geometry(min(geometry.size * factor, 4096), geometry.fit, geometry.clahe, geometry.region)
        gray = self._centre(to_geometry(image, shown))
        mask = None
        if reference is not None:
            marked = _mask(reference, image) if isinstance(reference, Path) else _boxed(reference, image, path)
            mask = self._centre(Place.of(image, shown).moved(marked > 0).astype(np.uint8))
        heat_KDD = upsampled(found.heat_NKhw, gray.shape[0])[0].numpy()
        answers = tuple(
            Answer(finding, float(logit), threshold.get(finding, float("nan")), heat, bool(empty))
            for finding, logit, heat, empty in zip(
                findings, found.logit_NK[0].tolist(), heat_KDD, found.empty[0].tolist(), strict=True
            )
        )
        size = f"{found.heat_NKhw.shape[2]} x {found.heat_NKhw.shape[3]}"
        name = f"{self.run.config.architecture}, run {self.run.id}"
        return Asked(path.name, name, method, size, int(x_NCHW.shape[2]), gray, mask, answers)

    def _centre(self, image: Gray) -> Gray:
        """Return the share of a cached image that the network sees: its centre, where the entry has an `input`."""
        side = round(image.shape[0] * input_size(self.run.preprocessing) / self.stored.geometry.size)
        start = (image.shape[0] - side) // 2
        return image[start : start + side, start : start + side]


def explainer(store: Store, asked: str) -> Explainer:
    """Return the finished run whose id begins so, on the CPU.

    Raises StoreError where none, several or no network is meant, and for a run that is not finished or is damaged.
    """
    stored = load(store, asked)
    torch.set_num_threads(stored.run.config.threads)
    return Explainer(stored)


def draw_overlays(
    asked_of: Explainer, paths: Sequence[Path], findings: Sequence[str], folder: Path, progress: Progress | None = None
) -> dict[str, str]:
    """Write one picture per image, its heat maps of these findings (gradcam, last stage); return their paths by image.

    The pictures are named as the images, with a number where a name comes again.
    """
    drawn: dict[str, str] = {}
    names: Counter[str] = Counter()
    folder.mkdir(parents=True, exist_ok=True)
    for done, path in enumerate(paths, 1):
        asked = asked_of.ask(path, findings, "gradcam", None)
        picture = several(asked) if len(asked.answers) > 1 else panel(asked, asked.answers[0])
        names[path.stem] += 1
        again = names[path.stem]
        target = folder / f"{path.stem}{f'-{again}' if again > 1 else ''}.png"
        write_bytes(target, png(picture))
        drawn[str(path)] = str(target)
        if progress:
            progress("draw", done, len(paths))
    return drawn


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture [H, W, 3], blue, green, red, as a PNG file."""
    done, content = cv2.imencode(".png", picture)
    if not done:
        raise RuntimeError("cannot encode a picture")
    return content.tobytes()


def chosen_findings(run: Run, asked: Sequence[str]) -> list[str]:
    """Return the findings asked for, all without any; capitals do not matter. Raises ConfigError for one not learnt."""
    known = {finding.lower(): finding for finding in run.config.findings}
    for name in asked:
        if name.lower() not in known:
            close = get_close_matches(name.lower(), known, n=1)
            fix = f"did you mean {known[close[0]]!r}?" if close else f"it learnt {', '.join(known.values())}"
            raise ConfigError(f"run {run.id} has not learnt {name!r}", "--finding", fix)
    return list(dict.fromkeys(known[name.lower()] for name in asked)) or list(known.values())


def table(asked: Asked, run_id: str) -> pd.DataFrame:
    """Return one row per finding: what the network says, whether it calls it, where the map peaks, what lies in the mask.

    peak_x and peak_y are shares of width and height of what the network sees; heat_inside is the share of the map's sum
    inside the reference and area_inside the reference's share of the picture: their ratio is 1 where the map ignores it.
    """
    rows: list[dict[str, Any]] = []
    for answer in asked.answers:
        y, x = divmod(int(answer.heat.argmax()), answer.heat.shape[1])
        total = float(answer.heat.sum(dtype=np.float64))
        inside = area = None
        if asked.mask is not None:
            area = float(asked.mask.mean())
            inside = float(answer.heat[asked.mask > 0].sum(dtype=np.float64)) / total if not answer.empty else None
        rows.append(
            {
                "image": asked.image,
                "run_id": run_id,
                "finding": answer.finding,
                "logit": answer.logit,
                "probability": answer.probability,
                "threshold": answer.threshold,
                "called": answer.called,
                "method": asked.method,
                "maps": asked.maps,
                "empty": answer.empty,
                "peak_x": None if answer.empty else (x + 0.5) / answer.heat.shape[1],
                "peak_y": None if answer.empty else (y + 0.5) / answer.heat.shape[0],
                "heat_inside": inside,
                "area_inside": area,
            }
        )
    return pd.DataFrame(rows)


def parse_box(text: str) -> Box:
    """Return x, y, width and height of "X,Y,W,H". Raises ConfigError for anything else."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no box", "--box", "write X,Y,WIDTH,HEIGHT in pixels of the image") from error
    if not all(np.isfinite([x, y, width, height])) or width <= 0 or height <= 0:
        raise ConfigError(f"{text!r} is no box", "--box", "give finite numbers, width and height above 0")
    return x, y, width, height


def _read(path: ImageFile) -> Gray:
    try:
        return read_gray(path)
    except UnreadableImage as error:
        raise DatasetError(
            f"cannot use the image: {error}", str(path), "give a whole JPEG, PNG or DICOM file"
        ) from error


def _mask(path: Path, image: Gray) -> Gray:
    """Return a mask file as uint8 [H, W] of the image, above 0 inside."""
    content = np.frombuffer(path.read_bytes() if path.is_file() else b"", np.uint8)
    mask = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if mask is None:
        raise DatasetError("cannot read the mask", str(path), "give a PNG of the image's size, above 0 inside")
    if mask.ndim == 3:
        mask = mask[..., :3].max(2)
    if mask.shape != image.shape:
        raise DatasetError(
            f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, the image {image.shape[1]} x {image.shape[0]}",
            str(path),
            "give the mask of this image, in its size",
        )
    return np.asarray(mask > 0, np.uint8)


def _boxed(box: Box, image: Gray, path: ImageFile) -> Gray:
    x, y, width, height = box
    rows, columns = (np.arange(n) + 0.5 for n in image.shape)
    inside = np.outer((rows >= y) & (rows <= y + height), (columns >= x) & (columns <= x + width)).astype(np.uint8)
    if not inside.any():
        what = f"the box {x:g},{y:g},{width:g},{height:g} holds no pixel of {image.shape[1]} x {image.shape[0]}"
        raise DatasetError(what, str(path), "give it in pixels of this image")
    return inside
