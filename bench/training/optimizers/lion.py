"""Lion: sign momentum (Chen et al. 2023, arXiv:2302.06675, algorithm 2)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lion(Optimizer):
    """Update by the sign of an interpolated momentum, with decoupled weight decay.

    Each weight moves by exactly `lr`. Good first values are AdamW's, with `lr` 3-10 times smaller and `weight_decay`
    3-10 times larger (section 5 of the paper). The optimizer's state has one number per weight.
    """

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step; return the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            # a GPU needs few kernels; in the cache of a CPU, there is room for one weight tensor, but not for all
            parts = [params] if params and params[0].is_cuda else [[p] for p in params]
            for part in parts:
                self._step_group(group, part, [p.grad for p in part])
        return loss

    def _step_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        """Take the step of some weight tensors of a parameter group."""
        lr, (beta1, beta2) = group["lr"], group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in params]
        directions = torch._foreach_lerp(momenta, grads, 1 - beta1)
        torch._foreach_sign_(directions)
        torch._foreach_mul_(params, 1 - lr * group["weight_decay"])
        torch._foreach_add_(params, directions, alpha=-lr)
        # The momenta change after the weights, with the slower decay beta2.
        torch._foreach_lerp_(momenta, grads, 1 - beta2)
