"""SAM and ASAM: step by the gradient found a little uphill, over any base optimizer.

Source: Foret et al. 2020, arXiv:2010.01412, equations 2 and 3; Kwon et al. 2021, arXiv:2102.11600, equation 3.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.config.registry import Entry


class SAM(Optimizer):
    """Climb to w + e, |e| = rho along the gradient, take the gradient there, go back, let the base optimizer step.

    `base` is "module:Class" and gets the remaining options; `rho` 0.05 for SAM; `adaptive` (ASAM) measures the climb
    relative to |w| + eta, with rho 0.5. A step costs two passes. The second pass sees the dropout masks of the first,
    and leaves the buffers of `network` (batch-norm statistics) as the first left them.

    Only weights of `network` climb, where it is given: parameters of a loss are no place of the landscape that is to be
    flat, and the dual variable of a min-max loss, whose gradient is turned, would go down there. They take the gradient
    of the second place.

    State and parameter groups are those of the base optimizer, the same objects: a scheduler drives it, a checkpoint
    holds it. The climb does not depend on the gradient's length, so a closure that clips the gradient's norm clips,
    in effect, the second gradient only. Gradients must not be scaled (fp16); bf16 is fine.
    """

    def __init__(
        self,
        params: Any,
        network: nn.Module | None = None,
        *,
        base: str | type[Optimizer] = "torch.optim:AdamW",
        rho: float = 0.05,
        adaptive: bool = False,
        eta: float = 0.01,
        **options: Any,
    ) -> None:
        if rho < 0 or eta < 0:
            raise ValueError(f"rho and eta must not be negative, not {rho} and {eta}")
        kind = Entry("optimizers", base, base).load() if isinstance(base, str) else base
        if hasattr(kind, "eval"):
            raise ValueError(f"SAM over {kind.__name__}, which trains other weights than it answers for")
        self.base: Optimizer = kind(params, **options)
        super().__init__(self.base.param_groups, self.base.defaults)
        self.network, self.rho, self.adaptive, self.eta = network, rho, adaptive, eta
        self.climbing = None if network is None else {id(p) for p in network.parameters()}
        self._share()

    def _share(self) -> None:
        """Make groups and state one object with the base's, which replaces its own when it loads a state."""
        self.param_groups, self.state = self.base.param_groups, self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """Call the closure (zero_grad, forward, backward) twice and step; return its first loss."""
        if closure is None:
            raise ValueError("SAM needs a closure: it computes the gradient at two places")
        params = [p for group in self.param_groups for p in group["params"]]
        before = _random_state(params)
        with torch.enable_grad():
            loss = closure()
        started = [(p, p.detach().clone()) for p in params if p.grad is not None]
        self._climb([p for p, _ in started if self.climbing is None or id(p) in self.climbing])
        _set_random_state(before)
        try:
            with _unchanged_buffers(self.network), torch.enable_grad():
                closure()
        finally:  # also when the closure fails: nobody may keep the climbed weights
            for p, start in started:
                p.copy_(start)  # the saved copy: subtracting the climb would leave a rounding error
            torch.clear_autocast_cache()
        self.base.step()
        return loss

    def _climb(self, params: list[Tensor]) -> None:
        """Move the weights to the worst place within rho, to first order; the norm is over all groups."""
        if not params:
            return
        grads = [cast("Tensor", p.grad) for p in params]
        scales = [p.abs() + self.eta if self.adaptive else torch.ones((), device=p.device) for p in params]
        norm = torch.nn.utils.get_total_norm([t * g for t, g in zip(scales, grads, strict=True)])
        for p, t, g in zip(params, scales, grads, strict=True):
            p.add_(t * t * g * (self.rho / (norm + 1e-12)).to(p.device))
        torch.clear_autocast_cache()  # it may hold bf16 copies of the weights before the climb

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state: the wrapper has none of its own."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the base optimizer's state."""
        self.base.load_state_dict(state_dict)
        self._share()


@contextmanager
def _unchanged_buffers(network: nn.Module | None) -> Iterator[None]:
    """Put every buffer back as it was: running mean and variance, and also batch norm's count of batches."""
    buffers = [] if network is None else list(network.buffers())
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, saved, strict=True):
            buffer.copy_(value)


def _random_state(params: list[Tensor]) -> dict[torch.device | None, Tensor]:
    """Return the states of the generators a forward pass draws from: the CPU's and those of the weights' GPUs."""
    gpus = {p.device for p in params if p.device.type == "cuda"}
    return {None: torch.get_rng_state(), **{gpu: torch.cuda.get_rng_state(gpu) for gpu in gpus}}


def _set_random_state(states: dict[torch.device | None, Tensor]) -> None:
    for gpu, state in states.items():
        if gpu is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, gpu)
