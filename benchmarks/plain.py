"""Train, predict and score the four runs of the grid `demo` without this project's pipeline: what the demo costs at least.

    python -m benchmarks.plain runs     # after `bench run --grid demo`; prints the macro AUROC of each run and hospital

The labels and image files are those of the demo's store. The script decodes each image once, trains both networks with AdamW,
a warm-up and cosine decay, predicts all splits, and computes AUROC, average precision and Brier score with scikit-learn. It
has no intervals, checkpoints, heat maps, shortcut tests or page.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.config.registry import Registry
from bench.models.network import build
from bench.planning.manifest import read_manifest
from bench.store.store import Store
from harmonize.labels.findings import FINDINGS, NOT_MENTIONED, UNCERTAIN

SIZE, EPOCHS, BATCH, RATE = 64, 8, 48, 6e-3  # as in grids/demo.yaml


def decoded(paths: list[Path]) -> Tensor:
    """Return images [N, 1, SIZE, SIZE], standardized."""
    files = [_gray(path) for path in paths]
    small = [cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for image in files]
    return (torch.from_numpy(np.stack(small))[:, None] / 255 - 0.45) / 0.226


def _gray(path: Path) -> NDArray[np.uint8]:
    if path.suffix == ".dicom":
        from pydicom import dcmread
        from pydicom.pixels import apply_voi_lut

        data = dcmread(path)
        image = np.asarray(apply_voi_lut(data.pixel_array, data), np.float32)
        image = (image - image.min()) / (image.max() - image.min()) * 255
        return np.asarray(255 - image if data.PhotometricInterpretation == "MONOCHROME1" else image, np.uint8)
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return np.asarray(image if image.dtype == np.uint8 else image / image.max() * 255, np.uint8)


def trained(network: torch.nn.Module, images: Tensor, label: Tensor) -> torch.nn.Module:
    """Return the network after training; labels [N, K] that are NaN are ignored."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    known = ~label.isnan()
    network.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH):
            logit, has_label = network(images[rows]), known[rows]
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logit[has_label], label[rows][has_label]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def scores(label: NDArray[np.float32], probability: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return AUROC, average precision and Brier score of each finding that has both classes, [findings, 3]."""
    known = [(y[~np.isnan(y)], p[~np.isnan(y)]) for y, p in zip(label.T, probability.T, strict=True)]
    metrics = (roc_auc_score, average_precision_score, brier_score_loss)
    return np.array([[metric(y, p) for metric in metrics] for y, p in known if 0 < y.sum() < len(y)])


def main(folder: Path) -> None:
    """Train and score the runs of the demo's manifest in the store `folder`."""
    torch.set_num_threads(1)
    store, registry = Store.open(folder, create=False), Registry.read()
    manifest = read_manifest(store, "demo")
    images, labels = {}, {}
    for cohort in manifest.cohorts:
        table = pd.read_parquet(folder / "cohorts" / f"{cohort.name}-{cohort.id}.parquet")
        root = next((folder / "phantom").glob(f"*/{cohort.name}"))
        images[cohort.name] = decoded([root / path for path in table["path"]])
        states = table[list(FINDINGS)].astype("float32").replace({UNCERTAIN: np.nan, NOT_MENTIONED: 0.0})
        labels[cohort.name] = torch.tensor(states.to_numpy(np.float32))
    internal = manifest.cohorts[0].name
    in_training = slice(0, round(0.7 * len(images[internal])))
    for run in manifest.runs:
        torch.manual_seed(run.config.seed)
        entry = registry.find("architectures", run.config.architecture, "demo")
        network = build(entry.use, entry.options, len(FINDINGS), in_channels=1)
        trained(network, images[internal][in_training], labels[internal][in_training])
        for name, of_cohort in images.items():
            with torch.inference_mode():
                probability = torch.cat([network(batch) for batch in of_cohort.split(64)]).sigmoid().numpy()
            auroc = scores(labels[name].numpy(), probability)[:, 0].mean()
            print(f"{run.config.architecture} seed {run.config.seed} {name}: AUROC {auroc:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
