"""Pictures for the page of `bench data stats`: sampled images with their labels, and what each preprocessing makes of them."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.preprocessing_ops import geometry, input_size, learnt_op, padded, parse
from bench.config.registry import Registry
from harmonize.cohorts.cohort import Cohort
from harmonize.images.pixels import Geometry
from harmonize.labels.findings import FINDINGS, PRESENT, UNCERTAIN
from harmonize.statistics.image_sample import THUMB, Sample, small
from reports.cohort_page.page import CohortPictures, Picture

SHOWN, TRANSFORMED = 12, 3  # pictures per cohort: with labels, and in every variant
_QUALITY = 82  # of JPEG
_TAIL = 0.5  # per cent of values beyond each end of a column's gray scale


@dataclass(frozen=True, eq=False)
class Variant:
    """Registry entries that give the same picture at this size: their names, and one of them."""

    names: tuple[str, ...]
    form: Geometry
    facts: Mapping[str, Any]  # of that entry


def variants(registry: Registry) -> tuple[Variant, ...]:
    """Return the preprocessing entries, those joined that differ only in a size beyond that of a picture here."""
    groups: dict[str, list[str]] = {}
    entries = registry.sections["preprocessing"]
    for name, entry in entries.items():
        form = geometry(entry.facts)
        seen = input_size(entry.facts) / form.size
        key = f"{min(form.size, THUMB // 2 + 32)} {seen} {form.fit} {parse(entry.facts.get('ops', ()))}"
        groups.setdefault(key, []).append(name)
    return tuple(
        Variant(tuple(names), geometry(entries[names[0]].facts), entries[names[0]].facts) for names in groups.values()
    )


def looks(
    cohorts: Mapping[str, Cohort], samples: Mapping[str, Sample], chosen: Sequence[Variant]
) -> dict[str, CohortPictures]:
    """Return the pictures by cohort. One gray scale per variant, over all cohorts: what differs there differs here.

    What histstd and histmatch learn from training images is learnt here from the pictures of the first cohort.
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
        made = _toned(formed, internal, variant)
        low, high = np.percentile(np.concatenate([x.ravel() for x in made.values()]), [_TAIL, 100 - _TAIL])
        for (name, k), x in made.items():
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
    """Return the findings of an image: those present, and those uncertain with a question mark."""
    words = []
    for finding in FINDINGS:
        state = cohort.table[finding].iloc[row] if finding in cohort.table else pd.NA
        if not pd.isna(state) and int(state) in (PRESENT, UNCERTAIN):
            words.append(finding if int(state) == PRESENT else f"{finding}?")
    return ", ".join(words) or "none of the findings"


def _toned(
    formed: Mapping[tuple[str, int], NDArray[np.uint8]], internal: str, variant: Variant
) -> dict[tuple[str, int], NDArray[np.float32]]:
    """Return one channel of what a network gets of each picture; of ImageNet's three, their mean."""
    import torch

    from bench.inputs.histograms import learn
    from bench.inputs.normalize import Normalizer

    op = learnt_op(variant.facts.get("ops", ()))
    training_images = [image for (name, _), image in formed.items() if name == internal] or list(formed.values())
    learnt = {op: learn(op, [torch.from_numpy(np.stack(training_images))], padded=padded(variant.facts))} if op else {}
    normalizer = Normalizer.of(variant.facts, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1, learnt)
    return {place: normalizer(torch.from_numpy(image[None].copy()))[0, 0].numpy() for place, image in formed.items()}


def _uri(image: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise RuntimeError("cannot encode a picture")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
