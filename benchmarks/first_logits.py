"""Measure the logits of pretrained networks before the first step of training, on radiographs.

    python -m benchmarks.first_logits DATA --weights DIR

DATA is a folder in the layout of the NIH release; DIR has `<architecture>_imagenet.safetensors` for each network. For each network
and each way to initialize the last layer, the script prints two numbers per seed:
- the root mean square of the logits minus their biases, over 64 images;
- the expected loss divided by the entropy of the prevalences.
For a network that knows only the prevalences, the two numbers are 0 and 1.
"""

import argparse
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.naive import new_network, output_layer, read_images, scale_of

ARCHITECTURES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
NUM_IMAGES = 64


@torch.no_grad()
def main() -> None:
    """Print the two numbers for each network, initialization of the last layer, and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    images, label, _ = read_images(options.data, options.size)
    prevalence = label.nanmean(0).clamp(1e-3, 1 - 1e-3)
    entropy = binary_cross_entropy_with_logits(prevalence.logit(), prevalence)
    for architecture in ARCHITECTURES:
        for head in ("scaled", "timm"):
            for seed in options.seeds:
                torch.manual_seed(seed)
                network = new_network(architecture, options.weights, head)
                layer = output_layer(network)
                if head == "scaled":
                    layer.bias.data = prevalence.logit()
                mean, std = scale_of(network)
                logit = network.train()((images[:NUM_IMAGES] - mean) / std)
                size = (logit - layer.bias).square().mean().sqrt()
                loss = binary_cross_entropy_with_logits(logit, prevalence.expand_as(logit))
                start = f"{architecture:<24}{head:<7} seed {seed}"
                print(f"{start}  logits {size:.3f}  loss / entropy {loss / entropy:.3f}", flush=True)


if __name__ == "__main__":
    main()
