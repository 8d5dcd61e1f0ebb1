"""torch.compile for training: with `compile: true`, compiled passes are timed on the first images and used if faster.

Compiled kernels round differently from eager (not compiled) kernels, so `compile` is part of the run id. Predictions, and
so all scores, always use eager kernels.
"""

import logging
import math
import time
from collections.abc import Callable

import torch

from bench.training.step import Step

NUM_TIMED_PASSES = 5  # number of timed passes with and without compilation, after one untimed pass
MAX_TIME_RATIO = 0.97  # compiled kernels are used if they take at most this share of the eager time
MIN_TRAINING_SECONDS = 120.0  # compilation takes about 20 s, so shorter trainings do not try it
Compiler = Callable[[Callable[..., torch.Tensor]], Callable[..., torch.Tensor]]
_log = logging.getLogger(__name__)


def compile_if_faster(
    step: Step,
    num_passes: int,
    compiler: Compiler = torch.compile,
    clock: Callable[[], float] = time.perf_counter,
    min_seconds: float = MIN_TRAINING_SECONDS,
) -> str:
    """Make the step use a compiled forward pass if it is faster; return the decision and its reason.

    `num_passes` is the number of forward and backward passes left in training. If these passes take less than
    `min_seconds`, nothing is compiled. Weights, buffers and gradients are unchanged afterwards. If compilation fails,
    training continues without it.
    """
    if step.processes.size > 1:
        return "not compiled: several devices train this run"
    plain = step.forward
    step.buffers.save()
    try:
        eager = _seconds(step, clock)
        if eager * num_passes < min_seconds:
            return (
                f"not compiled: training takes about {math.ceil(eager * num_passes)} s, "
                f"and compilation is only tried from {min_seconds:g} s on"
            )
        step.forward = compiler(plain)
        compiled = _seconds(step, clock)
        faster = compiled < MAX_TIME_RATIO * eager
        decision = (
            f"{'' if faster else 'not '}compiled: a pass takes {1e3 * compiled:.3g} ms compiled "
            f"and {1e3 * eager:.3g} ms without"
        )
    except Exception as error:  # noqa: BLE001  (compilers may raise anything, and none of it may end a run)
        faster = False
        decision = f"not compiled: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    finally:
        step.drop_gradients()
        step.buffers.restore()
    if not faster:
        step.forward = plain
    _log.info("torch.compile: %s", decision)
    return decision


def _seconds(step: Step, clock: Callable[[], float]) -> float:
    """Return the minimum time of a forward and backward pass over the first images."""
    seconds = math.inf
    for _ in range(1 + NUM_TIMED_PASSES):
        start = clock()
        step.trial_pass()
        if step.device.type == "cuda":
            torch.cuda.synchronize(step.device)
        seconds = min(seconds, clock() - start)
    return seconds
