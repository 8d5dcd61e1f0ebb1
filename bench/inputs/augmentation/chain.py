"""Apply a sequence of augmentation steps, each with its own random stream."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from bench.config.preprocessing_ops import augment_steps
from bench.inputs.augmentation import steps as step
from bench.inputs.augmentation.warp import gray
from harmonize.seeds import seed_for

STEPS: Mapping[str, Callable[..., Tensor]] = {
    "crop": step.crop,
    "hflip": step.hflip,
    "warp": step.warp,
    "jitter": step.jitter,
    "gamma": step.gamma,
    "blur": step.blur,
    "erase": step.erase,
    "border": step.border,
    "markers": step.markers,
    "tones": step.tones,
    "resolutions": step.resolutions,
}
_ON_BYTES = {"crop", "hflip", "warp"}  # steps that also accept uint8 images, because they only move pixels


def chain(x_N1HW: Tensor, seed: int, steps: Sequence[str | Mapping[str, Any]]) -> Tensor:
    """Apply all steps to a batch. A step is written as `name` or as `{name: {option: value}}`.

    The result for an image depends only on the image, its index in the batch and the seed, not on the other images.
    Input images are uint8 or float32 in [0, 1]; the results are float32 in [0, 1].
    """
    for number, (name, options) in enumerate(augment_steps(steps)):
        x_N1HW = x_N1HW if name in _ON_BYTES else gray(x_N1HW)
        x_N1HW = STEPS[name](x_N1HW, seed_for(seed, number, name), **options)
    return gray(x_N1HW)
