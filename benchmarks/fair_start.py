"""Compare the default recipe with a plain fine-tuning script, on the same patients, for three networks and three seeds.

    bench run --grid benchmarks/fair_start.yaml --data data.yaml --weights DIR --store runs
    python -m benchmarks.fair_start runs DATA --weights DIR --head zero timm

DATA is the root of the cohort `nih-mini` of data.yaml. The script trains each network with the functions of `naive.py`, which
use none of this project's training code. The script trains on the patients that the grid used for training and validation, and
tests on the patients of the grid's test split. For the default recipe and for the plain script, it prints the mean macro AUROC over
the seeds, and then their difference with a 95 % interval. For the interval, patients and seeds are drawn with replacement; the two
networks of a seed are scored on the same draw.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench import api
from bench.planning.manifest import Manifest
from benchmarks.naive import FINDINGS, fine_tune, macro_auroc, new_network, predict, read_images, scale_of

RESAMPLES = 1000
EPOCHS = 10  # as in fair_start.yaml

Array = NDArray[np.float32]


def difference(label: Array, patient: NDArray[np.str_], ours: Array, peer: Array) -> tuple[float, float, float]:
    """Return the mean over S seeds of our macro AUROC minus the peer's, and the two bounds of its 95 % interval.

    `ours` and `peer` are logits [S, N images, 9 findings], `label` is [N, 9], and `patient` [N] is the patient of each image.
    """
    rng = np.random.default_rng(0)
    names, number = np.unique(patient, return_inverse=True)
    draws = []
    for _ in range(RESAMPLES):
        count = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        weight, seeds = count[number].astype(float), rng.integers(len(ours), size=len(ours))
        each = {s: macro_auroc(label, ours[s], weight) - macro_auroc(label, peer[s], weight) for s in set(seeds)}
        draws.append(np.mean([each[s] for s in seeds]))
    low, high = np.percentile(draws, (2.5, 97.5))
    equal = np.ones(len(label))
    return float(np.mean(macros(label, ours, equal)) - np.mean(macros(label, peer, equal))), float(low), float(high)


def macros(label: Array, logit: Array, weight: NDArray[np.float64]) -> list[float]:
    """Return the macro AUROC of each seed."""
    return [macro_auroc(label, of_seed, weight) for of_seed in logit]


def main() -> None:
    """Train the peers, and print a line for each network and each way to initialize the last layer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--head", nargs="+", default=["zero"])
    options = parser.parse_args()
    grid = api.open_grid(options.store, "fair-start")
    images, label, table = read_images(options.data, 96)
    ids = table["image_id"].to_numpy(str)
    is_test = np.isin(ids, test_split(grid, grid.runs[0].id)[0])
    rows, test_label = np.flatnonzero(is_test), label[is_test].numpy()
    patient = table["patient_id"].to_numpy(str)[rows]
    configs = {run.id: run.config for run in grid.runs}
    for architecture in dict.fromkeys(config["architecture"] for config in configs.values()):
        seeds = {config["seed"]: run for run, config in configs.items() if config["architecture"] == architecture}
        ours = np.stack([logits_of(ids[rows], *test_split(grid, run)) for run in seeds.values()])
        for head in options.head:
            peer = []
            for seed in seeds:
                torch.manual_seed(seed)
                network = new_network(f"tf_{architecture}", options.weights, head)
                mean, std = scale_of(network)
                fine_tune(network, images[~is_test], label[~is_test], mean, std, EPOCHS)
                peer.append(predict(network, images[rows], mean, std))
            means = [np.mean(macros(test_label, logit, np.ones(len(rows)))) for logit in (ours, np.stack(peer))]
            value, low, high = difference(test_label, patient, ours, np.stack(peer))
            print(
                f"{architecture:<20} ours {means[0]:.3f}  {head:>5} {means[1]:.3f}  difference {value:+.3f} [{low:+.3f}, {high:+.3f}]",
                flush=True,
            )


def test_split(grid: Manifest, run_id: str) -> tuple[NDArray[np.str_], Array]:
    """Return the image ids [N] of the internal test split, and a run's logits [N, 9]."""
    scored = api.load_logits(grid, run_id)
    [split] = [split for split in scored.scored_splits if split.name.endswith("/test")]
    return np.asarray(split.image_id, str), split.logit[:, [scored.findings.index(finding) for finding in FINDINGS]]


def logits_of(images: NDArray[np.str_], image_id: NDArray[np.str_], logit: Array) -> Array:
    """Return the rows of `logit` for `images`, in the order of `images`; `image_id` has the image of each row of `logit`."""
    order = np.argsort(image_id)
    return logit[order[np.searchsorted(image_id, images, sorter=order)]]


if __name__ == "__main__":
    main()
