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
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"]
                direction = momentum.lerp(p.grad, 1 - beta1).sign_()
                p.mul_(1 - lr * group["weight_decay"]).add_(direction, alpha=-lr)
                # The momentum changes after the weights, with the slower decay beta2.
                momentum.lerp_(p.grad, 1 - beta2)
        return loss
