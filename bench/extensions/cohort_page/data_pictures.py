"""Make the pictures for the page of `bench data stats`: sampled images with their labels, and images after preprocessing."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.preprocessing_ops import geometry, input_size, learned_op, padded, parse
from bench.config.registry import Registry
from bench.extensions.cohort_page.html_page.page import CohortPictures, Picture
from bench.extensions.cohort_page.statistics.image_sample import THUMB, ImageSample, small
from harmonize.cohorts.cohort import Cohort
from harmonize.images.pixels import Geometry
from harmonize.labels.findings import FINDINGS, PRESENT, UNCERTAIN

# SHOWN: number of images per cohort that the page shows with labels. TRANSFORMED: number of these images that the page also
# shows after each preprocessing variant.
SHOWN, TRANSFORMED = (12, 3)
_QUALITY = 82  # JPEG quality, 1 to 100
_TAIL = 0.5  # percent of a variant's pixel values that are clipped at each end of the gray scale


@dataclass(frozen=True, eq=False)
class Variant:
    """Preprocessing entries of the registry that give equal pictures at thumbnail size.

    names  names of the entries
    form   geometry (size, fit and crop) of the first entry
    facts  settings of the first entry
    """

    names: tuple[str, ...]
    form: Geometry
    facts: Mapping[str, Any]


def variants(registry: Registry) -> tuple[Variant, ...]:
    """Group the preprocessing entries of the registry into variants that give equal pictures at thumbnail size."""
    groups: dict[str, list[str]] = {}
    entries = registry.sections["preprocessing"]
    for name, entry in entries.items():
        form = geometry(entry.facts)
        crop = input_size(entry.facts) / form.size
        key = f"{min(form.size, THUMB // 2 + 32)} {crop} {form.fit} {parse(entry.facts.get('ops', ()))}"
        groups.setdefault(key, []).append(name)
    return tuple(
        Variant(tuple(names), geometry(entries[names[0]].facts), entries[names[0]].facts) for names in groups.values()
    )


def looks(
    cohorts: Mapping[str, Cohort], samples: Mapping[str, ImageSample], chosen: Sequence[Variant]
) -> dict[str, CohortPictures]:
    """Return {cohort: its pictures}: sampled images with captions, and images after each preprocessing variant.

    For each variant, all cohorts share one gray scale, so their pictures can be compared. The preprocessing ops histstd
    and histmatch adapt images to a reference histogram. Here the reference is learned from the sampled images of the
    first cohort, not from training images.
    """
    internal = next(iter(samples), "")
    after: dict[str, list[list[Picture]]] = {
        name: [[] for _ in sample.shown if _.forms] for name, sample in samples.items()
    }
    for variant in chosen:
        formed = {
            (name, k): shown.forms[variant.form.key]
            for name, sample in samples.items()
            for k, shown in enumerate(sample.shown)
            if variant.form.key in shown.forms
        }
        if not formed:
            continue
        normalized = _normalized(formed, internal, variant)
        low, high = np.percentile(np.concatenate([x.ravel() for x in normalized.values()]), [_TAIL, 100 - _TAIL])
        for (name, k), x in normalized.items():
            gray = np.clip((x - low) / max(high - low, 1e-9) * 255 + 0.5, 0, 255).astype(np.uint8)
            picture = small(gray, THUMB)
            after[name][k].append(Picture(_uri(picture), variant.names[0], picture.shape[1], picture.shape[0]))
    return {
        name: CohortPictures(
            tuple(
                Picture(_uri(s.picture), caption(cohorts[name], s.row), s.picture.shape[1], s.picture.shape[0])
                for s in sample.shown
            ),
            tuple(tuple(row) for row in after[name]),
        )
        for name, sample in samples.items()
    }


def caption(cohort: Cohort, row: int) -> str:
    """Return the findings of an image as text. An uncertain finding has a question mark.

    `row`: position of the image in the cohort's table.
    """
    names = []
    for finding in FINDINGS:
        state = cohort.table[finding].iloc[row] if finding in cohort.table else pd.NA
        if not pd.isna(state) and int(state) in (PRESENT, UNCERTAIN):
            names.append(finding if int(state) == PRESENT else f"{finding}?")
    return ", ".join(names) or "none of the findings"


def _normalized(
    formed: Mapping[tuple[str, int], NDArray[np.uint8]], internal: str, variant: Variant
) -> dict[tuple[str, int], NDArray[np.float32]]:
    """Apply the preprocessing of a variant to images; return {key of `formed`: float32 image with one channel}.

    `formed`: (cohort, index of the image) -> uint8 image in the variant's geometry. `internal`: the cohort from whose
    images a reference histogram is learned. With one channel, the op imagenet uses the mean of its three means and of
    its three stds.
    """
    import torch

    from bench.inputs.histograms import learn
    from bench.inputs.normalize import Normalizer

    op = learned_op(variant.facts.get("ops", ()))
    training_images = [image for (name, _), image in formed.items() if name == internal] or list(formed.values())
    reference = (
        {op: learn(op, [torch.from_numpy(np.stack(training_images))], padded=padded(variant.facts))} if op else {}
    )
    normalizer = Normalizer.of(variant.facts, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1, reference)
    return {key: normalizer(torch.from_numpy(image[None].copy()))[0, 0].numpy() for key, image in formed.items()}


def _uri(image: NDArray[np.uint8]) -> str:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not encoded:
        raise RuntimeError("OpenCV cannot encode the picture as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
