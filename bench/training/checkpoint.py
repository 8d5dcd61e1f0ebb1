"""Training state (history and best weights so far) and its checkpoints, which contain no pickled code.

A checkpoint is written after each epoch, within an epoch every EVERY_S seconds, and before a signal ends the process.
"""

import hashlib
import io
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from bench.config.run_config import Schedule
from bench.store.store import write_bytes
from bench.training.step import Step

EVERY_S = 600.0  # seconds between two checkpoints within an epoch
FORMAT = 6  # version of the checkpoint's format; a checkpoint of another version is not used
_DIGEST = 32  # bytes of a SHA-256


@dataclass(slots=True)
class TrainingState:
    """The epochs so far, and the weights of the selected epoch."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0  # counted from 1
    best_auroc: float = -math.inf
    seconds: float = 0.0  # wall-clock time of training and validation, in complete epochs
    # the epoch that has begun: number of steps, sum of their losses, and wall-clock time
    steps: int = 0
    loss: float = 0.0
    epoch_seconds: float = 0.0

    def add(
        self,
        row: dict[str, float],
        seconds: float,
        network: nn.Module,
        selection: str,
        schedule: Schedule,
        *,
        is_selectable: bool = True,
    ) -> None:
        """Append an epoch of `seconds` to the history; keep the network's weights if this epoch is selected.

        The epoch is selected if it is the best so far, or if `selection` is "last". Pretraining epochs, in which
        cross-entropy replaces the run's own loss, are never selected, nor are those that an algorithm excludes.
        """
        self.history.append(row)
        self.seconds, self.steps, self.loss, self.epoch_seconds = self.seconds + seconds, 0, 0.0, 0.0
        if row["epoch"] <= schedule.pretrain_epochs or not is_selectable:
            return
        value = row[f"{schedule.select_on}_auroc"]
        if selection == "last" or value > self.best_auroc:
            self.best_epoch, self.best_auroc = int(row["epoch"]), value
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def save(self, path: Path, run_id: str, step: Step) -> None:
        """Write a checkpoint, in the main process only: tensors and plain values, no pickled code."""
        if not step.processes.is_main:
            return
        progress = {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_auroc": self.best_auroc,
            "spent": self.seconds,
            "epoch": [self.steps, self.loss, self.epoch_seconds],
        }
        write_checkpoint(path, {"run": run_id, "format": FORMAT} | step.state_dict() | progress)

    def resume(self, path: Path, run_id: str, step: Step) -> None:
        """Restore the training state from an intact checkpoint of this run. Without such a checkpoint, change nothing."""
        saved = load_checkpoint(path, run_id)
        if saved:
            step.load_state_dict(saved)
            self.history, self.best = saved["history"], saved["best"]
            self.best_epoch, self.best_auroc = saved["best_epoch"], saved["best_auroc"]
            self.seconds = saved["spent"]
            self.steps, self.loss, self.epoch_seconds = saved["epoch"]


class BetweenSteps:
    """Calls `save` between two steps of an epoch: every EVERY_S seconds, and if a signal asks this process to end.

    In the block, SIGTERM and SIGUSR2 (Slurm sends it before it takes a node away) have their effect only after the step,
    because a step that is interrupted cannot be continued. Other threads than the main thread cannot wait for signals.
    """

    def __init__(self, save: Callable[[int, Tensor], None]) -> None:
        self.save, self.last_save = save, time.monotonic()
        self.received, self.handlers = 0, dict[int, Any]()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGUSR2):
                if signal.getsignal(number) is not None:  # None: set by a library in C
                    self.handlers[number] = signal.signal(number, self._receive)
        return self

    def __call__(self, steps: int, loss: Tensor) -> None:
        """Save if necessary, after `steps` steps of the epoch with this sum of losses; then let a received signal act."""
        if self.received or time.monotonic() - self.last_save >= EVERY_S:
            self.save(steps, loss)
            self.last_save = time.monotonic()
        if self.received:
            self.__exit__()

    def __exit__(self, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}
        if self.received:
            received, self.received = self.received, 0
            signal.raise_signal(received)

    def _receive(self, number: int, _: object) -> None:
        self.received = number


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values, followed by their SHA-256, because torch does not notice a changed byte in a tensor."""
    stream = io.BytesIO()  # torch.save to a file hides the cause of a failed write, such as a full disk
    torch.save(dict(content), stream)
    stream.write(hashlib.sha256(stream.getbuffer()).digest())
    write_bytes(path, stream.getbuffer())


def load_checkpoint(path: Path, run_id: str) -> dict[str, Any]:
    """Return the checkpoint of this run, or {} if it is missing, damaged, of another run or of another format."""
    if not path.is_file():
        return {}
    try:
        stored = memoryview(path.read_bytes())
        if hashlib.sha256(stored[:-_DIGEST]).digest() != stored[-_DIGEST:]:
            return {}
        content: dict[str, Any] = torch.load(io.BytesIO(stored[:-_DIGEST]), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  (a damaged or unrelated file may raise anything; training then starts again)
        return {}
    return content if (content.get("run"), content.get("format")) == (run_id, FORMAT) else {}
