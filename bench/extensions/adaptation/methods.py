"""The methods that adapt a run to labeled images of a hospital: recalibration, head and LoRA.

Each method begins with the run as it is and the calibrator of the internal validation split (zero-shot). A finding without
both classes among the labeled images stays as it is.
Shapes: N images of the hospital, n labeled images, m images to predict, K findings, D features.
"""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from bench.inputs.batches import BatchReader
from bench.models.lora import Lora
from bench.models.predict import predict
from bench.runs.stored_run import TrainedNetwork
from bench.scoring.calibrators import Platt, fit_platt
from bench.scoring.scored_split import DROPPED
from bench.training.train_modes import freeze_backbone
from harmonize.seeds import seed_for, stream

METHODS = ("recalibration", "head", "lora")
RANK, ALPHA = 4, 4.0  # rank and scale of the low-rank changes (LoRA)
STEPS, BATCH, RATE = 40, 32, 1e-3  # of LoRA: AdamW, without augmentation; batch norm keeps its statistics

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """The network of a run, and the images of a hospital that it can read. row [N]: index of each image in the reader."""

    own: TrainedNetwork
    columns: list[int]  # outputs of the measured findings
    reader: BatchReader
    row: NDArray[np.int64]
    device: torch.device


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A run at a hospital. label [N, K]: 1, 0 or DROPPED; logit [N, K]: zero-shot; start [K]: the internal calibrators."""

    label: NDArray[np.int8]
    logit: Array
    start: tuple[Platt, ...]
    pixels: Pixels | None = None  # None: only recalibration is possible
    feature: NDArray[np.float32] | None = None  # [N, D], of the frozen network

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the possible methods."""
        return METHODS if self.pixels else METHODS[:1]

    def usable(self, labeled: Rows) -> NDArray[np.bool_]:
        """Return which findings [K] have both classes among labeled images."""
        return np.asarray([set(np.unique(column)) >= {0, 1} for column in self.label[labeled].T])

    def logits(self, method: str, labeled: Rows, predicted: Rows, seed: int) -> Array:
        """Return the logits [m, K] after an adaptation to labeled images."""
        adapted = getattr(self, f"_{method}")(labeled, predicted, seed)
        return np.where(self.usable(labeled), adapted, self.logit[predicted])

    def _recalibration(self, labeled: Rows, predicted: Rows, _: int) -> Array:
        """Fit Platt scaling for each finding."""
        out = self.logit[predicted].copy()
        for k, label in enumerate(self.label[labeled].T):
            known = labeled[label != DROPPED]
            fit = fit_platt(self.label[known, k], self.logit[known, k])
            out[:, k] = fit.a * out[:, k] + fit.b
        return out

    def _head(self, labeled: Rows, predicted: Rows, _: int) -> Array:
        """Refit the output layer: logistic regression on standardized features whose penalty draws it to the trained layer.

        The penalty is from a normal prior with which a change of the logit has a standard deviation of about 1.
        """
        assert self.feature is not None
        of_labeled = self.feature[labeled].astype(np.float64)
        mean, spread = of_labeled.mean(0), of_labeled.std(0)
        x_ND = torch.from_numpy((self.feature.astype(np.float64) - mean) / np.where(spread > 1e-6, spread, np.inf))
        change_DK = torch.zeros(x_ND.shape[1], self.label.shape[1], dtype=torch.float64, requires_grad=True)
        bias_K = torch.zeros(self.label.shape[1], dtype=torch.float64, requires_grad=True)
        logit_NK = torch.from_numpy(self.logit)
        target_nK, weight_nK = self._targets(labeled)
        optimizer = torch.optim.LBFGS([change_DK, bias_K], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            fitted_nK = logit_NK[labeled] + x_ND[labeled] @ change_DK + bias_K
            loss = cross_entropy(fitted_nK, target_nK.double(), weight_nK.double(), reduction="sum")
            loss = loss + len(x_ND.T) / 2 * change_DK.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return (logit_NK[predicted] + x_ND[predicted] @ change_DK + bias_K).numpy()

    def _lora(self, labeled: Rows, predicted: Rows, seed: int) -> Array:
        """Train low-rank changes of linear layers and convolutions, and the output layer."""
        assert self.pixels is not None
        pixels, own = self.pixels, self.pixels.own
        network = deepcopy(own.network)
        Lora.add(network, RANK, ALPHA, seed_for(seed, "lora"), convolutions=True)
        freeze_backbone(network, frozen=False)
        network.eval()
        slope_K, bias_K = torch.tensor([(fit.a, fit.b) for fit in self.start], device=pixels.device).T
        optimizer = torch.optim.AdamW((w for w in network.parameters() if w.requires_grad), lr=RATE)
        target_nK, weight_nK = (of.to(pixels.device) for of in self._targets(labeled))
        order = stream(seed, "batches")
        batches = [order.permutation(len(labeled))[:BATCH] for _ in range(STEPS)]
        for batch in batches:
            image_NHW = pixels.reader(pixels.row[labeled[batch]])
            x_NCHW = own.normalizer(image_NHW).contiguous(memory_format=torch.channels_last)
            logit_NK = slope_K * network(x_NCHW)[:, pixels.columns] + bias_K
            loss = cross_entropy(logit_NK, target_nK[batch], weight_nK[batch], reduction="sum")
            loss = loss / weight_nK[batch].sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        precision = own.run.config.prediction_precision
        raw, _ = predict(network, own.normalizer, pixels.reader, pixels.row[predicted], pixels.device, precision)
        return np.asarray(slope_K.cpu().numpy() * raw[:, pixels.columns] + bias_K.cpu().numpy(), np.float64)

    def _targets(self, labeled: Rows) -> tuple[Tensor, Tensor]:
        """Return targets and weights [n, K]; a finding without both classes has the weight 0."""
        label = self.label[labeled]
        weight = (label != DROPPED) & self.usable(labeled)
        return torch.from_numpy((label == 1).astype(np.float32)), torch.from_numpy(weight.astype(np.float32))
