"""A plain fine-tuning script without this project's training code; the default recipes must be at least as good.

    python benchmarks/naive.py DATA --weights DIR --architecture tf_efficientnet_lite0 --head zero --seeds 0 1 2

DATA is a folder in the layout of the NIH release. `harmonize` reads the labels; torchvision, timm and scikit-learn do the rest.
80 % of the patients are for training, the others for the test. `--head` chooses the initial weights of the last layer: `timm` (as
`timm.create_model` sets them), `zero`, or a number (the standard deviation of normal weights). `--bias prevalence` sets the
initial biases to the logits of the training prevalences instead of 0. The script prints a line per seed.
"""

import argparse
from hashlib import sha256
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision import io, transforms

import harmonize

FINDINGS = tuple(harmonize.FINDINGS)


def read_images(folder: Path, size: int) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Return images [N, 3, size, size] in [0, 1], labels [N, 9] (NaN where unknown), and a mask of the training images [N]."""
    cohort = harmonize.load(harmonize.CohortSpec("nih", "nih", folder))
    resize = transforms.Compose([transforms.Resize(size, antialias=True), transforms.CenterCrop(size)])
    mode = io.ImageReadMode.RGB
    images = torch.stack([resize(io.decode_image(str(folder / path), mode)) for path in cohort.table["path"]])
    label = torch.tensor(cohort.table[list(FINDINGS)].to_numpy(np.float32))
    digits = [int(sha256(str(patient).encode()).hexdigest()[:8], 16) for patient in cohort.table["patient_id"]]
    return images / 255, label, np.array([digit % 5 > 0 for digit in digits])


def pretrained(architecture: str, weights: Path, head: str) -> nn.Module:
    """Return a timm network with ImageNet weights and a new last layer."""
    network: nn.Module = timm.create_model(architecture, num_classes=len(FINDINGS))
    classifier: nn.Linear = network.get_classifier()  # type: ignore[operator]
    state = load_file(weights / f"{architecture}_imagenet.safetensors")
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("classifier.")}, strict=False)
    if head != "timm":
        nn.init.normal_(classifier.weight, std=0.0 if head == "zero" else float(head))
        nn.init.zeros_(classifier.bias)
    return network


def fine_tune(network: nn.Module, images: Tensor, label: Tensor, mean: Tensor, std: Tensor, epochs: int) -> float:
    """Train with AdamW, warm-up and cosine decay; return the loss of the first batch."""
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
def macro_auroc(network: nn.Module, images: Tensor, label: Tensor, mean: Tensor, std: Tensor) -> float:
    """Return the mean AUROC over the findings that have both classes."""
    network.eval()
    logit = torch.cat([network((batch - mean) / std) for batch in images.split(64)]).numpy()
    columns = [(label[:, k] == 1, ~label[:, k].isnan(), logit[:, k]) for k in range(label.shape[1])]
    areas = [
        roc_auc_score(y[has_label], x[has_label.numpy()])
        for y, has_label, x in columns
        if 0 < y.sum() < has_label.sum()
    ]
    return float(np.mean(areas))


def main() -> None:
    """Print the macro AUROC of each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--architecture", nargs="+", default=["tf_efficientnet_lite0"])
    parser.add_argument("--head", nargs="+", default=["zero"])
    parser.add_argument("--bias", choices=("zero", "prevalence"), default="zero")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    images, label, is_training = read_images(options.data, options.size)
    for seed in options.seeds:
        for architecture in options.architecture:
            for head in options.head:
                torch.manual_seed(seed)
                network = pretrained(architecture, options.weights, head)
                if options.bias == "prevalence":
                    network.get_classifier().bias.data = label[is_training].nanmean(0).logit()
                scale = network.pretrained_cfg
                mean, std = (torch.tensor(scale[key]).view(3, 1, 1) for key in ("mean", "std"))
                loss = fine_tune(network, images[is_training], label[is_training], mean, std, options.epochs)
                auroc = macro_auroc(network, images[~is_training], label[~is_training], mean, std)
                print(
                    f"{architecture:<24}{head:>6} seed {seed} first loss {loss:.3f} macro AUROC {auroc:.3f}", flush=True
                )


if __name__ == "__main__":
    main()
