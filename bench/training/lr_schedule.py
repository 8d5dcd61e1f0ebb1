"""The learning rate as a function of the schedule and the history of the run.

The rate depends on nothing else, so a resumed run uses the same learning rates as an uninterrupted run.
"""

import math
from collections.abc import Mapping, Sequence

from bench.config.run_config import Schedule


def lr_factor(step: int, steps: int, warmup: float, kind: str) -> float:
    """Return the multiplier of the peak learning rate at a step: linear warm-up, then cosine decay to zero or no decay.

    `warmup` is the share of the steps in warm-up. After the warm-up, the multiplier is 1 for every `kind` except cosine.

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
    """Return the learning-rate multiplier after the plateaus of the validation loss: `factor` ** number of plateaus.

    A plateau is more than `patience` epochs in a row that do not lower the lowest loss by more than 0.01 %. After a
    plateau, the counting of epochs restarts. The rule and the threshold are those of
    `torch.optim.lr_scheduler.ReduceLROnPlateau`.

    >>> plateau([1.0, 0.5, 0.6, 0.6, 0.6], 0.1, 2), plateau([1.0, 0.5, 0.6, 0.6], 0.1, 2)
    (0.1, 1.0)
    """
    best, num_bad_epochs, multiplier = math.inf, 0, 1.0
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, num_bad_epochs = loss, 0
        else:
            num_bad_epochs += 1
        if num_bad_epochs > patience:
            num_bad_epochs, multiplier = 0, multiplier * factor
    return multiplier


def lr_multiplier(
    schedule: Schedule, epoch: int, step: int, num_steps: int, history: Sequence[Mapping[str, float]]
) -> float:
    """Return the multiplier of the peak learning rate at a step of an epoch with `num_steps` steps.

    Steps are counted from 0, epochs from 1. A phase ends when the backbone is unfrozen, and when the run's own loss
    replaces cross-entropy. Each phase has its own warm-up and decay.
    """
    epochs = schedule.phase(epoch)
    multiplier = lr_factor(
        (epoch - epochs[0]) * num_steps + step, len(epochs) * num_steps, schedule.warmup, schedule.kind
    )
    if schedule.kind != "plateau":
        return multiplier
    losses = [row["val_loss"] for row in history if row["epoch"] >= epochs[0]]
    return multiplier * plateau(losses, schedule.plateau_factor, schedule.plateau_patience)
