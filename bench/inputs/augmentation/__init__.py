"""Augmentation of training images, in batches on the device.

An integer seed determines the random numbers. Each image of a batch gets other random numbers.
"""

from bench.inputs.augmentation.steps import chain
from bench.inputs.augmentation.warp import affine, none

__all__ = ["affine", "chain", "none"]
