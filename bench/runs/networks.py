"""Build the network of a run, before training or with stored weights, and its intensity normalization.

Training, prediction, analyses and derived runs use these functions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from bench.config.registry import BUILT_IN_WEIGHTS
from bench.inputs.histogram_reference import reference
from bench.inputs.normalize import Normalizer
from bench.models.attentive_pooling import AttentivePooling
from bench.models.network import Network, Triple, build
from bench.planning.plan import CohortRef
from bench.planning.run import RunSpec
from bench.store.checked_folders import WEIGHTS, CheckedFolder
from bench.store.store import Store
from harmonize.seeds import seed_for


def initial_network(run: RunSpec, weights: Path | Literal["hub"] | None) -> Network:
    """Return the network of a run before training. `weights`: None (random), a file, or "hub" (timm's hub)."""
    config, architecture = run.config, run.entries["architecture"]
    num_findings = len(config.findings)
    states = run.states
    seed = seed_for(config.seed, "weights")
    num_outputs = num_findings * states + len(config.own_heads)
    start = run.entries["weights"]
    keys = None if start.name in BUILT_IN_WEIGHTS else start.facts.get("keys", {})
    network = build(
        architecture.use, architecture.options, num_outputs, config.channels, weights, seed, num_findings, states, keys
    )
    if config.added_head:
        config.added_head.replace_output_layer(network.backbone, num_findings, run.document)
    if config.head == "attention":
        AttentivePooling.replacing(network.backbone)
    # mean and standard deviation of the images on which the user's own file of weights was trained
    if "mean" in start.facts:
        network.mean, network.std = (_triple(start.facts[key]) for key in ("mean", "std"))
    return network


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def trained_network(run: RunSpec, store: Store, device: torch.device) -> Network:
    """Return the trained network of a run, read from its folder onto the device.

    Raises StoreError when the weights of a finished run differ from their checksum, OSError or SafetensorError when they are
    missing or damaged, RuntimeError when they do not fit the network.
    """
    from safetensors.torch import load_file

    folder = store.run_dir(run.id)
    CheckedFolder(folder).check_weights()
    network = initial_network(run, None)
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.to(device).to(memory_format=torch.channels_last)


def normalization_of(run: RunSpec, store: Store, internal: CohortRef, network: Network) -> Normalizer:
    """Return the intensity normalization of a run. Histogram methods get the reference histogram of the training images."""
    learnt = reference(run, store, internal, store.run_dir(run.id))
    return Normalizer.of(run.preprocessing, network.mean, network.std, run.config.channels, learnt)
