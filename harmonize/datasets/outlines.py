"""Define the type Outlines, with which adapters return the outlines that radiologists drew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Outlines:
    """Outlined findings in the images of a cohort. The function `masks` draws the masks of one image."""

    findings: frozenset[tuple[str, str]]  # (image id, finding) of every non-empty mask
    masks: Callable[[str], dict[str, NDArray[np.bool_]]]  # image id -> {finding: mask [H, W]}
    frames: Mapping[str, tuple[int, int]]  # image id -> (height, width) of its masks
    fingerprint: str  # a text that changes when the files change
