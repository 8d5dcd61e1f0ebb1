"""B5: time to augment an image of 320 px on a CPU, compared with torchvision.

A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms, peer
from benchmarks.rows.normalizer import images

# The settings of the augmentation `affine` in the registry: largest rotation in degrees; largest shift, zoom and change
# of brightness as shares.
TURN, SHIFT, ZOOM, LIGHT = 10.0, 0.05, 0.05, 0.15


def chain(transforms: Any, last: Any) -> Any:
    """Return torchvision's random rotation, shift, scale and brightness, then `last`, the conversion to a tensor.

    `transforms` is a module of torchvision: version 1 or version 2 of its transforms.
    """
    bilinear = transforms.InterpolationMode.BILINEAR
    moved = transforms.RandomAffine(TURN, (SHIFT, SHIFT), (1 - ZOOM, 1 + ZOOM), interpolation=bilinear)
    return transforms.Compose([moved, transforms.ColorJitter(LIGHT, LIGHT), last])


def v1(batch: Any) -> Callable[[], object]:
    """Return a function that augments the batch with version 1 of torchvision's transforms, from PIL images to tensors."""
    transforms = peer("torchvision.transforms", "torchvision")
    from PIL import Image

    theirs = chain(transforms, transforms.ToTensor())
    pictures = [Image.fromarray(image.numpy()) for image in batch]
    return lambda: [theirs(picture) for picture in pictures]


def v2(batch: Any) -> Callable[[], object]:
    """Return a function that augments the batch with version 2 of torchvision's transforms, from uint8 to float32 tensors."""
    import torch

    transforms = peer("torchvision.transforms.v2", "torchvision")
    theirs = chain(transforms, transforms.ToDtype(torch.float32, scale=True))
    return lambda: [theirs(image[None]) for image in batch]


def gate(batch: Any) -> str:
    """Check that one rotation, shift and scale gives torchvision's pixels; 40 pixels at each edge are not compared."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import affine

    from bench.inputs.augmentation.warp import Warp

    one, angle, shift, zoom = torch.ones(1), 7.0, (0.025, -0.05), 1.04
    ours = Warp(one * np.deg2rad(angle), torch.tensor([shift]), one * zoom, one, one, one).apply(batch[:1, None])
    pixels = [int(share * batch.shape[-1]) for share in shift]
    theirs = affine(
        batch[:1, None].float() / 255, angle, pixels, zoom, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
    )
    inner = (..., slice(40, -40), slice(40, -40))
    difference = float((ours[inner] - theirs[inner]).abs().mean()) * 255
    return check(
        difference <= 0.5,
        f"mean difference of the pixels after the same rotation, shift and zoom: {difference:.2g} gray values",
    )


def against(implementation: Callable[[Any], Callable[[], object]]) -> Callable[[bool], Measured]:
    """Return the benchmark of our augmentation against one version of torchvision's transforms."""

    def run(quick: bool) -> Measured:
        import torch

        from bench.inputs.augmentation import affine

        torch.set_num_threads(1)
        batch = torch.from_numpy(np.stack(images(quick)))
        gate_text = gate(batch)
        implementations = {"ours": lambda: affine(batch[:, None], 1), "peer": implementation(batch)}
        spent = interleaved(implementations, 1 if quick else 7, items=dict.fromkeys(implementations, len(batch)))
        note = (
            f"time per image: peer {ms(spent['peer'])}, ours {ms(spent['ours'])}; "
            "both convert bytes to float32 and compute the mean of each image"
        )
        return compared(spent["peer"], spent["ours"], gate_text, note)

    return run


WHAT = "augmentation (rotation, shift, zoom, brightness), 320 px"
BENCHMARKS = (
    Benchmark("B5", WHAT, "torchvision transforms v1, PIL images", "", against(v1)),
    Benchmark("B5", WHAT, "torchvision transforms v2, tensors", ">= 9", against(v2)),
)
