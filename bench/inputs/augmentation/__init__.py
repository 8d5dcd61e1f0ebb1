"""Training augmentation: batched on the device, drawn separately for each image from an integer seed."""

from bench.inputs.augmentation.chain import chain
from bench.inputs.augmentation.warp import affine, none

__all__ = ["affine", "chain", "none"]
