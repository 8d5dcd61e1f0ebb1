"""The learning rate of a step, and when to stop: functions of the schedule and of what was measured so far.

The history is all they remember, so a run that goes on from its checkpoint decides as one that never stopped.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.config.run_config import Schedule


def lr_factor(step: int, steps: int, warmup: float, kind: str) -> float:
    """Return the share of the peak learning rate at a step: linear warm-up, then cosine to zero or level.

    >>> [round(lr_factor(s, 10, 0.2, "cosine"), 2) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.04]
    """
    first = round(warmup * steps)
    if step < first:
        return (step + 1) / first
    if kind != "cosine":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))


def plateau(losses: Sequence[float], factor: float, patience: int) -> float:
    """Return what a plateau of the validation loss has multiplied the learning rate by: `factor` for each one.

    A plateau is more than `patience` epochs without a loss at least 0.01 % below the lowest; then the count begins anew.
    The rule and the threshold are those of `torch.optim.lr_scheduler.ReduceLROnPlateau`.

    >>> plateau([1.0, 0.5, 0.6, 0.6, 0.6], 0.1, 2), plateau([1.0, 0.5, 0.6, 0.6], 0.1, 2)
    (0.1, 1.0)
    """
    best, waited, share = math.inf, 0, 1.0
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            waited, share = 0, share * factor
    return share


def phase(schedule: Schedule, epoch: int) -> range:
    """Return the epochs of the phase that `epoch`, counted from 1, belongs to.

    A phase ends where the backbone begins to learn, and where the run's own loss takes over from cross-entropy.

    >>> [phase(Schedule(epochs=5, freeze_epochs=1, pretrain_epochs=3), epoch) for epoch in (1, 2, 4)]
    [range(1, 2), range(2, 4), range(4, 6)]
    """
    ends = sorted({schedule.freeze_epochs, schedule.pretrain_epochs, schedule.epochs} - {0})
    last = next(end for end in ends if epoch <= end)
    return range(max((end for end in ends if end < epoch), default=0) + 1, last + 1)


def lr_share(
    schedule: Schedule, epoch: int, step: int, num_steps: int, history: Sequence[Mapping[str, float]]
) -> float:
    """Return the share of the peak learning rate at a step (from 0) of an epoch (from 1) with `num_steps` steps.

    Each phase has a warm-up and a decay of its own.
    """
    epochs = phase(schedule, epoch)
    share = lr_factor((epoch - epochs[0]) * num_steps + step, len(epochs) * num_steps, schedule.warmup, schedule.kind)
    if schedule.kind != "plateau":
        return share
    losses = [row["val_loss"] for row in history if row["epoch"] >= epochs[0]]
    return share * plateau(losses, schedule.plateau_factor, schedule.plateau_patience)


def exhausted(schedule: Schedule, history: Sequence[Mapping[str, float]]) -> bool:
    """Whether `patience` epochs have gone by without a better AUROC on `stop_on`.

    Never before all weights have learnt; epochs of cross-entropy that another loss follows are neither best nor counted.
    """
    first = schedule.pretrain_epochs
    if not schedule.patience or len(history) <= first:
        return False
    best = first + 1 + int(np.argmax([row[f"{schedule.stop_on}_auroc"] for row in history[first:]]))
    return len(history) - max(best, schedule.freeze_epochs) >= schedule.patience
