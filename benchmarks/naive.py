"""A plain fine-tuning script without this project's training code; the default recipes must be at least as good.

    python benchmarks/naive.py DATA --weights DIR --architecture tf_efficientnet_lite0 --head zero --seeds 0 1 2

DATA is a folder in the layout of the NIH release. `harmonize` reads the labels; torchvision, timm and scikit-learn do the rest.
The project's two SE-ResNets, which timm does not have, are built by `bench.models.se_resnet`.
80 % of the patients are for training, the others for the test. `--head` chooses the initial weights of the last layer: `timm` (as
`timm.create_model` or the SE-ResNet sets them), `zero`, `scaled` (normal, standard deviation 0.5 / sqrt(features)), or a number (the standard
deviation of normal weights). `--bias prevalence` sets the initial biases to the logits of the training prevalences instead of 0.
Without `--weights`, all weights are random. The script prints a line per seed.
"""

import argparse
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision import io, transforms

import harmonize
from bench.models.se_resnet import se_resnet
from harmonize.labels.findings import FINDINGS

# networks that timm does not have, with their options
SE_RESNETS: dict[str, dict[str, Any]] = {
    "seresnet_scratch": {},
    "seresnet_tiny": {"depths": [1, 1, 1, 1], "widths": [16, 32, 64, 128], "dropout": 0.1},
}


def read_images(folder: Path, size: int) -> tuple[Tensor, Tensor, pd.DataFrame]:
    """Return images [N, 3, size, size] in [0, 1], labels [N, 9] (NaN where unknown), and the table of the cohort (N rows)."""
    cohort = harmonize.load(harmonize.CohortSpec("nih", "nih", folder))
    resize = transforms.Compose([transforms.Resize(size, antialias=True), transforms.CenterCrop(size)])
    mode = io.ImageReadMode.RGB
    images = torch.stack([resize(io.decode_image(str(folder / path), mode)) for path in cohort.table["path"]])
    return images / 255, torch.tensor(cohort.table[list(FINDINGS)].to_numpy(np.float32)), cohort.table


def new_network(architecture: str, weights: Path | None, head: str) -> nn.Module:
    """Return a timm network or an SE-ResNet with ImageNet weights, or random ones, and a new last layer."""
    if architecture in SE_RESNETS:
        network: nn.Module = se_resnet(len(FINDINGS), **SE_RESNETS[architecture])
    else:
        network = timm.create_model(architecture, num_classes=len(FINDINGS))
    classifier = output_layer(network)
    if weights:
        state = load_file(weights / f"{architecture}_imagenet.safetensors")
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith("classifier.")}, strict=False)
    if head != "timm":
        named = {"zero": 0.0, "scaled": 0.5 / classifier.weight[0].numel() ** 0.5}
        nn.init.normal_(classifier.weight, std=named[head] if head in named else float(head))
        nn.init.zeros_(classifier.bias)
    return network


def output_layer(network: nn.Module) -> nn.Linear:
    """Return the last layer of a timm network or an SE-ResNet."""
    layer: nn.Linear = network.get_classifier() if hasattr(network, "get_classifier") else network.fc  # type: ignore[operator, assignment]
    return layer


def scale_of(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of the images of the network's pretraining; ImageNet's for an SE-ResNet."""
    config = getattr(network, "pretrained_cfg", {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD})
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    return mean, std


def fine_tune(network: nn.Module, images: Tensor, label: Tensor, mean: Tensor, std: Tensor, epochs: int) -> float:
    """Train with AdamW, warm-up and cosine decay; return the loss of the first batch. Labels that are NaN are ignored."""
    augment = transforms.RandomAffine(10, translate=(0.05, 0.05), scale=(0.9, 1.1))
    optimizer, batch = torch.optim.AdamW(network.parameters(), lr=3e-4, weight_decay=0.01), 16
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-4, total_steps=steps, pct_start=0.1)
    first_loss, has_label = float("nan"), ~label.isnan()
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images))[: len(images) // batch * batch].split(batch):
            logit = network((torch.stack([augment(image) for image in images[rows]]) - mean) / std)
            loss = binary_cross_entropy_with_logits(logit[has_label[rows]], label[rows][has_label[rows]])
            first_loss = loss.item() if np.isnan(first_loss) else first_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return first_loss


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor, mean: Tensor, std: Tensor) -> NDArray[np.float32]:
    """Return the logits [N, 9] of images."""
    network.eval()
    logit: NDArray[np.float32] = torch.cat([network((batch - mean) / std) for batch in images.split(64)]).numpy()
    return logit


def macro_auroc(label: NDArray[np.float32], logit: NDArray[np.float32], weight: NDArray[np.float64]) -> float:
    """Return the mean AUROC over the findings that have both classes; `weight` [N] is how often each image counts."""
    areas = []
    for y, x in zip(label.T, logit.T, strict=True):
        rows = np.isfinite(y) & (weight > 0)
        if 0 < y[rows].sum() < rows.sum():
            areas.append(roc_auc_score(y[rows], x[rows], sample_weight=weight[rows]))
    return float(np.mean(areas))


def main() -> None:
    """Print the macro AUROC of each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--architecture", nargs="+", default=["tf_efficientnet_lite0"])
    parser.add_argument("--head", nargs="+", default=["zero"])
    parser.add_argument("--bias", choices=("zero", "prevalence"), default="zero")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    images, label, table = read_images(options.data, options.size)
    digits = [int(sha256(str(patient).encode()).hexdigest()[:8], 16) for patient in table["patient_id"]]
    is_training = np.array([digit % 5 > 0 for digit in digits])
    test_label = label[~is_training].numpy()
    known = np.isfinite(test_label)
    for seed in options.seeds:
        for architecture in options.architecture:
            for head in options.head:
                torch.manual_seed(seed)
                network = new_network(architecture, options.weights, head)
                if options.bias == "prevalence":
                    output_layer(network).bias.data = label[is_training].nanmean(0).logit(eps=1e-3)
                mean, std = scale_of(network)
                loss = fine_tune(network, images[is_training], label[is_training], mean, std, options.epochs)
                logit = predict(network, images[~is_training], mean, std)
                auroc = macro_auroc(test_label, logit, np.ones(len(logit)))
                last = binary_cross_entropy_with_logits(torch.tensor(logit)[known], torch.tensor(test_label)[known])
                start = f"{architecture:<28}{head:>7} {options.bias:<10} seed {seed}"
                print(f"{start} first loss {loss:.3f} test loss {last:.3f} macro AUROC {auroc:.3f}", flush=True)


if __name__ == "__main__":
    main()
