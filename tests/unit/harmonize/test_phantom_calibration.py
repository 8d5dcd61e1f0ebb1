"""Test that findings are neither trivial nor invisible for a small network without a shortcut."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from harmonize.cohorts.cohort import load
from harmonize.cohorts.specs import CohortSpec
from harmonize.images.pixels import Geometry, read_gray, to_geometry
from harmonize.labels.findings import FINDINGS, PRESENT, UNCERTAIN
from harmonize.phantom import PhantomSettings, write_cohorts

torch = pytest.importorskip("torch")
EPOCHS, BATCH, WIDTH = 6, 24, 8


def _network() -> "torch.nn.Module":
    def block(inputs: int, outputs: int) -> list["torch.nn.Module"]:
        convolution = torch.nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, torch.nn.BatchNorm2d(outputs), torch.nn.MaxPool2d(2), torch.nn.ReLU()]

    widths = [1, WIDTH, 2 * WIDTH, 4 * WIDTH, 6 * WIDTH]
    blocks = [layer for pair in pairwise(widths) for layer in block(*pair)]
    head = [
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(widths[-1], len(FINDINGS)),
    ]
    # with the channels last in memory, a step takes half as long
    return torch.nn.Sequential(*blocks, *head).to(memory_format=torch.channels_last)


@pytest.mark.slow
def test_a_small_network_separates_every_finding_but_not_perfectly(tmp_path: Path) -> None:
    """The difficulty of the synthetic images."""
    write_cohorts(tmp_path, PhantomSettings(seed=31, shortcut=0.0, images={"chexpert": 1600}), workers=1)
    table = load(CohortSpec("chexpert", "chexpert", tmp_path / "chexpert")).table.query("split == 'train'")
    geometry = Geometry(64, "squash")
    images = np.stack([to_geometry(read_gray(tmp_path / "chexpert" / path), geometry) for path in table["path"]])
    truth = pd.read_parquet(tmp_path / "truth" / "chexpert.parquet").set_index("image_id").loc[table["image_id"]]
    states = table[list(FINDINGS)].to_numpy(dtype=int)
    in_train = truth["patient"].to_numpy() < truth["patient"].quantile(0.75)

    torch.manual_seed(0)
    network = _network()
    x = (torch.from_numpy(images[in_train]).float() / 255 - 0.5)[:, None] * 4
    target, weight = (torch.from_numpy(values[in_train]).float() for values in (states == PRESENT, states != UNCERTAIN))
    steps = len(x) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x))[: steps * BATCH].split(BATCH):
            shift = torch.randint(-3, 4, (2,)).tolist()
            logit = network(torch.roll(x[rows], shift, (2, 3)))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, target[rows], weight[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    network.eval()
    with torch.no_grad():
        logit = network((torch.from_numpy(images[~in_train]).float() / 255 - 0.5)[:, None] * 4).numpy()
    for k, finding in enumerate(FINDINGS):
        auroc = roc_auc_score(truth.loc[~in_train, f"true:{finding}"], logit[:, k])
        assert 0.6 < auroc < 0.99, f"{finding}: {auroc:.3f}"
