"""Which optimizers, schedules and precisions go together."""

from dataclasses import replace

from bench.config.registry import Entry
from bench.config.run_config import RunConfig
from harmonize.errors import ConfigError


def with_its_kind(config: RunConfig, optimizer: Entry) -> RunConfig:
    """Return the configuration with the kind of schedule that its optimizer asks for, where it asks for one.

    For grids that name no kind: the default would be refused, and one training would have two names.
    """
    kind = optimizer.facts.get("schedule", config.schedule.kind)
    return replace(config, schedule=replace(config.schedule, kind=kind))


def check_trainable(config: RunConfig, optimizer: Entry, loss: Entry, place: str) -> None:
    """Raise ConfigError for an optimizer, a loss, a schedule and a precision that cannot be trained together."""
    schedule, only_kind, sam = (
        config.schedule,
        optimizer.facts.get("schedule"),
        optimizer.use == "bench.training.optimizers.sam:SAM",
    )
    if sam and str(optimizer.options.get("base", "")).startswith("schedulefree:"):
        fix = "give it a base that learns the weights it answers for, e.g. torch.optim:AdamW"
        raise ConfigError(f"{config.optimizer} is SAM over a schedule-free optimizer", f"{place}.optimizer", fix)
    if schedule.pretrain_epochs and (loss.use, dict(loss.options)) == ("bench.training.losses:bce", {}):
        fix = "leave `pretrain_epochs` out, or choose the loss that follows the cross-entropy"
        raise ConfigError(f"{config.loss} is the cross-entropy itself", f"{place}.schedule.pretrain_epochs", fix)
    if (sam or optimizer.facts.get("closure")) and config.precision == "fp16":
        fix = "use mixed, bf16 or fp32: an optimizer that computes gradients itself needs them unscaled"
        raise ConfigError(f"{config.optimizer} cannot train in fp16", f"{place}.precision", fix)
    if only_kind and schedule.kind != only_kind:
        fix = f"leave `kind` out for it: it is then trained with {only_kind}, after the same warm-up"
        raise ConfigError(f"{config.optimizer} takes no schedule", f"{place}.schedule.kind", fix)
    if only_kind and schedule.ema:
        fix = "leave `ema` out: its weights are averages already"
        raise ConfigError(f"{config.optimizer} cannot be averaged again", f"{place}.schedule.ema", fix)
    together, needed = schedule.micro_batch or schedule.batch_size, 2 * len(config.findings)
    if schedule.sampling == "balanced" and together < needed:
        fix = f"give a forward pass (micro_batch, else batch_size) at least {needed} images"
        what = f"{together} images cannot show {needed // 2} findings, each present and absent"
        raise ConfigError(what, f"{place}.schedule.sampling", fix)
