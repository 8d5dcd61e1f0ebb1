"""Training augmentation: batched on the device, drawn for each image apart, decided by an integer seed alone."""

from bench.augment.chain import chain
from bench.augment.warp import affine, none

__all__ = ["affine", "chain", "none"]
