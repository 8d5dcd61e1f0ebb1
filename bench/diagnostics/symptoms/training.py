"""Symptoms of the training: its loss, and predictions that are not of the epoch that it chose."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.diagnostics.symptoms.failures import NO_NUMBER, causes_of, symptom
from bench.scoring.bootstrap.sort_scores import area, falling
from bench.scoring.scored_split import ScoredSplit
from bench.store.checksums import damaged_files
from bench.store.store import read_table
from harmonize.checks.release import Check

_STRAYED = 0.05  # AUROC on `val` by which predictions differ from those that chose the epoch
_FLAT = 0.02  # share of its first value that a training loss must lose to have fallen


def of_curve(where: str, path: Path) -> Iterator[Check]:
    """Yield what is odd about the training loss."""
    if not path.is_file():  # of a derived run, or of a bundle
        return
    loss = read_table(path)["train_loss"].to_numpy(np.float64)
    if not np.isfinite(loss).all():
        yield symptom(where, NO_NUMBER, "fault", f"training loss {_numbers(loss)}", causes_of(NO_NUMBER))
    elif len(loss) > 1 and np.ptp(loss) == 0:
        causes: Sequence[str] = (
            "batches hold no positive image, as AUC losses need: set `schedule.sampling: balanced`, or a larger batch",
            "every label is left out: look at `uncertainty` and at `bench data stats --data DATA`",
        )
        yield symptom(where, "the loss does not move", "fault", f"training loss {_numbers(loss)}", causes)
    elif len(loss) > 1 and loss[0] > 0 and loss.min() > loss[0] * (1 - _FLAT):
        causes = (
            "the learning rate is far too low, or so high that steps overshoot: try `schedule.lr` ten times higher and lower",
            "too few steps: more `schedule.epochs`, a smaller `schedule.batch_size`",
            "only the head learns: look at the optimizer's frozen parts",
        )
        yield symptom(where, "the loss does not fall", "warning", f"training loss {_numbers(loss)}", causes)


def strayed(where: str, part: ScoredSplit, folder: Path) -> Iterator[Check]:
    """Yield a symptom when predictions on `val` are not as good as the epoch was that they are said to be of."""
    path = folder / "history.parquet"
    trained = folder / "trained.json"
    if not path.is_file() or not trained.is_file() or damaged_files(folder):
        return
    history = read_table(path).set_index("epoch")
    best = json.loads(trained.read_text()).get("best_epoch")
    if best not in history.index or "val_auroc" not in history:
        return
    then, now = float(history.loc[best, "val_auroc"]), _macro(part)
    if abs(then - now) > _STRAYED:
        causes = (
            "the checkpoint was not loaded: predictions come from other weights, or from a new head (`bench check RUN` compares them)",
            "evaluation shows the images otherwise than training (normalisation, size, colour order): `bench check RUN` tries others",
            "predictions were joined to other images: align them by image_id",
        )
        seen = f"AUROC on val {now:.3f} from the stored predictions, {then:.3f} when epoch {best} was chosen"
        yield symptom(where, "predictions are not of the chosen epoch", "fault", seen, causes)


def _macro(part: ScoredSplit) -> float:
    """Return macro AUROC over the findings with both classes, as training computes it on `val`."""
    label = part.labels()
    values = []
    for k in range(label.shape[1]):
        order = falling(part.logit[:, k])
        values.append(area(label[order, k], part.logit[order, k]))
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def _numbers(values: NDArray[np.float64]) -> str:
    shown = [f"{value:.4g}" for value in (values if len(values) <= 4 else [*values[:2], *values[-2:]])]
    return ", ".join(shown if len(values) <= 4 else [*shown[:2], "...", *shown[2:]])
