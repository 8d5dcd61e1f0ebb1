"""Several steps of augmentation, one after the other, each with a random stream of its own."""

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
}
_ON_BYTES = {"crop", "hflip", "warp"}  # steps that move pixels: they take uint8, too


def chain(x_N1HW: Tensor, seed: int, steps: Sequence[str | Mapping[str, Any]]) -> Tensor:
    """Return a batch after all steps, written `name` or `{name: {option: value}}`; no step gives the same batch.

    What happens to an image follows from the seed, its place in the batch and itself, not from the other images. Images
    are uint8 or float32 in [0, 1], which the results are.
    """
    for place, (name, options) in enumerate(augment_steps(steps)):
        shown = x_N1HW if name in _ON_BYTES else gray(x_N1HW)
        x_N1HW = STEPS[name](shown, seed_for(seed, place, name), **options)
    return gray(x_N1HW)
