"""Find symptoms of training: a loss that does not fall, and predictions that do not match the selected epoch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.diagnostics.symptoms.failures import NO_NUMBER, causes_of, symptom
from bench.scoring import metrics
from bench.scoring.pooled_hospitals import hospital_parts
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_folders import CheckedFolder
from harmonize.checks.release import Check

HISTORY = "history.parquet"
_MAX_DIFFERENCE = 0.05  # maximum difference between the `val` AUROC of stored predictions and of the selected epoch
_FLAT = 0.02  # a loss does not fall if it falls by less than this share of its first value


def read_history(folder: Path) -> pd.DataFrame | None:
    """Return the training history in a run's folder, one row per epoch; None for a derived run, which has no history."""
    return CheckedFolder(folder).table(HISTORY) if (folder / HISTORY).is_file() else None


def loss_symptoms(where: str, history: pd.DataFrame) -> Iterator[Check]:
    """Yield a symptom if the training loss is not finite, never changes, or does not fall.

    `history`: the result of `read_history`. `where`: text such as "run 3fa94c1e02bd".
    """
    loss = history["train_loss"].to_numpy(np.float64)
    if not np.isfinite(loss).all():
        yield symptom(where, NO_NUMBER, "fault", f"training loss {_numbers(loss)}", causes_of(NO_NUMBER))
    elif len(loss) > 1 and np.ptp(loss) == 0:
        causes: Sequence[str] = (
            "batches have no positive image, which AUC losses need: set `schedule.sampling: balanced`, or a larger batch",
            "every label is ignored: check `uncertainty`, and `bench data stats --data DATA`",
        )
        yield symptom(where, "the loss does not move", "fault", f"training loss {_numbers(loss)}", causes)
    elif len(loss) > 1 and loss[0] > 0 and loss.min() > loss[0] * (1 - _FLAT):
        causes = (
            "the learning rate is far too low or too high: try `schedule.lr` ten times higher and lower",
            "there are too few steps: use more `schedule.epochs`, or a smaller `schedule.batch_size`",
            "only the head is trained: check `schedule.freeze_epochs` and the optimizer",
        )
        yield symptom(where, "the loss does not fall", "warning", f"training loss {_numbers(loss)}", causes)


def epoch_symptoms(where: str, val: ScoredSplit, history: pd.DataFrame, folder: Path) -> Iterator[Check]:
    """Yield a symptom if the AUROC of the stored predictions on `val` differs from the AUROC when the epoch was selected.

    `val`: the stored predictions and labels of `val`. `history`: the result of `read_history`. `folder`: the run's folder.
    `where`: text such as "run 3fa94c1e02bd".
    """
    if not (folder / "trained.json").is_file() or "val_auroc" not in history:
        return
    best: Any = CheckedFolder(folder).json("trained.json").get("best_epoch")
    of_best = history["val_auroc"].to_numpy(np.float64)[history["epoch"].to_numpy() == best]
    if not len(of_best):
        return
    in_training, stored = float(of_best[0]), macro_auroc(val)
    if abs(in_training - stored) > _MAX_DIFFERENCE:
        causes = (
            "the checkpoint was not loaded: predictions come from other weights or a new head",
            "evaluation preprocesses images differently from training (normalization, size, color order)",
            "predictions were joined to other images: align them by image_id",
        )
        observation = (
            f"AUROC on val {stored:.3f} from the stored predictions, {in_training:.3f} when epoch {best} was selected"
        )
        yield symptom(where, "predictions do not match the selected epoch", "fault", observation, causes)


def macro_auroc(scored_split: ScoredSplit) -> float:
    """Return the macro AUROC over the findings with positive and negative labels, as training computes the AUROC on `val`.

    In a pool, this is the mean over the training hospitals. The result is NaN if no finding of a hospital has both labels.
    """
    hospitals = hospital_parts(scored_split) or [scored_split]
    return float(np.mean([metrics.macro_auroc(hospital.labels(), hospital.logit) for hospital in hospitals]))


def _numbers(values: NDArray[np.float64]) -> str:
    shown = [f"{value:.4g}" for value in (values if len(values) <= 4 else [*values[:2], *values[-2:]])]
    return ", ".join(shown if len(values) <= 4 else [*shown[:2], "...", *shown[2:]])
