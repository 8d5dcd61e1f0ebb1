"""Training augmentation: batched on the device, drawn for each image apart, decided by an integer seed alone."""

from bench.inputs.augmentation.chain import chain
from bench.inputs.augmentation.warp import affine, none

__all__ = ["affine", "chain", "none"]
