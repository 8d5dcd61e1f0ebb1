"""The output layer `head: prompts`, which compares the features of the frozen network with vectors of texts."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmonize.errors import ConfigError

if TYPE_CHECKING:  # this module is imported by every command, so it imports little
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from bench.config.registry import Entry
    from bench.config.run_config import RunConfig
    from bench.inputs.examples import Examples
    from bench.models.network import Network
    from bench.planning.run import RunSpec
    from bench.training.fit import TrainingResult

NAME = "prompts"


def check(config: "RunConfig", architecture: "Entry", where: str) -> None:
    """Raise ConfigError for a run that compares prompts with the features of random weights. Given vectors have no weights."""
    if config.weights == "none" and architecture.given_features is None:
        fix = "name the starting weights that were trained with the text model of the prompts, e.g. `weights: imagenet`"
        what = "the features of random weights cannot be compared with prompts"
        raise ConfigError(what, f"{where}.weights", fix)


def check_features(architecture: "Entry", features: int, where: str) -> None:
    """Raise ConfigError if the prompts do not fit the features. `architecture`: as `stated` returns it."""
    from bench.extensions.prompts.prompt_file import Prompts

    Prompts.read(Path(str(architecture.facts[NAME]))).check_features(features, where)


def stated(
    config: "RunConfig", architecture: "Entry", weights_dir: Path | None, registry_path: Path
) -> "tuple[dict[str, Any], Entry]":
    """Return what a run document states about its prompts, and the entry with the path of their file.

    Raises ConfigError or SetupError for prompts that are missing, or do not fit the findings or the seed.
    """
    from bench.extensions.prompts.prompt_file import Prompts

    file = Prompts.path_of(architecture, weights_dir, registry_path)
    entry = replace(architecture, facts={**architecture.facts, NAME: str(file)})
    return Prompts.read(file).stated(config.findings, config.seed), entry


def replace_output_layer(backbone: "nn.Module", num_findings: int, document: bytes) -> None:
    """Replace the linear output layer of a backbone by an empty layer of prompts, as the run document states it."""
    from bench.extensions.prompts.output_layer import PromptHead
    from bench.extensions.prompts.prompt_file import PromptShape

    PromptHead.replacing(backbone, num_findings, PromptShape.of(json.loads(document)[NAME]))


def fit(
    run: "RunSpec",
    network: "Network",
    train: "Examples",
    feature_ND: "NDArray[np.float32]",
    watched: "Mapping[str, tuple[Examples, NDArray[np.float32]]]",
) -> "TrainingResult":
    """Write the prompts of a run into the output layer of its network. Nothing is learned from images or labels.

    The arguments are as for `fit_probe`; images and labels are only used for the numbers of the history. Raises
    ConfigError for prompts that do not fit the features.
    """
    import pandas as pd
    import torch

    from bench.extensions.prompts.output_layer import PromptHead
    from bench.extensions.prompts.prompt_file import Prompts
    from bench.models.output_layers import output_layers
    from bench.training.fit import TrainingResult, check_labels, validate_hospitals
    from bench.training.probe import mean_loss, probe_logits
    from bench.training.training_loss import TrainingTargets

    prompts, (head,) = Prompts.read(Path(str(run.entries["architecture"].facts[NAME]))), output_layers(network)
    assert isinstance(head, PromptHead)
    prompts.check_features(feature_ND.shape[1], str(prompts.path))
    head.load(prompts, run.config.findings, run.config.seed)
    text = prompts.text(run.config.seed).replace("; ", ", ")  # "; " separates remarks
    remark = f"wording {run.config.seed + 1} of {len(prompts.wordings)}: {text}, where {{}} is the finding"
    began = time.perf_counter()
    check_labels(train, {split: examples for split, (examples, _) in watched.items()}, run.config)
    targets = TrainingTargets.of(run, train, torch.device("cpu"))
    loss = mean_loss(probe_logits(network, feature_ND), targets.target_NK.numpy(), targets.weight_NK.numpy())
    row: dict[str, float] = {"epoch": 1, "train_loss": loss}
    for split, (examples, watched_ND) in watched.items():
        row[f"{split}_auroc"], row[f"{split}_loss"] = validate_hospitals(
            probe_logits(network, watched_ND), examples, run.config
        )
    row |= {"seconds": time.perf_counter() - began, "lr": 0.0, "gradient_evaluations": 0}
    return TrainingResult(network, pd.DataFrame([row]), 1, 0, (), zero_shot=remark)
