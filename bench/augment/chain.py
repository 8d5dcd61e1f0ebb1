"""Several steps of augmentation, one after the other, each with a random stream of its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from bench.augment import steps as step
from bench.ops import augment_steps
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


def chain(x_N1HW: Tensor, seed: int, steps: Sequence[str | Mapping[str, Any]]) -> Tensor:
    """Return a batch after all steps, written `name` or `{name: {option: value}}`; no step gives the same batch.

    What happens to an image follows from the seed, its place in the batch and itself, not from the other images.
    """
    for place, (name, options) in enumerate(augment_steps(steps)):
        x_N1HW = STEPS[name](x_N1HW, seed_for(seed, place, name), **options)
    return x_N1HW
