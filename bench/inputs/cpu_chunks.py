"""Chunks of a batch on the CPU: so small that the result of one operation is still in the CPU cache for the next one.

A batch of 64 images of 320 x 320 pixels has 26 MB as float32. An operation on the entire batch would allocate this
amount of memory for its result. Legend: N images, H and W pixels.
"""

from torch import Tensor

CHUNK_PIXELS = 2**18  # 1 MB of float32


def chunks(image_NHW: Tensor) -> list[slice]:
    """Return consecutive slices that together cover a batch [N, ..., H, W]. On a GPU, one slice covers the batch.

    If there are several slices, each slice has at least two images. The reason: torch adds the pixels of a single image
    in another order than those of an image in a batch, and the result must not depend on the slices.
    """
    num, (height, width) = len(image_NHW), image_NHW.shape[-2:]
    if image_NHW.device.type != "cpu" or num * height * width <= CHUNK_PIXELS:
        return [slice(0, num)]
    size = max(2, CHUNK_PIXELS // (height * width))
    starts = list(range(0, num, size))
    if num - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], num], strict=True)]
