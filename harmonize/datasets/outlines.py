"""The type in which an adapter returns what radiologists outlined."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Outlines:
    """Outlined findings of the images of a cohort; masks are drawn when they are needed."""

    findings: frozenset[tuple[str, str]]  # (image id, finding) of every mask that is not empty
    masks: Callable[[str], dict[str, NDArray[np.bool_]]]  # image id -> finding -> mask [H, W], {} for other images
    fingerprint: str  # changes when the files do
