"""Check that optimizer, loss, schedule and precision can be combined."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.config.registry import Entry, Registry
from bench.config.run_config import HEADS, Limit, RunConfig, Schedule
from harmonize.errors import ConfigError
from harmonize.labels.findings import ABNORMAL, NO_FINDING, space

OWN = "own"  # value of `preprocessing` in a grid: the preprocessing of the encoder
_ENCODER = (("weights", "weights"), ("architecture", "architectures"))  # key of a run -> section; the first decides


def with_required_kind(config: RunConfig, optimizer: Entry) -> RunConfig:
    """Return the configuration with the kind of learning-rate schedule that its optimizer requires, if any.

    The caller uses this function only for a grid that states no kind of schedule. Such a grid would get the default
    kind, and `check_trainable` refuses every kind except the required one.
    """
    kind = optimizer.facts.get("schedule", config.schedule.kind)
    return replace(config, schedule=replace(config.schedule, kind=kind))


def with_own_preprocessing(config: RunConfig, registry: Registry, where: str) -> RunConfig:
    """Return the configuration with the preprocessing of its encoder in place of `preprocessing: own`.

    The key `preprocessing` of the starting weights names it, or that of the architecture. The run id is the same as with
    the name itself. Raises ConfigError if neither entry has this key.
    """
    if config.preprocessing != OWN:
        return config
    entries = [registry.find(section, getattr(config, key), f"{where}.{key}") for key, section in _ENCODER]
    name = next((str(entry.facts["preprocessing"]) for entry in entries if "preprocessing" in entry.facts), "")
    if not name:
        fix = f"name an entry of `bench list preprocessing`, or add `preprocessing:` to the registry entry of {config.architecture}"
        raise ConfigError(f"{config.architecture} has no preprocessing of its own", f"{where}.preprocessing", fix)
    return replace(config, preprocessing=name)


def without_training(config: RunConfig) -> RunConfig:
    """Return the configuration of a run on a frozen network with the default of each setting that only the training of a network uses.

    Optimizer and loss become `adamw` and `bce`. So a grid can have probes beside trained networks, and a probe has one
    run id whatever the training of its neighbors. Other configurations are returned unchanged.
    """
    if not config.is_frozen:
        return config
    return replace(
        config,
        optimizer="adamw",
        loss="bce",
        augmentation="none",
        schedule=Schedule(),
        limit=Limit(),
        selection="best_val",
        precision="mixed",
        compile=False,
        algorithm="erm",
        groups="hospital",
    )


def without_unused_groups(config: RunConfig, registry: Registry) -> RunConfig:
    """Return the configuration with the default of `groups` if its algorithm uses no groups.

    So a sweep over algorithms can state groups for all its runs, and a run that ignores them keeps its id.
    """
    facts = algorithm_facts(config, registry, "")
    return config if facts.get("groups") else replace(config, groups="hospital")


def algorithm_facts(config: RunConfig, registry: Registry, where: str) -> Mapping[str, Any]:
    """Return the facts of the registry entry of the algorithm; {} for ERM, and for a run that trains no network."""
    if "algorithm" not in config.named:
        return {}
    return registry.find("algorithms", config.algorithm, f"{where}.algorithm").facts


def check_algorithm(config: RunConfig, algorithm: Entry, optimizer: Entry, where: str) -> None:
    """Raise ConfigError for settings that cannot be combined with the algorithm."""
    if algorithm.facts.get("pretraining"):
        _check_two_trainings(config, where)
    if str(algorithm.use).startswith("bench.training.algorithms.averages:"):
        _check_average(config, algorithm, optimizer, where)
    if not config.groups.strip():
        fix = "name a column, such as hospital, sex, age or view"
        raise ConfigError(f"{config.algorithm} needs groups", f"{where}.groups", fix)
    if algorithm.facts.get("groups"):
        _check_whole_batches(config, algorithm, optimizer, where)


def _check_whole_batches(config: RunConfig, algorithm: Entry, optimizer: Entry, where: str) -> None:
    """Raise ConfigError for settings that cannot be combined with an algorithm that compares the groups of a batch."""
    name, schedule = config.algorithm, config.schedule
    if schedule.micro_batch not in (0, schedule.batch_size):
        fix = f"remove `micro_batch`, or set `batch_size: {schedule.micro_batch}`"
        what = f"{name} compares the groups of a whole batch, which micro-batches would split"
        raise ConfigError(what, f"{where}.schedule.micro_batch", fix)
    if schedule.sampling == "balanced":
        fix = "remove `sampling`: each batch has the same number of images of each group"
        raise ConfigError(f"{name} and balanced sampling both fill the batches", f"{where}.schedule.sampling", fix)
    if optimizer.use == "bench.training.optimizers.sam:SAM" or optimizer.facts.get("closure"):
        fix = "use an optimizer that computes one gradient in a step, such as adamw"
        what = f"{config.optimizer} may compute the loss of a batch several times, and {name} computes it once"
        raise ConfigError(what, f"{where}.optimizer", fix)
    if config.compile and algorithm.facts.get("features"):
        fix = "remove `compile`: a compiled network returns no features"
        raise ConfigError(f"{name} compares the features of the groups", f"{where}.compile", fix)


def _check_two_trainings(config: RunConfig, where: str) -> None:
    """Raise ConfigError for an algorithm that trains twice if the length of its first training is not stated."""
    if not config.schedule.pretrain_epochs:
        fix = "set `schedule.pretrain_epochs` to the epochs of the first training"
        raise ConfigError(f"{config.algorithm} trains twice", f"{where}.schedule.pretrain_epochs", fix)
    if config.schedule.freeze_epochs:
        what = f"{config.algorithm} trains twice, and freeze_epochs applies to the first training only"
        raise ConfigError(what, f"{where}.schedule.freeze_epochs", "remove `freeze_epochs`")


def _check_average(config: RunConfig, algorithm: Entry, optimizer: Entry, where: str) -> None:
    """Raise ConfigError for another average of the weights, and for a training that is or may become too short for the average."""
    if config.schedule.ema or str(optimizer.use).startswith("schedulefree:"):
        key = "schedule.ema" if config.schedule.ema else "optimizer"
        what = f"{config.algorithm} and {'ema' if config.schedule.ema else config.optimizer} both average the weights"
        raise ConfigError(what, f"{where}.{key}", f"choose one of them: remove `{key}` or `algorithm`")
    if config.schedule.patience:
        what = f"with patience, a training may stop before {config.algorithm} averages its weights"
        raise ConfigError(what, f"{where}.schedule.patience", "remove `patience`")
    if (start := algorithm.options.get("start")) is not None:
        least = math.ceil(1 / (1 - start))  # the last epoch begins after the share (epochs - 1) / epochs of training
        if config.schedule.epochs < least:
            what = (
                f"{config.algorithm} averages the epochs after the share {start:g} of training, and none begins there"
            )
            raise ConfigError(what, f"{where}.schedule.epochs", f"train for at least {least} epochs")


def check_probe(config: RunConfig, uncertainty: Entry, where: str) -> None:
    """Raise ConfigError for a run on a frozen network whose label policy needs three outputs per finding."""
    if config.is_frozen and uncertainty.facts.get("states", 1) != 1:
        fix = "choose another policy, such as u_ignore, or `head: own`"
        what = f"`head: {config.head}` is not possible with {config.uncertainty}"
        raise ConfigError(what, f"{where}.uncertainty", fix)


def check_trainable(config: RunConfig, optimizer: Entry, loss: Entry, algorithm: Entry | None, where: str) -> None:
    """Raise ConfigError for an optimizer, loss, schedule and precision that cannot be combined. `algorithm`: None for ERM."""
    schedule, only_kind = config.schedule, optimizer.facts.get("schedule")
    sam = optimizer.use == "bench.training.optimizers.sam:SAM"
    if sam and str(optimizer.options.get("base", "")).startswith("schedulefree:"):
        fix = "use another base optimizer, e.g. torch.optim:AdamW"
        raise ConfigError(f"{config.optimizer}: SAM cannot wrap a schedule-free optimizer", f"{where}.optimizer", fix)
    starts_again = algorithm is not None and algorithm.facts.get("pretraining")
    is_plain = (loss.use, dict(loss.options)) == ("bench.training.losses:bce", {})
    if schedule.pretrain_epochs and is_plain and not starts_again:
        fix = "remove `pretrain_epochs`, or set `loss` to the loss of the epochs after pretraining"
        what = f"pretrain_epochs trains with cross-entropy, and {config.loss} is cross-entropy already"
        raise ConfigError(what, f"{where}.schedule.pretrain_epochs", fix)
    if (sam or optimizer.facts.get("closure")) and config.precision == "fp16":
        fix = "set precision to mixed, bf16 or fp32: this optimizer recomputes gradients, and fp16 scales them"
        raise ConfigError(f"{config.optimizer} cannot train with fp16", f"{where}.precision", fix)
    if only_kind and schedule.kind != only_kind:
        fix = f"remove `kind`: the optimizer is then trained with {only_kind}, after the same warm-up"
        raise ConfigError(f"{config.optimizer} needs schedule kind {only_kind}", f"{where}.schedule.kind", fix)
    if only_kind and schedule.ema:
        fix = "remove `ema`: this optimizer averages its weights already"
        raise ConfigError(f"{config.optimizer} cannot be combined with ema", f"{where}.schedule.ema", fix)
    images_per_pass = schedule.micro_batch or schedule.batch_size
    needed = 2 * len(config.findings)
    if schedule.sampling == "balanced" and images_per_pass < needed:
        fix = f"set micro_batch (or batch_size) to at least {needed}"
        what = (
            f"balanced sampling needs at least {needed} images in a forward pass, a positive and a negative image of each "
            f"finding (got {images_per_pass})"
        )
        raise ConfigError(what, f"{where}.schedule.sampling", fix)


def check_heads(config: RunConfig, where: str) -> None:
    """Raise ConfigError if the task or the heads do not fit the label space.

    An auxiliary head is an additional output of the last linear layer with its own cross-entropy. The logits of an auxiliary
    head are stored (column `head:NAME`) but not scored.

    There is one exception. In a label space with the finding "Abnormal", the head `abnormal` uses the output of this finding
    and adds no output. The loss of the head then replaces the loss of the finding, and the output is scored like every
    finding.
    """
    findings = space(config.space)
    if config.task == "binary" and config.finding not in findings:
        fix = f"{ConfigError.hint(config.finding, findings)}choose one of {', '.join(findings)}, or another `space`"
        raise ConfigError(f"the label space {config.space} has no finding {config.finding!r}", f"{where}.finding", fix)
    if "abnormal" not in HEADS[config.heads]:
        return
    if config.task == "binary":
        fix = "use `task: multilabel`, or `heads: auxiliary`"
        what = f"a binary task cannot have the additional head of `heads: {config.heads}`"
        raise ConfigError(what, f"{where}.heads", fix)
    if not {NO_FINDING, ABNORMAL} & set(findings):
        fix = f"choose a label space with {NO_FINDING!r} or {ABNORMAL!r}: chexpert-14, shared-9, nih-14-abnormal"
        raise ConfigError(f"the label space {config.space} does not define normal and abnormal", f"{where}.heads", fix)
