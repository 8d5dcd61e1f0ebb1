"""Training state (history and best weights so far) and its checkpoints, which contain no pickled code."""

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.config.run_config import Schedule
from bench.store.store import write_bytes
from bench.training.step import Step

FORMAT = 5  # version of the checkpoint's format; a checkpoint of another version is not used
_DIGEST = 32  # bytes of a SHA-256


@dataclass(slots=True)
class TrainingState:
    """The epochs so far, and the weights of the selected epoch."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0  # counted from 1
    best_auroc: float = -math.inf
    seconds: float = 0.0  # wall-clock time of training and validation

    def add(
        self,
        row: dict[str, float],
        network: nn.Module,
        selection: str,
        schedule: Schedule,
        *,
        is_selectable: bool = True,
    ) -> None:
        """Append an epoch to the history; keep the network's weights if this epoch is selected.

        The epoch is selected if it is the best so far, or if `selection` is "last". Pretraining epochs, in which
        cross-entropy replaces the run's own loss, are never selected, nor are those that an algorithm excludes.
        """
        self.history.append(row)
        if row["epoch"] <= schedule.pretrain_epochs or not is_selectable:
            return
        value = row[f"{schedule.select_on}_auroc"]
        if selection == "last" or value > self.best_auroc:
            self.best_epoch, self.best_auroc = int(row["epoch"]), value
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def save(self, path: Path, run_id: str, step: Step) -> None:
        """Write a checkpoint: tensors and plain values, no pickled code."""
        progress = {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_auroc": self.best_auroc,
            "spent": self.seconds,
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
