"""The images of a run's first training batch, exactly as its network gets them, and pictures of these images.

Legend: N images, K findings, C channels, H height, W width.
"""

import html
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.histogram_reference import reference
from bench.inputs.normalize import Normalizer
from bench.planning.image_caches import open_images
from bench.planning.plan import CohortRef
from bench.planning.run import RunSpec
from bench.runs.networks import initial_network
from bench.store.store import Store, write_bytes
from bench.training.step import Step
from bench.training.training_loss import TrainingLoss, TrainingTargets
from harmonize.errors import ConfigError


@dataclass(frozen=True, eq=False)
class FirstBatch:
    """The first batch of the first epoch of a run."""

    image_id: list[str]
    x_NCHW: Tensor  # augmented and normalized: the input of the network
    target_NK: NDArray[np.float32]  # after the policies for uncertain and blank labels
    weight_NK: NDArray[np.float32]  # 0: the loss ignores this label

    @classmethod
    def of(cls, run: RunSpec, store: Store, internal: CohortRef) -> "FirstBatch":
        """Take one training step on the CPU, and return what the network got in it. Nothing is stored.

        The images do not depend on the starting weights, so these are random. Raises ConfigError for a run whose network does
        not get augmented images, because it trains on stored features.
        """
        config = run.config
        if config.is_frozen:
            fix = "name another run with --only"
            raise ConfigError(f"run {run.id} trains on features of the unchanged images", f"head: {config.head}", fix)
        device, cache = torch.device("cpu"), open_images(store, internal, run.geometry)
        train, _ = Examples.training(internal, config, cache, run.group_column)
        targets = TrainingTargets.of(run, train, device)
        if config.labeled_images_only:
            labeled = targets.labeled()
            train, targets = train.take(labeled), targets.take(labeled)
        network = initial_network(run, None)
        with tempfile.TemporaryDirectory() as folder:
            learned = reference(run, store, internal, Path(folder))
        normalizer = Normalizer.of(run.preprocessing, network.mean, network.std, config.channels, learned)
        loss = TrainingLoss(run, targets)
        step = Step(run, network, normalizer, BatchReader(cache.images, device), train.rows, loss, device)
        size, seen = config.schedule.effective_batch_size(len(train)), list[Tensor]()

        def forward(x_NCHW: Tensor) -> Tensor:
            seen.append(x_NCHW.detach().clone())
            return network.outputs(x_NCHW)

        step.forward = forward
        step.begin_epoch(1)
        batch = targets.epoch_order(config, 1, size)[:size]
        step(batch, epoch=1, step=0)
        labels = (values[batch].numpy() for values in (targets.target_NK, targets.weight_NK))
        # an optimizer such as SAM passes the batch twice
        return cls(train.image_id[batch].astype(str).tolist(), torch.cat(seen)[:size], *labels)

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """Return the first channel of the images as gray values [N, H, W]: black is the lowest value of the batch, white the highest."""
        x_NHW = self.x_NCHW[:, 0].float().numpy()
        low, high = float(x_NHW.min()), float(x_NHW.max())
        return np.round((x_NHW - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)

    def captions(self, findings: Sequence[str]) -> list[str]:
        """Return the labels of each image as text: findings that count as present, and findings that the loss ignores."""
        lines = []
        for target_K, weight_K in zip(self.target_NK, self.weight_NK, strict=True):
            used = [(f, t) for f, t, w in zip(findings, target_K, weight_K, strict=True) if w > 0]
            present = [f if t == 1 else f"{f} {t:.2g}" for f, t in used if t > 0]
            ignored = [f for f, w in zip(findings, weight_K, strict=True) if w <= 0]
            parts = [", ".join(present) or "no finding present", f"ignored: {', '.join(ignored)}" if ignored else ""]
            lines.append("; ".join(filter(None, parts)))
        return lines

    def write(self, folder: Path, run: RunSpec) -> Path:
        """Write one PNG for each image and index.html, which shows them with their labels; return the path of index.html."""
        figures = []
        labels = zip(self.pictures, self.image_id, self.captions(run.config.findings), strict=True)
        for i, (picture, image_id, caption) in enumerate(labels):
            name = f"{i:04}.png"
            write_bytes(folder / name, cv2.imencode(".png", picture)[1].tobytes())
            said = f"{html.escape(image_id)}<br>{html.escape(caption)}"
            figures.append(f'<figure><img src="{name}" alt=""><figcaption>{said}</figcaption></figure>')
        shape = " x ".join(map(str, self.x_NCHW.shape))
        shown = self.x_NCHW[:, 0]
        entries = run.entries
        scale = f"first channel, {shown.min():.3g} (black) to {shown.max():.3g} (white)"
        what = f"First training batch of run {run.id}: {shape}; {scale}"
        how = f"preprocessing {entries['preprocessing'].name}, augmentation {entries['augmentation'].name}"
        style = "body{font:14px sans-serif}figure{display:inline-block;vertical-align:top;width:240px;margin:8px}img{width:100%}"
        page = f"<!doctype html><meta charset=utf-8><title>{what}</title><style>{style}</style><p>{what}; {how}.</p>"
        write_bytes(folder / "index.html", "\n".join([page, *figures]).encode())
        return folder / "index.html"
