"""Which optimizers, schedules and precisions go together."""

from dataclasses import replace

from bench.config import RunConfig
from bench.registry import Entry
from harmonize.errors import ConfigError
from harmonize.findings import space


def trainable(config: RunConfig, optimizer: Entry, kind_given: bool, place: str) -> RunConfig:
    """Return the configuration, with the kind of schedule that its optimizer asks for when the grid names none.

    Raises ConfigError for what cannot be trained together.
    """
    schedule, only_kind = config.schedule, optimizer.facts.get("schedule")
    if optimizer.use == "bench.optim.sam:SAM" and config.precision == "fp16":
        raise ConfigError(
            f"{config.optimizer} cannot train in fp16",
            f"{place}.precision",
            "use mixed, bf16 or fp32: the two passes of one step need unscaled gradients",
        )
    if only_kind and schedule.kind != only_kind:
        if kind_given:
            fix = f"leave `kind` out for it: it is then trained with {only_kind}, after the same warm-up"
            raise ConfigError(f"{config.optimizer} takes no schedule", f"{place}.schedule.kind", fix)
        schedule = replace(schedule, kind=only_kind)
    if only_kind and schedule.ema:
        fix = "leave `ema` out: its weights are averages already"
        raise ConfigError(f"{config.optimizer} cannot be averaged again", f"{place}.schedule.ema", fix)
    together, needed = schedule.micro_batch or schedule.batch_size, 2 * len(space(config.space))
    if schedule.sampling == "balanced" and together < needed:
        fix = f"give a forward pass (micro_batch, else batch_size) at least {needed} images"
        what = f"{together} images cannot show {needed // 2} findings, each present and absent"
        raise ConfigError(what, f"{place}.schedule.sampling", fix)
    return replace(config, schedule=schedule)
