"""What training has seen so far, and its checkpoint: tensors and plain values, never unpickled."""

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
from bench.store.store import replacing
from bench.training.step import Step

FORMAT = 5  # of the checkpoint; one of another format is not used, and training starts again
_DIGEST = 32  # bytes of a SHA-256


@dataclass(slots=True)
class Record:
    """The epochs so far, and the weights of the chosen one."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0  # counted from 1
    best_auroc: float = -math.inf
    spent: float = 0.0  # seconds of training and validation, wall clock

    def add(self, row: dict[str, float], network: nn.Module, selection: str, schedule: Schedule) -> None:
        """Note an epoch; keep its weights when it is the best so far, or the last. Epochs before the run's own loss are noted only."""
        self.history.append(row)
        if row["epoch"] <= schedule.pretrain_epochs:
            return
        value = row[f"{schedule.select_on}_auroc"]
        if selection == "last" or value > self.best_auroc:
            self.best_epoch, self.best_auroc = int(row["epoch"]), value
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

    def save(self, path: Path, run_id: str, step: Step) -> None:
        """Write a checkpoint of tensors and plain values."""
        now = {"run": run_id, "format": FORMAT} | step.state_dict()
        mine = {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_auroc": self.best_auroc,
            "spent": self.spent,
        }
        write_checkpoint(path, now | mine)

    def resume(self, path: Path, run_id: str, step: Step) -> None:
        """Go on from a checkpoint of this run, when there is a whole one."""
        saved = load_checkpoint(path, run_id)
        if saved:
            step.load_state_dict(saved)
            self.history, self.best = saved["history"], saved["best"]
            self.best_epoch, self.best_auroc, self.spent = (saved[key] for key in ("best_epoch", "best_auroc", "spent"))


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values, and their SHA-256 behind: torch reads a tensor with a changed byte without a word."""
    stream = io.BytesIO()  # torch would not say why it cannot write a file: a full disk would be a riddle
    torch.save(dict(content), stream)
    stream.write(hashlib.sha256(stream.getbuffer()).digest())
    with replacing(path) as temporary:
        temporary.write_bytes(stream.getbuffer())


def load_checkpoint(path: Path, run_id: str) -> dict[str, Any]:
    """Return the checkpoint of this run, {} when there is none or it is damaged, another run's or of another format."""
    if not path.is_file():
        return {}
    try:
        stored = memoryview(path.read_bytes())
        if hashlib.sha256(stored[:-_DIGEST]).digest() != stored[-_DIGEST:]:
            return {}
        content: dict[str, Any] = torch.load(io.BytesIO(stored[:-_DIGEST]), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  (a half-written or foreign file may raise anything; training then starts again)
        return {}
    return content if (content.get("run"), content.get("format")) == (run_id, FORMAT) else {}
