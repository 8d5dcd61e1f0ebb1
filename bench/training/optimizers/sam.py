"""SAM and ASAM: sharpness-aware minimization over any base optimizer.

Source: Foret et al. 2020, arXiv:2010.01412, equations 2 and 3; Kwon et al. 2021, arXiv:2102.11600, equation 3.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.config.registry import Entry
from bench.training.saved_tensors import SavedTensors


class SAM(Optimizer):
    """Minimize the largest loss near the weights w: step from w with the gradient at w + e.

    The perturbation e has the direction of the gradient at w and the length `rho`. `base` is "module:Class" of the
    optimizer that takes the step and gets the remaining options. Typical `rho` is 0.05 for SAM. With `adaptive` (ASAM)
    the perturbation is relative to |w| + eta, and typical `rho` is 0.5. A step costs two passes. The second pass uses
    the dropout masks of the first, and does not change the buffers of `network` (batch-norm statistics).

    With `network` given, only its weights are perturbed. Parameters of a loss are not perturbed: their sharpness does
    not matter, and a dual variable with its flipped gradient would move in the wrong direction. But the base optimizer
    updates the parameters of a loss, with the gradient of the second pass.

    State and parameter groups are the same objects as the base optimizer's, so schedulers and checkpoints work on both.
    The perturbation does not depend on the norm of the gradient, so clipping in the closure affects only the second
    gradient. Scaled gradients (fp16) are not supported; bf16 works.
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
        base_class = Entry("optimizers", base, base).load() if isinstance(base, str) else base
        if hasattr(base_class, "eval"):
            raise ValueError(f"SAM does not support the schedule-free base optimizer {base_class.__name__}")
        self.base: Optimizer = base_class(params, **options)
        super().__init__(self.base.param_groups, self.base.defaults)
        self.network, self.rho, self.adaptive, self.eta = network, rho, adaptive, eta
        self.perturbed_ids = None if network is None else {id(p) for p in network.parameters()}
        self._share_state()

    def _share_state(self) -> None:
        """Use the base optimizer's groups and state, which are new objects after the base optimizer loads a state."""
        self.param_groups, self.state = self.base.param_groups, self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """Call the closure (zero_grad, forward, backward) twice and step; return the loss of the first call."""
        if closure is None:
            raise ValueError("SAM needs a closure, because it computes the gradient at two points")
        params = [p for group in self.param_groups for p in group["params"]]
        random_state = _random_state(params)
        with torch.enable_grad():
            loss = closure()
        with_grad = [p for p in params if p.grad is not None]
        originals = SavedTensors(with_grad)
        self._perturb([p for p in with_grad if self.perturbed_ids is None or id(p) in self.perturbed_ids])
        _set_random_state(random_state)
        try:
            with _unchanged_buffers(self.network), torch.enable_grad():
                closure()
        finally:
            # The original weights are restored even if the closure fails. They are copied, because subtracting the
            # perturbation would leave a rounding error.
            originals.restore()
            torch.clear_autocast_cache()
        self.base.step()
        return loss

    def _perturb(self, params: list[Tensor]) -> None:
        """Move the weights towards the largest loss: in the direction of the gradient, by the length `rho`.

        With `adaptive`, the length is relative to |w| + eta. The norm of the gradient is that of all parameter groups
        together.
        """
        if not params:
            return
        grads = [cast("Tensor", p.grad) for p in params]
        if self.adaptive:  # with the scale t = |w| + eta: the norm of t g, and the direction t^2 g
            scales = torch._foreach_add(torch._foreach_abs(params), self.eta)
            norm = torch.nn.utils.get_total_norm(torch._foreach_mul(scales, grads))
            grads = list(torch._foreach_mul(torch._foreach_mul(scales, scales), grads))
        else:
            norm = torch.nn.utils.get_total_norm(grads)
        torch._foreach_add_(params, torch._foreach_mul(grads, self.rho / (norm + 1e-12)))
        torch.clear_autocast_cache()  # the cache may contain bf16 copies of the unperturbed weights

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state; SAM itself has no state."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the base optimizer's state."""
        self.base.load_state_dict(state_dict)
        self._share_state()


@contextmanager
def _unchanged_buffers(network: nn.Module | None) -> Iterator[None]:
    """Restore every buffer of the network after the block: running mean, variance and number of batches."""
    saved = SavedTensors([] if network is None else network.buffers())
    try:
        yield
    finally:
        saved.restore()


def _random_state(params: list[Tensor]) -> dict[torch.device | None, Tensor]:
    """Return the random states that a forward pass uses: of the CPU (key None) and of the weights' GPUs."""
    gpus = {p.device for p in params if p.device.type == "cuda"}
    return {None: torch.get_rng_state(), **{gpu: torch.cuda.get_rng_state(gpu) for gpu in gpus}}


def _set_random_state(states: dict[torch.device | None, Tensor]) -> None:
    for gpu, state in states.items():
        if gpu is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, gpu)
