"""torch.compile where it pays: tried on a run's first images when its configuration says `compile: true`, kept where it is faster.

Compiled kernels give other last bits than torch's own, so asking for them is part of the run id. Predictions, and so all scores,
come from torch's own kernels whatever trained.
"""

import logging
import math
import time
from collections.abc import Callable

import torch

from bench.training.step import Step

PASSES = 5  # that are timed each way, after one that is not
GAIN = 0.97  # share of the time that a compiled pass must stay below to be used
WORTH = 120.0  # seconds of training below which compiling, some 20 of them, is not tried
Compiler = Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]]
_log = logging.getLogger(__name__)


def compile_where_it_pays(
    step: Step,
    num_passes: int,
    compiler: Compiler = torch.compile,
    clock: Callable[[], float] = time.perf_counter,
    worth: float = WORTH,
) -> str:
    """Let the step use a compiled forward pass if that is faster in the `num_passes` to come; return what was found.

    Weights, buffers and gradients are afterwards what they were. Whatever goes wrong in compiling, training goes on without.
    """
    if step.team.size > 1:
        return "not compiled: several devices train it together"
    buffers, plain = [buffer.clone() for buffer in step.buffers], step.forward
    try:
        eager = _seconds(step, clock)
        if eager * num_passes < worth:
            return f"not compiled: training takes about {math.ceil(eager * num_passes)} s, compiling is worth it from {worth:g} s"
        step.forward = compiler(plain)
        compiled = _seconds(step, clock)
        pays = compiled < GAIN * eager
        found = (
            f"{'' if pays else 'not '}compiled: {1e3 * compiled:.3g} ms a pass compiled, {1e3 * eager:.3g} ms without"
        )
    except Exception as error:  # noqa: BLE001  (compilers raise anything, and none of it may end a run)
        pays, found = False, f"not compiled: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    finally:
        step.forget()
        for buffer, before in zip(step.buffers, buffers, strict=True):
            buffer.copy_(before)
    if not pays:
        step.forward = plain
    _log.info("torch.compile: %s", found)
    return found


def _seconds(step: Step, clock: Callable[[], float]) -> float:
    """Return the least time of a forward and backward pass over the first images."""
    least = math.inf
    for _ in range(1 + PASSES):
        began = clock()
        step.rehearse()
        if step.device.type == "cuda":
            torch.cuda.synchronize(step.device)
        least = min(least, clock() - began)
    return least
