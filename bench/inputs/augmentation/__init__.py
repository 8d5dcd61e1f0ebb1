"""Training augmentation: batches on the device; each image gets its own random numbers from an integer seed."""

from bench.inputs.augmentation.chain import chain
from bench.inputs.augmentation.warp import affine, none

__all__ = ["affine", "chain", "none"]
