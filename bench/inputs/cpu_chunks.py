"""A batch on the CPU taken a few images at a time: what a step makes then lies in the processor's cache when the next one reads it.

A batch of 64 images of 320 pixels as float32 has 26 MB: each step of arithmetic on all of it would ask the system for that
much fresh memory. N images, H and W pixels.
"""

from torch import Tensor

PIXELS = 2**18  # at a time: 1 MB of float32


def handfuls(image_NHW: Tensor) -> list[slice]:
    """Return slices of a batch [N, ..., H, W], in order, that together are the batch; on a GPU the whole batch.

    Never one image of several by itself: torch adds up a single image in another order than one of a batch, and nothing
    may depend on how a batch is taken apart.
    """
    num, (height, width) = len(image_NHW), image_NHW.shape[-2:]
    if image_NHW.device.type != "cpu" or num * height * width <= PIXELS:
        return [slice(0, num)]
    each = max(2, PIXELS // (height * width))
    starts = list(range(0, num, each))
    if num - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], num], strict=True)]
