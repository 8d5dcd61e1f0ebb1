"""Values of tensors that a step may have to restore."""

from collections.abc import Iterable

import torch
from torch import Tensor


class SavedTensors:
    """Tensors, and the values that they had when `save` was last called.

    Tensors of one dtype are copied in one call. A GPU copies them in few kernels; from a list of mixed dtypes, it would copy
    each tensor in a kernel of its own.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        groups: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            groups.setdefault(tensor.dtype, []).append(tensor.detach())
        self._tensors = list(groups.values())
        self._values = [[torch.empty_like(tensor) for tensor in group] for group in self._tensors]
        self.save()

    def save(self) -> None:
        """Save the values of all tensors."""
        for values, tensors in zip(self._values, self._tensors, strict=True):
            torch._foreach_copy_(values, tensors)

    def restore(self) -> None:
        """Give all tensors their saved values."""
        for values, tensors in zip(self._values, self._tensors, strict=True):
            torch._foreach_copy_(tensors, values)
